"""How each dtype lies in memory as numpy has it, and its grid: widening, rounding, ulp.

numpy knows no bfloat16 and no float8: they are held as their bits in uint16 and uint8.
"""

# numpy's own annotations leave element types open; what strict mode cannot see is tested.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from treadle.errors import Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wide: TypeAlias = NDArray[np.float64]
    Stored: TypeAlias = NDArray[Any]

STORED: dict[str, str] = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2",
    "float8_e4m3fn": "u1", "float8_e5m2": "u1",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1", "uint32": "u4",
    "bool": "?",
}  # fmt: skip

_GRID: dict[str, tuple[int, int]] = {
    "float64": (52, -1022), "float32": (23, -126), "float16": (10, -14), "bfloat16": (7, -126),
    "float8_e4m3fn": (3, -6), "float8_e5m2": (2, -14),
}  # fmt: skip
"""Mantissa bits and exponent of the smallest normal number."""


def stored(dtype: str) -> np.dtype[Any]:
    """The numpy type that holds a dtype. Raises Unsupported."""
    if dtype not in STORED:
        raise Unsupported(f"dtype {dtype!r}", hint=f"one of {', '.join(STORED)}")
    return np.dtype(STORED[dtype])


def is_float(dtype: str) -> bool:
    """Whether values of this dtype are rounded."""
    return dtype in _GRID


def bits(dtype: str) -> int:
    """Mantissa bits."""
    return _GRID[dtype][0]


def smallest(dtype: str) -> float:
    """The smallest normal number."""
    return 2.0 ** _GRID[dtype][1]


def widen(values: Stored, dtype: str) -> Any:
    """Exact float64 of a float dtype; other dtypes as they are."""
    if not is_float(dtype):
        return values
    if dtype == "bfloat16":
        with np.errstate(invalid="ignore"):  # signalling NaN
            return single(values).astype(np.float64)
    if dtype in ("float8_e4m3fn", "float8_e5m2"):
        return _table(dtype)[values]
    return values.astype(np.float64)


def single(values: Stored) -> Any:
    """Exact float32 of bfloat16."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def narrow(values: Any, dtype: str) -> Stored:
    """Rounds to nearest even and gives the stored form."""
    kind = stored(dtype)
    if not is_float(dtype):
        return np.asarray(values).astype(kind)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "bfloat16":
            single = np.asarray(values, np.float32)
            raw = single.view(np.uint32)
            rounded = (raw + 0x7FFF + ((raw >> 16) & 1)) >> 16
            return np.where(np.isnan(single), 0x7FC0, rounded).astype(np.uint16)
        if dtype in ("float8_e4m3fn", "float8_e5m2"):
            return _nearest(np.asarray(values, np.float64), dtype)
        return np.asarray(values).astype(kind)


def ulp(values: Wide, dtype: str) -> Wide:
    """Spacing of the dtype's numbers around each value; below the normal range it is constant."""
    mantissa, lowest = _GRID[dtype]
    exponent = np.frexp(np.abs(values))[1].astype(np.int64) - 1
    exponent = np.where(values == 0, lowest, np.maximum(exponent, lowest))
    return np.ldexp(1.0, exponent - mantissa)


@cache
def _table(dtype: str) -> Wide:
    mantissa, lowest = _GRID[dtype]
    raw = np.arange(256)
    sign = np.where(raw & 0x80, -1.0, 1.0)
    exponent, fraction = (raw & 0x7F) >> mantissa, raw & ((1 << mantissa) - 1)
    normal = (1 + fraction / 2**mantissa) * 2.0 ** (exponent + lowest - 1)
    values: Any = sign * np.where(exponent == 0, fraction / 2**mantissa * 2.0**lowest, normal)
    if dtype == "float8_e4m3fn":
        values[(raw & 0x7F) == 0x7F] = np.nan
    else:
        values[(raw & 0x7F) == 0x7C] = np.inf * sign[(raw & 0x7F) == 0x7C]
        values[(raw & 0x7F) > 0x7C] = np.nan
    return values


def _nearest(values: Wide, dtype: str) -> Stored:
    """The code of the nearest number; beyond the largest one, that one (e4m3fn has no infinity)."""
    table = _table(dtype)
    codes = np.flatnonzero(np.isfinite(table[:128]))
    grid = table[codes]
    size = np.minimum(np.abs(values), grid[-1])
    above = np.searchsorted(grid, np.nan_to_num(size), side="left").clip(1, len(grid) - 1)
    low, high = grid[above - 1], grid[above]
    even = (codes[above - 1] & 1) == 0
    down = (size - low < high - size) | ((size - low == high - size) & even)
    found = np.where(down, codes[above - 1], codes[above])
    found = np.where(np.isnan(values), 0x7F, found)
    return (found | np.where(np.signbit(values), 0x80, 0)).astype(np.uint8)
