"""Workloads that a search never sees, on which its best are scored with seeds of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.check import sizes
from treadle.kernels.schema import BlobInput, Definition, Workload

SHARE = 3
"""One workload in so many is held out."""


def divided(
    definition: Definition, workloads: Sequence[Workload], run: str
) -> tuple[list[Workload], list[Workload]]:
    """(searched, held out), the same for the same run. Where there are too few to part with, the
    held-out ones are made: other sizes of the free axes. Raises InvalidRequest without workloads.
    """
    if not workloads:
        raise InvalidRequest(
            "no workloads", at=definition.name, hint="capture some, or add rows to the dataset"
        )
    shuffled = sorted(workloads, key=lambda one: _digest(run, one.uuid))
    count = len(shuffled) // SHARE
    if count:
        return _ordered(shuffled[count:]), _ordered(shuffled[:count])
    return _ordered(shuffled), list(_made(definition, shuffled, run))


def _ordered(workloads: Sequence[Workload]) -> list[Workload]:
    """Smallest first: what is wrong shows there at the least cost."""
    return sorted(workloads, key=lambda one: (sum(one.axes.values()), one.uuid))


def _made(definition: Definition, workloads: Sequence[Workload], run: str) -> Iterator[Workload]:
    free = sizes.free(definition)
    for one in workloads:
        if not free or any(isinstance(given, BlobInput) for given in one.inputs.values()):
            continue  # kept index arrays fit no other size
        axes = {n: size + 1 + size // 5 if n in free else size for n, size in one.axes.items()}
        yield msgspec.structs.replace(
            one,
            uuid=f"held-{_digest(run, one.uuid)[:24]}",
            axes=sizes.completed(definition, axes),
            treadle={"count": (one.treadle or {}).get("count", 1), "source": f"held out of {run}"},
        )


def _digest(run: str, uuid: str) -> str:
    return hashlib.sha256(f"{run}\0{uuid}".encode()).hexdigest()
