"""Several ranks of a generated kernel on fibers: the whole model's logits, equal bits, faults."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from cuda_host import PAGE, Machine, built, compiler, launch, program, rounded, rounding
from fake_driver import FakeDriver
from test_mega_cuda_draw import bits
from test_mega_cuda_draw import params as rules_of
from test_mega_cuda_host import CONTEXT, POOL, batch, rope, shape
from tiny_models import weights

from treadle.backends.mega import cuda, cuda_driver, cuda_ranks
from treadle.backends.mega.cuda_args import NEVER
from treadle.backends.mega.cuda_driver import Device
from treadle.backends.mega.cuda_pack import bf16, pool, widened
from treadle.backends.mega.cuda_pages import SharedPages
from treadle.backends.mega.cuda_ranks import cutter
from treadle.backends.sampler import sample
from treadle.engine.load import load
from treadle.errors import EngineDead, Unsupported
from treadle.graph import Graph, run, shard
from treadle.models import llama, qwen3
from treadle.types import Batch, Mask

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")

MODELS: dict[str, tuple[Graph, int, int, int]] = {  # graph, ranks, workers a rank, rows
    "four": (  # down cut along k: two terms of each rank
        qwen3.build(
            qwen3.Config(shape(layers=2, H=8, K=4, d=32, F=4096, V=256), rope(), (0, 0)), page=PAGE
        ), 4, 2, 1),
    "fed": (  # rows by chunks, sums of all ranks in slices
        llama.build(
            llama.Config(shape(D=192, F=320, H=4, K=2, layers=1, V=192), rope()), page=PAGE
        ), 2, 3, 6),
}  # fmt: skip


@dataclass
class Ranks:
    """Machines of one model that see each other's packets."""

    graph: Graph
    params: dict[str, Any]
    machines: list[Machine]

    def run(
        self, begin: list[tuple[int, int]], steps: int, seed: int = 0, rules: str = "",
        seated: bool = False,
    ) -> tuple[bool, np.ndarray, np.ndarray]:  # fmt: skip
        """(whole, tokens [ranks, steps, rows], logits [rows, V] of the last step)."""
        args = [m.args(begin, steps, (NEVER, NEVER), rules, seated) for m in self.machines]
        whole = launch(args, self.machines[0].library, seed)
        tokens = np.stack([m.tokens[..., 0] for m in self.machines])
        return whole, tokens, np.concatenate([m.logits for m in self.machines], axis=1)


def ranks(name: str, twins: bool = False) -> Ranks:
    """A model cut over its ranks; KV pages hold NaN. twins: every third token's logit equals that
    of the token before."""
    graph, n, _, rows = MODELS[name]
    params = rounded(graph, weights(graph))
    if twins:
        head = next(p for p in ("head", "embed") if p in params)
        params[head][2::3] = params[head][1::3]
    made = _program(name)
    table = np.random.default_rng(5).permutation(POOL)[: rows * 4].astype(np.int32).reshape(rows, 4)
    heads = graph.size("K") // n
    cut, machines = cutter(graph, n), list[Machine]()
    for rank in range(n):
        mine = {key: cut(rank, key, params.__getitem__) for key in made.plan.params}
        kv = np.full(
            (len(made.plan.states), POOL, heads, 2, PAGE, graph.size("d")), 0x7FC0, np.uint16
        )
        machines.append(Machine(made, built(made.text), mine, table, kv, rank=rank))
    for m in machines:
        m.peers = [other.packets.ctypes.data for other in machines]
        m.boxes, m.allowed = machines[0].boxes, machines[0].allowed
        m.seats, m.sheet = machines[0].seats, machines[0].sheet
    return Ranks(graph, params, machines)


@cache
def _program(name: str) -> Any:
    graph, n, workers, rows = MODELS[name]
    return program(shard(graph, n), workers, rows, CONTEXT)


@pytest.mark.parametrize("name", MODELS)
def test_ranks_equal_the_whole_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches of several steps over a page's end against the reference of the uncut model. All
    ranks draw alike and hold the same residual stream, bit for bit, in whatever order they and
    their workers come."""
    prepared = MODELS[name][3] > 4
    rounding(monkeypatch, prepared=prepared and not _program(name).fed)
    r = ranks(name)
    graph, m = r.graph, r.machines[0]
    assert _program(name).fed == (name == "fed")
    assert len({t.k0 for t in m.made.plan.tasks}) == (2 if name == "four" else 1)
    rows, position, rng = m.made.plan.shape.rows, 62, np.random.default_rng(1)
    state = {
        n: np.full([POOL if x is None else x for x in graph.dims.sizes(v.shape)], np.nan)
        for n, v in graph.state.items()
    }
    for layer, old in enumerate(state.values()):  # [P, 2, B, K, d]
        for row, at in np.ndindex(rows, position):
            page, inside = int(m.pages[row, at // PAGE]), at % PAGE
            x = bf16(rng.standard_normal(old[page, :, inside].shape))
            old[page, :, inside] = widened(x)
            for part, y in zip(r.machines, np.split(x, len(r.machines), axis=1), strict=True):
                part.kv[layer, page, :, :, inside] = y.swapaxes(0, 1)
    now, wanted = [7 + row for row in range(rows)], np.zeros(0)
    before = np.zeros(0)
    for turn, steps in enumerate((1, 1, 2)):  # the first launch twice
        whole, tokens, logits = r.run([(t, position) for t in now], steps, seed=turn)
        assert whole, [x.error for x in r.machines]
        assert (tokens == tokens[0]).all()
        if turn == 0:
            before = logits
            continue
        assert steps == 2 or np.array_equal(logits, before)
        for step in range(steps):
            inputs = batch(m, now, position)
            out, state = run(
                graph, {n: getattr(inputs, n) for n in Batch.__slots__}, r.params, state
            )
            wanted = out[graph.outputs[0]]
            now, position = [int(t) for t in tokens[0, step]], position + 1
            for row in range(rows):
                assert wanted[row, now[row]] > wanted[row].max() - 0.02 * np.abs(wanted[row]).max()
        assert (logits.argmax(1) == now).all()
        error = np.linalg.norm(logits - wanted) / np.linalg.norm(wanted)
        assert error < 3e-2, error
        for inbox in m.made.inboxes:
            held = [x.packets[inbox.at : inbox.at + inbox.each * inbox.ranks] for x in r.machines]
            assert all(np.array_equal(x, held[0]) for x in held)


def test_draws_over_ranks_equal_the_samplers() -> None:
    """Rules and masks over a vocabulary in four parts, with equals at the end of a nucleus."""
    r, rng, same = ranks("four", twins=True), np.random.default_rng(4), 0
    for m in r.machines:
        m.kv[:] = 0
    for turn in range(3):
        rule = rules_of(
            1, temperature=rng.choice([0.5, 1, 3]), top_k=rng.choice([0, 2, 40]),
            top_p=rng.choice([1, 0.9, 0.5]), min_p=rng.choice([0, 0.02]),
            key=rng.integers(0, 2**63), step=rng.integers(0, 5000),
        )  # fmt: skip
        mask = None
        if turn % 3:
            legal = rng.random((1, 256)) < rng.choice([0.02, 0.5])
            mask = Mask(bits(legal), np.zeros(1, np.int32))
        r.machines[0].boxes.post(0, rule, mask)
        whole, tokens, logits = r.run([(int(rng.integers(256)), 3)], 1, seed=turn, rules="same")
        assert whole, [m.error for m in r.machines]
        drawn = sample(logits, mask, rule)
        assert (tokens.view(np.int32) == drawn.ids).all(), (turn, rule)
        same += int(drawn.ids[0] != logits.argmax())
    assert same > 1


def test_a_row_changes_hands_on_all_ranks() -> None:
    """A sequence that takes a row between two steps goes on as in a launch of its own."""
    r = ranks("four")
    for m in r.machines:
        m.kv[:] = 0
    alone = r.run([(9, 0)], 1)[2]
    r.machines[0].seats.post(1, {}, {0: (9, 0)})
    whole, tokens, logits = r.run([(5, 0)], 2, seated=True)
    assert whole
    assert (tokens == tokens[0]).all()
    assert np.array_equal(logits, alone)


def test_four_devices_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime's calls on a driver that holds each to its device's context and memory: the same
    bits as without it, and a silent worker of one rank in the error of all."""
    r = ranks("four")
    made, n = r.machines[0].made, len(r.machines)
    for m in r.machines:
        m.kv[:] = 0
    _, tokens, logits = r.run([(5, 0)], 2, seed=1)
    driver = FakeDriver(n, n, r.machines[0].library)
    monkeypatch.setattr(cuda_driver, "_library", lambda: driver)
    monkeypatch.setattr(cuda, "build", lambda text: (b"", ""))
    several = cuda_ranks.Ranks(made, [Device(i) for i in range(n)], pages=POOL)
    several.load(lambda k, name: bf16(r.machines[k].params[name]),
                 lambda k, name: r.machines[k].params[name])  # fmt: skip
    table = r.machines[0].pages
    several.start([(5, 0)], table, 2)
    several.wait()
    assert several.over()
    assert driver.current == 0
    assert np.array_equal(several.tokens(2), tokens)
    assert np.array_equal(several.logits(), logits)
    told = several.told(1)
    assert told is not None
    assert told[0, 0] == tokens[0, 1, 0]
    beside = cuda_ranks.Ranks(
        made, [Device(i) for i in range(n)], pages=POOL, beside=several.decoders
    )
    for k, decoder in enumerate(beside.decoders):  # streams and embeddings are there
        decoder.device.enter()
        decoder.pool.put(pool(made, lambda i, k=k: r.machines[k].params[made.plan.params[i]]))
    beside.start([(5, 0)], table, 2)
    beside.wait()
    assert np.array_equal(beside.tokens(2), tokens)
    assert np.array_equal(beside.logits(), logits)
    several.start([(5, 0)], table, 1, mute=(1, 1, 2 * made.phases_a_step + 4))  # after layer 0's o
    with pytest.raises(EngineDead, match=r"of rank \d waited for a packet of rank 1 in phase"):
        several.wait()
    with pytest.raises(Unsupported, match="none with number 4"):
        Device(4)


def test_what_is_not_covered_is_refused() -> None:
    graph = MODELS["four"][0]
    with pytest.raises(Unsupported, match="more than strips"):
        program(shard(graph, 4), 6, 1, CONTEXT)


def test_pages_go_to_the_rank_whose_heads_they_hold() -> None:
    """Written by torch, read by every rank, and back."""
    torch = pytest.importorskip("torch")
    pools = [tuple(torch.randn(4, PAGE, 4, 8) for _ in range(2)) for _ in range(3)]
    kvs = [torch.zeros(3, 4, 2, 2, PAGE, 8) for _ in range(2)]
    shared = SharedPages(kvs, pools)
    shared.wrote("torch", np.array([1, 3]))
    shared.enter("kernel")
    for layer, both in enumerate(pools):
        for rank, kind in np.ndindex(2, 2):
            mine = both[kind][[1, 3], :, 2 * rank : 2 * rank + 2].transpose(1, 2)
            assert torch.equal(kvs[rank][layer, [1, 3], :, kind], mine)
    assert not kvs[0][:, [0, 2]].any()
    before = pools[2][1].clone()
    kvs[1][2, 3, 0, 1] = 7
    shared.wrote("kernel", np.array([3]))
    shared.enter("torch")
    before[3, :, 2] = 7
    assert torch.equal(pools[2][1], before)


def test_ranks_are_refused_where_there_are_none() -> None:
    for name in ("torch", "mega"):
        with pytest.raises(Unsupported, match=r"on (one device|a CPU)"):
            load("smollm2-135m", backend=name, device="cpu", tp=2)
