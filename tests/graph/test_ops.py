"""Every op's reference against an independent implementation, on numpy and on torch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GraphError
from treadle.graph import OPS, reference

torch.set_num_threads(1)


def both(name: str, *arrays, **attrs):
    """The reference on numpy, after checking that torch gives the same."""
    ours = reference(name)(np, *(None if a is None else a.copy() for a in arrays), **attrs)
    theirs = reference(name)(
        torch, *(None if a is None else torch.from_numpy(a.copy()) for a in arrays), **attrs
    )
    for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (ours, theirs)), strict=True):
        assert str(b.dtype) == f"torch.{a.dtype}"
        np.testing.assert_allclose(a, b.numpy(), rtol=2e-6, atol=2e-6)
    return ours


def near(ours, theirs, tolerance=2e-6):
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=tolerance, atol=tolerance)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def t(array):
    return torch.from_numpy(array)


def test_rmsnorm(rng) -> None:
    x, w = normal(rng, 3, 2, 8), normal(rng, 8)
    near(both("rmsnorm", x, w, eps=1e-5), F.rms_norm(t(x), (8,), t(w), 1e-5))


@pytest.mark.parametrize("bias", [False, True])
def test_linear(rng, bias) -> None:
    x, w, b = normal(rng, 3, 8), normal(rng, 5, 8), normal(rng, 5) if bias else None
    near(both("linear", x, w, b), F.linear(t(x), t(w), None if b is None else t(b)))


def test_half_precision_is_summed_in_float32(rng) -> None:
    x = np.ones((1, 4096), np.float16)
    w = np.full((1, 4096), 1 + 2**-10, np.float16)
    y = both("linear", x, w)
    assert y.dtype == np.float16
    assert y[0, 0] == 4100  # float16 sums would stall at 4096


def test_float64_stays(rng) -> None:
    x = normal(rng, 2, 8).astype(np.float64)
    y = both("rmsnorm", x, np.ones(8), eps=0.0)
    exact = x / np.sqrt((x * x).mean(-1, keepdims=True))
    np.testing.assert_allclose(y, exact, rtol=1e-15)


@pytest.mark.parametrize("r", [4, 3])
def test_rope(rng, r) -> None:
    x, pos = normal(rng, 5, 2, 8), np.array([0, 3, 3, 900, 2], np.int32)
    inv = (10000.0 ** (-np.arange(r) / r)).astype(np.float32)
    y = both("rope", x, pos, inv, mscale=1.5)
    # Independent: a rotation in the complex plane of (j, j + r) pairs.
    pair = torch.complex(t(x[..., :r]).double(), t(x[..., r : 2 * r]).double())
    turn = torch.polar(torch.tensor(1.5).double(), t(pos.astype("f")[:, None, None] * inv).double())
    turned = pair * turn
    near(y, torch.cat((turned.real, turned.imag, t(x[..., 2 * r :]).double()), -1), 1e-6)


def test_elementwise(rng) -> None:
    x, y = normal(rng, 3, 4) * 30, normal(rng, 3, 4)
    near(both("add", x, y), t(x) + t(y))
    near(both("scale", x, by=0.3), t(x) * 0.3)
    near(both("softcap", x, cap=20.0), 20 * torch.tanh(t(x) / 20))
    near(both("glu", x, y, act="silu"), F.silu(t(x)) * t(y))
    near(both("glu", x, y, act="gelu_tanh"), F.gelu(t(x), approximate="tanh") * t(y))
    assert both("allreduce", x, group="tp").tolist() == x.tolist()


def test_gates_are_quiet_and_exact_far_out() -> None:
    x = np.array([[-1e4, -88.0, -20.0, 0.0, 20.0, 1e4]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = both("glu", x, np.ones_like(x), act="silu")
    near(y, F.silu(t(x)), 1e-6)
    assert abs(y[0, 2] / (-20 / (1 + np.exp(20.0))) - 1) < 1e-6


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("renorm", [False, True])
def test_route(rng, score, renorm) -> None:
    x = normal(rng, 6, 9)
    w, i = both("route", x, renorm=renorm, score=score, A=3)
    scores = torch.softmax(t(x), -1) if score == "softmax" else torch.sigmoid(t(x))
    top = torch.topk(scores, 3)
    assert i.tolist() == top.indices.tolist()
    assert i.dtype == np.int32
    near(w, top.values / top.values.sum(-1, keepdim=True) if renorm else top.values)


def test_route_gives_ties_to_the_lower_index() -> None:
    x = np.array([[0, 2, 2, 2, 1, 2], [0, 0, 0, 0, 0, 0], [900, 901, 0, 901, 0, 0]], np.float32)
    _, i = both("route", x, renorm=False, score="softmax", A=3)
    assert i.tolist() == [[1, 2, 3], [0, 1, 2], [1, 3, 0]]


def test_experts_against_a_loop_over_tokens(rng) -> None:
    x, w = normal(rng, 5, 4), normal(rng, 5, 2)
    i = np.array([[0, 2], [2, 0], [3, 2], [0, 3], [2, 3]], np.int32)  # expert 1 is never used
    wg, wu, wd = normal(rng, 4, 6, 4), normal(rng, 4, 6, 4), normal(rng, 4, 4, 6)
    wg[1] = np.nan
    y = both("experts", x, w, i, wg, wu, wd, act="silu")
    for token in range(5):
        total = torch.zeros(4)
        for weight, e in zip(w[token], i[token], strict=True):
            inner = F.silu(t(wg[e]) @ t(x[token])) * (t(wu[e]) @ t(x[token]))
            total += float(weight) * (t(wd[e]) @ inner)
        near(y[token], total, 1e-5)


def test_lookups_split_and_view(rng) -> None:
    table, ids = normal(rng, 5, 3), np.array([4, 0, 4], np.int32)
    assert both("embed", table, ids).tolist() == table[[4, 0, 4]].tolist()
    assert both("take", table, ids).tolist() == table[[4, 0, 4]].tolist()
    parts = both("split", table, sizes=(1, 2))
    assert [p.tolist() for p in parts] == [table[:, :1].tolist(), table[:, 1:].tolist()]
    assert both("view", table, shape=(3, 5)).tolist() == table.reshape(3, 5).tolist()


@pytest.mark.parametrize(("op", "bad"), [("embed", -1), ("embed", 5), ("take", 5), ("take", -1)])
def test_a_lookup_never_wraps_around(rng, op, bad) -> None:
    with pytest.raises(GraphError, match=f"{op}: .* holds {bad}"):
        reference(op)(np, normal(rng, 5, 3), np.array([0, bad], np.int32))


def test_kv_write_writes_every_token_in_place(rng) -> None:
    kv = np.zeros((3, 2, 4, 1, 2), np.float32)
    k, v = normal(rng, 3, 1, 2), normal(rng, 3, 1, 2)
    slots = np.array([11, 0, 6], np.int32)
    out = reference("kv_write")(np, kv, k, v, slots)
    assert out is kv
    for token, (page, offset) in enumerate([(2, 3), (0, 0), (1, 2)]):
        assert kv[page, 0, offset].tolist() == k[token].tolist()
        assert kv[page, 1, offset].tolist() == v[token].tolist()
    assert np.count_nonzero(kv) == 12
    both("kv_write", kv, k, v, slots)


@pytest.mark.parametrize("slots", [[0, 12], [-1, 3], [5, 5]])
def test_kv_write_ignores_nothing(rng, slots) -> None:
    args = (np.zeros((3, 2, 4, 1, 2), "f"), *normal(rng, 2, 2, 1, 2), np.array(slots, np.int32))
    with pytest.raises(GraphError, match="kv_write: slots holds"):
        reference("kv_write")(np, *args)


def paged(rng, lengths, heads, d, size, pool):
    """Keys and values scattered over pages; unused places hold what must never be read."""
    kv = np.full((pool, 2, size, heads, d), np.nan, np.float32)
    free = rng.permutation(pool).tolist()
    table = np.zeros((len(lengths), max(-(-n // size) for n in lengths) or 1), np.int32)
    plain = []
    for s, length in enumerate(lengths):
        both_ = normal(rng, 2, length, heads, d)
        plain.append(both_)
        for position in range(length):
            if position % size == 0:
                table[s, position // size] = free.pop()
            kv[table[s, position // size], :, position % size] = both_[:, position]
    return kv, table, plain


ragged = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(ragged, st.sampled_from([(1, 1), (2, 2), (2, 6)]), st.sampled_from([0, 1, 4]), st.booleans())
def test_attention_against_torch(sequences, heads, window, capped) -> None:
    """(new, old) tokens a sequence: prefill (old = 0), decode (new = 1), chunks, empty ones."""
    rng = np.random.default_rng(3)
    (kv_heads, q_heads), d, size = heads, 8, 4
    news = [new for new, _ in sequences]
    lengths = [new + old for new, old in sequences]
    kv, table, plain = paged(rng, lengths, kv_heads, d, size, 20)
    starts = np.concatenate([[0], np.cumsum(news)]).astype(np.int32)
    q = normal(rng, int(starts[-1]) + 1, q_heads, d)  # the last row belongs to nobody
    softcap = 3.0 if capped else 0.0
    o = both(
        "attention", q, kv, starts, np.array(lengths, np.int32), table,
        scale=0.4, window=window, softcap=softcap,
    )  # fmt: skip
    assert not o[-1].any()
    for s, (new, length) in enumerate(zip(news, lengths, strict=True)):
        if not new:
            continue
        rows = t(q[starts[s] : starts[s + 1]]).transpose(0, 1)
        keys, values = (t(x).transpose(0, 1) for x in plain[s])
        keys, values = (x.repeat_interleave(q_heads // kv_heads, 0) for x in (keys, values))
        ahead = torch.arange(length)[None] - torch.arange(length - new, length)[:, None]
        seen = (ahead <= 0) & ((ahead > -window) if window else True)
        if capped:
            scores = softcap * torch.tanh(rows @ keys.transpose(1, 2) * 0.4 / softcap)
            expected = torch.softmax(scores.masked_fill(~seen, -torch.inf), -1) @ values
        else:
            expected = F.scaled_dot_product_attention(rows, keys, values, attn_mask=seen, scale=0.4)
        near(o[starts[s] : starts[s + 1]], expected.transpose(0, 1), 1e-5)


def test_attention_survives_huge_scores(rng) -> None:
    kv, table, plain = paged(rng, [5], 1, 4, 4, 3)
    q = normal(rng, 5, 1, 4) * 1e18
    starts, lens = np.array([0, 5], np.int32), np.array([5], np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        o = both("attention", q, kv, starts, lens, table, scale=1e10)
    assert np.isfinite(o).all()
    np.testing.assert_allclose(o[0], plain[0][1, 0], rtol=1e-6)


def test_long_prefill_is_scored_in_blocks_without_a_seam(rng) -> None:
    length = 600
    kv, table, _ = paged(rng, [length], 1, 4, 16, 40)
    q = normal(rng, length, 2, 4)
    starts, lens = np.array([0, length], np.int32), np.array([length], np.int32)
    whole = reference("attention")(np, q, kv, starts, lens, table, scale=0.5)
    for at in (0, 255, 256, 511, 512, 599):
        one = reference("attention")(
            np, q[at : at + 1], kv, starts // length, np.array([at + 1], np.int32), table, scale=0.5
        )
        np.testing.assert_allclose(whole[at], one[0], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("starts", "lens", "table", "message"),
    [
        ([0, 2], [1], [[0]], "owns tokens 0:2 of 2 and has length 1"),
        ([0, 3], [3], [[0]], "owns tokens 0:3 of 2"),
        ([0, 2], [5], [[0]], "has length 5, its table holds 1 pages of 4"),
        ([0, 2], [2], [[3]], "names page 3 or 3 of 3"),
        ([0, 2], [2], [[-1]], "names page -1"),
    ],
)
def test_attention_refuses_a_batch_that_contradicts_itself(starts, lens, table, message) -> None:
    args = (np.ones((2, 1, 4), "f"), np.ones((3, 2, 4, 1, 4), "f"))
    batch = (np.array(x, np.int32) for x in (starts, lens, table))
    with pytest.raises(GraphError, match=f"sequence 0 {message}"):
        reference("attention")(np, *args, *batch, scale=1.0)


def test_every_op_has_roles_for_its_axes() -> None:
    for op in OPS.values():
        letters = {a for o in op.ins for a in (*o.axes, o.group) if isinstance(a, str)}
        assert {a.removesuffix("+1") for a in letters} <= set(op.roles), op.name
