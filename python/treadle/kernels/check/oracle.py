"""What the outputs should be: the ladder of oracles, each with its low-precision twin.

1 op: our op's reference on numpy in float64. 2 raised: the definition's own text under a mode that
raises every narrow float to float64. 3 as written: that text unchanged. The twin is the same
computation with float32 inside and outputs rounded to their dtypes; its error is the yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from treadle.errors import GraphError, KernelError, TreadleError
from treadle.graph import FUSED, OPS, lookup
from treadle.kernels.check import dtypes, sizes
from treadle.kernels.schema import Definition, places_written

Values = dict[str, Any]
"""Output name → float64 or integer array."""


class Oracle:
    """The best oracle that a definition has. `rung` names it: op, raised or written."""

    def __init__(self, definition: Definition, device: str = "") -> None:
        """device: where torch computes; numpy on this processor if ""."""
        self._definition, self._device = definition, device
        self._kept: frozenset[str] = frozenset()
        self._wide: dict[tuple[str, str], Any] = {}
        self._kinds = {name: t.dtype for name, t in definition.inputs.items()}
        self._attrs: dict[str, Any] | None = _attrs(definition)
        self._text: Callable[..., Any] | None = None
        self.rung = "op" if self._attrs is not None else "raised"

    def keep(self, names: frozenset[str]) -> None:
        """Inputs that are the same for all calls until `forget`: widened once."""
        self._kept = names

    def forget(self) -> None:
        """Inputs have changed."""
        self._wide.clear()

    def high(self, inputs: Mapping[str, Any]) -> Values:
        """Outputs in float64. Raises KernelError where no oracle answers."""
        if self._attrs is not None:
            return self._op(inputs, np.float64)
        if self.rung == "raised":
            try:
                return self._written(inputs, wide=True)
            except Exception:
                self.rung = "written"  # text that insists on its types
        return self._written(inputs, wide=False)

    def low(self, inputs: Mapping[str, Any]) -> Values:
        """The twin's outputs, rounded to their dtypes, as float64."""
        if self._attrs is not None:
            made = self._op(inputs, np.float32)
        else:
            made = self._written(inputs, wide=False)
        return {name: self.rounded(name, value) for name, value in made.items()}

    def shaken(
        self, inputs: Mapping[str, Any], high: Mapping[str, Any], step: float, tries: int = 3
    ) -> Values | None:
        """How far outputs move where every float input moves by `step` of itself, up or down.

        The largest of a few tries; None on the rungs that cannot tell.
        """
        if self._attrs is None:
            return None
        rng = np.random.default_rng(0)
        found: Values = {}
        for _ in range(tries):
            for name, value in self._op(inputs, np.float64, lambda v: _moved(v, step, rng)).items():
                if dtypes.is_float(self._definition.outputs[name].dtype):
                    with np.errstate(invalid="ignore"):
                        off = np.nan_to_num(np.abs(value - high[name]), posinf=0.0)
                    found[name] = np.maximum(found[name], off) if name in found else off
        return found

    def rounded(self, name: str, value: Any) -> Any:
        """A value on the grid of an output's dtype."""
        dtype = self._definition.outputs[name].dtype
        return dtypes.widen(dtypes.narrow(value, dtype), dtype)

    def _op(
        self,
        inputs: Mapping[str, Any],
        inner: type[Any],
        change: Callable[[Any], Any] | None = None,
    ) -> Values:
        ours = self._definition.treadle or {}
        declared = lookup(ours["op"])
        over = {declared.in_names.index(name) for name in declared.writes.values()}
        given = [self._operand(name, value, inner) for name, value in inputs.items()]
        for i in over:  # the op writes there, and the ring and what is kept stay as they are
            given[i] = given[i].clone() if self._device else given[i].copy()
        if change is not None:
            given = [change(value) for value in given]
        assert self._attrs is not None
        space: Any = np
        if self._device:
            import torch as space
        with np.errstate(all="ignore"):
            made: Any = declared.compute(space, *given, **self._attrs)
        return self._named(cast("tuple[Any, ...]", made) if isinstance(made, tuple) else (made,))

    def _operand(self, name: str, value: Any, inner: type[Any]) -> Any:
        """An input as the reference takes it: floats of the type it computes in."""
        if not isinstance(value, np.ndarray):
            return value
        key = (name, inner.__name__)
        if key in self._wide:
            return self._wide[key]
        array, dtype = cast("Any", value), self._kinds[name]
        if self._device:
            from treadle.kernels.check import float64

            made = float64.placed(array, dtype, self._device, inner)
        elif not dtypes.is_float(dtype):
            made = array
        elif inner is np.float32 and dtype in ("bfloat16", "float16", "float32"):
            made = dtypes.single(array) if dtype == "bfloat16" else array.astype(inner, copy=False)
        else:
            made = dtypes.widen(array, dtype).astype(inner, copy=False)
        if name in self._kept:
            self._wide[key] = made
        return made

    def _written(self, inputs: Mapping[str, Any], *, wide: bool) -> Values:
        from treadle.kernels.check import float64

        if self._text is None:
            self._text = float64.load(self._definition.reference, self._definition.name)
        try:
            return self._named(
                float64.run(
                    self._text,
                    inputs,
                    self._kinds,
                    wide=wide,
                    device=self._device or "cpu",
                    into=places_written(self._definition),
                )
            )
        except TreadleError:
            raise
        except Exception as problem:
            raise KernelError(
                f"the reference fails: {type(problem).__name__}: {problem}",
                at=self._definition.name,
                hint="correct the definition or the workload",
            ) from problem

    def _named(self, made: tuple[Any, ...]) -> Values:
        names = list(self._definition.outputs)
        if len(made) != len(names):
            raise KernelError(
                f"the reference gives {len(made)} outputs, {len(names)} are declared",
                at=self._definition.name,
                hint="correct the definition",
            )
        out: Values = {}
        for name, value in zip(names, made, strict=True):
            array = np.asarray(value.cpu() if self._device and hasattr(value, "cpu") else value)
            floating = dtypes.is_float(self._definition.outputs[name].dtype)
            out[name] = array.astype(np.float64) if floating else array
        return out


def _moved(value: Any, step: float, rng: np.random.Generator) -> Any:
    """Floats of an array or tensor by `step` of themselves, up or down."""
    if not hasattr(value, "shape") or "float" not in str(value.dtype):
        return value
    factor: Any = 1.0 + step * (2.0 * rng.integers(0, 2, tuple(value.shape)) - 1.0)
    if not isinstance(value, np.ndarray):
        import torch

        factor = torch.asarray(factor, device=value.device)
    return value * factor


def _attrs(definition: Definition) -> dict[str, Any] | None:
    """Attrs of our op as numbers, or None where its reference does not stand for the definition."""
    ours = definition.treadle or {}
    name = ours.get("op")
    if (name not in OPS and name not in FUSED) or "view" in ours or "format" in ours:
        return None
    declared = lookup(str(name))
    if len(declared.out_names) != len(definition.outputs) or len(definition.inputs) > len(
        declared.in_names
    ):
        return None
    attrs: dict[str, Any] = {}
    consts = sizes.all_axes(definition, dict.fromkeys(definition.axes, -1))
    for key, value in dict(ours.get("attrs", {})).items():
        try:
            attrs[key] = _number(declared.attrs[key].kind, value, consts)
        except (KeyError, GraphError):
            return None
    return attrs


def _number(kind: Any, value: Any, consts: Mapping[str, int]) -> Any:
    if kind == "dim":
        return consts[value] if isinstance(value, str) else value
    if kind == "dims":
        return tuple(consts[v] if isinstance(v, str) else v for v in value)
    return value
