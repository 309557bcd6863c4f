"""Plans as data: record layouts, files, hostile bytes, tiles, templates, cost, the picture."""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import replace
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
from test_mega_interp import CONTEXT, FAMILIES, SEGMENT, SLOTS, plan_of, small
from tiny_models import deep_llama

from treadle.errors import GraphError, ModelFormatError, Unsupported
from treadle.graph import OPS, Builder, Role, shard
from treadle.mega import CPU, H200, compile, cost, lanes, read, show, to_bytes, verify, write
from treadle.mega.induct import shortened
from treadle.mega.plan import from_bytes
from treadle.mega.records import FORMATS, NONE, Code, Counter, Segment, Site, Task, pack, unpack
from treadle.mega.tiles import Work, share, tile

HOSTILE = int(os.environ.get("TREADLE_MEGA_HOSTILE", "120"))
DOC = Path(__file__).parents[2] / "docs" / "mega-plan.md"


def test_records_are_as_long_as_the_document_says() -> None:
    text = DOC.read_text()
    for kind, name in ((Task, "Task"), (Site, "Site"), (Counter, "Counter"), (Segment, "Segment")):
        (size,) = re.findall(rf"\*\*{name}, (\d+) B\*\*", text)
        assert FORMATS[kind].size == int(size)
    for code in Code:
        assert f"| {code.value} {code.name} |" in text
    codes = {int(n) for n in re.findall(r"^\| (\d+) [A-Z_]+ \|", text, re.MULTILINE)}
    assert codes == set(Code)


def test_site_offsets_are_where_the_document_puts_them() -> None:
    """Each row of the table begins with the byte of its first field."""
    rows = re.findall(r"^\| (\d+) \| (?:u16|u32|f32)? ?(\w+)", DOC.read_text(), re.MULTILINE)
    assert len(rows) >= 12
    for at, name in rows:
        if name in ("u32", "0"):
            continue
        field = {"op": "op"}.get(name, name)
        default = getattr(Site(1), field)
        if isinstance(default, tuple):
            site = replace(Site(1), **{field: (0x01020304, *default[1:])})
        elif isinstance(default, float):
            site = replace(Site(1), **{field: -2.5})
        else:
            site = replace(Site(1), **{field: 0x0101})
        changed = [
            i for i, (a, b) in enumerate(zip(pack(Site(1)), pack(site), strict=True)) if a != b
        ]
        assert changed, name
        assert int(at) <= changed[0] < int(at) + 4, (name, at, changed[:4])


def test_plan_survives_its_files(tmp_path: Path) -> None:
    plan = plan_of(shard(FAMILIES["gemma2"], 2), small(H200, 4), 4)
    write(plan, tmp_path)
    again = read(tmp_path)
    assert to_bytes(again) == to_bytes(plan)
    assert replace(again, sites=()) == replace(plan, sites=())
    assert [s.w for s in again.sites] == [s.w for s in plan.sites]
    assert len(to_bytes(plan)) % 4 == 0
    for task in plan.tasks:
        assert unpack(Task, pack(task)) == task


def test_bad_files_are_typed_errors(tmp_path: Path) -> None:
    plan = plan_of(FAMILIES["llama"], small(CPU, 2), 1)
    write(plan, tmp_path)
    about = json.loads((tmp_path / "plan.json").read_text())
    data = (tmp_path / "tasks.bin").read_bytes()
    with pytest.raises(ModelFormatError, match=r"not the one plan\.json belongs to"):
        from_bytes(data[:-1] + bytes([data[-1] ^ 1]), about)
    for size in (0, 5, 127, 128, 200, len(data) - 1):
        with pytest.raises(ModelFormatError):
            from_bytes(data[:size], about)
    for text in ("", "[]", "{}", json.dumps({**about, "treadle_plan": 9})):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(ModelFormatError):
            read(tmp_path)


def test_hostile_bytes_end_in_a_typed_error_or_a_plan_that_verifies() -> None:
    """Flipped words with a matching hash: refused by reader or verifier, never anything else."""
    import hashlib

    plan = plan_of(FAMILIES["qwen3-moe"], small(CPU, 2), 2)
    data = to_bytes(plan)
    about = {
        "treadle_plan": 1, "graph": plan.graph, "target": plan.target, "params": plan.params,
        "states": plan.states, "buffers": [[b.name, b.offset, b.size] for b in plan.buffers],
    }  # fmt: skip
    refused = 0
    for seed in range(HOSTILE):
        rng, bad = random.Random(seed), bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(bad) // 4) * 4
            value = rng.choice((0, 1, NONE, 1 << 31, rng.getrandbits(32), rng.getrandbits(8)))
            bad[at : at + 4] = value.to_bytes(4, "little")
        digest = hashlib.sha256(bad).hexdigest()
        try:
            verify([from_bytes(bytes(bad), {**about, "sha256": digest})])
        except (ModelFormatError, GraphError):
            refused += 1
    assert refused > HOSTILE // 3


def test_layers_become_one_template() -> None:
    plan = plan_of(FAMILIES["llama"], small(CPU, 2), 1)
    assert [s.repeat for s in plan.segments] == [1, 3, 1]
    windows = plan_of(FAMILIES["gemma2"], small(CPU, 2), 1)  # windows differ, tasks do not
    assert max(s.repeat for s in windows.segments) >= 3
    mixed = plan_of(FAMILIES["qwen3-moe-mixed"], small(CPU, 2), 1)
    assert sum(s.repeat for s in mixed.segments) >= 1
    lists = [list(plan.list_of(w)) for w in range(2)]
    assert [t.p0 for t in lists[0]] == sorted(t.p0 for t in lists[0])
    assert {t.p0 for mine in lists for t in mine} == set(range(len(plan.sites)))


def test_induction_keeps_what_it_proves() -> None:
    """Nine layers stand as three; a layer unlike the others brings the whole plan back."""
    plan = plan_of(deep_llama(9), small(CPU, 2), 2)
    short = shortened(plan)
    assert [s.repeat for s in plan.segments] == [1, 9, 1]
    assert [s.repeat for s in short.segments] == [1, 3, 1]
    assert len(short.sites) == len(plan.sites) - 6 * 5
    odd = next(i for i, s in enumerate(plan.sites) if i > 30 and s.op == Code.LINEAR)
    sites = list(plan.sites)
    sites[odd] = replace(sites[odd], in_stride=sites[odd].in_stride + 1)
    other = replace(plan, sites=tuple(sites))
    assert shortened(other) is other
    with pytest.raises(GraphError):
        verify([other])
    sites = list(plan.sites)
    twice = [i for i, s in enumerate(sites) if s.op == Code.ATTN][5:7]
    sites[twice[0]] = replace(sites[twice[0]], state=sites[twice[1]].state)
    with pytest.raises(GraphError, match=r"V8 .*a second time"):
        verify([replace(plan, sites=tuple(sites))])
    counters = list(plan.counters)
    counters[30] = replace(counters[30], need=1)
    with pytest.raises(GraphError, match="V2"):
        verify([replace(plan, counters=tuple(counters))])


def test_errors_name_the_task_and_the_remedy() -> None:
    plan = plan_of(FAMILIES["llama"], small(CPU, 3), 2)
    at = next(i for i, t in enumerate(plan.tasks) if t.op == Code.ATTN)
    tasks = list(plan.tasks)
    tasks[at] = replace(tasks[at], n_wait=0, wait0=NONE, need0=0)
    with pytest.raises(
        GraphError, match=r"rank 0 worker \d ATTN phase 2: V[47] .*qkv.*; "
    ) as error:
        verify([replace(plan, tasks=tuple(tasks))])
    assert error.value.hint


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
@pytest.mark.parametrize("k_tiles", [1, 3, 8])
def test_tiles_are_balanced_and_cover_the_weight_once(workers: int, k_tiles: int) -> None:
    target = replace(H200, workers=workers)
    rng = np.random.default_rng(workers)
    for units in (1, 3, 7, 36):
        costs = tuple(rng.integers(1, 9, units).astype(float).tolist())
        seen = np.zeros((units * 2, k_tiles), int)
        work = Work(costs, 2, k_tiles)
        for t in tile(work, target, partial=True, rows=1):
            seen[t.strip0 : t.strip0 + t.strips, t.k0 : t.k0 + t.klen] += 1
        assert (seen == 1).all()
        fair = sum(costs) / workers
        assert max(sum(costs[i] for i in part) for part in share(costs, workers)) <= fair + max(
            costs
        )


def test_lanes_hold_every_row_once() -> None:
    for rows, lane in (
        ((40, 40), (16, 16)),
        ((64, 16, 16), (64, 16, 16)),
        ((20,), (16,)),
        ((48, 48), (8, 8)),
    ):
        pad = (*rows, 0, 0)[:3], (*lane, 0, 0)[:3]
        site = Site(
            int(Code.LINEAR), parts=len(rows), rows=pad[0], lane=pad[1], act=int(len(rows) == 2)
        )
        part, row = lanes.order(site)
        assert len(part) == lanes.strips(site) * 16
        for j, n in enumerate(rows):
            assert sorted(row[(part == j) & (row < n)]) == list(range(n))
        whole = lanes.columns(site, 0, lanes.strips(site))
        if len(rows) == 2:
            assert whole == ((0, rows[0]),)


def test_a_changed_role_stops_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS["linear"].roles, "O", Role.WHOLE)
    with pytest.raises(GraphError, match="cuts linear along O"):
        plan_of(FAMILIES["llama"], small(CPU, 2), 1)


def test_what_no_phase_takes_is_named() -> None:
    b = Builder(name="odd", dims={"D": 8, "V": 16, "B": 4})
    x = b.add("embed", b.param("embed", ("V", "D")), b.ids)
    y = b.add("glu", x, x, act="silu")
    graph = b.finish([b.add("linear", b.add("take", y, b.rows), b.param("head", ("V", "D")))])
    with pytest.raises(Unsupported, match=r"graph odd, node \d glu .*: mega: glu joins no phase"):
        compile(graph, CPU, rows=1, slots=1, context=8, segment=4)
    with pytest.raises(GraphError, match="multiple of the page"):
        compile(FAMILIES["llama"], CPU, rows=1, slots=1, context=8, segment=6)


def test_buckets_share_segments_and_tokens() -> None:
    """What one bucket leaves behind another must find: the tokens, and the cut of attention."""
    plans = [plan_of(FAMILIES["llama"], small(CPU, 2), rows) for rows in (1, 8, 32)]
    assert len({(p.shape.segment, p.shape.tokens_off, p.buffers[0].size) for p in plans}) == 1
    assert plans[0].shape.slots == SLOTS
    assert plans[0].shape.segment == SEGMENT <= CONTEXT


def test_a_chain_of_barriers_costs_what_it_adds_up_to() -> None:
    """Every worker in every phase: the step is the sum of the longest tasks and of the hops."""
    graph = FAMILIES["llama"]
    target = small(replace(CPU, bandwidth=0.05, hop=3.0, step=7.0), 2)
    plan = plan_of(graph, target, 1)
    load = cost.Load(1, 16, cost.bits_of(graph))
    found = cost.predict(plan, target, load)
    longest: dict[int, float] = {}
    for w in range(2):
        for task in plan.list_of(w):
            took = cost.duration(plan, task, target, load)
            longest[task.p0] = max(longest.get(task.p0, 0.0), took)
    wanted = sum(longest.values()) + (len(plan.sites) - 1) * 3.0 + 7.0
    assert found.us == pytest.approx(wanted)
    assert sum(found.by_op.values()) == pytest.approx(found.us)
    streams = [p for n, p in graph.params.items() if n != "embed" and len(p.shape) == 2]
    bytes_read = 4 * sum(np.prod(graph.dims.sizes(p.shape)) for p in streams)
    streamed = sum(longest[i] for i in longest) * 1e-6 * target.bandwidth * 1e9
    assert streamed >= bytes_read * 0.99


def test_the_picture_of_a_layer_shows_every_task() -> None:
    plan = plan_of(FAMILIES["qwen3"], small(H200, 4), 2)
    text = show.svg(plan)
    picture = minidom.parseString(text)
    titles = [t.firstChild.data for t in picture.getElementsByTagName("title")]
    longest = max(range(len(plan.segments)), key=lambda s: plan.segments[s].repeat)
    assert len(titles) == plan.index[longest][-1] - plan.index[longest][0]
    assert text == show.svg(plan)
