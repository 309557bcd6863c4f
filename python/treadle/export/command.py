"""`treadle export VERB`: web, check, kernels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from treadle.errors import InvalidRequest


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise InvalidRequest(message, hint=f"see `{self.prog} --help`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit codes: 0 ok, 2 bad input, 3 a model or bundle that is not whole."""
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="treadle export", description="Bundles of plain data for the browser.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    web = verbs.add_parser("web", help="write a model's bundle", description="Writes a bundle.")
    web.add_argument("model", help="alias, .gguf file, model folder or Hugging Face repository")
    web.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where it goes")
    web.add_argument(
        "--tiers", default="cpu", metavar="T,T", help="cpu, t0, t1, t0s, t2 (default: cpu)"
    )
    web.add_argument("--shard-mib", type=int, default=32, metavar="N", help="size of weight files")
    web.add_argument("--context", type=int, metavar="N", help="tokens of a sequence, at most")
    web.add_argument("--check", action="store_true", help="check what was written afterwards")
    web.set_defaults(run=_web)
    check = verbs.add_parser("check", help="check a bundle", description="Checks a bundle.")
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument("model", nargs="?", help="the source: weights are compared with it")
    check.set_defaults(run=_check)
    packing = verbs.add_parser("kernels", help="write the WGSL solutions of a dataset of kernels")
    packing.add_argument("root", type=Path, metavar="DIR")
    packing.set_defaults(run=_kernels)
    return parser


def _web(options: argparse.Namespace) -> int:
    from treadle.export import Options, check, write
    from treadle.export.bundle import CONTEXT, MIB
    from treadle.models import load

    if options.context is not None and options.context < 16:
        raise InvalidRequest(f"{options.context} tokens are too few", at="--context")
    model = load(options.model)
    settings = Options(options.shard_mib * MIB, options.context or CONTEXT)
    tiers = tuple(name.strip() for name in options.tiers.split(","))
    manifest = write(model, options.out, tiers, settings)
    if options.check:
        check(options.out, model)
    size = sum(file["bytes"] for file in manifest["files"])
    word = " (checked)" if options.check else ""
    print(f"{options.out}: {size / 1e6:.1f} MB, tiers {','.join(tiers)}{word}", file=sys.stderr)
    return 0


def _check(options: argparse.Namespace) -> int:
    from treadle.export import check
    from treadle.models import load

    manifest = check(options.folder, load(options.model) if options.model else None)
    print(f"ok: {manifest['model']['name']}, {len(manifest['files'])} files")
    return 0


def _kernels(options: argparse.Namespace) -> int:
    from treadle.export.solutions import solutions
    from treadle.kernels.store import Dataset

    data = Dataset(options.root)
    made = list(solutions(data.definitions()))
    for one in made:
        data.add(one, replace=True)
    print(f"{options.root}: {len(made)} solutions", file=sys.stderr)
    return 0
