"""The Triton kernels of a decode step against plain torch, and graphs against steps without.

On a GPU, or by Triton's interpreter: TRITON_INTERPRET=1 python -m pytest tests/backends/…
"""

# What follows the skips may be imported only where it can run.
# ruff: noqa: E402

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
CUDA = torch.cuda.is_available()
if not CUDA and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("neither a CUDA device nor the interpreter", allow_module_level=True)

import toy

from treadle.backends.table import backend
from treadle.backends.torch import attend_triton, decode_triton
from treadle.backends.torch.attention import Pool
from treadle.backends.torch.kernels import trigonometry, turn
from treadle.limits import Limits

DEVICE = torch.device("cuda" if CUDA else "cpu")


def some(seed: int, *shape: int) -> Any:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=made).to(DEVICE)


def near(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5)


def normed(x: Any, w: Any) -> Any:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * w


def test_norms_and_gates() -> None:
    x, y, w = some(1, 3, 23), some(2, 3, 23), some(3, 23)
    near(decode_triton.rmsnorm(w, 1e-5)(x), normed(x, w))
    total, out = decode_triton.add_rmsnorm(w, 1e-5)(x, y)
    near(total, x + y)
    near(out, normed(x + y, w))
    h = some(4, 2, 2 * 1500)
    g, u = h[:, :1500], h[:, 1500:]
    near(decode_triton.gate("silu")(h), torch.nn.functional.silu(g) * u)
    gelu = torch.nn.functional.gelu(g, approximate="tanh")
    near(decode_triton.gate("gelu_tanh")(h), gelu * u)


@pytest.mark.parametrize("act", ["silu", "gelu_tanh"])
def test_products_of_one_row(act: str) -> None:
    x, w = some(11, 1, 1100), some(12, 2 * 33, 1100) / 33
    torch.testing.assert_close(decode_triton.row_product(x, w), x @ w.T, rtol=1e-4, atol=1e-4)
    y = torch.randn(1, len(w), device=x.device)
    torch.testing.assert_close(
        decode_triton.row_product(x, w, y), x @ w.T + y, rtol=1e-4, atol=1e-4
    )
    want = decode_triton.gate(act)(x @ w.T)
    torch.testing.assert_close(decode_triton.row_gate(x, w, act), want, rtol=1e-4, atol=1e-4)
    ids = torch.tensor([3, 65, 3], device=DEVICE)
    assert torch.equal(decode_triton.embed(ids, w), w[ids])


def test_the_greedy_token_is_the_lowest_of_equals_and_faults_are_told() -> None:
    x = some(5, 5, 5000)
    x[0, [4321, 77, 3000]] = 9.0
    x[1, 4999] = float("nan")
    x[2, 0] = -float("inf")
    x[3, 4999] = 9.0
    x[4] = -5.0
    found = decode_triton.greedy(x, 2).tolist()
    assert found == [[77, -1, -1, 4999, 0], [0, 2, 2, 0, 0]]


def test_a_step_is_unpacked_and_names_earlier_rows() -> None:
    meta = torch.tensor([[5, -1, -3], [7, 8, 9], [1, 2, 3], [0, 0, 0]], dtype=torch.int32)
    out = [torch.empty(3, dtype=torch.int64, device=DEVICE) for _ in range(3)]
    decode_triton.unpack(meta.to(DEVICE), torch.tensor([41, 42, -1], device=DEVICE), *out)
    assert [o.tolist() for o in out] == [[5, 41, 0], [7, 8, 9], [1, 2, 3]]


@pytest.mark.parametrize(("r", "norm"), [(6, False), (5, True), (2, True)])
def test_the_prologue_norms_turns_and_stores(r: int, norm: bool) -> None:
    T, H, K, d = 3, 4, 2, 12
    packed, weights = some(6, T, (H + 2 * K) * d), some(7, H + K, d)
    freq = torch.rand(r, device=DEVICE)
    pos, slots = (torch.tensor(a, device=DEVICE) for a in ([0, 900, 31], [5, 0, 7]))
    angles = decode_triton.angles(freq, pos, 1.25)
    want = trigonometry(freq.cpu(), 1.25, d)(pos.cpu())
    for a, b in zip(angles, want, strict=False):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-4)
    trig = (*angles, r, 2 * r == d)
    pool = Pool(4, K, d)
    pool.fill(2, torch.float32, DEVICE)
    got = attend_triton.prologue(packed, trig, slots, weights if norm else None, 1e-5, H, pool)
    heads = packed.view(T, -1, d)
    both = normed(heads[:, : H + K], weights) if norm else heads[:, : H + K]
    both = turn(both, trig)
    near(got, both[:, :H])
    near(pool.keys[slots], both[:, H:])
    near(pool.values[slots], heads[:, H + K :])
    assert int((pool.keys.abs().sum((1, 2)) > 0).sum()) == T  # nothing but the slots


@pytest.mark.parametrize(("window", "cap"), [(0, 0.0), (5, 0.0), (0, 2.0)])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1)])
def test_attention_over_pages(heads: tuple[int, int], window: int, cap: float) -> None:
    (H, K), d, size, lens = heads, 12, 4, [70, 0, 1, 9]
    pool = Pool(size, K, d)
    pool.fill(80, torch.float32, DEVICE)
    pool.keys.copy_(some(8, *pool.keys.shape))
    pool.values.copy_(some(9, *pool.values.shape))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))[: 4 * 18]
    table = order.view(4, 18).to(DEVICE, torch.int32)
    q = some(10, 4, H, d)
    lengths = torch.tensor(lens, dtype=torch.int32, device=DEVICE)
    for layout in (table, table.t().contiguous().t()):
        got = attend_triton.attend(q, pool, layout, lengths, 0.3, window, cap)
        for s, length in enumerate(lens):
            at = torch.arange(max(0, length - window) if window else 0, length, device=DEVICE)
            at = table[s].long()[at // size] * size + at % size
            scores = torch.einsum("kgd,lkd->kgl", q[s].view(K, -1, d), pool.keys[at]) * 0.3
            scores = cap * torch.tanh(scores / cap) if cap else scores
            o = torch.einsum("kgl,lkd->kgd", scores.softmax(-1), pool.values[at])
            near(got[s], o.reshape(H, d))


@pytest.mark.skipif(not CUDA, reason="graphs need a CUDA device")
@pytest.mark.parametrize("name", sorted(toy.SPECS))
def test_replayed_steps_equal_steps_without_a_graph(name: str) -> None:
    graph = toy.build(toy.SPECS[name])
    weights = toy.weights(graph)
    made: list[Any] = []
    for graphs in (False, True):
        exe: Any = backend("torch", device="cuda", dtype="f32", graphs=graphs).compile(
            graph, weights, Limits(), pages=40
        )
        pages, rows = toy.scattered(40), []
        prompts = {k: [*range(i, i + n)] for i, (k, n) in enumerate((("a", 9), ("b", 5), ("c", 2)))}
        exe.forward(pages.batch(prompts, rows="last"))
        for step in range(6):
            work = {k: [(7 * step + i) % toy.V] for i, k in enumerate("abc"[: 1 + step % 3])}
            handle = exe.forward(pages.batch(work))
            drawn = exe.sample(handle, None, toy.params(handle.rows)).wait()
            logits = handle.call.wait().cpu()
            rows.append(logits)
            assert drawn.ids.tolist() == logits.argmax(-1).tolist()
            # Ids that name the draw before this one.
            named = exe.forward(pages.batch({k: [-1 - i] for i, k in enumerate(work)}))
            rows.append(named.call.wait().cpu())
        made.append((rows, exe.stats()["graphs"]))
        exe.close()
    for got, want in zip(made[1][0], made[0][0], strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()
    counts = made[1][1]
    if "moe" in name:
        assert "experts" in counts
    else:
        assert counts["replayed"] == 12, counts
        assert counts["captured"] == 3, counts
