"""Definitions: none drifts from its op, none from the published signature of its name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.graph import FUSED, OPS, lookup
from treadle.kernels.definitions import shipped
from treadle.kernels.definitions.public import gqa_decode, gqa_prefill, gqa_ragged, public, sampling
from treadle.kernels.definitions.quantised import gemm_w4g32
from treadle.kernels.definitions.shipped import own
from treadle.kernels.schema import Definition, pretty, refused_by_v1, sig, write

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2] / "kernels"
TINY: dict[str, Any] = {
    "D": 12, "H": 4, "K": 2, "d": 6, "F": 10, "V": 17, "B": 4, "r": 2,
    "Hd": ("H", "d"), "Kd": ("K", "d"), "E": 5, "A": 2, "O": 7, "I": 9,
}  # fmt: skip
TOKENS, SEQUENCES, PAGES, TABLE = 6, 3, 9, 3


def reference(definition: Definition) -> Any:
    """`run` of a definition of our own making."""
    space: dict[str, Any] = {}
    exec(compile(definition.reference, definition.name, "exec"), space)
    return space["run"]


def operands(definition: Definition, names: list[str], generator: Any) -> list[Any]:
    """Valid inputs of an op by the names its declaration uses."""
    sizes = {"T": TOKENS, "S": SEQUENCES, "P": PAGES, "L": TABLE, "R": 2, "S_plus_1": SEQUENCES + 1}
    fixed = {
        "starts": [0, 2, 2, TOKENS],
        "lens": [9, 3, 4],
        "rows": [5, 1],
        "slots": [3, 30, 12, 13, 0, 35],
        "pos": [0, 7, 1, 2, 3, 900],
    }
    made: list[Any] = []
    for name in names:
        tensor = definition.inputs[name]
        shape = [sizes.get(a) or definition.axes[a].value for a in tensor.shape or []]
        if name in fixed:
            made.append(torch.tensor(fixed[name], dtype=torch.int32))
        elif name == "table" and tensor.dtype == "int32":
            made.append(torch.randperm(PAGES, generator=generator).reshape(shape).int())
        elif tensor.dtype == "int32":  # ids below every count there is, routing without doubles
            order = torch.rand(*shape, 5, generator=generator).argsort(-1)[..., 0]
            if name == "i":
                order = torch.rand(shape[0], 5, generator=generator).argsort(-1)[:, : shape[1]]
            made.append(order.int())
        else:
            made.append(torch.randn(shape, generator=generator, dtype=torch.float32))
    return made


@pytest.mark.parametrize("op", [*OPS, *FUSED])
def test_every_op_yields_a_definition_that_computes_what_it_does(op: str) -> None:
    definition = own(op, "f32", TINY, 1e-5, "tiny")
    assert not refused_by_v1(definition)
    assert definition.treadle is not None
    attrs = dict(definition.treadle["attrs"])
    numbers = {"A": 2, "shape": (-1, 4, 6), "sizes": (24, 12, 12)}
    given = {key: numbers.get(key, value) for key, value in attrs.items()}
    declared = lookup(op)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        names = [n for n in declared.in_names if n in definition.inputs]
        inputs = operands(definition, names, generator)
        kept = [t.clone() for t in inputs]
        found = reference(definition)(*inputs)
        assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True)), "input changed"
        wanted = declared.compute(torch, *inputs, **given)
        found, wanted = (v if isinstance(v, tuple | list) else (v,) for v in (found, wanted))
        assert len(found) == len(wanted) == len(definition.outputs)
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype
            torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5)


def test_what_is_shipped_is_what_the_ops_say() -> None:
    made = {d.name: d for d in shipped()}
    files = {p.stem: p for p in (ROOT / "definitions").rglob("*.json")}
    assert set(made) == set(files)
    drifted = [n for n, d in made.items() if pretty(write(d)) != files[n].read_bytes()]
    assert not drifted, "run: treadle kernels generate"
    ops = {(d.treadle or {}).get("op") for d in made.values()}
    assert ops >= {*OPS, *FUSED}


def test_public_names_have_the_published_signatures() -> None:
    published = json.loads((Path(__file__).parent / "data/public_sigs.json").read_text())
    ours = {d.name: sig(msgspec.structs.replace(d, treadle=None)) for d in public()}
    assert len(ours) == 115
    assert ours == published


def attention_inputs(page: int, queries: list[int], lens: list[int]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(page)
    counts = [math.ceil(n / page) for n in lens]
    order = torch.randperm(sum(counts) + 2, generator=generator)[: sum(counts)].int()
    k, v = torch.randn(2, sum(counts) + 2, page, 2, 128, generator=generator)
    bounds = [0, *torch.tensor(counts).cumsum(0).tolist()]
    starts = [0, *torch.tensor(queries).cumsum(0).tolist()]
    width = max(counts)
    table = torch.zeros(len(lens), width, dtype=torch.int32)
    for s, (first, count) in enumerate(zip(bounds, counts, strict=False)):
        table[s, :count] = order[first : first + count]
    q = torch.randn(sum(queries), 4, 128, generator=generator)
    kv = torch.stack((k, v), 1)
    last = [n - (c - 1) * page for n, c in zip(lens, counts, strict=True)]

    def ints(values: list[int]) -> Any:
        return torch.tensor(values, dtype=torch.int32)

    scale = 128**-0.5
    wanted = OPS["attention"].compute(torch, q, kv, ints(starts), ints(lens), table, scale=scale)
    return {
        "q": q, "k": k, "v": v, "starts": ints(starts), "indptr": ints(bounds), "order": order,
        "last": ints(last), "scale": scale, "wanted": wanted,
    }  # fmt: skip


@pytest.mark.parametrize("page", [1, 64])
def test_decode_and_prefill_are_views_of_attention(page: int) -> None:
    lens = [70, 1, 64, 130]
    a = attention_inputs(page, [1, 1, 1, 1], lens)
    last = [a["last"]] if page > 1 else []
    run = reference(gqa_decode(4, 2, page))
    out, lse = run(a["q"], a["k"], a["v"], a["indptr"], a["order"], *last, a["scale"])
    torch.testing.assert_close(out, a["wanted"])
    run = reference(gqa_prefill(4, 2, page))
    both = run(a["q"], a["k"], a["v"], a["starts"], a["indptr"], a["order"], *last, a["scale"])
    torch.testing.assert_close(both[0], out)
    torch.testing.assert_close(both[1], lse)
    weights = torch.exp2(lse)  # the log-sum-exp has base 2
    scores = (a["q"][1].view(2, 2, 128) * a["k"][a["order"][a["indptr"][1]]][0][:, None]).sum(-1)
    torch.testing.assert_close(weights[1], torch.exp(scores * a["scale"]).flatten())
    b = attention_inputs(page, [3, 1, 64, 5], lens)
    out, _ = run(b["q"], b["k"], b["v"], b["starts"], b["indptr"], b["order"],
                 *([b["last"]] if page > 1 else []), b["scale"])  # fmt: skip
    torch.testing.assert_close(out, b["wanted"])
    if page == 1:
        k, v = (b[n][b["order"].long()][:, 0] for n in "kv")
        ragged = reference(gqa_ragged(4, 2, 128))
        found, _ = ragged(b["q"], k, v, b["starts"], b["indptr"], b["scale"])
        torch.testing.assert_close(found, b["wanted"])


def test_sampling_draws_from_what_the_filters_leave() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).expand(400, 4).contiguous()

    def drawn(k: int | None, p: float | None) -> set[int]:
        args = [torch.full((400,), k, dtype=torch.int32)] if k is not None else []
        args += [torch.full((400,), p)] if p is not None else []
        run = reference(sampling(4, k is not None, p is not None))
        return set(run(probs, *args).tolist())

    assert drawn(2, None) == {1, 3}
    assert drawn(0, None) == {0, 1, 2, 3}
    assert drawn(None, 0.5) == {1, 3}
    assert drawn(None, 0.0) == {1}
    assert drawn(3, 0.9) == {1, 2, 3}  # after top_k the masses are 4/9, 3/9, 2/9
    assert drawn(2, 0.5) == {1}


def test_w4g32_reads_codes_where_its_layout_puts_them() -> None:
    N, K = 3, 256
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (N, K), generator=generator, dtype=torch.uint8)
    scales = torch.rand(N, K // 32, generator=generator).half()
    rows = torch.zeros(N, K // 2 + K // 16, dtype=torch.uint8)
    for n in range(N):
        for column in range(K):  # straight from the words of the layout's description
            block, inside = divmod(column, 128)
            group, place = divmod(inside, 32)
            lane, c = divmod(place, 8)
            nibble = c // 2 + 4 * (c % 2)
            byte = block * 64 + lane * 16 + group * 4 + nibble // 2
            rows[n, byte] |= codes[n, column] << (4 * (nibble % 2))
    rows[:, K // 2 :] = scales.view(torch.uint8)
    w = (codes.double() - 8) * scales.double().repeat_interleave(32, 1)
    x = torch.randn(2, K, generator=generator, dtype=torch.float64)
    found = reference(gemm_w4g32(N, K, "tiny"))(x, rows.view(torch.int8))
    torch.testing.assert_close(found, x @ w.T)
