"""Targets as data: everything in which plans for two devices differ, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass

DECODE_ROWS = (1, 2, 4, 8, 16)
PREFILL_ROWS = (32, 64, 128, 256, 512)
"""Rows that plans are made for. An executable runs the smallest of its plans that takes a batch."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of device.

    workers: how many; a caller sets the number of threads it has. tile_k: columns of a weight
    tile, the grain of k ranges. lane: rows of gate and of up that stand together (16: two strips
    make 16 outputs; 8: one strip makes 8). split_k: a row block may be cut along k, the consumer
    then sums partials. split_rows: prefill may also cut the rows of a linear. grouped: workers are
    grouped by KV head. lazy: residual sums are made by the next phase's loader instead of the
    epilogue. merge: attention partials are folded by a task of their own, else by the phase
    that reads them. prep: buckets above so many rows prepare
    a phase's input once (PREP) instead of in every worker; stage_plain: also where no norm is
    needed, because the executor quantises. stage: above so many rows attention is not split and
    keys and values are appended before it (KV). packets: signals travel in the data.

    Constants of the cost model: `bandwidth` (GB/s) and `speed` (G multiply-adds a second) of all
    workers together; microseconds that a boundary exposes: `hop` within the grid, `group_hop`,
    `rank_hop`, and `step` at a step's end.
    """

    name: str
    workers: int
    tile_k: int
    lane: int
    split_k: bool
    split_rows: bool
    grouped: bool
    lazy: bool
    merge: bool
    stage: int
    prep: int
    stage_plain: bool
    packets: bool
    bandwidth: float
    speed: float
    hop: float
    group_hop: float
    rank_hop: float
    step: float


H200 = Target(
    name="h200",
    workers=128,
    tile_k=512,
    lane=8,
    split_k=True,
    split_rows=False,
    grouped=True,
    lazy=True,
    merge=True,  # without, a hop fewer a layer, but 576 us for 560 (Qwen3-0.6B, measured)
    stage=16,
    prep=4,
    stage_plain=False,
    packets=True,
    bandwidth=4550.0,
    speed=400_000.0,
    hop=0.9,
    group_hop=0.6,
    rank_hop=2.5,
    step=3.6,
)

CPU = Target(
    name="cpu",
    workers=2,
    tile_k=256,
    lane=16,
    split_k=False,
    split_rows=True,
    grouped=False,
    lazy=False,
    merge=False,
    stage=16,
    prep=16,
    stage_plain=True,
    packets=False,
    bandwidth=30.0,
    speed=150.0,
    hop=1.0,
    group_hop=1.0,
    rank_hop=5.0,
    step=5.0,
)

TARGETS = {target.name: target for target in (H200, CPU)}
