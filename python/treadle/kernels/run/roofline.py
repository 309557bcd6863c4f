"""How fast a device could do a call at best: bytes against its bandwidth, operations its rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from treadle.kernels.check import sizes
from treadle.kernels.run import work
from treadle.kernels.run.device import Device
from treadle.kernels.schema import Definition

_MANY = 1 << 40


@dataclass(frozen=True, slots=True)
class Roofline:
    """Of one call. floor: seconds below which an answer is impossible; seconds: the limit itself;
    moved, flops: bytes and operations of the call as it is meant; bandwidth, rate: bytes and
    operations a second of the device."""

    floor: float = 0.0
    seconds: float = 0.0
    moved: int = 0
    flops: float = 0.0
    bandwidth: float = 0.0
    rate: float = 0.0

    @property
    def bound(self) -> str:
        """Which of the two takes longer: `memory` or `compute`."""
        return "compute" if self.flops * self.bandwidth > self.moved * self.rate else "memory"


def roofline(definition: Definition, axes: Mapping[str, int], device: Device) -> Roofline:
    """Of a call with these axes on this device."""
    known = sizes.all_axes(definition, axes)
    flops, touched = work.flops(definition, known), work.touched(definition, known)
    return Roofline(
        floor=device.floor(work.moved(definition, known), flops),
        seconds=device.floor(touched, flops) * device.slack,
        moved=touched,
        flops=flops,
        bandwidth=_MANY / (device.floor(_MANY, 0.0) * device.slack),
        rate=_MANY / (device.floor(0, float(_MANY)) * device.slack),
    )
