"""Rules about bytes: V4 no races over two steps, V7 nothing is read that was not written, V12 sums
take every term and nothing that was made goes unread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from treadle.errors import GraphError
from treadle.mega.access import Access, Region, accesses
from treadle.mega.happens import Event, place
from treadle.mega.plan import Buffer, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

@dataclass(slots=True)
class _Touch:
    """The last touches of one region by one worker: the latest, and the one of an earlier phase."""

    access: Access
    event: Event
    number: int
    before: int = -1


class _Table:
    """Who touched a buffer. writes, reads: each worker's latest touch, for a quick answer."""

    def __init__(self, lanes: int) -> None:
        self.by_lane: list[dict[tuple[Region, bool], _Touch]] = [{} for _ in range(lanes)]
        self._writes = np.full(lanes, -1, np.int32)
        self._reads = np.full(lanes, -1, np.int32)

    def late(self, clock: NDArray[np.int32], *, reads: bool) -> NDArray[np.int64]:
        """Workers whose latest touch is not known to be over; reads count if `reads`."""
        last = np.maximum(self._writes, self._reads) if reads else self._writes
        return np.flatnonzero(last >= clock)

    def add(self, lane: int, event: Event, access: Access) -> None:
        """Remembers a touch."""
        touches, key = self.by_lane[lane], (access.region, access.write)
        old, before = touches.get(key), -1
        if old is not None:
            same = old.event.task.p0 == event.task.p0 and old.event.epoch == event.epoch
            before = old.before if same else old.number
        touches[key] = _Touch(access, event, event.number, before)
        (self._writes if access.write else self._reads)[lane] = event.number


@dataclass(slots=True)
class _Content:
    """What a buffer holds for V7: of which phase, in which layout, which rows and columns."""

    phase: tuple[int, int] = (0, -1)
    stride: int = 0
    read: bool = True
    spans: dict[tuple[int, int], list[tuple[int, int]]] = field(
        default_factory=dict[tuple[int, int], list[tuple[int, int]]]
    )
    parts: dict[tuple[Region, str, int], set[int]] = field(
        default_factory=dict[tuple[Region, str, int], set[int]]
    )


def check(plans: Sequence[Plan], events: Sequence[Event]) -> None:
    """Raises GraphError V4, V7, V8 or V12 naming task, other task and bytes."""
    alike = all(plan is plans[0] for plan in plans)
    lanes = _lane_table(plans)
    # Equal plans are symmetric: what holds for rank 0's memory holds for all.
    for rank in range(1 if alike else len(plans)):
        memory = _Memory(plans, rank, lanes)
        for event in events:
            memory.event(event)


def _lane_table(plans: Sequence[Plan]) -> dict[tuple[int, int], int]:
    pairs = [(r, w) for r, plan in enumerate(plans) for w in range(plan.workers)]
    return {pair: lane for lane, pair in enumerate(pairs)}


class _Memory:
    """One rank's memory while the events go by."""

    def __init__(
        self, plans: Sequence[Plan], rank: int, lanes: dict[tuple[int, int], int]
    ) -> None:
        self._plans, self._rank, self._lanes = plans, rank, lanes
        self._touches: dict[str, _Table] = {}
        self._contents: dict[str, _Content] = {}
        self._known: dict[tuple[int, int, int, int], list[tuple[Access, str, int]]] = {}

    def event(self, event: Event) -> None:
        """Checks what one task does to this memory: its reads, then its writes."""
        for access, name, base in self._here(event):
            self._ordered(event, access, name)
            if not access.write and not access.kept:
                self._filled(event, access, name, base)
        for access, name, base in self._here(event):
            if access.write:
                self._fill(event, access, name, base)

    def _here(self, event: Event) -> list[tuple[Access, str, int]]:
        """Accesses that reach this rank, each with its buffer and the buffer's first byte."""
        key = (event.rank, event.worker, event.at, 0)
        if key not in self._known:
            plan = self._plans[event.rank]
            found: list[tuple[Access, str, int]] = []
            for access in accesses(plan, event.rank, event.task):
                if event.rank != self._rank and not access.far:
                    continue
                if access.space != "arena":
                    found.append((access, access.space, 0))
                    continue
                buffer = self._buffer(event, access.region)
                found.append((access, buffer.name, buffer.offset))
            self._known[key] = found
        return self._known[key]

    def _buffer(self, event: Event, region: Region) -> Buffer:
        plan = self._plans[self._rank]
        for buffer in plan.buffers:
            if buffer.offset <= region.start < buffer.offset + buffer.size:
                if region.end <= buffer.offset + buffer.size:
                    return buffer
                break
        raise self._error(
            event,
            f"V8 bounds: bytes {region.start}..{region.end} lie in no one buffer",
            "correct the offset, stride or row count of the record",
        )

    # -- V4 ---------------------------------------------------------------------------------

    def _ordered(self, event: Event, access: Access, name: str) -> None:
        """Every conflicting touch of another worker must be over before this one starts."""
        lane = self._lanes[event.rank, event.worker]
        table = self._touches.get(name)
        if table is None:
            table = self._touches[name] = _Table(len(self._lanes))
        for other in table.late(event.clock, reads=access.write).tolist():
            if other == lane:
                continue
            for (region, write), touch in table.by_lane[other].items():
                if not (write or access.write) or not overlap(region, access.region):
                    continue
                last = touch.before if _dealt(event, access, touch) else touch.number
                if last >= event.clock[other]:
                    raise self._race(event, access, name, touch)
        table.add(lane, event, access)

    def _race(self, event: Event, access: Access, name: str, touch: _Touch) -> GraphError:
        low = max(access.region.start, touch.access.region.start)
        high = min(access.region.end, touch.access.region.end)
        verb = {True: "writes", False: "reads"}
        other = touch.event
        where = place(self._plans[other.rank], other.rank, other.worker, other.task)
        return self._error(
            event,
            f"V4 races: {verb[access.write]} bytes {low}..{high} of {name}, which {where} "
            f"{verb[touch.access.write]} with nothing to order the two",
            "make it wait for a counter that the other signals, or use another buffer",
        )

    # -- V7, V12 ----------------------------------------------------------------------------

    def _filled(self, event: Event, access: Access, name: str, base: int) -> None:
        content = self._contents.get(name)
        region = access.region
        rows, columns = _rectangle(region, base)
        if content is None or content.phase[0] != event.epoch or content.stride != region.stride:
            raise self._unwritten(event, name, region)
        spans = [
            span
            for (first, end), held in content.spans.items()
            if first <= rows[0] and end >= rows[1]
            for span in held
        ]
        content.read = True
        if access.whole:
            spans = self._joined(event, content, rows, name)
        if not _covers(spans, columns):
            raise self._unwritten(event, name, region)

    def _joined(
        self, event: Event, content: _Content, rows: tuple[int, int], name: str
    ) -> list[tuple[int, int]]:
        """Columns that every term of a sum holds. V12: terms written and terms read agree."""
        blocks = sorted(content.spans)
        ends = [0, *(end for _, end in blocks)]
        if [first for first, _ in blocks] != ends[:-1] or (0, ends[-1]) != rows:
            raise self._error(
                event,
                f"V12 sums: reads rows {rows[0]}..{rows[1]} of {name}, its writers made "
                f"{', '.join(f'{a}..{b}' for a, b in blocks)}",
                "let the reader take every term that is written, in their one order",
            )
        held = [_merged(content.spans[block]) for block in blocks]
        return held[0] if all(h == held[0] for h in held) else []

    def _unwritten(self, event: Event, name: str, region: Region) -> GraphError:
        return self._error(
            event,
            f"V7 reads: bytes {region.start}..{region.end} of {name} were not all written "
            "by the phase before it in this step",
            "correct the offset, or let the phase that makes them come first",
        )

    def _fill(self, event: Event, access: Access, name: str, base: int) -> None:
        content = self._contents.setdefault(name, _Content())
        phase = (event.epoch, event.task.p0)
        if not access.inplace and (
            content.phase != phase or content.stride != access.region.stride
        ):
            if not content.read:
                raise self._error(
                    event,
                    f"V12 sums: overwrites {name}, which phase {content.phase[1]} made and nobody read",
                    "let a reader take it, or do not make it",
                )
            self._contents[name] = content = _Content(phase, access.region.stride, read=False)
        if access.inplace:
            return  # what is there stays; the part written was read first or is kept
        if access.deal is not None:
            kind, part, parts = access.deal
            seen = content.parts.setdefault((access.region, kind, parts), set())
            seen.add(part)
            if len(seen) < parts:
                return
        rows, columns = _rectangle(access.region, base)
        content.spans[rows] = _merged([*content.spans.get(rows, ()), columns])

    def _error(self, event: Event, message: str, hint: str) -> GraphError:
        at = place(self._plans[event.rank], event.rank, event.worker, event.task)
        return GraphError(message, at=at, hint=hint)


def overlap(a: Region, b: Region) -> bool:
    """Whether two regions share a byte; exact for equal strides, cautious for others."""
    if a.end <= b.start or b.end <= a.start:
        return False
    if a.stride != b.stride or a.count == 1 or b.count == 1:
        return True
    apart = (b.start - a.start) % a.stride
    return apart < a.width or apart + b.width > a.stride


def _dealt(event: Event, access: Access, touch: _Touch) -> bool:
    """Whether both are parts of one dealing in one step: disjoint by construction."""
    a, b = access.deal, touch.access.deal
    if a is None or b is None or event.task.p0 != touch.event.task.p0:
        return False
    return event.epoch == touch.event.epoch and a[0] == b[0] and a[2] == b[2] and a[1] != b[1]


def _rectangle(region: Region, base: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and byte columns of a region inside its buffer."""
    row, column = divmod(region.start - base, region.stride)
    return (row, row + region.count), (column, column + region.width)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((first, end))
    return found


def _covers(spans: Sequence[tuple[int, int]], wanted: tuple[int, int]) -> bool:
    return any(first <= wanted[0] and end >= wanted[1] for first, end in _merged(spans))
