"""Writes a site to a folder, and compares a written one with the dataset, number by number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.board.facts import gather
from treadle.kernels.board.pages import Pages
from treadle.kernels.store import Dataset

MANIFEST = "api/files.json"
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Problem(NamedTuple):
    """Where a page and the dataset differ, and how."""

    at: str
    message: str


def build(data: Dataset, out: Path) -> dict[str, int]:
    """Writes the site; returns counts. Files of the last build that are no more are removed.

    Raises InvalidRequest for a folder that holds something else than a board.
    """
    old = _listed(out)
    if old is None and out.exists() and any(out.iterdir()):
        raise InvalidRequest("the folder holds no board", at=str(out), hint="name a new folder")
    written: dict[str, str] = {}
    folded: dict[str, str] = {}
    for name, text in Pages(gather(data)).files():
        other = folded.setdefault(name.casefold(), name)
        if other != name or name in written:
            raise InvalidRequest(
                f"two pages would be one file: {other} and {name}", at=str(data.root),
                hint="rename one; names may not differ in case alone",
            )  # fmt: skip
        written[name] = text
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for name in set(old or ()) - set(written):
        (out / name).unlink(missing_ok=True)
    (out / MANIFEST).write_text(json.dumps(sorted(written), indent=0) + "\n", encoding="utf-8")
    pages = sum(name.endswith(".html") for name in written)
    overview = len(written["index.html"].encode())
    return {"pages": pages, "files": len(written), "overview_bytes": overview}


def check(data: Dataset, out: Path) -> Iterator[Problem]:
    """What is wrong with a written site: numbers the dataset does not give, files too many or few.

    Pages are made anew in memory and compared number by number, pictures included. Raises NotFound
    where there is no board.
    """
    if _listed(out) is None:
        raise NotFound("no board there", at=str(out), hint="run treadle kernels board")
    fresh = dict(Pages(gather(data)).files())
    for name, text in fresh.items():
        place = out / name
        if not place.is_file():
            yield Problem(name, "is missing")
            continue
        found = place.read_text(encoding="utf-8", errors="replace")
        if found != text:
            yield _difference(name, found, text)
    for place in sorted(out.rglob("*")):
        name = place.relative_to(out).as_posix()
        if place.is_file() and name not in fresh and name != MANIFEST:
            yield Problem(name, "is not in the index: nothing in the dataset gives this file")


def _difference(name: str, found: str, text: str) -> Problem:
    """The first number that differs, else the first line."""
    pairs = zip_longest(_NUMBER.finditer(found), _NUMBER.finditer(text))
    for mine, right in pairs:
        shown = mine.group() if mine else "nothing"
        wanted = right.group() if right else "nothing"
        if shown != wanted:
            line = found.count("\n", 0, mine.start() if mine else len(found)) + 1
            return Problem(
                f"{name} line {line}", f"{shown} is not in the index, which gives {wanted}"
            )
    both = zip_longest(found.splitlines(), text.splitlines())
    line = next((i for i, (a, b) in enumerate(both, 1) if a != b), 1)
    return Problem(f"{name} line {line}", "the text is not what the dataset gives")


def _listed(out: Path) -> list[str] | None:
    """Files of the last build, None where there was none. Raises InvalidRequest."""
    base = out.resolve()
    try:
        names = msgspec.json.decode((out / MANIFEST).read_bytes(), type=list[str])
        good = all(base in (out / name).resolve().parents for name in names)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError):
        names, good = [], False
    if not good:
        raise InvalidRequest(
            "the list of files is broken", at=f"{out}/{MANIFEST}",
            hint="delete the folder and build anew",
        )  # fmt: skip
    return names
