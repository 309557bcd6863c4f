"""Every torch and C++ solution computes what its definition's reference does, edges included."""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.graph import FUSED, OPS
from treadle.kernels.build import build, load
from treadle.kernels.definitions.public import (
    fused_add_rmsnorm,
    gqa_decode,
    gqa_prefill,
    gqa_ragged,
    rmsnorm,
    rope_cache,
    sampling,
)
from treadle.kernels.definitions.quantised import gemm_w4g32
from treadle.kernels.definitions.shipped import SMOLLM2, own, shipped
from treadle.kernels.families import CUDA, EVERYWHERE, PACKED, STREAMED, family_of
from treadle.kernels.packing import KITS, pack, packed
from treadle.kernels.schema import Definition, Solution
from treadle.kernels.store import Dataset

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2] / "kernels"
TINY: dict[str, Any] = {
    "D": 12, "H": 4, "K": 2, "d": 6, "F": 10, "V": 17, "B": 4, "r": 2,
    "Hd": ("H", "d"), "Kd": ("K", "d"), "E": 5, "A": 2, "O": 7, "I": 9,
}  # fmt: skip


ROUNDED = ("add_rmsnorm", "attention", "experts", "embed", "gate_up_glu", "linear_add",
           "qk_norm_rope_kv", "softcap", "take_norm_linear")  # fmt: skip
"""Ops in bfloat16 too: each loads, rounds or stores in a way of its own."""
HALVES = ("bfloat16", "float16")


def _cases() -> Any:
    path = ROOT.parent / "benchmarks" / "kernel_operands.py"
    spec = importlib.util.spec_from_file_location("kernel_operands", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = _cases()


@cache
def definitions() -> dict[str, Definition]:
    """One definition a family and storage type, tiny and at the default model's sizes."""
    ops = [op for op in (*OPS, *FUSED) if op != "linear"]
    made = [own(op, "f32", TINY, 1e-5, "tiny") for op in ops]
    made += [own(op, "f32", {**SMOLLM2, "V": 1000, "E": 4}, 1e-5, "tiny") for op in ops]
    made += [own(op, "bf16", TINY, 1e-5, "tiny") for op in ROUNDED]
    made += [d for d in shipped() if d.name in ("gemm_n576_k576_f32", "gemm_n128_k2048")]
    made += [gemm_w4g32(24, 256, "tiny"), rmsnorm(128), fused_add_rmsnorm(2048)]
    made += [gqa_decode(6, 1, 1), gqa_decode(6, 2, 4), gqa_prefill(6, 2, 1), gqa_prefill(6, 2, 4)]
    made += [gqa_prefill(16, 2, 64), gqa_ragged(6, 2, 32), rope_cache(128, 64)]
    made += [sampling(1000, k, p) for k, p in ((True, False), (False, True), (True, True))]
    return {d.name: d for d in made}


def in_float32(d: Definition) -> Definition:
    """The same definition with every 16-bit operand in float32."""

    def wide(group: dict[str, Any]) -> dict[str, Any]:
        return {
            n: msgspec.structs.replace(t, dtype="float32") if t.dtype in HALVES else t
            for n, t in group.items()
        }

    return msgspec.structs.replace(d, inputs=wide(d.inputs), outputs=wide(d.outputs))


def run(solution: Solution, d: Definition, function: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    """Outputs of one call; inputs must come out as they went in."""
    kept = {n: v.clone() for n, v in given.items() if isinstance(v, torch.Tensor)}
    if solution.spec.destination_passing_style:
        found = tuple(cases.outputs(msgspec.to_builtins(d), given).values())
        assert function(*given.values(), *found) is None
    else:
        found = function(*given.values())
        found = found if isinstance(found, tuple) else (found,)
    for name, value in kept.items():
        assert torch.equal(value, given[name]), f"{name} was changed"
    pointers = {v.data_ptr() for v in given.values() if isinstance(v, torch.Tensor) and v.numel()}
    assert not pointers & {v.data_ptr() for v in found if v.numel()}, "an output is an input"
    return found


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize("kit", ["torch", "cpp"])
@pytest.mark.parametrize("name", sorted(definitions()))
def test_a_solution_computes_what_its_reference_does(
    name: str, kit: str, cache_folder: Path
) -> None:
    definition = definitions()[name]
    family = family_of(definition, EVERYWHERE)
    assert family is not None
    solution = pack(definition, kit, family, ROOT / "sources")
    function = load(build(solution, definition, device="cpu", cache=cache_folder))
    d = msgspec.to_builtins(definition)
    empty = not {"starts", "kv_indptr", "rows"} & set(d["inputs"])
    for rows, seed in ((1, 0), (5, 1), (9, 2), (0, 3))[: 4 if empty else 3]:
        given = cases.operands(d, rows, seed=seed)
        found = run(solution, definition, function, given)
        assert cases.excess(d, given, found) <= 1.0


def test_packed_solutions_are_their_sources() -> None:
    data = Dataset(ROOT, readonly=True)
    made = {s.name: s for s in packed(data.definitions(), ROOT / "sources")}
    ours = [s for s in data.solutions() if s.author == "treadle" and s.spec.language != "wgsl"]
    have = {s.name: s for s in ours}  # WGSL is printed: tests/web/test_wgsl_solutions.py
    assert made == have, "run: treadle kernels pack kernels"
    assert not list(data.problems())


def test_every_definition_has_a_solution_in_each_language() -> None:
    made = {d.name: d for d in shipped()}
    have = {kit: set[str]() for kit in KITS}
    for s in packed(made, ROOT / "sources"):
        have[s.name.split("_")[1]].add(s.definition)
    for kit in ("torch", "triton", "cpp"):
        assert have[kit] == set(made)
    assert len(have["cuda"]) > 90
    stems = {f.stem for f in (*EVERYWHERE, *CUDA, *PACKED, *STREAMED)}
    for kit in KITS.values():
        assert {f.stem for f in kit.families} <= stems


def test_samplers_draw_in_proportion(cache_folder: Path) -> None:
    n = 20_000
    definition = sampling(1000, True, True)
    weights = torch.zeros(1000)
    weights[[3, 500, 999, 20]] = torch.tensor([0.4, 0.3, 0.2, 0.1])
    given = {
        "probs": weights.expand(n, -1).contiguous(),
        "top_k": torch.full((n,), 3, dtype=torch.int32),
        "top_p": torch.full((n,), 0.7),
    }  # of 4/9, 3/9 and 2/9 the last lies behind 7/9 > 0.7
    family = family_of(definition, EVERYWHERE)
    assert family is not None
    for kit in ("torch", "cpp"):
        solution = pack(definition, kit, family, ROOT / "sources")
        function = load(build(solution, definition, device="cpu", cache=cache_folder))
        counts = torch.bincount(run(solution, definition, function, given)[0], minlength=1000)
        assert int(counts[3] + counts[500]) == n
        assert abs(int(counts[3]) / n - 4 / 7) < 5 * math.sqrt(12 / 49 / n)
