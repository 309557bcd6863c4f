"""What a v1 reader enforces beyond types, and what of ours such a reader would refuse.

`check_*` raise InvalidRequest for what is wrong in any dialect. `refused_by_v1` lists why an object
must live under `ext/`: one file that a v1 reader refuses makes it refuse the whole dataset.
"""

from __future__ import annotations

import ast
import datetime
import math
from pathlib import PurePosixPath

from treadle.errors import InvalidRequest
from treadle.kernels.schema import expression
from treadle.kernels.schema.operands import preparation
from treadle.kernels.schema.types import (
    AxisConst,
    AxisExpr,
    BlobInput,
    Correctness,
    CustomInput,
    Definition,
    Number,
    Solution,
    Trace,
    Workload,
)

V1_DTYPES = (
    "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1",
    "int64", "int32", "int16", "int8", "bool",
)  # fmt: skip
DTYPES = (
    *V1_DTYPES,
    "float64",
    "float4_e2m1fn_x2",
    "uint8",
    "uint32",
    "string",
    "dtype",
    "unknown",
)
V1_LANGUAGES = ("python", "triton", "cpp", "cuda", "tilelang")
LANGUAGES = (*V1_LANGUAGES, "wgsl", "cutedsl", "cutlass", "cutile")
V1_BINDINGS = (None, "tvm-ffi", "torch")
BINDINGS = (*V1_BINDINGS, "dlpack")
FAILED = ("INCORRECT_SHAPE", "INCORRECT_DTYPE", "RUNTIME_ERROR", "COMPILE_ERROR", "TIMEOUT")
STATUSES = ("PASSED", "INCORRECT_NUMERICAL", *FAILED)
MAX_REFERENCE = 1 << 20


def check_definition(d: Definition) -> None:
    """Raises InvalidRequest, `at` the field."""
    at = f"definition {d.name!r}"
    _text(d.name, "name", at)
    _text(d.op_type, "op_type", at)
    for name, axis in d.axes.items():
        _text(name, "axes", at)
        if isinstance(axis, AxisConst) and axis.value < 0:
            raise _wrong(f"{at} axes.{name}", f"value is {axis.value}", "sizes are 0 or more")
        if isinstance(axis, AxisExpr):
            _known(expression.names(axis.expression, f"{at} axes.{name}"), d, f"{at} axes.{name}")
    for group in ("inputs", "outputs"):
        for name, tensor in getattr(d, group).items():
            _text(name, group, at)
            if tensor.dtype not in DTYPES:
                raise _wrong(f"{at} {group}.{name}", f"dtype {tensor.dtype!r}", "use a known dtype")
            _known(tensor.shape or (), d, f"{at} {group}.{name}")
    for text in (*d.tags, *d.constraints):
        _text(text, "tags or constraints", at)
    for text in d.constraints:
        try:  # only its syntax: a constraint may read host values that no evaluator knows
            ast.parse(text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _wrong(f"{at} constraints", f"{text!r}", "write an expression") from None


def check_workload(w: Workload, d: Definition | None = None) -> None:
    """Raises InvalidRequest; against a definition, also for axes and inputs that do not fit it."""
    at = f"workload {w.uuid!r}"
    _text(w.uuid, "uuid", at)
    for name, size in w.axes.items():
        if size < 0:
            raise _wrong(f"{at} axes.{name}", f"is {size}", "sizes are 0 or more")
    for name, given in w.inputs.items():
        if isinstance(given, BlobInput):
            check_path(given.path, f"{at} inputs.{name}")
    if d is None:
        return
    wanted = {name for name, axis in d.axes.items() if axis.__struct_config__.tag == "var"}
    if wanted != set(w.axes):
        odd = sorted(wanted ^ set(w.axes))
        raise _wrong(f"{at} axes", f"{odd} do not match {d.name}", "give each variable axis once")
    extra = sorted(set(w.inputs) - set(d.inputs))
    missing = sorted(n for n in set(d.inputs) - set(w.inputs) if not d.inputs[n].optional)
    if extra or missing:
        raise _wrong(f"{at} inputs", f"missing {missing}, unknown {extra}", "give each input once")


def check_solution(s: Solution) -> None:
    """Raises InvalidRequest, `at` the field."""
    at = f"solution {s.name!r}"
    for field in ("name", "definition", "author"):
        _text(getattr(s, field), field, at)
    if s.spec.language not in LANGUAGES:
        raise _wrong(f"{at} language", repr(s.spec.language), f"use one of {', '.join(LANGUAGES)}")
    if s.spec.binding not in BINDINGS:
        raise _wrong(f"{at} binding", repr(s.spec.binding), "use tvm-ffi, torch, dlpack or none")
    if not s.spec.target_hardware or not all(s.spec.target_hardware):
        raise _wrong(f"{at} target_hardware", "is empty", "name at least one device")
    if not s.sources:
        raise _wrong(f"{at} sources", "is empty", "give at least one file")
    seen: set[str] = set()
    for source in s.sources:
        path = str(check_path(source.path, f"{at} sources"))
        if path in seen:
            raise _wrong(f"{at} sources", f"{path!r} comes twice", "give each file once")
        if not source.content:
            raise _wrong(f"{at} sources.{path}", "is empty", "leave empty files out")
        seen.add(path)
    _entry(s.spec.entry_point, seen, f"{at} entry_point")
    split = preparation(s)
    if split is None:
        return
    for text in (split.entry, split.run):
        _entry(text, seen, f"{at} prepare")
    file = s.spec.entry_point.partition("::")[0]
    if s.spec.binding is not None and {file} != {
        e.partition("::")[0] for e in (split.entry, split.run)
    }:
        raise _wrong(f"{at} prepare", "is in another file", "compile it with the entry point")


def _entry(text: str, files: set[str], at: str) -> None:
    file, separator, symbol = text.partition("::")
    if not separator or not symbol or "::" in symbol:
        raise _wrong(at, repr(text), "write file::symbol")
    if str(PurePosixPath(file)) not in files:
        raise _wrong(at, f"{file!r} is none of the sources", "name a source file")


def check_trace(t: Trace) -> None:
    """Raises InvalidRequest where status, solution and results contradict each other."""
    at = f"trace of {t.definition!r}"
    _text(t.definition, "definition", at)
    check_workload(t.workload)
    if (t.solution is None) != (t.evaluation is None):
        raise _wrong(at, "has only one of solution and evaluation", "give both or neither")
    e = t.evaluation
    if e is None:
        return
    if not t.solution:
        raise _wrong(f"{at} solution", "is empty", "name the solution")
    if e.status not in STATUSES:
        raise _wrong(f"{at} status", repr(e.status), f"use one of {', '.join(STATUSES)}")
    _text(e.environment.hardware, "environment.hardware", at)
    try:
        datetime.datetime.fromisoformat(e.timestamp)
    except ValueError:
        raise _wrong(f"{at} timestamp", repr(e.timestamp), "write ISO 8601") from None
    wanted = (e.status in ("PASSED", "INCORRECT_NUMERICAL"), e.status == "PASSED")
    if (e.correctness is not None, e.performance is not None) != wanted:
        raise _wrong(at, f"{e.status} with the wrong results", "PASSED has both, errors have none")
    if e.correctness is not None:
        _errors(e.correctness, at)
    if e.performance is not None:
        for field in ("latency_ms", "reference_latency_ms", "speedup_factor"):
            value = getattr(e.performance, field)
            if not value >= 0 or math.isinf(value):
                raise _wrong(f"{at} {field}", f"is {value}", "times are finite and 0 or more")


def check_path(text: str, at: str) -> PurePosixPath:
    """A relative path that stays below its root. Raises InvalidRequest."""
    path = PurePosixPath(text)
    if not text or "\0" in text or "\\" in text or path.is_absolute() or ".." in path.parts:
        raise _wrong(at, f"path {text!r}", "give a relative path without '..'")
    if path == PurePosixPath("."):
        raise _wrong(at, f"path {text!r}", "name a file")
    return path


def refused_by_v1(value: Definition | Solution | Trace) -> list[str]:
    """Why a v1 reader would refuse this, empty if it would not."""
    if isinstance(value, Definition):
        return _definition_v1(value)
    if isinstance(value, Solution):
        found: list[str] = []
        if value.spec.language not in V1_LANGUAGES:
            found.append(f"language {value.spec.language}")
        if value.spec.binding not in V1_BINDINGS:
            found.append(f"binding {value.spec.binding}")
        return found
    return [
        f"input {name} of type custom"
        for name, given in value.workload.inputs.items()
        if isinstance(given, CustomInput)
    ]


def has_run(reference: str) -> bool:
    """Whether Python source defines a top-level, non-async function `run`."""
    if len(reference) > MAX_REFERENCE:
        return False
    try:
        body = ast.parse(reference).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in body)


def _definition_v1(d: Definition) -> list[str]:
    found = [f"axis {name} is derived" for name, a in d.axes.items() if isinstance(a, AxisExpr)]
    for group in (d.inputs, d.outputs):
        found += [f"dtype {t.dtype} of {n}" for n, t in group.items() if t.dtype not in V1_DTYPES]
    found += [f"output {name} is an input" for name in d.outputs if name in d.inputs]
    if not has_run(d.reference):
        found.append("no top-level function run in the reference")
    return found


def _errors(c: Correctness, at: str) -> None:
    for field in ("max_relative_error", "max_absolute_error"):
        value: Number = getattr(c, field)
        if isinstance(value, str):
            if value not in ("NaN", "Infinity"):
                raise _wrong(f"{at} {field}", repr(value), 'write a number, "NaN" or "Infinity"')
        elif not value >= 0:
            raise _wrong(f"{at} {field}", f"is {value}", "errors are 0 or more")


def _text(value: str, field: str, at: str) -> None:
    if not value:
        raise _wrong(f"{at} {field}", "is empty", "give a non-empty string")


def _known(axes: object, d: Definition, at: str) -> None:
    unknown = sorted(set(axes) - set(d.axes))  # pyright: ignore[reportArgumentType, reportUnknownArgumentType, reportUnknownVariableType]
    if unknown:
        raise _wrong(at, f"axes {unknown} are not declared", "declare them under axes")


def _wrong(at: str, message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, at=at, hint=hint)
