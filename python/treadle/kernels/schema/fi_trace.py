"""Reads the definitions that FlashInfer itself dumps (`fi_trace`) into our types.

They differ from the dataset: references are called `*_reference` or are missing, outputs may name
their destination argument (`param`) or be an input (in place), some shapes hold derived entries
such as `K_div_2`, some constant axes have no value, and `init` and `check` are code for a sandbox.
What a v1 reader would refuse stays as it is here and belongs under `ext/`.
"""

from __future__ import annotations

import ast
import re
from typing import Any, cast

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.schema import rules
from treadle.kernels.schema.types import AxisConst, AxisExpr, AxisVar, Definition, Tensor

_OPERATORS = {"div": "//", "mul": "*", "plus": "+", "minus": "-"}
_DERIVED = re.compile(r"^([A-Za-z]\w*?)_(div|mul|plus|minus)_(\w+)$")
_SIGNATURE_ONLY = "def run(*args, **kwargs):\n    raise NotImplementedError('signature only')\n"


class _Axis(msgspec.Struct, frozen=True):
    type: str
    value: int | None = None
    description: str | None = None
    parent: str | None = None


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[str] | None = None
    optional: bool | None = None
    param: str | None = None
    description: str | None = None


class _Dump(msgspec.Struct, frozen=True):
    name: str
    op_type: str
    axes: dict[str, _Axis]
    inputs: dict[str, _Tensor]
    outputs: dict[str, _Tensor]
    tags: list[str] = []
    constraints: list[str] = []
    description: str | None = None
    reference: str | None = None
    init: str | None = None
    check: str | None = None


_DECODER = msgspec.json.Decoder(_Dump)


def read_fi_trace(data: bytes | str, at: str = "") -> Definition:
    """One dump as a Definition. Raises InvalidRequest.

    `treadle` then holds: dialect; param (output → destination argument); in_place (outputs that
    are inputs); init and check (source, for the sandbox only); unsized (constant axes without a
    value); reference "signature" where the file holds none, else the name of the function that
    `run` stands for.
    """
    try:
        dump = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidRequest(
            str(problem), at=at or "fi_trace", hint="expected a dump of FlashInfer"
        ) from None
    ours: dict[str, Any] = {"dialect": "fi_trace"}
    axes: dict[str, AxisConst | AxisVar | AxisExpr] = {}
    for name, axis in dump.axes.items():
        if axis.type == "const" and axis.value is not None:
            axes[name] = AxisConst(
                value=axis.value, description=axis.description, parent=axis.parent
            )
        else:
            axes[name] = AxisVar(description=axis.description, parent=axis.parent)
            if axis.type == "const":
                cast("list[str]", ours.setdefault("unsized", [])).append(name)
    for tensor in (*dump.inputs.values(), *dump.outputs.values()):
        for entry in tensor.shape or ():
            if entry not in axes:
                axes[entry] = _derived(entry, axes, at or dump.name)
    for key, found in (
        ("param", {n: t.param for n, t in dump.outputs.items() if t.param}),
        ("in_place", [n for n in dump.outputs if n in dump.inputs]),
        ("init", dump.init),
        ("check", dump.check),
    ):
        if found:
            ours[key] = found
    source, ours["reference"] = _reference(dump.reference)
    definition = Definition(
        name=dump.name,
        op_type=dump.op_type,
        axes=axes,
        inputs={name: _tensor(t) for name, t in dump.inputs.items()},
        outputs={name: _tensor(t) for name, t in dump.outputs.items()},
        reference=source,
        tags=dump.tags,
        constraints=dump.constraints,
        description=dump.description,
        treadle=ours,
    )
    rules.check_definition(definition)
    return definition


def _tensor(t: _Tensor) -> Tensor:
    return Tensor(shape=t.shape, dtype=t.dtype, description=t.description, optional=t.optional)


def _derived(entry: str, axes: dict[str, Any], at: str) -> AxisConst | AxisExpr:
    if entry.isdecimal():
        return AxisConst(value=int(entry))
    match = _DERIVED.match(entry)
    if match is None or not all(word in axes or word.isdecimal() for word in match.group(1, 3)):
        raise InvalidRequest(
            f"shape entry {entry!r} is no axis", at=at, hint="declare it under axes"
        )
    return AxisExpr(expression=f"{match[1]} {_OPERATORS[match[2]]} {match[3]}")


def _reference(source: str | None) -> tuple[str, str]:
    """Source that defines `run`, and what stands behind it."""
    if not source:
        return _SIGNATURE_ONLY, "signature"
    if rules.has_run(source):
        return source, "run"
    try:
        functions = [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _SIGNATURE_ONLY, "signature"
    named = [name for name in functions if name.endswith("_reference")]
    if not named:
        return _SIGNATURE_ONLY, "signature"
    call = f"\n\ndef run(*args, **kwargs):\n    return {named[-1]}(*args, **kwargs)\n"
    return source.rstrip("\n") + call, named[-1]
