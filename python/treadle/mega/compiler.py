"""compile: graph to verified plan, one for each bucket of rows."""

from __future__ import annotations

from treadle.errors import GraphError
from treadle.graph import Graph
from treadle.mega.compress import compress
from treadle.mega.fuse import fuse, grouped
from treadle.mega.plan import Plan, Shape
from treadle.mega.sites import Bucket
from treadle.mega.target import Target
from treadle.mega.tasks import lower
from treadle.mega.verifier import verify

SEGMENT = 256
"""Positions of a segment of attention, at least."""

SEGMENTS = 32
"""Segments that a slot's context is cut into, at most."""


def compile(
    graph: Graph,
    target: Target,
    *,
    rows: int,
    slots: int,
    context: int,
    segment: int | None = None,
) -> Plan:
    """The plan of a model or sharded graph (or of its `grouped` form) for at most `rows` tokens a
    step, verified.

    slots: sequences a step at most. context: positions of a slot at most. segment: positions that
    make one attention partial, a multiple of the page; give every bucket the same, so that a row's
    result does not depend on its bucket. Raises GraphError, Unsupported, LimitExceeded.
    """
    page = graph.size("B")
    segment = segment or segment_of(context, page)
    if segment % page or min(rows, slots, context) < 1:
        raise GraphError(
            f"cannot plan {rows} rows, {slots} slots, {context} positions in segments of {segment}",
            at=f"graph {graph.name}",
            hint=f"sizes start at 1, a segment is a multiple of the page ({page})",
        )
    ranks = max(graph.divided.values(), default=1)
    graph = grouped(graph)
    phases = fuse(graph, target, rows)
    lists = lower(graph, phases, target, Bucket(rows, slots, context, segment, page, ranks))
    segments, index, tasks = compress(lists)
    logits, stride = lists.logits
    vocab = next(site.n for site in reversed(lists.sites) if site.parts)
    shape = Shape(
        lists.arena, rows, slots, context, page, segment, ranks, target.tile_k, len(graph.params),
        len(graph.state), logits, stride, 0, vocab, lists.group,
    )  # fmt: skip
    plan = Plan(
        graph.hash, target.name, shape, target.workers, segments, index, lists.counters,
        lists.sites, tasks, lists.buffers, tuple(graph.params), tuple(graph.state),
    )  # fmt: skip
    verify([plan] * ranks)
    return plan


def segment_of(context: int, page: int) -> int:
    """Positions of a segment for a context: few enough segments that their partials stay small."""
    wanted = max(SEGMENT, -(-context // SEGMENTS))
    return -(-wanted // page) * page
