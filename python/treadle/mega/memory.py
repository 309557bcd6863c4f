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
    """The last touch of one region by one worker. row: its line in the table of columns."""

    access: Access
    event: Event
    row: int
    before: int = -1


class _Table:
    """Who touched a buffer, as columns, so that one look finds all conflicts of an access.

    A line a worker and region: lane, write, first and last byte, stride, width, and the number of
    the worker's latest task that touched it.
    """

    def __init__(self) -> None:
        self.touches: list[_Touch] = []
        self._at: dict[tuple[int, Region, bool], int] = {}
        self._lines = np.zeros((64, 7), np.int64)

    def late(self, lane: int, clock: NDArray[np.int32], access: Access) -> NDArray[np.int64]:
        """Lines of other workers that conflict with an access and are not known to be over."""
        lines = self._lines[: len(self.touches)]
        found = np.flatnonzero((lines[:, 6] >= clock[lines[:, 0]]) & (lines[:, 0] != lane))
        if not access.write:
            found = found[lines[found, 1] > 0]
        if not len(found):
            return found
        region = access.region
        some = lines[found]
        hull = (some[:, 2] < region.end) & (some[:, 3] > region.start)
        apart = (region.start - some[:, 2]) % region.stride
        columns = (apart < some[:, 5]) | (apart + region.width > region.stride)
        other = (some[:, 4] != region.stride) | (region.count == 1)
        return found[hull & (columns | other)]

    def add(self, lane: int, event: Event, access: Access) -> None:
        """Remembers a touch."""
        region = access.region
        key = lane, region, access.write
        row = self._at.get(key)
        if row is None:
            row = self._at[key] = len(self.touches)
            if row == len(self._lines):
                self._lines = np.concatenate((self._lines, np.zeros_like(self._lines)))
            self.touches.append(_Touch(access, event, row))
            numbers = (lane, access.write, region.start, region.end, region.stride, region.width)
            self._lines[row, :6] = numbers
        old = self.touches[row]
        same = old.event.task.p0 == event.task.p0 and old.event.epoch == event.epoch
        before = old.before if same else old.event.number
        self.touches[row] = _Touch(access, event, row, before)
        self._lines[row, 6] = event.number


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

    def __init__(self, plans: Sequence[Plan], rank: int, lanes: dict[tuple[int, int], int]) -> None:
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
        if region.stride < region.width:
            raise self._error(
                event,
                f"V8 bounds: rows of {region.width} bytes stand {region.stride} apart",
                "give the buffer's own stride",
            )
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
        table = self._touches.setdefault(name, _Table())
        for row in table.late(lane, event.clock, access):
            touch = table.touches[int(row)]
            other = self._lanes[touch.event.rank, touch.event.worker]
            if not _dealt(event, access, touch) or touch.before >= event.clock[other]:
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
                    f"V12 sums: overwrites {name}; nobody read it after phase {content.phase[1]}",
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
