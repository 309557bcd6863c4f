"""What an entry of each language looks like: told to the model, and written into the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import structs

from treadle.errors import Unsupported
from treadle.kernels.schema import Preparation, Spec

DLTENSOR = """\
#pragma once
#include <stdint.h>

extern "C" {
struct DLDevice {
  int32_t device_type, device_id;  // 1 is the CPU, 2 is CUDA
};
struct DLDataType {
  uint8_t code, bits;  // code 0 int, 2 float, 4 bfloat
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;  // strides in elements; null or row-major
  uint64_t byte_offset;      // added to data
};
}
"""
"""`dltensor.h`, laid out as DLPack's specification has it; a file of every compiled proposal."""

_C = (
    'extern "C" int NAME(inputs..., outputs..., void* stream): tensors are `const DLTensor*`, '
    "scalars are double, all in the order of the definition. Write every element of the outputs, "
    "keep inputs as they are, return 0 (1 for a tensor you do not take). `dltensor.h` is there."
)
_PYTHON = (
    "def NAME(inputs...) -> outputs: {} in the order of the definition; several outputs as a "
    "tuple. Inputs stay as they are."
)
_C_PREPARED = (
    'Besides the entry point, which must be complete without: `extern "C" int PREPARE(weights..., '
    "void** made, void* stream)` is called once for a set of weights, outside the measured time; "
    '`extern "C" int RUN_PREPARED(inputs..., const void* made, outputs..., void* stream)` then '
    'stands for the entry point; `extern "C" void RELEASE(void* made)` frees. Weights change now '
    "and then, and are then prepared anew. Leave prepare, run_prepared and release empty if you "
    "prepare nothing."
)
_PYTHON_PREPARED = (
    "Besides the entry point, which must be complete without: def PREPARE(weights...) -> made is "
    "called once for a set of weights, outside the measured time; def RUN_PREPARED(inputs..., "
    "made) -> outputs then stands for the entry point. Weights change now and then, and are then "
    "prepared anew. Leave prepare and run_prepared empty if you prepare nothing, release always."
)


class Interface(NamedTuple):
    """Language and ending of the entry, where it runs, how it is called and built, and how weights
    are prepared, for definitions that have some."""

    language: str
    ending: str
    devices: tuple[str, ...]
    text: str
    binding: str | None = None
    array: str | None = None
    flags: dict[str, list[str]] | None = None

    @property
    def prepared(self) -> str:
        """What the model is told of preparing weights."""
        return _C_PREPARED if self.binding == "dlpack" else _PYTHON_PREPARED


INTERFACES: Mapping[str, Interface] = {
    "cpp": Interface(
        "cpp", ".cc", ("cpu",), f"C++20 for g++. {_C} One thread.", "dlpack",
        flags={"cflags": ["-O3", "-march=native", "-std=c++20", "-fopenmp-simd"]},
    ),
    "cuda": Interface("cuda", ".cu", ("cuda",), f"CUDA C++17 for nvcc. {_C}", "dlpack"),
    "python": Interface("python", ".py", ("cpu", "cuda"), _PYTHON.format("torch tensors")),
    "numpy": Interface(
        "python", ".py", ("cpu",), _PYTHON.format("numpy arrays"), array="numpy"
    ),
    "triton": Interface("triton", ".py", ("cuda",), _PYTHON.format("torch tensors on CUDA")),
}  # fmt: skip


def interface(name: str, device: str) -> Interface:
    """The interface of a name of ours on a device. Raises Unsupported."""
    kind = device.partition(":")[0]
    found = INTERFACES.get(name)
    if found is None or kind not in found.devices:
        fits = [n for n, one in INTERFACES.items() if kind in one.devices]
        raise Unsupported(f"no {name} on {kind}", at="--language", hint=f"one of {fits}")
    return found


def spec_of(
    one: Interface, entry_point: str, device: str, prepare: Preparation | None = None
) -> Spec:
    """The spec of a proposal."""
    kind, _, model = device.partition(":")
    ours: dict[str, object] = {"array": one.array} if one.array else {}
    if prepare is not None:
        ours["prepare"] = structs.asdict(prepare)
    return Spec(
        language=one.language,
        target_hardware=["cpu" if kind == "cpu" else model or kind],
        entry_point=entry_point,
        destination_passing_style=one.binding == "dlpack",
        binding=one.binding,
        compile_options=one.flags,
        treadle=ours or None,
    )
