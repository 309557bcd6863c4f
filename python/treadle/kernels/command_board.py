"""`treadle kernels board --root DATASET --out FOLDER` and `treadle kernels board check`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from treadle.kernels.store import Dataset

FAILED = 2
"""Exit code of `check` where a page and the dataset differ."""


def register(verbs: Any) -> None:
    """Adds the verb to the subparsers of `treadle kernels`."""
    text = "write the leaderboard as static pages, or check one that is written"
    parser = verbs.add_parser("board", help=text, description=text)
    parser.add_argument("what", nargs="?", choices=("write", "check"), default="write")
    parser.add_argument("--root", type=Path, required=True, help="the dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pages")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.set_defaults(run=_board)


def _board(options: argparse.Namespace) -> int:
    from treadle.kernels import board

    data = Dataset(options.root, readonly=True)
    if options.what == "check":
        found = list(board.check(data, options.out))
        if options.json:
            print(json.dumps({"problems": [p._asdict() for p in found]}, ensure_ascii=False))
        else:
            for problem in found:
                print(f"{problem.at}: {problem.message}")
            print(f"{len(found)} problems" if found else "ok")
        return FAILED if found else 0
    counts = board.build(data, options.out)
    if options.json:
        print(json.dumps(counts))
    else:
        print(f"{counts['pages']} pages; open {options.out / 'index.html'}")
    return 0
