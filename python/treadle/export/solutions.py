"""The WGSL kernels as Solutions of the definitions that the CUDA, Triton and C++ ones solve.

A solution holds the printed module and `launch.json`: which inputs of the definition, one after
another, fill each storage buffer in binding order, then the one that is written, in whose rows the
outputs lie side by side; workgroups of the grid and words of the uniform block, the last binding,
as expressions of the definition's axes. Weights are float32 as the definitions have them: tier T0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from treadle.export import kernels
from treadle.export.wgsl import RUN, Kernel, Segment
from treadle.kernels.schema import AxisConst, Definition, Solution, Source, Spec

LAUNCH = "launch.json"


class _Made(NamedTuple):
    kernel: Kernel
    operands: dict[str, tuple[str, ...]]  # where a buffer is not the operand of its own name
    tokens: str  # the axis of rows that are computed
    rows: int | None  # of the output, a thread each; None: a token a workgroup


def solutions(definitions: Mapping[str, Definition]) -> Iterator[Solution]:
    """A solution of each definition that a kernel computes."""
    for definition in definitions.values():
        op = (definition.treadle or {}).get("op")
        make = _OPS.get(str(op))
        kinds = {tensor.dtype for tensor in definition.inputs.values()} - {"int32"}
        if make is not None and kinds == {"float32"}:
            yield _solution(definition, make(definition))


def _solution(d: Definition, made: _Made) -> Solution:
    kernel = made.kernel
    inputs = {b.name: made.operands.get(b.name, (b.name,)) for b in kernel.bindings if not b.write}
    missing = {name for names in inputs.values() for name in names} - d.inputs.keys()
    assert not missing, f"{d.name} has no operand {missing}"
    groups = "1" if made.rows is None else str(-(-made.rows // kernels.WG))
    count = made.tokens if made.rows is None else f"({made.tokens} + 3) // 4"
    launch = {
        "inputs": inputs,
        "outputs": {"out": list(d.outputs)},
        "grid": [count, "1", "1"] if made.rows is None else [groups, count, "1"],
        "uniform": {name: made.tokens if name in "TR" else "0" for name in RUN},
    }
    if "var<uniform>" not in kernel.text:
        del launch["uniform"]
    file = f"{kernel.name}.wgsl"
    return Solution(
        name=f"treadle_wgsl_{d.name}",
        definition=d.name,
        author="treadle",
        spec=Spec(
            language="wgsl",
            target_hardware=["webgpu"],
            entry_point=f"{file}::main",
            dependencies=["wgpu"],
            destination_passing_style=True,
        ),
        sources=[
            Source(path=LAUNCH, content=json.dumps(launch, indent=1) + "\n"),
            Source(path=file, content=kernel.text + "\n"),
        ],
    )


def _size(d: Definition, operand: str, axis: int) -> int:
    shape = d.inputs[operand].shape or []
    found = d.axes[shape[axis]]
    assert isinstance(found, AxisConst), f"{d.name}: {operand} has no constant axis {axis}"
    return found.value


def _eps(d: Definition) -> float | None:
    attrs: dict[str, Any] = (d.treadle or {}).get("attrs", {})
    return float(attrs["eps"]) if "eps" in attrs else None


def _project(op: str, *weights: str, tokens: str = "T", **operands: str) -> Any:
    """A projection whose weights are stacked. operands: buffer -> operand, where names differ."""

    def make(d: Definition) -> _Made:
        columns = _size(d, weights[0], 1)
        segments, offset = list[Segment](), 0
        for name in weights:
            rows = _size(d, name, 0)
            segments.append(Segment(rows, "f32", offset))
            offset += 4 * rows * columns
        kernel = kernels.project(op, segments, columns, many=True, eps=_eps(d))
        held = {"w": weights} | {name: (operand,) for name, operand in operands.items()}
        return _Made(kernel, held, tokens, sum(s.rows for s in segments))

    return make


def _gate_up_glu(d: Definition) -> _Made:
    rows, columns = _size(d, "wg", 0), _size(d, "wg", 1)
    segments = [Segment(rows, "f32", 0), Segment(rows, "f32", 4 * rows * columns)]
    act = str((d.treadle or {})["attrs"]["act"])
    kernel = kernels.gate_up_glu(segments, columns, act=act, eps=None, many=True)
    return _Made(kernel, {"w": ("wg", "wu")}, "T", rows)


def _rmsnorm(d: Definition) -> _Made:
    kernel = kernels.rmsnorm(_size(d, "w", 0), _eps(d) or 0.0, add=False)
    return _Made(kernel, {"norm": ("w",)}, "T", None)


_OPS: Mapping[str, Callable[[Definition], _Made]] = {
    "rmsnorm": _rmsnorm,
    "linear": _project("linear", "B", tokens="M", x="A"),
    "linear_add": _project("linear_add", "w"),
    "rmsnorm_linear": _project("rmsnorm_linear", "w"),
    "take_norm_linear": _project("take_norm_linear", "w", tokens="R", batch="rows"),
    "qkv": _project("linear", "wq", "wk", "wv"),
    "gate_up_glu": _gate_up_glu,
}
