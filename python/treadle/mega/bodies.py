"""What each op does, on numpy: the meaning of docs/mega-plan.md that other executors must match.

A body reads at once and returns its stores, so that the interpreter may let others run in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.errors import KernelError
from treadle.graph import reference
from treadle.mega import deal, lanes
from treadle.mega.attend import attend, fold
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, STRIP, WORDS, Act, Code, Site, SiteFlag, Task
from treadle.types import Batch

Array = NDArray[Any]
Store = tuple[Array, Any, Array]
"""Where (a view), which part of it (an index), what."""


@dataclass(slots=True)
class Rank:
    """One rank's memory. arena: elements; params and states by id; packed: weights by site."""

    number: int
    arena: Array
    params: Sequence[Array]
    states: Sequence[Array]
    packed: dict[object, Array] = field(default_factory=dict[object, Array])


@dataclass(slots=True)
class Step:
    """What a body may look at beside its records."""

    plan: Plan
    ranks: Sequence[Rank]
    batch: Batch


def run(step: Step, rank: Rank, task: Task) -> list[Store]:
    """A task's reads and arithmetic; its stores are returned. Raises KernelError off the arena."""
    return BODIES[task.op](step, rank, step.plan.sites[task.p0], task)


# -- memory ---------------------------------------------------------------------------------


def view(arena: Array, off: int, stride: int, count: int, width: int) -> Array:
    """Rows of the arena. off and stride in units; a writable [count, width]."""
    start = off * WORDS
    flat = arena[start : start + count * stride * WORDS]
    if len(flat) != count * stride * WORDS or width > stride * WORDS:
        raise KernelError(
            f"rows of {width} at unit {off}, stride {stride}, {count} times, leave the arena",
            at="treadle.mega.bodies",
            hint="verify the plan",
        )
    return flat.reshape(count, stride * WORDS)[:, :width]


def outs(step: Step, rank: Rank, site: Site, task: Task, count: int, width: int) -> list[Array]:
    """The output rows: here, or the slot of this rank on every rank."""
    if not site.rank_stride:
        return [view(rank.arena, task.out_off, site.out_stride, count, width)]
    off = task.out_off + rank.number * site.rank_stride
    return [view(other.arena, off, site.out_stride, count, width) for other in step.ranks]


def _count(step: Step, site: Site) -> int:
    return len(step.batch.rows) if site.flags & SiteFlag.WANTED else len(step.batch.ids)


def _param(rank: Rank, number: int) -> Array:
    return rank.params[number]


def _packed(rank: Rank, site: Site) -> Array:
    """Weights in strip order, padding zero. [strips · 16, k], experts in front where there are."""
    key = (site.w, site.lane)
    if key not in rank.packed:
        part, row = lanes.order(site)
        first = _param(rank, site.w[0])
        out = np.zeros((*first.shape[:-2], len(part), first.shape[-1]), first.dtype)
        for j in range(site.parts):
            mine = np.flatnonzero((part == j) & (row < site.rows[j]))
            out[..., mine, :] = _param(rank, site.w[j])[..., row[mine], :]
        rank.packed[key] = out
    return rank.packed[key]


# -- loader and epilogue --------------------------------------------------------------------


def load(step: Step, rank: Rank, site: Site, task: Task, rows: range) -> tuple[Array, Array]:
    """The loader of section 3: (h, x) of some rows, both [rows, k]."""
    index = np.arange(rows.start, rows.stop)
    if site.flags & SiteFlag.TAKE:
        index = step.batch.rows[index]
    k = site.k
    if site.flags & SiteFlag.FOLD:
        x = (
            np.stack([_folded(step, rank, site, task, int(r)) for r in index])
            if len(index)
            else np.zeros((0, k))
        )
    elif task.in_off == NONE:
        x = np.zeros((len(index), k), rank.arena.dtype)
    else:
        x = view(rank.arena, task.in_off, site.in_stride, task.rows, k)[index]
    if site.terms:
        y = np.zeros((len(index), k), rank.arena.dtype)
        for j in range(site.terms):
            off = site.terms_off + j * site.term_stride
            y = y + view(rank.arena, off, site.term_stride // task.rows, task.rows, k)[index]
        if site.post != NONE:
            y = _norm(y, _param(rank, site.post), site.post_eps)
        x = x + y
    h = _norm(x, _param(rank, site.norm), site.norm_eps) if site.norm != NONE else x
    return h, x


def _norm(x: Array, weight: Array, eps: float) -> Array:
    return reference("rmsnorm")(np, x, weight, eps=eps)


def _folded(
    step: Step, rank: Rank, site: Site, task: Task, row: int, heads: range | None = None
) -> Array:
    """Some query heads of a row (all by default), folded over its segments. [heads · d]"""
    shape, heads = step.plan.shape, heads or range(site.heads)
    width = site.heads * site.head
    segments = -(-shape.context // shape.segment)
    held = segments * task.rows
    every = view(rank.arena, task.in_off, site.in_stride, held, width + 2 * site.heads)
    position = int(step.batch.pos[row])
    first = deal.seen(position, site.window) // shape.segment
    mine = every[row + first * task.rows : (position // shape.segment + 1) * task.rows : task.rows]
    o = mine[:, heads.start * site.head : heads.stop * site.head]
    m = mine[:, width + heads.start : width + heads.stop]
    weights = mine[:, width + site.heads + heads.start : width + site.heads + heads.stop]
    return fold(o, m, weights).reshape(-1)


def _finish(y: Array, site: Site) -> Array:
    y = y * site.scale
    return site.cap * np.tanh(y / site.cap) if site.cap else y


def _gated(y: Array, site: Site) -> Array:
    """[rows, packed] -> [rows, packed / 2], gate beside up a lane at a time."""
    lane = site.lane[0]
    both = y.reshape(len(y), y.shape[1] // (2 * lane), 2, lane)
    act = {Act.SILU: "silu", Act.GELU_TANH: "gelu_tanh"}[Act(site.act)]
    return reference("glu")(np, both[:, :, 0], both[:, :, 1], act=act).reshape(
        len(y), y.shape[1] // 2
    )


# -- bodies ---------------------------------------------------------------------------------


def _embed(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share)
    ids = step.batch.ids[mine.start : mine.stop].astype(np.int64)
    tokens = rank.arena[step.plan.shape.tokens_off * WORDS :]
    ids = np.array([int(tokens[-1 - i]) if i < 0 else int(i) for i in ids], np.int64)
    (out,) = outs(step, rank, site, task, task.rows, site.n)
    table = _param(rank, site.w[0])
    return [(out[mine.start : mine.stop], ..., table[ids] * site.scale)]


def _prep(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share)
    h, x = load(step, rank, site, task, mine)
    (out,) = outs(step, rank, site, task, task.rows, site.k)
    stores: list[Store] = [(out[mine.start : mine.stop], ..., h)]
    if task.aux_off != NONE:
        kept = view(rank.arena, task.aux_off, site.aux_stride, task.rows, site.k)
        stores.append((kept[mine.start : mine.stop], ..., x))
    return stores


def _linear(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share, deal.BLOCK)
    h, x = load(step, rank, site, task, mine)
    tile = step.plan.shape.tile_k
    k = slice(task.k0 * tile, min((task.k0 + task.klen) * tile, site.k))
    packed = slice(task.w_tile0 * STRIP, (task.w_tile0 + task.w_tiles) * STRIP)
    y = h[:, k] @ _packed(rank, site)[packed, k].T
    if task.k0 == 0:
        y = y + _bias(rank, site)[packed]
    y = _finish(y, site)
    if site.act:
        y = _gated(y, site)
    keep, cols = lanes.made(site, task.w_tile0, task.w_tiles)
    stores: list[Store] = []
    for out in outs(step, rank, site, task, task.rows, site.n):
        out = out[mine.start : mine.stop]
        stores.append(
            (out, (..., cols), y[:, keep] + (out[:, cols] if site.flags & SiteFlag.ADD else 0))
        )
    first, count = task.pair
    if count:
        part = slice(first * WORDS, min((first + count) * WORDS, site.k))
        kept = view(rank.arena, task.aux_off, site.aux_stride, task.rows, site.k)
        stores.append((kept[mine.start : mine.stop], (..., part), x[:, part]))
    return stores


def _bias(rank: Rank, site: Site) -> Array:
    """[packed], zero where a weight has none."""
    part, row = lanes.order(site)
    out = np.zeros(len(part))
    for j in range(site.parts):
        if site.b[j] != NONE:
            mine = np.flatnonzero((part == j) & (row < site.rows[j]))
            out[mine] = _param(rank, site.b[j])[row[mine]]
    return out


def _kv(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share)
    x = view(rank.arena, task.in_off, site.in_stride, task.rows, site.k)[mine.start : mine.stop]
    q, k, v = split_heads(x, site)
    pos = step.batch.pos[mine.start : mine.stop]
    q = turned(rank, site, q, pos, site.q_norm, site.q_eps)
    k = turned(rank, site, k, pos, site.k_norm, site.k_eps)
    append(rank, step.plan.shape.page, site, step.batch.slots[mine.start : mine.stop], k, v)
    (out,) = outs(step, rank, site, task, task.rows, q.shape[1] * site.head)
    return [(out[mine.start : mine.stop], ..., q.reshape(len(q), q.shape[1] * site.head))]


def _attn(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    shape, batch = step.plan.shape, step.batch
    split, adds = bool(site.flags & SiteFlag.SPLIT), bool(site.flags & SiteFlag.APPEND)
    first, count = task.pair
    work = deal.items(batch, site, range(first, first + count), shape.segment, split=split)
    x = view(rank.arena, task.in_off, site.in_stride, task.rows, site.k)
    group, state = site.heads // site.kv_heads, rank.states[site.state]
    held = task.rows * -(-shape.context // shape.segment) if split else task.rows
    (out,) = outs(step, rank, site, task, held, site.n)
    stores: list[Store] = []
    for i in deal.deal([item.cost for item in work], task.share):
        item = work[i]
        rows = slice(item.first, item.end)
        q, k, v = split_heads(x[rows], site)
        q = q[:, item.head * group : (item.head + 1) * group]
        pos = batch.pos[rows]
        if adds:
            q = turned(rank, site, q, pos, site.q_norm, site.q_eps)
            new = np.flatnonzero(pos // shape.segment == item.segment)
            one = slice(item.head, item.head + 1)
            k = turned(rank, site, k[new, one], pos[new], site.k_norm, site.k_eps)
            append(rank, shape.page, site, batch.slots[rows][new], k, v[new, one], one)
        pages = batch.table[item.slot]
        segments = [item.segment] if split else range(int(pos[-1]) // shape.segment + 1)
        partials = [
            attend(q, state, pages, item.head, pos, s, shape.segment, site) for s in segments
        ]
        heads = np.arange(item.head * group, (item.head + 1) * group)
        for j, row in enumerate(range(item.first, item.end)):
            mine = [partial for p in partials if (partial := p[j]) is not None]
            cols = (heads[:, None] * site.head + np.arange(site.head)).reshape(-1)
            if not split:
                o, m, weights = (np.stack(parts) for parts in zip(*mine, strict=True))
                stores.append((out[row], cols, fold(o, m, weights).reshape(-1)))
            elif mine:
                width = site.heads * site.head
                every = np.concatenate((cols, width + heads, width + site.heads + heads))
                at = item.segment * task.rows + row
                stores.append((out[at], every, np.concatenate(mine[0])))
    return stores


def _fold(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    first, count = task.pair
    group = site.heads // site.kv_heads
    mine = range(first * group, (first + count) * group)
    (out,) = outs(step, rank, site, task, task.rows, site.n)
    stores: list[Store] = []
    for i in deal.rows(_count(step, site) * len(mine), task.share):
        row, head = i // len(mine), mine[i % len(mine)]
        cols = slice(head * site.head, (head + 1) * site.head)
        stores.append((out[row], cols, _folded(step, rank, site, task, row, range(head, head + 1))))
    return stores


def _route(step: Step, rank: Rank, site: Site, task: Task) -> tuple[Array, Array]:
    count = len(step.batch.ids)
    scores = view(rank.arena, task.aux_off, site.aux_stride, task.rows, site.experts)[:count]
    score = "sigmoid" if site.score & 1 else "softmax"
    return reference("route")(np, scores, renorm=bool(site.score & 2), score=score, A=site.active)


def _experts_up(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    _, chosen = _route(step, rank, site, task)
    unit, each = lanes.unit(site), lanes.strips(site)
    held = each // unit
    used = deal.used_experts(chosen)
    h, _ = load(step, rank, site, task, range(_count(step, site)))
    weights = _packed(rank, site)
    (out,) = outs(step, rank, site, task, task.rows * site.active, site.n)
    stores: list[Store] = []
    for i in deal.rows(len(used) * held, task.share):
        expert, strip = used[i // held], i % held * unit
        row, a = np.nonzero(chosen == expert)
        y = h[row] @ weights[expert, strip * STRIP : (strip + unit) * STRIP].T
        keep, cols = lanes.made(site, strip, unit)
        at = row * site.active + a
        stores.append((out, np.ix_(at, cols), _gated(y, site)[:, keep]))
    return stores


def _experts_down(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    weight, chosen = _route(step, rank, site, task)
    packed = slice(task.w_tile0 * STRIP, (task.w_tile0 + task.w_tiles) * STRIP)
    keep, cols = lanes.made(site, task.w_tile0, task.w_tiles)
    x = view(rank.arena, task.in_off, site.in_stride, task.rows * site.active, site.k)
    count = _count(step, site)
    y = np.zeros((count, task.w_tiles * STRIP), rank.arena.dtype)
    for expert in deal.used_experts(chosen):
        row, a = np.nonzero(chosen == expert)
        made = x[row * site.active + a] @ _packed(rank, site)[expert, packed].T
        y[row] = y[row] + weight[row, a][:, None] * made
    y = _finish(y, site)[:, keep]
    stores: list[Store] = []
    for out in outs(step, rank, site, task, task.rows, site.n):
        out = out[:count]
        stores.append((out, (..., cols), y + (out[:, cols] if site.flags & SiteFlag.ADD else 0)))
    return stores


def _keys(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share)
    logits = view(rank.arena, task.in_off, site.in_stride, task.rows, site.k)
    stores: list[Store] = []
    for row in mine:
        best = int(np.argmax(logits[row]))
        key = np.array([logits[row, best], best + rank.number * site.k, 0, 0])
        stores += [(out[row], ..., key) for out in outs(step, rank, site, task, task.rows, 4)]
    return stores


def _sample(step: Step, rank: Rank, site: Site, task: Task) -> list[Store]:
    mine = deal.rows(_count(step, site), task.share)
    tokens = rank.arena[task.out_off * WORDS :]
    stores: list[Store] = []
    for row in mine:
        if site.terms:
            offs = [task.in_off + j * site.term_stride for j in range(site.terms)]
            keys = [view(rank.arena, off, site.in_stride, task.rows, 4)[row] for off in offs]
            token = keys[int(np.argmax([key[0] for key in keys]))][1]
        else:
            token = np.argmax(view(rank.arena, task.in_off, site.in_stride, task.rows, site.k)[row])
        stores.append((tokens, slice(row, row + 1), np.array([token], rank.arena.dtype)))
    return stores


# -- heads ----------------------------------------------------------------------------------


def split_heads(x: Array, site: Site) -> tuple[Array, Array, Array]:
    """Rows of qkv as q [n, H, d], k and v [n, K, d]."""
    q, k = site.heads * site.head, site.kv_heads * site.head
    n, d = len(x), site.head
    return (
        x[:, :q].reshape(n, site.heads, d),
        x[:, q : q + k].reshape(n, site.kv_heads, d),
        x[:, q + k : q + 2 * k].reshape(n, site.kv_heads, d),
    )


def turned(rank: Rank, site: Site, x: Array, pos: Array, norm: int, eps: float) -> Array:
    """Head norm and rope. x [n, heads, d]"""
    if norm != NONE:
        x = _norm(x, _param(rank, norm), eps)
    if not site.turned:
        return x
    return reference("rope")(np, x, pos, _param(rank, site.freq), mscale=site.mscale)


def append(
    rank: Rank, page: int, site: Site, slots: Array, k: Array, v: Array, heads: slice = slice(None)
) -> None:
    """Writes new keys and values to their page slots; positions have one owner, so at once."""
    state = rank.states[site.state]
    state[slots // page, 0, slots % page, heads] = k
    state[slots // page, 1, slots % page, heads] = v


BODIES: Mapping[int, Callable[[Step, Rank, Site, Task], list[Store]]] = {
    Code.EMBED: _embed,
    Code.PREP: _prep,
    Code.LINEAR: _linear,
    Code.KV: _kv,
    Code.ATTN: _attn,
    Code.FOLD: _fold,
    Code.EXPERTS_UP: _experts_up,
    Code.EXPERTS_DOWN: _experts_down,
    Code.KEYS: _keys,
    Code.SAMPLE: _sample,
}
