"""The memory that referee and harness share: a control page, an input ring, an output ring.

The control page begins with words of 64 bytes (`_core.Words`), then an error text, then the batch:
64-bit integers, one record an operand of a call. There is nothing to parse and nothing to forge.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

CONTROL = 1 << 20
TEXT = 4096
TEXT_BYTES = 4096
BATCH = 8192
ALIGN = 256
MAX_DIMS = 7
MAX_CALLS = 128

_RECORD = struct.Struct(f"<{3 + MAX_DIMS}q")
_HEAD = struct.Struct("<qqq")


class Word(IntEnum):
    """Index of each word on the control page."""

    PLAN = 0  # referee: number of the batch that is described
    READY = 1  # harness: its views are made
    GO = 2  # referee: inputs are revealed
    DONE = 3  # harness: outputs are written
    FAULT = 4  # harness's signal handler: `Fault` of the core
    DETAIL = 5
    STATE = 6  # harness: `State`
    LEVEL = 7  # harness: isolation level reached, before anything foreign is loaded
    OPEN = 8  # referee: the level is known, the solution may be loaded
    WAKE = 9  # referee: get ready to see `GO` move


class What(IntEnum):
    """What a batch asks for."""

    RUN = 0  # the calls
    PREPARE = 1  # that weights are prepared, a record a weight; nothing else is revealed yet
    END = 2  # that the harness looks at itself and leaves


class State(IntEnum):
    """What went wrong in a harness; the error text says more."""

    FINE = 0
    LOAD = 1
    RAISED = 2
    COUNT = 3
    SHAPE = 4
    DTYPE = 5
    KIND = 6
    ALIAS = 7
    READ_ONLY = 8
    DENIED = 9
    FLOOD = 10
    TAMPERED = 11


class Place(IntEnum):
    """Where an operand of a call lies."""

    INPUT = 0
    OUTPUT = 1
    INTEGER = 2
    REAL = 3
    TRUTH = 4


Operand = tuple[int, int, tuple[int, ...]]
"""Place, offset (or the bits of a number), shape."""


def write_batch(
    page: memoryview, calls: Sequence[Sequence[Operand]], what: What = What.RUN
) -> None:
    """Describes a batch: of each call its operands, inputs first."""
    count = len(calls[0]) if calls else 0
    _HEAD.pack_into(page, BATCH, what, len(calls), count)
    at = BATCH + _HEAD.size
    for call in calls:
        for place, offset, shape in call:
            dims = (*shape, *([0] * (MAX_DIMS - len(shape))))
            _RECORD.pack_into(page, at, place, offset, len(shape), *dims)
            at += _RECORD.size


def read_batch(page: memoryview) -> tuple[What, list[list[Operand]]]:
    """What is asked, and the batch."""
    what, calls, count = _HEAD.unpack_from(page, BATCH)
    at = BATCH + _HEAD.size
    out: list[list[Operand]] = []
    for _ in range(calls):
        call: list[Operand] = []
        for _ in range(count):
            place, offset, dims, *shape = _RECORD.unpack_from(page, at)
            call.append((place, offset, tuple(shape[:dims])))
            at += _RECORD.size
        out.append(call)
    return What(what), out


def room(calls: int, operands: int) -> bool:
    """Whether a batch of this size fits the control page."""
    return BATCH + _HEAD.size + calls * operands * _RECORD.size <= CONTROL


def write_text(page: memoryview, text: str) -> None:
    """Leaves an error text, cut to its space."""
    data = text.encode("utf-8", "replace")[: TEXT_BYTES - 4]
    struct.pack_into("<I", page, TEXT, len(data))
    page[TEXT + 4 : TEXT + 4 + len(data)] = data


def read_text(page: memoryview) -> str:
    """The error text, whatever bytes were left there."""
    (size,) = struct.unpack_from("<I", page, TEXT)
    size = min(size, TEXT_BYTES - 4)
    return bytes(page[TEXT + 4 : TEXT + 4 + size]).decode("utf-8", "replace")


def real_bits(value: float) -> int:
    """A float's bits as the signed number that stands in a record."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def real(bits: int) -> float:
    """The float of `real_bits`."""
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
