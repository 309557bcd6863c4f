"""Where the time of a step went on the GPU: the marks that workers note, on one clock.

`Decoder.trace` holds, for a program generated with `Knobs(trace=True)`, eight words for each
worker, phase of the last step and warp (the last is the producer): the SM's clock at marks 0 to 4
(phase entered, input complete, input ready, products done, all done; 0: not passed) and, as word 7,
the time of day in ns at mark 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from treadle.backends.mega.cuda import Decoder

WARPS, WORDS, MARKS = 9, 8, 5


def words(decoder: Decoder) -> NDArray[np.uint32]:
    """[workers, phases, warps, 8] of the last launch, which is over."""
    program = decoder.program
    shape = (program.plan.workers, program.phases_a_step, WARPS, WORDS)
    decoder.trace.get(raw := np.empty(shape, np.uint32))
    return raw


def aligned(raw: NDArray[np.uint32]) -> NDArray[np.float64]:
    """[workers, phases, warps, 5] in us since the consumers' first mark; NaN where none was passed.

    The clocks of SMs have no common zero: each is laid over the time of day by a line through all
    its pairs, which is finer than the 32 ns in which that time moves.
    """
    found = np.full((*raw.shape[:3], MARKS), np.nan)
    noted = raw[..., 7] != 0
    zero = raw[..., 7][noted][0]
    for worker, mine in enumerate(raw):
        pairs = mine[noted[worker]]
        clock = pairs[0, 0]
        since = _after(pairs[:, 0], clock), _after(pairs[:, 7], zero)
        rate, offset = np.polyfit(*since, 1)
        marks = mine[..., :MARKS]
        passed = (marks != 0) & (_after(marks, mine[..., :1]) >= 0)  # else of an earlier step
        found[worker] = np.where(passed, _after(marks, clock) * rate + offset, np.nan)
    return (found - np.nanmin(found[:, :, : WARPS - 1])) / 1000


def phases(us: NDArray[np.float64]) -> NDArray[np.float64]:
    """[phases, 3] in us: how long each took after the one before ended in every worker; how long
    the median worker waited for input after that; how late the last worker was behind the median.
    """
    consumers = us[:, :, : WARPS - 1]
    ends = np.nanmax(consumers[..., 4], axis=2)  # [workers, phases]
    whole = np.nanmax(ends, axis=0)
    before = np.concatenate(([0.0], whole[:-1]))
    polled = np.nan_to_num(consumers[..., 1], nan=-np.inf).max(axis=2)
    polled[np.isinf(polled)] = np.nan  # had nothing to wait for
    polled = np.array([np.nan if np.isnan(x).all() else np.nanmedian(x) for x in polled.T])
    return np.stack((whole - before, polled - before, whole - np.nanmedian(ends, axis=0)), axis=1)


def _after(clock: NDArray[np.uint32], zero: NDArray[np.uint32] | np.uint32) -> NDArray[np.float64]:
    """Ticks since zero, before or after it, of a clock that wraps."""
    return (clock - zero).astype(np.uint32).view(np.int32).astype(np.float64)
