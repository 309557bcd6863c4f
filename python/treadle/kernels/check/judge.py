"""One call's outputs against the oracle: the single question the referee asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.kernels.check import dtypes, index, sampler
from treadle.kernels.check.oracle import Oracle, Values
from treadle.kernels.check.tolerance import (
    ELEMENT,
    ROW,
    Difference,
    Tolerance,
    compare,
    exact,
)
from treadle.kernels.schema import Definition

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NONE: NDArray[np.float64] = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Expected:
    """What one call should give: float64 outputs and their low-precision twins."""

    high: Values
    low: Values


@dataclass(frozen=True, slots=True)
class Judgement:
    """Worst difference of all outputs; `uniform` holds a sampler's draws, mapped to [0, 1)."""

    worst: Difference
    output: str = ""
    uniform: NDArray[np.float64] = field(default_factory=lambda: _NONE)

    @property
    def ok(self) -> bool:
        """Whether all outputs are right."""
        return self.worst.ok

    @property
    def reason(self) -> str:
        """Output and what is wrong with it."""
        return f"{self.output}: {self.worst.reason}" if self.worst.reason else ""


class Judge:
    """Oracle and tolerance of one definition."""

    def __init__(self, definition: Definition, device: str = "") -> None:
        """device: torch's name of the one that runs the oracle; numpy if ""."""
        self.definition = definition
        self.oracle = Oracle(definition, device)
        ours = definition.treadle or {}
        self.sampler = bool(ours.get("sampler"))
        self._route = ours.get("op") == "route" and list(definition.outputs) == ["w", "i"]
        given: dict[str, Any] = ours.get("tolerance") or {}
        self.rule = Tolerance(
            row=float(given.get("row", ROW)), element=float(given.get("element", ELEMENT))
        )

    def expect(self, inputs: Mapping[str, Any]) -> Expected:
        """Runs the oracle. Raises KernelError where the reference fails."""
        if self.sampler:
            return Expected({}, {})
        return Expected(self.oracle.high(inputs), self.oracle.low(inputs))

    def judge(
        self,
        inputs: Mapping[str, Any],
        expected: Expected,
        outputs: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> Judgement:
        """Compares stored outputs with what was expected of these inputs."""
        if self.sampler:
            return self._draws(inputs, next(iter(outputs.values())), rng)
        if self._route:
            logits = next(iter(inputs.values()))
            dtype = next(iter(self.definition.inputs.values())).dtype
            found = index.routed(
                dtypes.widen(logits, dtype),
                dtypes.widen(outputs["w"], self.definition.outputs["w"].dtype),
                outputs["i"],
                (self.definition.treadle or {}).get("attrs", {}),
                self.rule,
            )
            return Judgement(found, "w, i")
        worst, name = Difference(), next(iter(outputs))
        for key, value in outputs.items():
            found = self._one(key, value, expected)
            if not found.ok:
                return Judgement(found, key)
            if found.ratio >= worst.ratio:
                name = key
            worst = _worse(worst, found)
        return Judgement(worst, name)

    def same(self, first: Expected, second: Expected) -> bool:
        """Whether two expectations cannot be told apart: such inputs prove nothing."""
        for name, tensor in self.definition.outputs.items():
            a, b = first.high[name], second.high[name]
            if a.shape != b.shape:
                return False
            if dtypes.is_float(tensor.dtype):
                if not compare(b, a, first.low[name], tensor.dtype, self.rule).ok:
                    return False
            elif not np.array_equal(a, b):
                return False
        return True

    def _one(self, name: str, value: Any, expected: Expected) -> Difference:
        tensor = self.definition.outputs[name]
        wanted = expected.high[name]
        if value.shape != wanted.shape:
            text = f"shape {value.shape}, not {wanted.shape}"
            return Difference(text, np.inf, np.inf, np.inf, np.inf)
        if not dtypes.is_float(tensor.dtype):
            return exact(value, wanted)
        wide = dtypes.widen(value, tensor.dtype)
        return compare(wide, wanted, expected.low[name], tensor.dtype, self.rule)

    def _draws(
        self, inputs: Mapping[str, Any], draws: NDArray[Any], rng: np.random.Generator
    ) -> Judgement:
        name = next(iter(self.definition.outputs))
        if not len(draws):
            return Judgement(Difference(), name)
        drawn = draws.astype(np.int64).reshape(-1)
        sure = ~sampler.doubtful(inputs)
        mass = sampler.masses(inputs)
        bad = sampler.outside(mass[sure], drawn[sure])
        if bad:
            text = f"{bad} of {len(drawn)} tokens have no mass"
            return Judgement(Difference(text, np.inf, np.inf, np.inf, np.inf), name)
        return Judgement(
            Difference(), name, uniform=sampler.transform(mass[sure], drawn[sure], rng)
        )


def _worse(a: Difference, b: Difference) -> Difference:
    return replace(
        a,
        ratio=max(a.ratio, b.ratio),
        ulps=max(a.ulps, b.ulps),
        relative=max(a.relative, b.relative),
        absolute=max(a.absolute, b.absolute),
    )
