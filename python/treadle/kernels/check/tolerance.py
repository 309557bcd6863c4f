"""How far an output may lie from the oracle: as far as its dtype and float32 sums explain.

Per output, each row's relative L2 error is at most 3 times that of the low-precision twin, and each
element lies within 3 ulp of max(|oracle|, row RMS); NaN and infinities stand exactly where the
oracle has them. Where the twin happens to be exact, half a unit of the dtype counts as its error.
Outputs of float32 and wider are not rounded much more than their sums, so that 64 units of float32
are granted: reordering 10^4 terms stays below, a 16-bit or TF32 step inside is 30 times above.

The twin is one way to compute in float32; where an output hangs on differences of large numbers
(a softmax of scores in the hundreds), another honest way may by chance be much further off. So a
float32 output that fails is judged once more by what 8 ulp of float32 in the inputs change.
"""

# numpy's own annotations leave element types open; what strict mode cannot see is tested.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.kernels.check import dtypes

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROW = 3.0
ELEMENT = 3.0
WIDE_UNITS = 64.0
SHAKE = 2.0**-20
"""Relative change of inputs in the second judgement: 8 ulp of float32, 1/512 of a TF32 step."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Factors of the rule; a definition's `tolerance` may change them, visibly."""

    row: float = ROW
    element: float = ELEMENT


@dataclass(frozen=True, slots=True)
class Difference:
    """Worst of all rows and elements. ratio and ulps are shares of what is allowed times the rule.

    ratio: row error over the twin's (allowed: `Tolerance.row`); ulps: element error in ulp;
    relative, absolute: plain errors, for the trace. reason is empty where all is well.
    """

    reason: str = ""
    ratio: float = 0.0
    ulps: float = 0.0
    relative: float = 0.0
    absolute: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the output is right."""
        return not self.reason


def compare(
    found: Any,
    high: Any,
    low: Any,
    dtype: str,
    rule: Tolerance | None = None,
    shaken: Any = None,
) -> Difference:
    """Judges one float output; all arrays float64 of one shape, `low` on the dtype's grid.

    shaken: how much `SHAKE` in the inputs changes each element.
    """
    rule = rule or Tolerance()
    if found.size == 0:
        return Difference()
    rounded = dtypes.widen(dtypes.narrow(high, dtype), dtype)
    odd = ~np.isfinite(rounded)
    same = np.where(odd, (np.isnan(found) & np.isnan(rounded)) | (found == rounded), True)
    if not (same & (odd | np.isfinite(found))).all():
        wrong = int((~(same & (odd | np.isfinite(found)))).sum())
        return Difference(
            f"{wrong} of {found.size} elements: NaN or infinity not where the oracle has them",
            np.inf, np.inf, np.inf, np.inf,
        )  # fmt: skip
    exact: Any = _rows(np.where(odd, 0.0, high))
    found, low = _rows(np.where(odd, 0.0, found)), _rows(np.where(odd, 0.0, low))
    error = np.abs(found - exact)  # [rows, n]
    size = np.linalg.norm(exact, axis=-1)
    units = _units(dtype)
    twin = np.abs(np.where(np.isfinite(low), low, exact) - exact)
    if shaken is not None:
        twin = np.maximum(twin, _rows(np.where(odd, 0.0, shaken)))
    least = units * 2.0 ** -(dtypes.bits(dtype) + 1) * size / rule.row
    floor = dtypes.smallest(dtype) * np.sqrt(exact.shape[-1])
    yard = np.maximum(np.maximum(np.linalg.norm(twin, axis=-1), least), floor / rule.row)
    ratio = np.linalg.norm(error, axis=-1) / yard
    rms = size[:, None] / np.sqrt(exact.shape[-1])
    spacing = dtypes.ulp(np.maximum(np.abs(exact), rms), dtype)
    ulps = np.where(error <= dtypes.smallest(dtype), 0.0, error / spacing)
    allowed = np.maximum(rule.element, units)
    allowed = np.maximum(allowed, rule.row * (twin / spacing).max(-1, keepdims=True))
    scaled = ulps * (rule.element / allowed)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(exact != 0, error / np.abs(exact), 0.0)
    reason = ""
    if float(ratio.max()) > rule.row:
        row = int(ratio.argmax())
        reason = f"row {row}: error {ratio[row]:.3g} times the low-precision reference's"
    elif float(scaled.max()) > rule.element:
        at = np.unravel_index(int(scaled.argmax()), scaled.shape)
        reason = f"element {tuple(int(i) for i in at)}: {float(ulps[at]):.3g} ulp off"
    return Difference(
        reason,
        float(ratio.max()),
        float(ulps.max()),
        float(relative.max(initial=0.0)),
        float(error.max()),
    )


def exact(found: NDArray[Any], wanted: NDArray[Any]) -> Difference:
    """Judges integers and truth values: equal or wrong."""
    wrong = int((found != wanted).sum())
    if not wrong:
        return Difference()
    size = float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())
    return Difference(f"{wrong} of {found.size} integers differ", np.inf, np.inf, np.inf, size)


def _rows(values: Any) -> Any:
    return values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)


def wide(dtype: str) -> bool:
    """Whether float32 sums show in an output of this dtype."""
    return dtypes.bits(dtype) >= 23


def _units(dtype: str) -> float:
    """Half units that float32 sums may cost beyond the twin's error, in the dtype's own units."""
    if not wide(dtype):
        return 1.0
    return WIDE_UNITS * 2.0 ** (dtypes.bits(dtype) - 23)
