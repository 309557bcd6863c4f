"""Capture: what a running program really asks of its kernels, as workloads of a dataset.

A `Recorder` stands where a table stands (`resolve`, `enabled`, the torch backend's `kernels`) and
passes every call on. Integer structure is kept, floats become distributions; token ids, values
and weights stay where they are.
"""

from treadle.kernels.capture.recorder import Limits, Recorder

__all__ = ["Limits", "Recorder"]
