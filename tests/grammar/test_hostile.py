"""Hostile sources of every front end end in time and in bounds, with success or a typed error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_sources as hostile
import pytest

SECONDS = 1.0
MIB = 200.0


def _run(*chosen: str) -> dict[str, dict[str, Any]]:
    script = Path(hostile.__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(script), *chosen],
        capture_output=True, text=True, check=True, timeout=900, env=environment,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["name"]: one for one in found}


@pytest.fixture(scope="module")
def judged() -> dict[str, dict[str, Any]]:
    """All sources; those over the bound once more, since other processes slow a processor down."""
    first = _run()
    late = [name for name, one in first.items() if one["cpu"] > SECONDS]
    again = _run(*late) if late else {}
    return {
        name: again[name] if name in again and again[name]["cpu"] < one["cpu"] else one
        for name, one in first.items()
    }


@pytest.mark.timeout(1800)
def test_all_sources_were_judged(judged: dict[str, dict[str, Any]]) -> None:
    assert list(judged) == hostile.names()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", hostile.names())
def test_it_ends_in_time_and_in_bounds(name: str, judged: dict[str, dict[str, Any]]) -> None:
    one = judged[name]
    assert one["next"], f"the next request fails after {one['end']}"
    assert one["mib"] <= MIB, one
    assert one["cpu"] <= SECONDS, one
