"""Reads SOL-ExecBench definitions, workloads and solutions into our types.

They are v1 but for: axes of type `expr`, further dtypes, an optional `op_type`,
`custom_inputs_entrypoint` with inputs all of type `custom`, `compile_options` on the spec (taken
only from an allow-list: they reach a compiler's command line), and tolerances on workloads.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.schema.types import Definition, Solution, Trace
from treadle.kernels.schema.wire import read

FLAGS = {
    "cflags": re.compile(r"-O[0-3]|-std=c\+\+(17|20|23)|-march=[\w-]+|-ffast-math|-fopenmp|-g"),
    "cuda_cflags": re.compile(
        r"-O[0-3]|-std=c\+\+(17|20)|--use_fast_math|-lineinfo|--expt-relaxed-constexpr"
        r"|--expt-extended-lambda|-arch=sm_\d+a?|-gencode=arch=compute_\d+a?,code=sm_\d+a?"
        r"|-maxrregcount=\d+"
    ),
    "ld_flags": re.compile(r"-lcublas|-lcublasLt|-lcudart|-lcuda|-lm|-fopenmp"),
}
"""Compiler options that a foreign file may ask for."""


def read_definition(data: bytes | str, at: str = "") -> Definition:
    """A definition. Raises InvalidRequest."""
    raw = _object(data, at)
    raw.setdefault("op_type", "unknown")
    entry = raw.pop("custom_inputs_entrypoint", None)
    ours: dict[str, Any] = {**(raw.get("treadle") or {}), "dialect": "sol_exec"}
    if entry is not None:
        ours["custom_inputs_entrypoint"] = entry
    raw["treadle"] = ours
    return read(Definition, msgspec.json.encode(raw), at, lenient=True)


def read_workload(data: bytes | str, definition: str = "", at: str = "") -> Trace:
    """A workload row, wrapped in a trace or bare, with its tolerance. Raises InvalidRequest."""
    raw = _object(data, at)
    if "workload" not in raw:
        raw = {"definition": definition, "workload": dict(raw)}
    workload = raw["workload"]
    if isinstance(workload, dict):
        row = cast("dict[str, Any]", workload)
        tolerance = row.pop("tolerance", None)
        if tolerance is not None:
            row["treadle"] = {**(row.get("treadle") or {}), "tolerance": tolerance}
    return read(Trace, msgspec.json.encode(raw), at, lenient=True)


def read_solution(data: bytes | str, at: str = "") -> Solution:
    """A solution. Raises InvalidRequest, also for a compiler option outside `FLAGS`."""
    solution = read(Solution, data, at, lenient=True)
    for group, flags in (solution.spec.compile_options or {}).items():
        allowed = FLAGS.get(group)
        for flag in flags:
            if allowed is None or not allowed.fullmatch(flag):
                raise InvalidRequest(
                    f"compiler option {flag!r} of {group} is not allowed",
                    at=at or f"solution {solution.name!r}",
                    hint="leave it out",
                )
    return solution


def _object(data: bytes | str, at: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidRequest(
            str(problem), at=at or "sol_exec", hint="expected a JSON object"
        ) from None
