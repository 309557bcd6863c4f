"""WGSL solutions are built and called like those of other languages; every one that ships is right.

Runs where wgpu finds an adapter, a software one included; skips with the reason elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from treadle.kernels.build import BuildFailure, build, load
from treadle.kernels.schema import Definition, Solution, Source
from treadle.kernels.store import Dataset

torch = pytest.importorskip("torch", reason="references are written in torch")

LAVAPIPE = Path("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json")
DATA = Dataset(Path(__file__).parents[2] / "kernels", readonly=True)
ALL = {one.definition: one for one in DATA.solutions() if one.spec.language == "wgsl"}
NORM = next(name for name in ALL if name.startswith("rmsnorm_h"))


@pytest.fixture(autouse=True)
def software(monkeypatch: pytest.MonkeyPatch) -> None:
    if LAVAPIPE.exists():
        monkeypatch.setenv("VK_ICD_FILENAMES", str(LAVAPIPE))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def built(one: Solution, d: Definition, cache: Path) -> Any:
    try:
        return load(build(one, d, device="webgpu:any", cache=cache))
    except BuildFailure as failure:
        if failure.stage == "toolchain":
            pytest.skip(failure.log)
        raise


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_solution_computes_what_its_definition_says(name: str, cache: Path) -> None:
    d, rows = DATA.definition(name), 5
    call = built(ALL[name], d, cache)
    sizes = {axis: getattr(one, "value", rows) for axis, one in d.axes.items()}
    torch.manual_seed(7)
    given: list[Any] = []
    for tensor in d.inputs.values():
        shape = [sizes[axis] for axis in tensor.shape or ()]
        made = torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)
        given.append(made if tensor.dtype == "float32" else torch.arange(rows).int().flip(0))
    outs = [torch.full([sizes[a] for a in t.shape or ()], 77.0) for t in d.outputs.values()]
    call(*given, *outs)
    space: dict[str, Any] = {}
    exec(d.reference, space)
    wide = space["run"](*(g.double() if g.is_floating_point() else g for g in given))
    for found, wanted in zip(outs, wide if isinstance(wide, tuple) else (wide,), strict=True):
        assert (found - wanted).norm() < 1e-6 * wanted.norm()


def test_what_does_not_compile_is_data_and_remembered(cache: Path) -> None:
    d, one = DATA.definition(NORM), ALL[NORM]
    built(one, d, cache)  # or there is no adapter
    sources = [structs.replace(s, content=s.content.replace("fn main(", "fn main{"))
               for s in one.sources]  # fmt: skip
    bad = structs.replace(one, name="bad", sources=sources)
    for _ in range(2):
        with pytest.raises(BuildFailure) as caught:
            build(bad, d, device="webgpu:any", cache=cache)
        assert caught.value.stage == "compile"
        assert "parsing error" in caught.value.log


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('"x"', '"nobody"'),  # an operand that the definition does not have
        ('"T"', '"__import__"'),  # an axis that it does not have
        ('"y"', '"x"'),  # nothing is written
        ("{", "["),
    ],
)
def test_a_launch_that_does_not_fit_is_refused_before_anything_runs(
    change: str, words: str, cache: Path
) -> None:
    d, one = DATA.definition(NORM), ALL[NORM]
    pytest.importorskip("wgpu", reason="package wgpu is not installed (extra dev)")
    sources = [
        Source(path=s.path, content=s.content.replace(change, words))
        if s.path == "launch.json" else s for s in one.sources
    ]  # fmt: skip
    with pytest.raises(BuildFailure) as caught:
        build(structs.replace(one, sources=sources), d, device="webgpu:any", cache=cache)
    assert caught.value.stage == "check"


def test_other_shapes_and_types_are_refused(cache: Path) -> None:
    from treadle.errors import KernelError

    d = DATA.definition(NORM)
    call = built(ALL[NORM], d, cache)
    width = d.axes["D"].value
    for x in (torch.zeros(3, width + 1), torch.zeros(3, width).half()):
        with pytest.raises(KernelError):
            call(x, torch.ones(width), torch.zeros(3, width))
    call(torch.zeros(0, width), torch.ones(width), torch.zeros(0, width))
