"""The objects of a FlashInfer Trace dataset, version 1, as they lie on disk.

Key order of axes, inputs and outputs is the call order and is kept. Our own additions sit under
one key `treadle` of any object, which a v1 reader ignores. `rules` holds what a type cannot say.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from msgspec import Struct


class Axis(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type",
           forbid_unknown_fields=True):  # fmt: skip
    """What every axis may carry; `parent` names the axis it belongs to in the public dataset."""

    description: str | None = None
    parent: str | None = None
    treadle: dict[str, Any] | None = None


class AxisConst(Axis, frozen=True, tag="const"):
    """An axis of one size."""

    value: int


class AxisVar(Axis, frozen=True, tag="var"):
    """An axis whose size a workload gives."""


class AxisExpr(Axis, frozen=True, tag="expr"):
    """An axis that follows from others: SOL-ExecBench, and derived entries of fi_trace dumps."""

    expression: str


AnyAxis: TypeAlias = AxisConst | AxisVar | AxisExpr


class Tensor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operand. shape: axis names, None for a Python scalar, [] for a 0-D tensor."""

    shape: list[str] | None
    dtype: str
    description: str | None = None
    optional: bool | None = None
    treadle: dict[str, Any] | None = None


class Definition(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a kernel computes: signature, constraints and a reference `run` in Python.

    treadle: op, attrs, weights, capacity, bytes, flops, tolerance, sampler, collective.
    """

    name: str
    op_type: str
    axes: dict[str, AnyAxis]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    reference: str
    tags: list[str] = []
    description: str | None = None
    constraints: list[str] = []
    treadle: dict[str, Any] | None = None


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type",
            forbid_unknown_fields=True):  # fmt: skip
    """How an input of a workload comes about. treadle: dist, like."""

    treadle: dict[str, Any] | None = None


class RandomInput(Input, frozen=True, tag="random"):
    """Generated from a seed."""


class ScalarInput(Input, frozen=True, tag="scalar"):
    """A Python number."""

    value: int | float | bool


class BlobInput(Input, frozen=True, tag="safetensors"):
    """A tensor of a safetensors file; path relative to the dataset's root."""

    path: str
    tensor_key: str


class CustomInput(Input, frozen=True, tag="custom"):
    """Made by the definition's own entry point (SOL-ExecBench)."""


AnyInput: TypeAlias = RandomInput | ScalarInput | BlobInput | CustomInput


class Workload(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Sizes of the variable axes, and inputs. treadle: count, source."""

    uuid: str
    axes: dict[str, int]
    inputs: dict[str, AnyInput]
    treadle: dict[str, Any] | None = None


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a solution; path relative, without `..`."""

    path: str
    content: str


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a solution is built and called; outputs are last arguments if destination passing."""

    language: str
    target_hardware: list[str]
    entry_point: str
    dependencies: list[str] = []
    destination_passing_style: bool = True
    binding: str | None = None
    compile_options: dict[str, list[str]] | None = None
    treadle: dict[str, Any] | None = None


class Solution(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An implementation of a definition, sources included."""

    name: str
    definition: str
    author: str
    spec: Spec
    sources: list[Source]
    description: str | None = None
    treadle: dict[str, Any] | None = None


class Environment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Device and versions of a measurement."""

    hardware: str
    libs: dict[str, str] = {}


Number: TypeAlias = float | str
"""A float, or the strings "NaN" and "Infinity", which JSON numbers cannot say."""


class Correctness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Largest errors met; `extra.treadle` holds n, interval, timer, verdict, error ratios."""

    max_relative_error: Number = 0.0
    max_absolute_error: Number = 0.0
    extra: dict[str, Any] | None = None


class Performance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds of candidate and reference, and their paired ratio."""

    latency_ms: float = 0.0
    reference_latency_ms: float = 0.0
    speedup_factor: float = 0.0


class Evaluation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outcome of one run."""

    status: str
    environment: Environment
    timestamp: str
    log: str = ""
    correctness: Correctness | None = None
    performance: Performance | None = None


class Trace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of a dataset: a workload row if solution and evaluation are None."""

    definition: str
    workload: Workload
    solution: str | None = None
    evaluation: Evaluation | None = None


def number(value: Number) -> float:
    """A wire number as a float."""
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf}[value]
    return float(value)


def wire_number(value: float) -> Number:
    """A float as the wire has it: msgspec would write NaN as null, which a v1 reader refuses."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if math.isinf(value) else float(value)
