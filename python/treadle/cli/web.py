"""`treadle web`: a chat page that runs the model in the browser, served from this machine."""

from __future__ import annotations

import argparse
import hashlib
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.options import note
from treadle.config import DEFAULT_MODEL
from treadle.errors import InvalidRequest, NotFound
from treadle.version import __version__

if TYPE_CHECKING:
    from treadle.models import Model

_PACKAGE = Path(__file__).parents[1]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise InvalidRequest(message, hint=f"see `{self.prog} --help`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports the model if need be, serves page and bundle, opens the browser."""
    options = _parser().parse_args(arguments)
    page = page_folder()
    bundle = bundle_folder(options.source or options.model, options.tiers)
    from treadle.server.static import serve_site, site

    def ready(address: str) -> None:
        note(f"open {address} in a browser; Ctrl-C ends")
        if not options.no_open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    app = site(page, bundle, isolated=not options.no_isolation)
    return serve_site(app, options.port, ready)


def page_folder() -> Path:
    """Where the built page lies: in an installed package, or in a checkout after `make page`.

    Raises NotFound when it was not built.
    """
    for folder in (_PACKAGE / "page", _PACKAGE.parents[1] / "web" / "dist"):
        if (folder / "treadle.js").is_file() and (folder / "index.html").is_file():
            return folder
    raise NotFound(
        "the browser page is not built",
        at=str(_PACKAGE.parents[1] / "web" / "dist"),
        hint="run `make page`",
    )


def bundle_folder(source: str, tiers: str | None) -> Path:
    """The bundle of a model: `source` itself if it is one, else exported into the cache once.

    Raises NotFound, ModelFormatError, Unsupported, InvalidRequest.
    """
    given = Path(source)
    if (given / "manifest.json").is_file():
        return given
    from treadle.export import TIERS, write
    from treadle.models import cache_dir, load

    model = load(source)
    chosen = tuple(tiers.split(",")) if tiers else tuple(TIERS)
    folder = cache_dir() / "bundles" / f"{model.name}-{_state(model, chosen)}"
    if not (folder / "manifest.json").is_file():
        note(f"exporting {model.name} for the browser, once")
        write(model, folder, chosen)
    return folder


def _state(model: Model, tiers: Sequence[str]) -> str:
    """Changes when the model's files, the tiers or this program do."""
    files = sorted(model.path.iterdir()) if model.path.is_dir() else [model.path]
    found = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    told = repr((__version__, tuple(tiers), found)).encode()
    return hashlib.sha256(told).hexdigest()[:12]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="treadle web", description="A chat page that runs in the browser.")
    parser.add_argument(
        "source",
        nargs="?",
        metavar="MODEL",
        help="alias, model file or folder, or a bundle's folder",
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"the same (default: {DEFAULT_MODEL})"
    )
    parser.add_argument("--port", type=_port, default=8080, help="0 = any free one (default: 8080)")
    parser.add_argument("--tiers", metavar="T,T", help="what the bundle holds (default: all)")
    parser.add_argument("--no-open", action="store_true", help="leave the browser closed")
    parser.add_argument(
        "--no-isolation", action="store_true", help="leave out COOP and COEP: no threads in wasm"
    )
    return parser


def _port(text: str) -> int:
    if text.isdigit() and int(text) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port: give 0 to 65535")
