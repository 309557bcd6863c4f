"""Where the time of a step went on the GPU: the marks that workers note, on one clock.

`Decoder.trace` holds, for a program generated with `Knobs(trace=True)`, eight words for each
worker, phase of the last step and warp (the last is the producer): the SM's clock at marks 0 to 4
(phase entered, input complete, input ready, products done, all done; 0: not passed) and, as word 7,
the time of day in ns at mark 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from treadle.mega.records import Code
from treadle.mega.timeline import Names, Span, Step

if TYPE_CHECKING:
    from treadle.backends.mega.cuda import Decoder
    from treadle.mega.codegen_program import Program
    from treadle.mega.plan import Plan

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


def spans(plan: Plan, us: NDArray[np.float64]) -> list[Span]:
    """What each worker did when in the traced step: waits for input, then work, phase by phase.

    A phase begins where the worker's first warp enters it, unless the one before still lasts, its
    wait ends when the last warp has its input, and it ends with the last warp.
    """
    consumers = us[:, :, : WARPS - 1]
    names = Names(plan)
    found: list[Span] = []
    for worker, mine in enumerate(consumers):
        at = -np.inf
        for phase, warps in enumerate(mine):
            if np.isnan(warps[:, 0]).all() or np.isnan(warps[:, 4]).all():
                continue
            begin = max(float(np.nanmin(warps[:, 0])), at)
            end = max(float(np.nanmax(warps[:, 4])), begin)
            has = begin
            if not np.isnan(warps[:, 1]).all():
                has = min(max(float(np.nanmax(warps[:, 1])), begin), end)
            kind = Code(plan.sites[phase + 1].op).name.lower()  # the first site is no phase
            label, layer = names.of(phase + 1)
            if has > begin:
                found.append(Span(worker, begin, has, "wait", label, layer, 0, 0))
            found.append(Span(worker, has, end, kind, label, layer, 0, 0))
            at = end
    found.sort(key=lambda span: span.start)
    return found


def held(program: Program, us: NDArray[np.float64], worker: int) -> NDArray[np.float64]:
    """[n, 2]: us, and tiles that lie in a worker's ring or are on their way to it.

    Exact where the producer has sent for all tiles of a phase and where the consumers are through
    with them; between, tiles are taken to come and go evenly, but none before there is room. KV
    tiles are left out.
    """
    sent_at: list[float] = []
    used_at: list[float] = []
    for phase, tiles in enumerate(_tiles(program, worker)):
        if not tiles:
            continue
        sent = us[worker, phase, WARPS - 1]
        used = us[worker, phase, : WARPS - 1]
        ready = np.nan if np.isnan(used[:, 2]).all() else float(np.nanmax(used[:, 2]))
        done = np.nan if np.isnan(used[:, 3]).all() else float(np.nanmax(used[:, 3]))
        if np.isnan(sent[4]) or np.isnan(done):
            continue
        sent_at += map(
            float, np.linspace(_first(float(sent[1]), float(sent[4])), float(sent[4]), tiles)
        )
        used_at += map(float, np.linspace(_first(ready, done), done, tiles))
    room = int(re.findall(r"kRing = (\d+)", program.text)[0])
    for i in range(room, len(sent_at)):
        sent_at[i] = max(sent_at[i], used_at[i - room])
    steps = sorted([*((t, 1) for t in sent_at), *((t, -1) for t in used_at)])
    if not steps:
        return np.zeros((0, 2))
    times, signs = np.array(steps).T
    count = np.cumsum(signs)
    return np.stack((times, count - count.min()), axis=1)


def _first(first: float, last: float) -> float:
    return last if np.isnan(first) else min(first, last)


def _tiles(program: Program, worker: int) -> list[int]:
    """Weight tiles that a worker streams in each phase of a step."""
    found = [0] * program.phases_a_step
    for piece in program.pieces[worker]:
        found[piece.site - 1] += piece.strips * piece.klen
    return found


def counters(program: Program, us: NDArray[np.float64], workers: Sequence[int]) -> list[Any]:
    """Perfetto's counter tracks of the rings of some workers."""
    return [
        {"ph": "C", "pid": 1, "name": f"ring of SM {worker}, tiles", "ts": round(t, 3),
         "args": {"tiles": int(count)}}
        for worker in workers
        for t, count in held(program, us, worker).tolist()
    ]  # fmt: skip


def some(step: Step, workers: int, shown: int = 16) -> Step:
    """A step with the lanes of only so many workers, evenly apart."""
    chosen = {int(w): i for i, w in enumerate(np.linspace(0, workers - 1, min(shown, workers)))}
    kept = [replace(s, worker=chosen[s.worker]) for s in step.spans if s.worker in chosen]
    return replace(step, spans=tuple(kept))


def _after(clock: NDArray[np.uint32], zero: NDArray[np.uint32] | np.uint32) -> NDArray[np.float64]:
    """Ticks since zero, before or after it, of a clock that wraps."""
    return (clock - zero).astype(np.uint32).view(np.int32).astype(np.float64)
