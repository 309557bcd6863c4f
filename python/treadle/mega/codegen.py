"""A plan for Hopper to one CUDA source: constants of its phases; a worker's lists become data.

The source holds what is the same for all workers; what differs by worker (which strips, which
share) is a small table beside it. Of the plan's protocol the kernel keeps the order: every phase
reads what the phase before wrote, as packets that carry its number. Three things every worker
repeats instead of waiting for them: the embedded row, the residual sum (which it keeps), and the
draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import gcd

from treadle.mega import (
    codegen_attend,
    codegen_experts,
    codegen_feed,
    codegen_halves,
    codegen_peers,
    codegen_room,
)
from treadle.mega.codegen_covers import COLUMNS, PAGE, check, refuse
from treadle.mega.codegen_experts import EXPERTS
from treadle.mega.codegen_feed import Feed
from treadle.mega.codegen_program import Knobs, Piece, Program, Vector
from treadle.mega.codegen_text import Names, render
from treadle.mega.forms import BF16, Form, form_of, in_full_tiles
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code, Site, Task

LINE, ROUND = 8, 256
"""Packets of a line of the cache; columns of which each warp takes as many."""


def generate(
    plan: Plan, knobs: Knobs | None = None, formats: Mapping[str, str] | None = None
) -> Program:
    """The program of a decode plan. formats: what the file stores params in, by name; bf16 where
    nothing is said. Raises Unsupported naming what the kernel does not cover."""
    return _Maker(codegen_peers.drawn(plan), knobs or Knobs(), formats or {}).program()


class _Maker:
    """Goes through the phases of the segments' first repeats; `row` is a phase's table row."""

    def __init__(self, plan: Plan, knobs: Knobs, formats: Mapping[str, str]) -> None:
        check(plan)
        self.plan, self.knobs, self.formats = plan, knobs, formats
        self.kinds = codegen_attend.kinds(plan)
        self.attn = next(s for s in plan.sites if Code(s.op) is Code.ATTN)
        self.order = self._order()
        self.first = [self._tasks(site) for site in self.order]
        self.vectors: list[Vector] = []
        self.at: dict[tuple[int, str], int] = {}
        self.packets = self.counters = 0
        self.feeds: dict[str, Feed] = {}
        self.read: dict[int, dict[str, int | float]] = {}  # what rows say that read them
        self.scores = codegen_experts.scores(plan)
        self.experts, self.kib = codegen_experts.regions(plan)
        # Where every worker takes part in every linear, none is a layer behind another one. A
        # router has few strips, but all take part in what follows.
        self.cut = all(
            len(mine) == 1
            for site, tasks in zip(self.order, self.first, strict=True)
            if Code(plan.sites[site].op) is Code.LINEAR and not self._routes(tasks)
            for mine in tasks
        )
        self.buffers: dict[int, tuple[int, int, int]] = {}  # arena offset -> packets, unit, terms
        self.turned: set[int] = set()  # of those: their packets stand in turned order

    def _routes(self, tasks: list[list[Task]]) -> bool:
        """Whether a phase is a router."""
        return any(t.out_off in self.scores for mine in tasks for t in mine)

    def _order(self) -> list[int]:
        """Sites of the phases that the source names: templates once."""
        found: list[int] = []
        for segment, bounds in zip(self.plan.segments, self.plan.index, strict=True):
            del segment
            found += sorted({t.p0 for t in self.plan.tasks[bounds[0] : bounds[-1]]})
        return found

    def _tasks(self, site: int) -> list[list[Task]]:
        """Tasks of a phase by worker."""
        made: list[list[Task]] = [[] for _ in range(self.plan.workers)]
        for bounds in self.plan.index:
            for worker in range(self.plan.workers):
                made[worker] += [
                    t for t in self.plan.tasks[bounds[worker] : bounds[worker + 1]] if t.p0 == site
                ]
        return made

    def program(self) -> Program:
        plan, order = self.plan, self.order
        self._pool()
        self.forms = self._forms(order)
        self.turns = codegen_feed.turns(plan, self.order, self.first, self.forms, self._walk(order))
        self.fed = self.turns is not None and self.cut
        self.dealt: dict[int, list[list[Task]]] = {}  # sites that are not dealt as planned
        for row, tasks in (codegen_feed.dealt(plan, order, self.first) if self.fed else {}).items():
            self.first[row] = tasks
            self.dealt |= dict.fromkeys(self._layers(order[row]), tasks)
        cut = {} if self.fed else codegen_halves.halves(plan, order, self.first, self.forms)
        self.halved = frozenset(cut)
        for row, tasks in cut.items():
            self.first[row] = tasks
            self.dealt |= dict.fromkeys(self._layers(order[row]), tasks)
        names: list[Names] = []
        before: Site | None = None
        for row, (site, tasks) in enumerate(zip(order, self.first, strict=True)):
            names.append(self._phase(row, site, tasks, before))
            before = plan.sites[site]
        self.count_at = self._take(2 * self.counters)
        text = render(plan, self.knobs, self._model(names), names, self._walk(order))
        return Program(
            text,
            plan,
            self._ranges(order),
            tuple(self._pieces(w) for w in range(plan.workers)),
            tuple(self.vectors),
            max(v.at + sum(v.sizes) for v in self.vectors),
            self.packets,
            len(plan.sites) - 1,
            plan.sites[0].w[0],
            self.forms,
            self.experts,
            self.kib,
            self.fed,
            (self.count_at, 2 * self.counters),
            codegen_peers.inboxes(names, plan),
        )

    # -- the pool of vectors ----------------------------------------------------------------

    def _pool(self) -> None:
        plan, at = self.plan, 0

        def put(key: tuple[int, str], params: list[int], sizes: list[int]) -> None:
            nonlocal at
            self.vectors.append(Vector(at, tuple(params), tuple(sizes)))
            self.at[key] = at
            at += -(-sum(sizes) // 4) * 4

        tables = self.kinds.tables
        put((-1, "freq"), list(tables), [self.attn.turned] * len(tables))
        for number, site in enumerate(plan.sites):
            if site.norm != NONE:
                put((number, "norm"), [site.norm], [site.k])
            if site.post != NONE:
                put((number, "post"), [site.post], [site.k])
            if any(b != NONE for b in site.b[: site.parts]):
                put((number, "bias"), list(site.b[: site.parts]), list(site.rows[: site.parts]))
            for name, param in (("q_norm", site.q_norm), ("k_norm", site.k_norm)):
                if param != NONE:
                    put((number, name), [param], [site.head])

    def _vector(self, site: int, name: str) -> tuple[int, int]:
        """Where a site's vector lies, and how much further a layer on it does."""
        if (site, name) not in self.at:
            return -1, 0
        places = [self.at.get((layer, name), NONE) for layer in self._layers(site)]
        steps = {after - before for before, after in pairwise(places)}
        if len(steps) > 1 or NONE in places:
            raise refuse("has layers of different make in one template")
        return places[0], steps.pop() if steps else 0

    def _repeats(self, site: int) -> tuple[int, int]:
        for segment, bounds in zip(self.plan.segments, self.plan.index, strict=True):
            if site in {t.p0 for t in self.plan.tasks[bounds[0] : bounds[-1]]}:
                return segment.site_stride, segment.repeat
        raise AssertionError(site)

    def _layers(self, site: int) -> list[int]:
        """Sites of a template's layers, of which this one is the first's."""
        stride, repeat = self._repeats(site)
        return [site + r * stride for r in range(repeat)]

    # -- forms of weights -------------------------------------------------------------------

    def _forms(self, order: list[int]) -> tuple[Form, ...]:
        """Of each site: one form for all layers of a template."""
        found = [BF16] * len(self.plan.sites)
        for number in order:
            if Code(self.plan.sites[number].op) is not Code.LINEAR:
                continue
            numbers = self._layers(number)
            sites = [self.plan.sites[i] for i in numbers]
            weights = {w for site in sites for w in site.w[: site.parts]}
            kinds = [self.formats.get(self.plan.params[w], "bf16") for w in weights]
            form = form_of(kinds, sites[0].k)
            for i in numbers:
                found[i] = form
        return tuple(found)

    # -- phases -----------------------------------------------------------------------------

    def _phase(self, row: int, number: int, tasks: list[list[Task]], before: Site | None) -> Names:
        site, code = self.plan.sites[number], Code(self.plan.sites[number].op)
        every = [t for mine in tasks for t in mine]
        layers = [self.plan.sites[i] for i in self._layers(number)]
        codegen_attend.alike(layers)
        made = Names(f"P{row}", code, {"index": row, "k": site.k, "n": site.n})
        put = made.put
        whole = -(-site.k // COLUMNS)
        if code in (Code.LINEAR, Code.PREP):
            first = before is not None and Code(before.op) is Code.EMBED
            put("first", first, False)
            put("sum", first or site.terms > 0, False)
            put("eps", site.norm_eps, 0.0)
            put("norm", self._vector(number, "norm")[0], -1)
            put("norm_step", self._vector(number, "norm")[1], 0)
            put("post", self._vector(number, "post")[0], -1)
            put("post_step", self._vector(number, "post")[1], 0)
            put("post_eps", site.post_eps, 0.0)
            if site.terms and site.norm == NONE:
                raise refuse("needs a norm behind every sum")
            made.fields["klen"] = whole
            if self.fed and code is Code.LINEAR:
                made.fields |= self.read[row]
            elif not first:
                self._read(made, site.terms_off if site.terms else every[0].in_off)
        if code is Code.PREP:
            made.fields["n"] = site.k
            self._send(made, site, every, packets=16)
        elif code is Code.LINEAR:
            put("scale", site.scale, 1.0)
            put("act", site.act, 0)
            put("bias", self._vector(number, "bias")[0], -1)
            put("bias_step", self._vector(number, "bias")[1], 0)
            form = self.forms[number]
            columns = [(t.k0 * COLUMNS, min((t.k0 + t.klen) * COLUMNS, site.k)) for t in every]
            put("form", form.number, BF16.number)
            put("whole", form is BF16 or in_full_tiles(form, columns), True)
            if site.parts > 1 and not site.act:
                put("parts", site.parts, 1)
                for i in range(3):
                    put(f"lane{i}", site.lane[i], 16 if i == 0 else 0)
                    put(f"column{i}", site.col[i], 0)
            if self.cut and row not in self.halved:
                made.fields["klen"] = max(t.klen for t in every)
            put("cut", made.fields["klen"] < whole, False)
            if number == len(self.plan.sites) - 2:
                put("logits", True, False)
                put("cap", site.cap, 0.0)
            elif self._routes(tasks):
                put("router", True, False)
                self._write(made, site, every, packets=2)
            else:
                self._send(made, site, every, packets=self._unit(site, every))
        elif code in EXPERTS:
            kib = codegen_experts.places(self.experts, number, *self._repeats(number))
            made.fields |= codegen_experts.fields(site, kib) | {"klen": whole}
            if code is Code.EXPERTS_UP:
                made.fields["scores"] = self.buffers[every[0].aux_off][0]
            if every[0].in_off in self.buffers:  # not the router's own input
                self._read(made, every[0].in_off)
            self._write(made, site, every, packets=8 if site.act else 16)
        elif code is Code.ATTN:
            put("state", site.state, 0)
            if any(s.state != site.state + r for r, s in enumerate(layers)):
                raise refuse("has layers whose KV states are not in order")
            put("scale", site.scale, 1.0)
            put("cap", site.cap, 0.0)
            put("kinds", self.kinds.mask(self._layers(number)), 0)
            for name in ("q_norm", "k_norm"):
                put(name, self._vector(number, name)[0], -1)
                put("head_step", self._vector(number, name)[1], 0)
            put("q_eps", site.q_eps, 0.0)
            put("k_eps", site.k_eps, 0.0)
            self._read(made, every[0].in_off)
            self._write(made, site, every, packets=0)
        elif code is Code.FOLD:
            put("kinds", self.kinds.mask(self._layers(number)), 0)
            self._read(made, every[0].in_off)
            self._send(made, site, every, packets=16)
        elif code is Code.SAMPLE:
            made.fields["out"] = self._take(self.plan.shape.rows * self.plan.workers)
        return made

    def _unit(self, site: Site, every: list[Task]) -> int:
        """Columns that stand together in packets: what every task makes whole numbers of."""
        if not site.act:
            return 16
        return 16 if gcd(*(t.w_tiles for t in every), *(t.w_tile0 for t in every)) % 2 == 0 else 8

    def _take(self, packets: int) -> int:
        at, self.packets = self.packets, self.packets + packets
        return at

    def _send(self, made: Names, site: Site, every: list[Task], packets: int) -> None:
        """As chunks where the phase behind reads those, else as packets."""
        row, n = int(made.fields["index"]) + 1, int(made.fields["n"])  # row: of the phase behind
        role = codegen_feed.role(site, self.plan.sites[self.order[row]])
        if not self.fed or not role:
            self._write(made, site, every, packets)
            return
        if role not in self.feeds:
            self.feeds[role] = codegen_feed.made(site, self.plan, n, self.counters, self._take)
            self.counters += codegen_feed.chunks(n)
        made.fields |= self.feeds[role].written()
        assert self.turns is not None
        self.read[row] = self.feeds[role].read(site.norm_eps) | self.turns[row].fields()

    def _write(self, made: Names, site: Site, every: list[Task], packets: int) -> None:
        shape, base = self.plan.shape, min(t.out_off for t in every)
        terms = 1
        if packets:
            offsets = {t.out_off - base for t in every}
            terms = 1 + max(offsets) // (shape.rows * site.out_stride)
            rows = shape.rows * (site.active if site.act and site.experts else 1)
            each = terms * rows * (int(made.fields["n"]) // packets) * _packets(packets)
            made.put("rank_stride", each if site.rank_stride else 0, 0)
            ranks = shape.ranks if site.rank_stride else 1
            terms, count = terms * ranks, each * ranks
        else:  # (m, l, o) of every head, row and segment
            record = site.head // 16 * 3 + 1
            count = (
                codegen_attend.segments(self.plan, self.knobs.segments)
                * shape.rows
                * site.heads
                * record
            )
        if base not in self.buffers:
            self.packets = -(-self.packets // LINE) * LINE
            self.buffers[base] = self._take(count), packets, terms
            if self._turns(made, site, packets):
                self.turned.add(base)
        if self.buffers[base][1:] != (packets, terms):
            raise refuse("has a buffer in two layouts")
        made.fields["out"] = self.buffers[base][0]
        made.put("out_unit", packets or 16, 16)
        made.put("out_turned", base in self.turned, False)

    def _turns(self, made: Names, site: Site, packets: int) -> bool:
        """Whether readers find the packets that a warp takes side by side: linears only read them,
        and all warps take as many."""
        attended = site.parts > 1 and not site.act
        return (
            packets in (8, 16) and not (attended or self.fed or self.experts)
            and self.plan.shape.ranks == 1 and made.code in (Code.LINEAR, Code.FOLD)
            and int(made.fields["n"]) % ROUND == 0
        )  # fmt: skip

    def _read(self, made: Names, base: int) -> None:
        if base not in self.buffers:
            raise refuse("reads a buffer that the phase before did not write")
        at, unit, terms = self.buffers[base]
        made.fields["in"] = at
        made.put("in_unit", unit or 16, 16)
        made.put("in_terms", terms, 1)
        made.put("in_turned", base in self.turned, False)

    # -- what differs by worker -------------------------------------------------------------

    def _ranges(self, order: list[int]) -> tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]:
        none = (0, 0, 0, 0)
        found: list[tuple[tuple[tuple[int, ...], ...], ...]] = []
        for worker in range(self.plan.workers):
            rows: list[tuple[tuple[int, ...], ...]] = []
            for site, tasks in zip(order, self.first, strict=True):
                mine = [self._range(self.plan.sites[site], tasks, t) for t in tasks[worker]]
                if len(mine) > 2:
                    raise refuse("has workers with three tasks of one phase")
                rows.append(tuple([*mine, none, none][:2]))
            found.append(tuple(rows))
        return tuple(found)

    def _range(self, site: Site, tasks: list[list[Task]], task: Task) -> tuple[int, ...]:
        if Code(site.op) is Code.FOLD:  # which of its rows x heads
            (first, heads), (part, parts) = task.pair, task.share
            pairs = heads * site.heads // site.kv_heads * self.plan.shape.rows
            return first, heads, pairs * part // parts, pairs * (part + 1) // parts
        if Code(site.op) in (Code.ATTN, Code.PREP, Code.EXPERTS_UP):
            return *task.pair, *task.share
        base = min(t.out_off for mine in tasks for t in mine)
        step = self.plan.shape.rows * site.out_stride
        term = (task.out_off - base) // step if step else 0
        return task.w_tile0, task.w_tiles, task.k0 | task.klen << 16, term

    def _pieces(self, worker: int) -> tuple[Piece, ...]:
        return tuple(
            Piece(t.p0, own.w_tile0, own.w_tiles, own.k0, own.klen)
            for t in self.plan.list_of(worker)
            if Code(t.op) is Code.LINEAR
            for own in (self.dealt[t.p0][worker] if t.p0 in self.dealt else [t])
        )

    # -- sizes ------------------------------------------------------------------------------

    def _walk(self, order: list[int]) -> list[tuple[int, list[int]]]:
        """(repeats, rows of the table) of each segment, EMBED left out."""
        found: list[tuple[int, list[int]]] = []
        at = 0
        for segment, bounds in zip(self.plan.segments, self.plan.index, strict=True):
            count = len({t.p0 for t in self.plan.tasks[bounds[0] : bounds[-1]]})
            rows = [at + i for i in range(count) if self.plan.sites[order[at + i]].op != Code.EMBED]
            found.append((segment.repeat, rows))
            at += count
        return found

    def _model(self, names: list[Names]) -> dict[str, int | float | bool]:
        plan, shape, knobs = self.plan, self.plan.shape, self.knobs
        attn = self.attn
        rows, group = shape.rows, attn.heads // attn.kv_heads
        # The residual stream is in every worker's shared memory; where PREP makes the norms, a row
        # belongs to one worker, which keeps it behind the packets.
        prepared = any(n.code is Code.PREP for n in names)
        far = self._take(rows * plan.sites[0].n // 4) if prepared else -1
        sets = 1 if rows > 8 or self.fed else 2
        pages = -(-shape.context // PAGE)
        segments = codegen_attend.segments(plan, knobs.segments)
        widest = max(
            min(int(n.fields["klen"]) * COLUMNS, int(n.fields["k"]))
            for n in names
            if n.code is Code.LINEAR
        )
        widest = max(widest, codegen_experts.activations(plan))
        stride = 8 if self.fed else widest + (32 if widest * 2 % 128 == 0 else 0)
        scratch = codegen_room.WARPS * group * (2 + attn.head)
        first = next(t for t in plan.tasks if Code(t.op) is Code.ATTN)
        heads, parts = first.pair[1], first.share[1]
        model: dict[str, int | float | bool] = {
            "Rows": rows,
            "Ranks": shape.ranks,
            "Across": self._take(codegen_peers.ballots(shape)),
            "Workers": plan.workers,
            "Phases": len(names),
            "Width": plan.sites[0].n,
            "Far": far,
            "Sets": sets,
            "ActStride": stride,
            **self.kinds.model(attn),
            "Pages": pages,
            "SegmentsMost": knobs.segments,
            "SegmentPages": shape.segment // PAGE,
            "Tail": 0 if any(self.kinds.windows) else codegen_feed.tail(plan),
            "Items": rows * heads * segments // parts + self.kinds.ends * rows * heads + 2,
            "Scratch": scratch,
            "Chunk": 1 if self.fed else max(8 // rows, 2),
            "Feeds": knobs.feeds if self.fed else 0,
            "Counters": self.count_at,
            "Active": max(s.active for s in plan.sites) or 1,
            "MostUsed": codegen_experts.most_used(plan),
            "EmbedScale": plan.sites[0].scale,
            "EvictFirst": knobs.evict_first,
            "Trace": knobs.trace,
            "Strict": knobs.strict,
            "StepPhases": len(plan.sites) - 1,
        }
        experts = codegen_experts.shared_bytes(plan)
        ring = min(codegen_room.tiles(model, experts), knobs.ring)
        if ring < (codegen_feed.RING if self.fed else 4):
            held = codegen_room.held(model, experts)
            raise refuse(f"has {held} bytes of rows in shared memory", "use fewer rows")
        asked = codegen_feed.behind(plan) if knobs.behind is None else knobs.behind
        window, behind = min(knobs.window, ring - 1), min(asked, ring - 1)
        return {**model, "Window": window, "Behind": behind, "Ring": ring}


def _packets(unit: int) -> int:
    """Of so many columns: two columns of float32 are one."""
    return {16: 3, 8: 2, 2: 1}[unit]
