"""`treadle pull`: fetches a model into the cache."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.cli.options import note
from treadle.config import PullConfig, parse


def main(arguments: Sequence[str]) -> int:
    """Fetches; with --print-path the weight file's path is the only line on standard output."""
    config = parse(PullConfig, arguments, prog="treadle pull")
    from treadle.models import pull

    path = pull(config.source)
    if config.print_path:
        print(path)
    else:
        note(f"{config.source} is at {path}")
    return 0
