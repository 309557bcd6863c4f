"""Arguments of the persistent kernel: the same table as `Args` in `cuda/mega/types.cuh`."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, Structure, c_uint32, c_uint64

POINTERS = (
    "stream", "starts", "ranges", "pool", "embed", "kv", "pages", "packets", "logits", "begin",
    "tokens", "error", "claimed", "trace", "state_bytes", "boxes", "allowed", "seats",
)  # fmt: skip
NUMBERS = (
    "box_words", "vocab", "ballots", "same_rules", "epoch", "steps", "row_pages", "mute_worker",
    "mute_epoch", "rank",
)  # fmt: skip
PEERS = 8
"""Ranks at most."""
NEVER = 0xFFFFFFFF

CODES = {
    1: "a packet", 2: "a tile to land", 3: "a free slot of the ring", 4: "the window of the ring",
    5: "the step", 6: "the box of a draw", 7: "leave for another step",
    8: "rows of the phase before",
    9: "the choice of experts",
}  # fmt: skip
"""What a worker waited for in vain, by the first word of the error record."""


def ballots(rows: int, workers: int) -> int:
    """Packets of a draw: those a worker may need for each row (`kBallots` in
    `cuda/mega/boxes.cuh`), and those by which the first worker passes on what the host says: rules,
    whether to go on, seats."""
    return rows * workers * (2 + 2 * 8 * 6) + (8 * rows + 2) // 3 + 1 + rows


STEPS = 1024
"""Steps of a launch at most."""

NO_MORE = 0x80000000
"""Bit of `allowed`: the number beside it is the last (`cuda/mega/boxes.cuh`)."""


class Args(Structure):
    """Addresses on the device (`tokens`, `error`: of the host's memory as the device sees it)."""

    _fields_ = [
        *((name, c_uint64) for name in POINTERS),
        *((name, c_uint32) for name in NUMBERS),
        ("peers", c_uint64 * PEERS),
    ]


def peers(packets: Sequence[int]) -> Array[c_uint64]:
    """The last of the arguments: where each rank's packets lie, as this device sees them."""
    return (c_uint64 * PEERS)(*packets)
