"""What a run was begun with and has cost: one small file, replaced whole."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.store import Dataset


class State(msgspec.Struct, kw_only=True):
    """The first five name the search and may not change between restarts of a run; the seconds add
    up over them. Tokens and attempts are counted from the store."""

    definition: str
    language: str
    policy: str
    width: int
    baseline: str
    wall: float = 0.0
    device: float = 0.0


def opened(data: Dataset, run: str, fresh: State) -> State:
    """The state of a run, `fresh` for a new one. Raises InvalidRequest for another search."""
    path = _path(data, run)
    if not path.exists():
        return fresh
    try:
        found = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        raise InvalidRequest("is no state of a run", at=str(path), hint="remove it") from None
    for name in ("definition", "language", "policy", "width", "baseline"):
        was, now = getattr(found, name), getattr(fresh, name)
        if was != now:
            raise InvalidRequest(
                f"run {run!r} has {name} {was}, not {now}", at="--run", hint="name another run"
            )
    return found


def keep(data: Dataset, run: str, state: State) -> None:
    """Writes it."""
    path = _path(data, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(msgspec.json.encode(state))
    partial.replace(path)


def _path(data: Dataset, run: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", run, re.ASCII):
        raise InvalidRequest(f"{run!r} cannot be a file name", at="--run", hint="a word")
    return data.root / ".treadle" / "agent" / f"{run}.json"
