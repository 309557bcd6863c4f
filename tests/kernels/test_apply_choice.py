"""What is chosen where: keys, evidence under a policy, regions between measured points."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.apply import Policy, Table, regions
from treadle.kernels.apply.evidence import gather
from treadle.kernels.apply.keys import space
from treadle.kernels.definitions import shipped
from treadle.kernels.schema import Definition

ROWS = json.loads((Path(__file__).parent / "data" / "decode_workload_axes.json").read_text())
PUBLIC = {d.name: d for d in shipped()}


def labels(d: Definition) -> str:
    return space(d).label


def test_keys_leave_out_capacities_and_what_other_axes_fix():
    assert labels(PUBLIC["gemm_n4096_k4096"]) == "M"
    assert labels(PUBLIC["gqa_paged_decode_h32_kv8_d128_ps1"]) == (
        "batch_size, num_kv_indices per batch_size"
    )
    assert labels(PUBLIC["gqa_ragged_prefill_causal_h32_kv8_d128"]) == (
        "len_indptr-1, total_q per len_indptr, total_kv per len_indptr"
    )
    prefill = labels(PUBLIC["gqa_paged_prefill_causal_h32_kv8_d128_ps1"])
    assert "num_pages" not in prefill
    assert "total_q per len_indptr" in prefill
    assert "max_seq_len" not in labels(PUBLIC["rope_with_cos_sin_cache_neox_style_d128_rd64"])


@pytest.mark.parametrize(("name", "wanted"), [
    ("gqa_paged_decode_h32_kv4_d128_ps1", 45), ("gqa_paged_decode_h32_kv8_d128_ps1", 45),
    ("mla_paged_decode_h16_ckv512_kpe64_ps1", 45),
])  # fmt: skip
def test_a_decode_workload_left_out_is_mostly_found_by_its_neighbours(name, wanted):
    # Public rows of MLA come without our definition; their axes are those of decode.
    where = space(PUBLIC["gqa_paged_decode_h32_kv8_d128_ps1"])
    keys = [where.key(row) for row in ROWS[name]]
    hits = 0
    for i, key in enumerate(keys):
        rest = sorted({k for j, k in enumerate(keys) if j != i})
        tree = regions.tree(rest, ["winner"] * len(rest), lambda _i, _j: None)
        hits += regions.find(tree, key) is not None
    assert hits >= wanted


@settings(max_examples=150)
@given(st.data())
def test_the_tree_says_what_the_rule_says(data):
    depth = data.draw(st.integers(1, 3))
    size = st.integers(1, 4096).map(float)
    keys = data.draw(st.lists(st.tuples(*[size] * depth), min_size=1, max_size=7, unique=True))
    keys = sorted(keys)
    names = [data.draw(st.sampled_from(["a", "b", None])) for _ in keys]
    tree = regions.tree(keys, names, lambda _i, _j: None)
    for key, name in zip(keys, names, strict=True):
        if depth == 1:  # a measured point is its own nearest
            assert regions.find(tree, key) == name
    probe = data.draw(st.tuples(*[size] * depth))
    found = regions.find(tree, probe)
    gaps = [max(abs(math.log2(a / b)) for a, b in zip(k, probe, strict=True)) for k in keys]
    inside = all(
        min(c) / 2**0.25 * (1 - 1e-9) <= p <= max(c) * 2**0.25 * (1 + 1e-9)
        for p, c in zip(probe, zip(*keys, strict=True), strict=True)
    )
    if found is not None:
        assert inside
        assert min(g for g, n in zip(gaps, names, strict=True) if n == found) <= 1 + 1e-9
    elif inside and all(n is not None for n in names):
        assert min(gaps) >= 1 - 1e-9  # nobody is near enough to speak for it


def test_a_boundary_lies_where_the_curves_cross(tmp_path):
    d = planted.gemm()
    one, other = (planted.solution(d, n, "def run(A, B):\n    return A @ B.T\n") for n in "ab")
    ratios = {("a", 16): 4.0, ("b", 16): 2.0, ("a", 32): 2.0, ("b", 32): 2.2}
    rows = [planted.trace(d, n, {"M": m}, (r, r)) for (n, m), r in ratios.items()]
    table = planted.table(planted.dataset(tmp_path, d, one, other, traces=rows))
    core = table.core(d.name)
    assert core is not None
    # leads log 2 at 16 and -log 1.1 at 32: they cross at 16 · 2^(log 2 / log 2.2)
    crossing = 16 * 2 ** (math.log(2) / (math.log(2) + math.log(1.1)))
    assert regions.find(core.names, (math.floor(crossing),)) == "a"
    assert regions.find(core.names, (math.ceil(crossing),)) == "b"
    assert core.midpoints() == [(23.0,)]


REFUSED = [
    ({"verdict": "SAME"}, "verdict SAME"),
    ({"ci": (1.019, 1.2)}, "gain 1.9 %"),
    ({"ci": None}, "no interval"),
    ({"isolation": 1}, "isolation 1"),
    ({"device": "cpu:other"}, "only on cpu:other"),
    ({"status": "TIMEOUT"}, "TIMEOUT at workload M8"),
]


@pytest.mark.parametrize(("odd", "reason"), REFUSED)
def test_only_what_is_proven_on_this_device_is_chosen(tmp_path, odd, reason):
    d = planted.gemm()
    one = planted.solution(d, "s", "def run(A, B):\n    return A @ B.T\n")
    rows = [planted.trace(d, "s", {"M": 8}, **odd)]
    if "status" in odd:  # wrong at one size, so trusted at none
        rows.append(planted.trace(d, "s", {"M": 9}))
    data = planted.dataset(tmp_path, d, one, traces=rows)
    found = planted.table(data).decide(d.name, {"M": 8})
    assert found.solution is None
    assert reason in found.reason
    good = planted.table(
        planted.dataset(tmp_path / "good", d, one, traces=[planted.trace(d, "s", {"M": 8})])
    )
    good.resolve(d.name, print)
    assert good.wait()
    assert good.decide(d.name, {"M": 8}).solution == "s"
    for m, word in ((3, "octaves"), (0, "zero"), (10, "outside 8 to 8")):
        assert word in good.decide(d.name, {"M": m}).reason


def test_a_later_run_replaces_an_earlier_one_and_the_worse_of_two_workloads_counts():
    d = planted.gemm()
    known = {"s": planted.solution(d, "s", "x")}
    rows = [
        planted.trace(d, "s", {"M": 8}, (9.0, 9.0), when=1),
        planted.trace(d, "s", {"M": 8}, (3.0, 4.0), when=2),
    ]
    for order in itertools.permutations(rows):
        points = gather(order, known, space(d), planted.DEVICE, Policy()).points
        assert [p.ratios["s"].low for p in points] == [3.0]


def test_a_policy_may_ask_for_harness_baseline_and_authors(tmp_path):
    d = planted.gemm()
    one = planted.solution(d, "s", "def run(A, B):\n    return A @ B.T\n")
    row = planted.trace(d, "s", {"M": 8}, baseline="ours")
    data = planted.dataset(tmp_path, d, one, traces=[row])

    def reason(**rules: object) -> str:
        return Table.from_store(data, planted.DEVICE, Policy(**rules)).decide(
            d.name, {"M": 8}
        ).reason  # fmt: skip

    assert "is not built yet" in reason()
    assert "is not built yet" in reason(
        harness="1", baseline="ours", authors=frozenset({"planter"})
    )
    assert "harness 1, now 2" in reason(harness="2")
    assert "measured against 'ours'" in reason(baseline="theirs")
    assert "author 'planter'" in reason(authors=frozenset({"me"}))


def test_bad_input_is_named(tmp_path):
    d = planted.gemm()
    data = planted.dataset(tmp_path, d, traces=[])
    with pytest.raises(InvalidRequest, match="gain"):
        Policy(gain=-1)
    with pytest.raises(InvalidRequest, match="device"):
        Table("webgpu:x", Policy())
    table = planted.table(data)
    with pytest.raises(NotFound, match="no definition 'nope'"):
        table.resolve("nope", print)
    with pytest.raises(InvalidRequest, match="has no 'Q'"):
        table.resolve(d.name, print, bound={"Q": 1})
    assert table.resolve(d.name, print) is print  # without traces nothing stands in the way
