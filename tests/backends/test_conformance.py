"""What every backend must do, on every device it has here."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from treadle.backends.torch.program import OPS
from treadle.errors import (
    EngineDead,
    InvalidRequest,
    LimitExceeded,
    ModelFormatError,
    Unsupported,
)
from treadle.graph import FUSED, fuse, shard
from treadle.graph import OPS as GRAPH_OPS
from treadle.limits import Limits
from treadle.types import Mask, Tensor

PAGES = 40
RNG = np.random.default_rng(3)
PROMPTS = {k: RNG.integers(0, toy.V, n).tolist() for k, n in (("a", 21), ("b", 9), ("c", 14))}


def logits(executable, batch):
    """Logits of one step, on the host."""
    rows = executable.forward(batch).call.wait()
    rows = getattr(rows, "array", rows)
    return rows.cpu().numpy() if hasattr(rows, "cpu") else rows


def greedy(executable, batch, mask=None, **values):
    handle = executable.forward(batch)
    return executable.sample(handle, mask, toy.params(handle.rows, **values))


def mask_of(*legal):
    """A mask over rows 0 … with the given legal ids each."""
    bits = np.zeros((len(legal), -(-toy.V // 32)), np.uint32)
    for row, ids in zip(bits, legal, strict=True):
        for i in ids:
            row[i // 32] |= np.uint32(1 << (i % 32))
    return Mask(bits.view(np.int32), np.arange(len(legal), dtype=np.int32))


# --- the graph -----------------------------------------------------------------------------------


def test_the_toys_hold_every_op_and_every_fusion_that_torch_has():
    graphs = [toy.build(spec) for spec in toy.SPECS.values()]
    seen = {node.op for g in graphs for node in (*g.nodes, *fuse(g, set(FUSED) & set(OPS)).nodes)}
    assert seen == set(OPS)
    assert set(GRAPH_OPS) - set(OPS) == {"allreduce"}


@pytest.mark.parametrize("name", toy.SPECS)
@pytest.mark.parametrize("pool", ["scattered", "ascending"])
def test_whole_chunked_and_decoded_logits_equal_the_oracle(make, toys, name, pool):
    graph = toys.build(name)
    tensors = toy.weights(graph)
    if name in toys.rules.refused:
        with pytest.raises(Unsupported, match=r"graph toy, node \d+"):
            make(graph, tensors, Limits(), pages=PAGES)
        return
    executable = make(graph, tensors, Limits(), pages=PAGES)
    want = {key: toy.oracle(graph, tensors, ids) for key, ids in PROMPTS.items()}
    pages = getattr(toys, pool)(PAGES)
    for key, ids in PROMPTS.items():  # whole, one sequence a step
        toys.close(logits(executable, pages.batch({key: ids})), want[key])
    pages = getattr(toys, pool)(PAGES)
    chunks = ({"a": 7}, {"a": 6, "b": 5}, {"c": 9, "a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1})
    done = dict.fromkeys("abc", 0)
    for step in (*chunks, *[dict.fromkeys("abc", 1)] * 2, {"a": 4, "c": 2}):  # ragged chunks
        work = {key: PROMPTS[key][done[key] : done[key] + n] for key, n in step.items()}
        expected = [want[key][done[key] : done[key] + n] for key, n in step.items()]
        toys.close(logits(executable, pages.batch(work)), np.concatenate(expected))
        for key, n in step.items():
            done[key] += n
    assert done == {key: len(ids) for key, ids in PROMPTS.items()}


def test_only_the_wanted_rows_come_back(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    batch = toys.scattered(PAGES).batch(PROMPTS)
    every = logits(executable, batch)
    assert logits(executable, toy.only(batch, rows=[])).shape == (0, toy.V)
    some = logits(executable, toy.only(batch, rows=[0, 20, 43]))
    toys.close(some, every[[0, 20, 43]])


@pytest.mark.parametrize("name", ["llama", "moe", "windowed"])
def test_a_row_of_a_batch_is_the_row_alone(make, toys, kind, name):
    graph = toys.build(name)
    executable = make(graph, toy.weights(graph), Limits(), pages=PAGES)
    together = logits(executable, toys.scattered(PAGES).batch(PROMPTS, rows="last"))
    pages = toys.ascending(PAGES)
    alone = []
    for key, ids in PROMPTS.items():
        pages.batch({key: ids[:4]})
        pages.lens[key] = 0
        for cut in (ids[:4], ids[4:]):
            row = logits(executable, pages.batch({key: cut}, rows="last"))
        alone.append(row[0])
    if kind in ("reference", "mega-cpu"):  # bit for bit, whatever the batch and the chunks
        np.testing.assert_array_equal(np.array(alone), together)
    else:
        toys.close(np.array(alone), together)


def test_long_contexts_read_in_place_and_gathered_agree(make, toys):
    ids = [int(i) for i in RNG.integers(0, toy.V, 330)]
    executable = make(toys.llama, toys.weights, Limits(), pages=240)
    rows = []
    for pool in (toys.ascending(240), toys.scattered(240)):
        logits(executable, pool.batch({"a": ids[:-1], "b": ids[:100]}))
        rows.append(logits(executable, pool.batch({"a": ids[-1:], "b": [3]})))
    toys.close(rows[0], rows[1])
    toys.close(rows[0][0], toy.oracle(toys.llama, toys.weights, ids)[-1])


def test_weights_of_a_mapped_file_may_be_read_only_and_short_formats_are_widened(make, toys):
    halves = {}
    for name, tensor in toys.weights.items():
        data = tensor.data.astype(np.float16) if tensor.data.ndim > 1 else tensor.data
        data.setflags(write=False)
        halves[name] = Tensor(name, tensor.shape, "f16" if tensor.data.ndim > 1 else "f32", data)
    wide = {n: Tensor(n, t.shape, "f32", t.data.astype(np.float32)) for n, t in halves.items()}
    executable = make(toys.llama, halves, Limits(), pages=PAGES)
    got = logits(executable, toys.scattered(PAGES).batch({"a": PROMPTS["a"]}))
    toys.close(got, toy.oracle(toys.llama, wide, PROMPTS["a"]))


# --- sampling ------------------------------------------------------------------------------------


def test_steps_chain_through_ids_that_are_not_drawn_yet(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    values = {"temperature": 1.0, "key": [5, 2**63 + 9, 7]}
    pages = toys.scattered(PAGES)
    plain = [greedy(executable, pages.batch(PROMPTS, rows="last"), step=0, **values).wait().ids]
    for step in range(1, 6):
        work = {key: [int(i)] for key, i in zip(PROMPTS, plain[-1], strict=True)}
        plain.append(greedy(executable, pages.batch(work), step=step, **values).wait().ids)
    pages = toys.scattered(PAGES, seed=9)
    futures = [greedy(executable, pages.batch(PROMPTS, rows="last"), step=0, **values)]
    for step in range(1, 6):  # all queued before the first is waited for
        work = {key: [-1 - row] for row, key in enumerate(PROMPTS)}
        futures.append(greedy(executable, pages.batch(work), step=step, **values))
    np.testing.assert_array_equal([future.wait().ids for future in futures], plain)
    with pytest.raises(InvalidRequest, match="ids"):
        executable.forward(pages.batch({"a": [-4]}))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_masks(make, toys, temperature):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    pages = toys.scattered(PAGES)
    batch = pages.batch(PROMPTS, rows="last")
    free = greedy(executable, batch, temperature=temperature, key=4).wait()
    mask = mask_of([36], [])
    one = Mask(mask.bits, np.array([2, 0], np.int32))
    drawn = greedy(executable, batch, one, temperature=temperature, key=4, logprobs=3).wait()
    assert drawn.ids.tolist() == [-1, int(free.ids[1]), 36]
    assert drawn.status.tolist() == [1, 0, 0]
    assert np.isnan(drawn.logprobs).tolist() == [True, False, False]
    assert drawn.top_ids.tolist()[0] == [-1, -1, -1]
    # a row that drew nothing does not stop the step that was launched after it
    work = {key: [-1 - row] for row, key in enumerate(PROMPTS)}
    assert greedy(executable, pages.batch(work)).wait().status.tolist() == [0, 0, 0]
    narrow = Mask(np.full((1, 1), -1, np.int32), np.array([1], np.int32))
    few = [
        greedy(executable, batch, narrow, temperature=2.0, key=k).wait().ids[1] for k in range(9)
    ]
    assert max(few) < 32  # tokens beyond the mask's width are illegal


def test_rows_that_are_not_finite_fail_alone(make, toys):
    graph = toys.build("odd_heads")  # its head is not the embedding
    tensors = toy.weights(graph)
    data = tensors["embed"].data.copy()
    data[5] = np.inf
    tensors["embed"] = Tensor("embed", data.shape, "f32", data)
    executable = make(graph, tensors, Limits(), pages=PAGES)
    work = {"a": [1, 2, 3], "b": [1, 5, 3], "c": [4]}
    drawn = greedy(executable, toys.scattered(PAGES).batch(work, rows="last"), logprobs=1).wait()
    assert drawn.status.tolist() == [0, 2, 0]
    assert drawn.ids[1] == -1
    assert np.isnan(drawn.logprobs).tolist() == [False, True, False]
    want = [toy.oracle(graph, tensors, work[key])[-1].argmax() for key in "ac"]
    assert drawn.ids.tolist()[::2] == want


def test_logprobs_bias_and_penalties_reach_the_device(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    batch = toys.scattered(PAGES).batch(PROMPTS, rows="last")
    raw = logits(executable, batch).astype(np.float64)
    logsoft = raw - np.log(np.exp(raw).sum(-1, keepdims=True))
    drawn = greedy(executable, batch, bias={1: {8: 100.0}}, logprobs=[-1, 0, 4]).wait()
    assert drawn.ids.tolist() == [int(raw[0].argmax()), 8, int(raw[2].argmax())]
    assert np.isnan(drawn.logprobs[0])
    np.testing.assert_allclose(drawn.logprobs[1], logsoft[1, 8], rtol=1e-4)  # of the raw logits
    best = np.argsort(-raw[2], kind="stable")[:4]
    assert drawn.top_ids.tolist() == [[-1] * 4, [-1] * 4, best.tolist()]
    np.testing.assert_allclose(drawn.top_logprobs.tolist()[2], logsoft[2, best], rtol=1e-4)
    seen = {0: {int(raw[0].argmax()): 3}}
    pushed = greedy(executable, batch, seen=seen, frequency=2.0, presence=2.0, repetition=5.0)
    assert pushed.wait().ids[0] != raw[0].argmax()


# --- misuse and ends -----------------------------------------------------------------------------


BAD_STEPS = {
    "ids": {"ids": [toy.V, 1, 2]},
    "slots": {"slots": [0, 1, PAGES * 100]},
    "a slot twice": {"slots": [4, 4, 5]},
    "table": {"table": [[0, PAGES]]},
    "a negative page": {"table": [[-1, 0]]},
    "rows": {"rows": [3]},
    "rows that descend": {"rows": [1, 0]},
    "starts": {"starts": [0, 2]},
    "starts of another length": {"starts": [0, 1, 3]},
    "lens": {"lens": [2]},
    "lens beyond the table": {"lens": [99]},
    "pos": {"pos": [0, 1]},
    "no tokens": {"ids": [], "pos": [], "slots": [], "starts": [0, 0], "rows": []},
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_step_that_points_nowhere_is_refused_and_the_next_one_works(make, toys, name):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    batch = toys.scattered(PAGES).batch({"a": [1, 2, 3]})
    with pytest.raises(InvalidRequest, match="the scheduler must send"):
        executable.forward(toy.only(batch, **BAD_STEPS[name]))
    toys.close(logits(executable, batch), toy.oracle(toys.llama, toys.weights, [1, 2, 3]))


def test_bad_masks_and_parameters_are_refused(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    handle = executable.forward(toys.scattered(PAGES).batch({"a": [1, 2, 3]}, rows="last"))
    one = np.zeros((1, 2), np.int32)
    for bits, rows in ((one, [1]), (one, [-1]), (one, []), (np.zeros((2, 2), np.int32), [0, 0])):
        mask = Mask(bits, np.array(rows, np.int32))
        if rows:
            with pytest.raises(InvalidRequest, match="mask"):
                executable.sample(handle, mask, toy.params(1))
    with pytest.raises(InvalidRequest, match="temperature"):
        executable.sample(handle, None, toy.params(2))
    for lists in ({"bias": {0: {toy.V: 1.0}}}, {"seen": {0: {-1: 1}}}):
        with pytest.raises(InvalidRequest, match="_ids"):
            executable.sample(handle, None, toy.params(1, **lists))
    assert executable.sample(handle, None, toy.params(1)).wait().status.tolist() == [0]


def test_limits_hold(make, toys):
    limits = Limits(batch_tokens=8, sequences=2)
    executable = make(toys.llama, toys.weights, limits, pages=PAGES)
    with pytest.raises(LimitExceeded, match="batch_tokens"):
        executable.forward(toys.scattered(PAGES).batch({"a": [1] * 9}))
    with pytest.raises(LimitExceeded, match="sequences"):
        executable.forward(toys.scattered(PAGES).batch({"a": [1], "b": [1], "c": [1]}))
    assert (executable.pages, executable.page_size, executable.vocab) == (PAGES, toys.page, toy.V)
    with pytest.raises(InvalidRequest, match="pages"):
        make(toys.llama, toys.weights, limits, pages=0)


def test_pages_are_chosen_by_memory(make, toys, kind):
    executable = make(toys.llama, toys.weights, Limits(sequences=2))
    if kind == "torch-cuda":
        assert executable.pages > 2 * 1024 // toys.page
    else:
        assert executable.pages == 2 * 1024 // toys.page


def test_buffers_may_be_reused_and_futures_forgotten(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    pages = toys.scattered(PAGES)
    batch, values = pages.batch({"a": PROMPTS["a"]}, rows="last"), toy.params(1, key=3)
    for _ in range(3):
        handle = executable.forward(batch)
        executable.sample(handle, None, values)  # nobody waits
        executable.forward(batch)  # nobody samples
    future = executable.sample(executable.forward(batch), None, values)
    batch.ids[:] = 0
    want = toy.oracle(toys.llama, toys.weights, PROMPTS["a"])[-1].argmax()
    assert [future.wait().ids[0] for _ in range(2)] == [want, want]


def test_after_close_nothing_hangs(make, toys):
    executable = make(toys.llama, toys.weights, Limits(), pages=PAGES)
    batch = toys.scattered(PAGES).batch({"a": PROMPTS["a"]})
    futures = [greedy(executable, batch) for _ in range(20)]
    handle = executable.forward(batch)
    executable.close()
    executable.close()
    for future in futures:
        try:
            assert future.wait().status[0] == 0
        except EngineDead:
            continue
    for call in (lambda: executable.forward(batch), lambda: executable.sample(handle, None, None)):
        with pytest.raises(EngineDead):
            call()


def test_weights_and_graphs_that_do_not_fit_are_refused(make, toys):
    missing = {name: t for name, t in toys.weights.items() if name != "l1.q"}
    with pytest.raises(ModelFormatError, match=r"l1\.q"):
        make(toys.llama, missing, Limits(), pages=PAGES)
    data = toys.weights["l1.o"].data.T
    turned = Tensor("l1.o", data.shape, "f32", data)
    with pytest.raises(ModelFormatError, match=r"l1\.o"):
        make(toys.llama, toys.weights | {"l1.o": turned}, Limits(), pages=PAGES)
    with pytest.raises(Unsupported, match="one rank of 2"):
        make(shard(toys.llama, 2, over=("H", "K")), toys.weights, Limits(), pages=PAGES)


def test_heads_of_24_run_or_are_refused_by_name(make, kind):
    graph = toy.build(toy.Spec(d=24), toy.Rules(page=16))
    tensors = toy.weights(graph)
    if kind == "mega-cpu":  # its kernels take sixteens
        with pytest.raises(Unsupported, match=r"graph toy: .*16.*use backend torch"):
            make(graph, tensors, Limits(), pages=PAGES)
        return
    got = logits(make(graph, tensors, Limits(), pages=2), toy.ascending(2, 16).batch({"a": [1, 2]}))
    assert np.allclose(got, toy.oracle(graph, tensors, [1, 2]), rtol=1e-4, atol=1e-4)
