"""A backend that fails on command: it raises, returns NaN logits, hangs or crawls.

It computes with the reference's device behind the ordinary executable, so the engine's tests meet
the same queue, checks and futures as in production.

    faults = Faults(raises={3: KernelError("lost device")}, nan={5: [0]})
    executable = Faulty(faults).compile(graph, weights, limits, pages=32)
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from treadle.backends.reference.device import ReferenceDevice
from treadle.backends.stream import StreamExecutable


@dataclass
class Faults:
    """What goes wrong, by the number of the forward or sample (from 0). Tests may change it while
    the executable runs. `hangs`: the forward blocks until `release` is set."""

    raises: dict[int, BaseException] = field(default_factory=dict)
    sample_raises: dict[int, BaseException] = field(default_factory=dict)
    nan: dict[int, list[int]] = field(default_factory=dict)  # forward → rows
    hangs: set[int] = field(default_factory=set)
    seconds: float = 0.0  # slept in every forward
    release: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)  # set once it hangs


class FaultyDevice:
    """A device of the reference backend with faults in front."""

    def __init__(self, inner: ReferenceDevice, faults: Faults) -> None:
        self.pages, self.page_size, self.vocab = inner.pages, inner.page_size, inner.vocab
        self._inner, self._faults = inner, faults
        self.forwards = self.samples = 0

    def forward(self, batch: Any, previous: Any) -> Any:
        number, self.forwards = self.forwards, self.forwards + 1
        if self._faults.seconds:
            time.sleep(self._faults.seconds)
        if number in self._faults.hangs:
            self._faults.hanging.set()
            self._faults.release.wait()
        if number in self._faults.raises:
            raise self._faults.raises[number]
        logits = self._inner.forward(batch, previous)
        rows = [r for r in self._faults.nan.get(number, ()) if r < len(logits)]
        if rows:
            logits = logits.copy()
            logits[rows] = np.nan
        return logits

    def sample(self, logits: Any, mask: Any, params: Any) -> Any:
        number, self.samples = self.samples, self.samples + 1
        if number in self._faults.sample_raises:
            raise self._faults.sample_raises[number]
        return self._inner.sample(logits, mask, params)


class Faulty:
    """`Backend` whose executables obey `faults`."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()

    def compile(self, graph: Any, weights: Any, limits: Any, *, pages: int | None = None) -> Any:
        device = FaultyDevice(ReferenceDevice(graph, weights, limits, pages), self.faults)
        return StreamExecutable("faulty", device, limits)
