"""Rotary position tables: every scaling scheme ends in one array of inverse frequencies."""

from __future__ import annotations

import math
from array import array

from msgspec import Struct

from treadle.models.fields import Fields


class Bands(Struct, frozen=True):
    """Llama 3.1's scaling: long waves are slowed by `factor`, short ones kept, a ramp between.

    `low`, `high`: wavelengths that fit `original` tokens that often bound the ramp.
    """

    factor: float
    low: float
    high: float
    original: int


class Rope(Struct, frozen=True):
    """Rotation of heads of `d` values: base frequency, linear `factor`, or Llama 3.1's bands."""

    d: int
    base: float
    factor: float = 1.0
    bands: Bands | None = None

    def table(self) -> array[float]:
        """Inverse frequencies in radians a token. [d/2] float32, computed in float64."""
        inv_freq = [self.base ** (-i / self.d) / self.factor for i in range(0, self.d, 2)]
        if self.bands is not None:
            inv_freq = [_slow_long_wave(one, self.bands) for one in inv_freq]
        return array("f", inv_freq)

    @staticmethod
    def from_hf(f: Fields, d: int, *, base: float = 10_000.0, layers: str | None = None) -> Rope:
        """Reads `rope_parameters` (current) or `rope_theta` with `rope_scaling` (older files).

        `layers`: the kind of layer whose own parameters are wanted, where a family has two.
        Raises Unsupported for a scaling scheme other than default, linear, llama3.
        """
        f.only("partial_rotary_factor", 1.0)
        parameters = f.section("rope_parameters")
        if parameters is not None and layers is not None:
            parameters = parameters.section(layers)
        if parameters is None:
            base = f.positive("rope_theta", base)
            scaling = f.section("rope_scaling")
        else:
            base = parameters.positive("rope_theta", base)
            scaling = parameters
        return Rope(d, base) if scaling is None else _scaled(scaling, d, base)

    @staticmethod
    def from_gguf(f: Fields, d: int, *, base: float = 10_000.0) -> Rope:
        """Reads `rope.*` metadata. Raises Unsupported for scaling other than linear."""
        f.only("rope.dimension_count", d)
        f.only("rope.scaling.type", "none", "linear")
        base = f.positive("rope.freq_base", base)
        if f.has("rope.scale_linear"):  # the older name
            return Rope(d, base, f.positive("rope.scale_linear"))
        linear = f.text("rope.scaling.type", "none") == "linear"
        return Rope(d, base, f.positive("rope.scaling.factor") if linear else 1.0)


def _scaled(f: Fields, d: int, base: float) -> Rope:
    kind = "type" if f.has("type") and not f.has("rope_type") else "rope_type"
    f.only(kind, "default", "linear", "llama3")
    f.only("partial_rotary_factor", 1.0)
    scheme = f.text(kind, "default")
    if scheme == "default":
        return Rope(d, base)
    factor = f.positive("factor")
    if scheme == "linear":
        return Rope(d, base, factor)
    low, high = f.positive("low_freq_factor"), f.positive("high_freq_factor")
    if high <= low:
        raise f.wrong("high_freq_factor", f"is {high:g}, expected above low_freq_factor {low:g}")
    original = f.integer("original_max_position_embeddings", hi=(1 << 31) - 1)
    return Rope(d, base, bands=Bands(factor, low, high, original))


def _slow_long_wave(inv_freq: float, bands: Bands) -> float:
    turns = bands.original * inv_freq / (2 * math.pi)  # turns within the original context
    keep = min(max((turns - bands.low) / (bands.high - bands.low), 0.0), 1.0)
    return inv_freq * (keep + (1.0 - keep) / bands.factor)
