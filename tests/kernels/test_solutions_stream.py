"""Products whose blocks stay on their multiprocessor: right on a GPU, prepared or not."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch")

import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import kernel_operands as cases

from treadle.kernels.build import build, load
from treadle.kernels.definitions import shipped
from treadle.kernels.families import STREAMED, cuda_takes, family_of
from treadle.kernels.packing import pack
from treadle.kernels.schema import preparation, weights

ROOT = Path(__file__).parents[2] / "kernels"
SHIPPED = {d.name: d for d in shipped()}
TAKEN = sorted(
    d.name
    for d in SHIPPED.values()
    if (family := family_of(d, STREAMED)) is not None and cuda_takes(family.stem, d)
)


def test_sizes_that_no_cluster_can_share_out_are_not_offered() -> None:
    assert len(TAKEN) == 8
    for name in TAKEN:
        k = [*SHIPPED[name].inputs.values()][1].shape or []
        assert getattr(SHIPPED[name].axes[k[1]], "value", 0) in (2048, 8192)
    assert not any(cuda_takes("bind_stream", d) for d in SHIPPED.values() if "_k576_" in d.name)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda_device")
@pytest.mark.parametrize("name", TAKEN)
def test_prepared_or_not_it_is_the_product(name: str, tmp_path: Path) -> None:
    definition = SHIPPED[name]
    family = family_of(definition, STREAMED)
    assert family is not None
    solution = pack(definition, "cuda_stream", family, ROOT / "sources")
    assert preparation(solution) is not None
    made = load(build(solution, definition, device="cuda:NVIDIA H200", cache=tmp_path))
    d = msgspec.to_builtins(definition)
    for rows in (1, 5, 8, 9, 16, 19):  # 19: two pieces
        given = cases.operands(d, rows, seed=rows, device="cuda")
        operands = [*given.values()]
        kept = made.prepare(*(operands[i] for i in weights(definition)))  # type: ignore[attr-defined]
        for call, more in ((made, ()), (made.run, (kept,))):  # type: ignore[attr-defined]
            found = tuple(cases.outputs(d, given).values())
            for _ in range(2):  # the second begins while the first still works
                call(*operands, *more, *found)
            torch.cuda.synchronize()
            assert cases.excess(d, given, found) <= 1.0
