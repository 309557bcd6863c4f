"""FlashInfer's API with a table behind it: same answers, in-place arguments really change."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "kernels"))
import planted

from treadle.compat import flashinfer as adapter
from treadle.errors import NotFound
from treadle.kernels.apply import Policy, enabled
from treadle.kernels.definitions.public import fused_add_rmsnorm, gqa_decode, rmsnorm
from treadle.kernels.store import Dataset

D = 2048
NORM, FUSED = rmsnorm(D), fused_add_rmsnorm(D)
DECODES = [gqa_decode(5, 1, 1), gqa_decode(32, 8, 64)]


def norm(x, w, eps):
    v = x.float()
    return (v * torch.rsqrt(v.square().mean(-1, keepdim=True) + eps) * w.float()).to(x.dtype)


@pytest.fixture
def library(monkeypatch):
    """A stand-in with FlashInfer's module layout and signatures; it counts its own calls."""
    calls = []

    def rms(input, weight, eps=1e-6, out=None, enable_pdl=None):
        calls.append("rmsnorm")
        made = norm(input, weight, eps)
        return made if out is None else out.copy_(made)

    def fused(input, residual, weight, eps=1e-6, enable_pdl=None):
        calls.append("fused_add_rmsnorm")
        total = input.float() + residual.float()
        residual.copy_(total)
        input.copy_(norm(total, weight, eps))

    class BatchDecodeWithPagedKVCacheWrapper:
        def __init__(self, float_workspace_buffer, kv_layout="NHD"):
            self._kv_layout = kv_layout

        def plan(self, indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim,
                 page_size, pos_encoding_mode="NONE", window_left=-1, logits_soft_cap=None,
                 q_data_type="float16", kv_data_type=None, data_type=None, sm_scale=None,
                 rope_scale=None, rope_theta=None, non_blocking=True):  # fmt: skip
            self.given = (indptr, indices, last_page_len, sm_scale or head_dim**-0.5, page_size)

        def run(self, q, paged_kv_cache, *args, q_scale=None, k_scale=None, v_scale=None,
                out=None, lse=None, return_lse=False, enable_pdl=None):  # fmt: skip
            calls.append("decode")
            indptr, indices, last, scale, page = self.given
            d = gqa_decode(q.shape[1], paged_kv_cache[0].shape[2], page)
            space = {}
            exec(d.reference, space)
            more = (last,) if page > 1 else ()
            o, s = space["run"](q, *paged_kv_cache, indptr, indices, *more, scale)
            return (o, s) if return_lse else o

    package, norms, decode = (types.ModuleType(n) for n in ("fake_fi", "fake_fi.norm",
                                                            "fake_fi.decode"))  # fmt: skip
    norms.rmsnorm, norms.fused_add_rmsnorm = rms, fused
    decode.BatchDecodeWithPagedKVCacheWrapper = BatchDecodeWithPagedKVCacheWrapper
    package.rmsnorm, package.norm, package.decode = rms, norms, decode
    package.__path__ = []
    for module in (package, norms, decode):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    package.calls = calls
    return package


@pytest.fixture
def table(tmp_path):
    data = Dataset(tmp_path)
    for d in (NORM, FUSED, *DECODES):
        data.add(d)
        data.add(planted.solution(d, f"s_{d.name}", d.reference))
        axes = dict.fromkeys((n for n, a in d.axes.items() if not hasattr(a, "value")), 4)
        axes |= {"len_indptr": 5, "num_kv_indices": 12} if d in DECODES else {}
        data.append(planted.trace(d, f"s_{d.name}", axes), "planter", flush=False)
    return planted.table(data, Policy(shadow=1)), data.definitions().values()


def hits(table, name):
    return table.counters()[name]["hit"]


def settled(table, sites, name, ask):
    """Runs `ask` until what it resolves is built, then once more, which hits once."""
    with enabled(table, sites):
        ask()  # may hit as well: the build is over when it is over
        assert table.wait()
        before = hits(table, name)
        found = ask()
    assert hits(table, name) == before + 1, table.counters()
    return found


def test_norms_are_taken_with_their_epsilon_and_wherever_they_are_exported(library, table):
    table, definitions = table
    sites = adapter.sites(definitions, "fake_fi")
    before = dict(vars(library)), dict(vars(library.norm))
    x, w = torch.randn(4, D).bfloat16(), torch.randn(D).bfloat16()

    def ask():
        out = torch.empty_like(x)
        found = [
            library.rmsnorm(x, w),
            library.norm.rmsnorm(x, w, out=out),
            out,
            library.norm.rmsnorm(x, w, 1e-5),
            library.norm.rmsnorm(x[:, :128], w[:128]),
        ]
        assert found[1].data_ptr() == out.data_ptr()
        return found  # fmt: skip

    with enabled(table, sites):
        ask()
        assert table.wait()
        earlier = hits(table, NORM.name)
        found = ask()
    assert (dict(vars(library)), dict(vars(library.norm))) == before
    for got, eps in zip(found[:4], (1e-6, 1e-6, 1e-6, 1e-5), strict=True):
        assert torch.allclose(got.float(), norm(x, w, eps).float(), rtol=0.02)
    counts = table.counters()[NORM.name]
    assert counts["hit"] == earlier + 2
    (entry,) = counts["entries"].values()
    assert (entry["state"], entry["shadow"]) == ("ready", counts["hit"])


def test_the_fused_norm_changes_both_of_its_arguments(library, table):
    table, definitions = table
    w = torch.randn(D).bfloat16()
    first = torch.randn(2, 4, D).bfloat16()

    def ask():
        x, residual = first[0].clone(), first[1].clone()
        assert library.norm.fused_add_rmsnorm(x, residual, w) is None
        return x, residual

    want = ask()
    got = settled(table, adapter.sites(definitions, "fake_fi"), FUSED.name, ask)
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=0.02, atol=0.02)
    (entry,) = table.counters()[FUSED.name]["entries"].values()
    assert entry["state"] == "ready", entry


@pytest.mark.parametrize(("heads", "kv", "page"), [(5, 1, 1), (32, 8, 64)])
def test_decode_follows_its_plan(library, table, heads, kv, page):
    table, definitions = table
    torch.manual_seed(0)
    q = torch.randn(4, heads, 128).bfloat16()
    cache = tuple(torch.randn(12, page, kv, 128).bfloat16() for _ in range(2))
    indptr = torch.tensor([0, 2, 5, 9, 12], dtype=torch.int32)
    indices = torch.randperm(12).int()
    last = torch.tensor([page, 1, page // 2 + 1, page], dtype=torch.int32).clamp(max=page)
    plan = (indptr, indices, last, heads, kv, 128, page)

    def ask(*, window=-1, **more):
        wrapper = library.decode.BatchDecodeWithPagedKVCacheWrapper(None)
        wrapper.plan(*plan, window_left=window)
        return wrapper.run(q, cache, **more)

    want = ask(return_lse=True)
    sites = adapter.sites(definitions, "fake_fi")
    name = f"gqa_paged_decode_h{heads}_kv{kv}_d128_ps{page}"
    got = settled(table, sites, name, lambda: ask(return_lse=True))
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=0.02, atol=0.02)
    (entry,) = table.counters()[name]["entries"].values()
    assert entry["state"] == "ready", entry
    library.calls.clear()
    earlier = hits(table, name)
    with enabled(table, sites):
        ask()
        ask(window=7)  # a plan that the definition does not know
        ask(k_scale=2.0)
    assert hits(table, name) == earlier + 1
    assert library.calls == ["decode"] * 3  # one is the check of the hit


def test_values_for_flashinfers_own_table(table):
    table, _ = table
    made = adapter.trace_solutions(table, {NORM.name: lambda x, w: norm(x, w, 1e-6)})
    assert table.wait()
    x, w = torch.randn(4, D).bfloat16(), torch.randn(D).bfloat16()
    got = made[NORM.name](hidden_states=x, weight=w)
    assert torch.allclose(got.float(), norm(x, w, 1e-6).float(), rtol=0.02)
    assert hits(table, NORM.name) == 1
    with pytest.raises(NotFound, match="no_such_package is not installed"):
        adapter.sites([], "no_such_package")
