"""Correctness: dtypes against torch, the tolerance's table, oracles, samplers, constraints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from treadle.errors import InvalidRequest
from treadle.kernels.check import Judge, constraints, dtypes, inputs, sampler, sizes
from treadle.kernels.check.tolerance import compare
from treadle.kernels.definitions import shipped
from treadle.kernels.definitions.public import gqa_decode, sampling
from treadle.kernels.schema import AxisConst, Definition, RandomInput, Tensor, Workload, read

RNG = np.random.default_rng


def workload(definition: Definition, axes: dict[str, int]) -> Workload:
    return Workload(uuid="w", axes=axes, inputs={n: RandomInput() for n in definition.inputs})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_are_those_of_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    every = np.arange(1 << (16 if dtypes.stored(dtype).itemsize == 2 else 8))
    codes = every.astype(f"u{dtypes.stored(dtype).itemsize}")
    theirs = torch.from_numpy(codes.copy()).view(getattr(torch, dtype)).double().numpy()
    mine = dtypes.widen(codes.view(dtypes.stored(dtype)), dtype)
    np.testing.assert_array_equal(mine, theirs)
    largest = float(np.nanmax(np.where(np.isfinite(theirs), theirs, 0)))
    values = RNG(0).standard_normal(20_000) * np.exp(RNG(1).uniform(-20, 9, 20_000))
    values = np.clip(values, -largest, largest).astype(np.float32)
    cast = torch.from_numpy(values).to(getattr(torch, dtype)).double().numpy()
    np.testing.assert_array_equal(dtypes.widen(dtypes.narrow(values, dtype), dtype), cast)


def gemm(dtype: str, K: int, honest: str) -> bool:
    """Whether a GEMM computed in some way passes."""
    rng = RNG(3)
    a, b = (inputs.normal(rng, 16 * K, dtype).reshape(16, K) for _ in range(2))
    wide_a, wide_b = (dtypes.widen(t, dtype) for t in (a, b))
    high = wide_a @ wide_b.T

    def rounded(values: np.ndarray, kind: str = dtype) -> np.ndarray:
        return dtypes.widen(dtypes.narrow(values, kind), kind)

    f32a, f32b = wide_a.astype(np.float32), wide_b.astype(np.float32)
    low = rounded(f32a @ f32b.T)
    match honest:
        case "reordered":
            order = rng.permutation(K)
            found = rounded(np.add.reduce(f32a[:, None, order] * f32b[None, :, order], -1))
        case "sequential":
            sums = np.zeros((16, 16), np.float32)
            for k in range(K):
                sums += np.outer(f32a[:, k], f32b[:, k])
            found = rounded(sums)
        case "in bfloat16":
            found = rounded(rounded(wide_a, "bfloat16") @ rounded(wide_b, "bfloat16").T)
        case "short":
            found = rounded(wide_a[:, : K - K // 512] @ wide_b[:, : K - K // 512].T)
        case "32 partial sums":
            total = np.zeros_like(high)
            for part in np.split(np.arange(K), 32):
                total = rounded(total + rounded(wide_a[:, part] @ wide_b[:, part].T))
            found = total
        case _:  # one element off
            found = low.copy()
            at = np.unravel_index(np.abs(found).argmax(), found.shape)
            found[at] *= 1.05
    return compare(found, high, low, dtype).ok


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_tolerance_admits_reordering_and_nothing_less_exact(dtype: str) -> None:
    assert gemm(dtype, 2048, "reordered")
    assert gemm(dtype, 2048, "sequential")
    wrong = ["short", "one element", "32 partial sums"]
    wrong += ["in bfloat16"] if dtype != "bfloat16" else []
    assert [kind for kind in wrong if gemm(dtype, 2048, kind)] == (
        ["32 partial sums"] if dtype == "float32" else []
    )


def test_not_a_number_must_stand_where_the_oracle_has_it() -> None:
    high = np.array([[1.0, -np.inf, np.nan]])
    assert compare(high, high, high, "float32").ok
    for at, value in ((0, np.nan), (1, np.inf), (1, 0.0), (2, 0.0)):
        wrong = high.copy()
        wrong[0, at] = value
        assert not compare(wrong, high, high, "float32").ok


SMALL = {"T": 5, "S": 2, "P": 12, "L": 4, "S_plus_1": 3, "R": 2}


def test_every_oracle_agrees_with_the_text_of_its_definition() -> None:
    """Rung one, our op on numpy, against rung two, the definition's own torch text in float64."""
    pytest.importorskip("torch")
    from treadle.kernels.check import float64

    compared = 0
    for definition in shipped():
        judge = Judge(definition)
        if judge.oracle.rung != "op" or not definition.name.endswith(("f32", "f32_eps1e-05")):
            continue
        small = {n: min(a.value, 96) if isinstance(a, AxisConst) else 0
                 for n, a in definition.axes.items()}  # fmt: skip
        if any(isinstance(a, AxisConst) and small[n] != a.value
               for n, a in definition.axes.items()) and definition.op_type not in (
            "rmsnorm", "add_rmsnorm", "glu", "add", "scale", "softcap"):  # fmt: skip
            continue
        axes = {n: SMALL[n] for n, a in definition.axes.items() if not isinstance(a, AxisConst)}
        made = inputs.make(definition, workload(definition, axes), axes, RNG(2))
        kinds = {n: t.dtype for n, t in definition.inputs.items()}
        text = float64.load(definition.reference, definition.name)
        wide = float64.run(text, made, kinds, wide=True)
        for (name, mine), theirs in zip(judge.oracle.high(made).items(), wide, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12, err_msg=name)
        compared += 1
    assert compared >= 10


def test_the_oracle_leaves_inputs_alone_where_an_op_writes_them() -> None:
    """The next call of a batch shares its pool: it once saw the rows that the oracle had written
    for the call before, and an honest kernel was refused."""
    definition = next(d for d in shipped() if d.op_type == "kv_write" and d.inputs["kv"].dtype
                      == "float32")  # fmt: skip
    axes = {n: {"T": 5, "P": 9}.get(n, 4) for n, a in definition.axes.items()
            if not isinstance(a, AxisConst)}  # fmt: skip
    made = inputs.make(definition, workload(definition, axes), axes, RNG(3))
    before, judge = made["kv"].copy(), Judge(definition)
    judge.oracle.keep(frozenset({"kv"}))
    first, second = judge.expect(made), judge.expect(made | {"slots": made["slots"][::-1].copy()})
    assert np.array_equal(made["kv"], before)
    fresh = Judge(definition).expect(made | {"slots": made["slots"][::-1].copy()})
    for name, value in fresh.high.items():
        assert np.array_equal(second.high[name], value)
        assert not np.array_equal(first.high[name], value)


def test_foreign_text_runs_in_float64() -> None:
    pytest.importorskip("torch")
    definition = gqa_decode(4, 2, 1)
    axes = {"batch_size": 3, "num_pages": 9, "len_indptr": 4, "num_kv_indices": 20}
    made = inputs.make(definition, workload(definition, axes), axes, RNG(4))
    judge = Judge(definition)
    expected = judge.expect(made)
    assert judge.oracle.rung == "raised"
    output = expected.high["output"]
    assert np.abs(output - judge.oracle.rounded("output", output)).max() > 0
    stored = {
        name: dtypes.narrow(value, definition.outputs[name].dtype)
        for name, value in expected.low.items()
    }
    assert judge.judge(made, expected, stored, RNG(0)).ok
    stored["lse"][-1, 0] += 0.01
    assert not judge.judge(made, expected, stored, RNG(0)).ok


def test_routing_may_break_ties_but_not_the_order() -> None:
    definition = next(d for d in shipped() if d.name.startswith("route_softmax"))
    judge = Judge(definition)
    x = np.array([[1, 3, 3, 0, 0, 0, 0, 2]], np.float32)
    expected = judge.expect({"x": x})
    w = expected.high["w"].astype(np.float32)
    for chosen, ok in (([1, 2], True), ([2, 1], True), ([1, 1], False), ([1, 7], False),
                       ([7, 1], False), ([1, 8], False), ([-1, 1], False)):  # fmt: skip
        given = {"w": w, "i": np.array([chosen], np.int32)}
        assert judge.judge({"x": x}, expected, given, RNG(0)).ok is ok, chosen


def draws(mass: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.searchsorted(np.cumsum(mass), RNG(seed).random(n) * mass.sum()).clip(0, len(mass) - 1)


def test_samplers_are_tested_without_false_alarms() -> None:
    v, n = 4096, 50_000
    logits = RNG(1).standard_normal(v) * 3
    mass = np.exp(logits - logits.max())
    mass /= mass.sum()
    warm = np.exp((logits - logits.max()) / 1.03)
    warm /= warm.sum()
    biased = mass * 0.95
    biased[mass.argmax()] += 0.05

    def alarms(real: np.ndarray) -> int:
        counts = (np.bincount(draws(real, n, s), minlength=v) for s in range(20))
        return sum(sampler.follows(mass, c) < sampler.ALPHA for c in counts)

    assert alarms(mass) == 0
    assert alarms(warm) >= 19
    assert alarms(biased) >= 19
    cut = np.where(mass > np.quantile(mass, 0.2), mass, 0.0)
    assert sampler.follows(cut / cut.sum(), np.bincount(draws(mass, n, 9), minlength=v)) == 0.0


def test_audited_draws_of_many_distributions_are_even() -> None:
    definition = sampling(512, True, True)
    axes = {"batch_size": 64}
    found: dict[str, list[np.ndarray]] = {"honest": [], "greedy": []}
    judge = Judge(definition)
    for seed in range(20):
        made = inputs.make(definition, workload(definition, axes), axes, RNG(seed))
        mass = sampler.masses(made)
        for kind in found:
            rng = RNG([seed, 1])
            ids = np.array([draws(row, 1, int(rng.integers(1 << 30)))[0] for row in mass])
            if kind == "greedy":  # half of the draws are the most likely token
                ids = np.where(rng.random(64) < 0.5, mass.argmax(-1), ids)
            one = judge.judge(made, judge.expect(made), {"samples": ids}, RNG([seed, 2]))
            assert one.ok, one.reason
            found[kind].append(one.uniform)
    assert sampler.even(np.concatenate(found["honest"])) > 1e-3
    assert sampler.even(np.concatenate(found["greedy"])) < 1e-4


def test_chi_square_tail_has_known_values() -> None:
    for value, freedom, wanted in ((3.841, 1, 0.05), (18.307, 10, 0.05), (149.449, 100, 1e-3),
                                   (0.0, 3, 1.0), (1.0, 4, 0.9098)):  # fmt: skip
        assert sampler.chi_square_tail(value, freedom) == pytest.approx(wanted, rel=2e-3)


def test_constraints_are_evaluated() -> None:
    values = {"n": 4, "indptr": np.array([0, 2, 5]), "total": 5, "m": 3}
    for text, wanted in (("total == indptr[-1].item()", True), ("n == m + 1", True),
                         ("indptr.shape[0] == m", True), ("0 < m < n and m % 2 == 1", True),
                         ("indptr.max() < 5 or n == 5", False),
                         ("len(indptr) == n", False)):  # fmt: skip
        assert constraints.holds(text, values) is wanted, text
    for text in ("__import__('os')", "n.__class__", "unknown == 1", "indptr[n]", "n ** 9", "x ="):
        with pytest.raises(InvalidRequest):
            constraints.holds(text, values)


def test_inputs_are_legal_at_every_edge() -> None:
    """One definition a family, at small sizes and hidden edges; wide ones aside."""
    edges, seen = 0, set[str]()
    for definition in shipped():
        family = definition.name.partition("_h")[0].partition("_v")[0]
        known = sizes.all_axes(definition, dict.fromkeys(definition.axes, 1))
        wide = any(sizes.elements(t, known) > 1 << 16 for t in definition.inputs.values())
        if wide or family in seen:
            continue
        seen.add(family)
        base = {n: {"num_pages": 9, "num_kv_indices": 20, "total_kv": 40, "P": 30}.get(n, 4)
                for n, a in definition.axes.items() if not isinstance(a, AxisConst)}  # fmt: skip
        base = sizes.completed(definition, base)
        made = inputs.make(definition, workload(definition, base), base, RNG(1))
        for name, tensor in definition.inputs.items():
            if tensor.shape is not None:
                assert made[name].shape == sizes.shape(tensor, sizes.all_axes(definition, base))
                assert made[name].dtype == dtypes.stored(tensor.dtype)
        for axes in sizes.edges(definition, base, RNG(5)):
            try:
                inputs.make(definition, workload(definition, axes), axes, RNG(1))
                edges += 1
            except InvalidRequest:
                continue
    assert edges > 40


def test_bounds_and_rows_fit_what_they_point_into() -> None:
    """Edges once gave `starts` of other sequences than `lens`, and rows of no rows: an honest
    kernel refuses those, and was refused for it."""
    found = {d.op_type: d for d in shipped() if d.op_type in ("attention", "take_norm_linear")}
    assert set(found) == {"attention", "take_norm_linear"}
    given = {"T": 5, "P": 30, "S": 4, "S_plus_1": 5, "L": 4, "R": 4}
    seen = 0
    for definition in found.values():
        base = {n: given[n] for n, a in definition.axes.items() if not isinstance(a, AxisConst)}
        kept = {n: np.zeros(0) for n in definition.inputs if n in ("w", "kv")}
        for axes in sizes.edges(definition, base, RNG(5)):
            try:
                made = inputs.make(definition, workload(definition, axes), axes, RNG(1), kept=kept)
            except InvalidRequest:
                continue
            if "lens" in made:
                assert len(made["starts"]) == len(made["lens"]) + 1
                seen += axes["S"] != base["S"]
            else:
                assert all(0 <= row < axes["T"] for row in made["rows"])
    assert seen >= 1


def test_a_tensor_that_constraints_contradict_is_refused(tmp_path: Path) -> None:
    text = (
        '{"name":"d","op_type":"t","axes":{"n":{"type":"var"},"m":{"type":"var"}},"inputs":'
        '{"x":{"shape":["n"],"dtype":"float32"}},"outputs":{"y":{"shape":["n"],"dtype":"float32"}},'
        '"reference":"def run(x):\\n    return x\\n","constraints":["m == n + 1"]}'
    )
    definition = read(Definition, text)
    with pytest.raises(InvalidRequest, match="does not hold"):
        inputs.make(definition, workload(definition, {"n": 2, "m": 2}), {"n": 2, "m": 2}, RNG(0))
    assert sizes.completed(definition, {"n": 2, "m": 9}) == {"n": 2, "m": 3}
    assert Tensor(shape=[], dtype="float32").shape == []
