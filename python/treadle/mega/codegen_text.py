"""The CUDA text of a plan: constants and calls, nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from treadle.mega.records import Code

if TYPE_CHECKING:
    from treadle.mega.codegen_program import Knobs
    from treadle.mega.plan import Plan

Value = int | float | bool

_CALLS = {
    Code.PREP: "prepare_rows",
    Code.LINEAR: "linear",
    Code.ATTN: "attend",
    Code.FOLD: "fold",
    Code.EXPERTS_UP: "experts_up",
    Code.EXPERTS_DOWN: "experts_down",
    Code.SAMPLE: "draw",
}
_BODIES = (
    "forms",
    "wait",
    "inbox",
    "sight",
    "ring",
    "post",
    "load",
    "feed",
    "linear",
    "linear_rows",
    "codes",
    "linear_codes",
    "attend",
    "fold",
    "draw",
)


@dataclass(slots=True)
class Names:
    """A phase as the source knows it."""

    name: str
    code: Code
    fields: dict[str, Value] = field(default_factory=dict[str, Value])

    def put(self, name: str, value: Value, default: Value) -> None:
        """Sets a constant that differs from the default in `types.cuh`."""
        if value != default:
            self.fields[name] = value


def render(
    plan: Plan,
    knobs: Knobs,
    model: Mapping[str, int | float | bool],
    phases: Sequence[Names],
    walk: Sequence[tuple[int, Sequence[int]]],
) -> str:
    """The source. Equal plans and knobs give equal text."""
    lines = [
        f"// Generated from plan {plan.graph[:16]} for {plan.target}: do not edit.",
        "#ifdef TREADLE_HOST",
        '#include "mega/port_host.cuh"',
        "#else",
        '#include "mega/port_cuda.cuh"',
        "#endif",
        "",
        "struct Model {",
    ]
    lines += [f"  {_constant(f'k{name}', value)}" for name, value in model.items()]
    lines += ["};", '#include "mega/types.cuh"', "", "namespace treadle::mega {"]
    attend = next(p for p in phases if p.code is Code.ATTN)
    for phase in phases:
        if phase.code in _CALLS:
            body = " ".join(_constant(name, value) for name, value in phase.fields.items())
            lines.append(f"struct {phase.name} : Phase {{ {body} }};  // {phase.code.name}")
    lines += [f"using Attend = {attend.name};", "}  // namespace treadle::mega", ""]
    routed = any(p.code is Code.EXPERTS_UP for p in phases)
    bodies = (*_BODIES, "experts") if routed else _BODIES
    lines += [f'#include "mega/{body}.cuh"' for body in bodies]
    lines += [
        "",
        "namespace treadle::mega {",
        "template <class R>",
        "TM_DEVICE void phases(R& r) {",
    ]
    for repeat, rows in walk:
        at, space = ("0", "  ") if repeat == 1 else ("i", "    ")
        if repeat > 1:
            lines += ["#pragma unroll 1", f"  for (int i = 0; i < {repeat}; i++) {{"]
        lines += [f"{space}{_call(phases, row, at)};" for row in rows]
        if repeat > 1:
            lines.append("  }")
    lines += ["}", "}  // namespace treadle::mega", '#include "mega/persist.cuh"', ""]
    return "\n".join(lines)


def _call(phases: Sequence[Names], row: int, at: str) -> str:
    """Of a phase's body. Experts are functions beside the roles; gate and up know the router."""
    phase = phases[row]
    call, name = _CALLS[phase.code], phase.name
    if phase.code is Code.EXPERTS_UP:
        return f"{call}<{name}, {phases[row - 1].name}>(r, {at})"
    if phase.code is Code.EXPERTS_DOWN:
        return f"{call}<{name}>(r, {at})"
    return f"r.template {call}<{name}>({at})"


def _constant(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return f"static constexpr bool {name} = {str(value).lower()};"
    if isinstance(value, float):
        text = repr(value) if "." in repr(value) or "e" in repr(value) else f"{value}.0"
        return f"static constexpr float {name} = {text}f;"
    if value >> 31 > 0:
        return f"static constexpr uint64_t {name} = {value:#x}ull;"
    return f"static constexpr int {name} = {value};"
