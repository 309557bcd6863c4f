"""The CUDA driver through ctypes: memory, modules, one cooperative launch."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.errors import KernelError, Unsupported

_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SMS, _MAJOR = 16, 75  # CU_DEVICE_ATTRIBUTE_*
_NOT_READY = 600  # CUDA_ERROR_NOT_READY
_MAPPED = 3  # CU_MEMHOSTALLOC_DEVICEMAP, PORTABLE: every device may see it
_ENABLED = 704  # CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED


@cache
def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Unsupported(
            "no CUDA driver (libcuda.so.1) on this machine", hint="use --device cpu"
        ) from None


def _call(name: str, *arguments: Any, fine: int = 0) -> None:
    """Raises KernelError naming call and error. fine: a code that is none."""
    code = getattr(_library(), name)(*arguments)
    if code and code != fine:
        text = c_char_p()
        _library().cuGetErrorName(code, byref(text))
        raise KernelError(f"{name}: {(text.value or b'?').decode()}", at="the CUDA driver")


class Memory:
    """Bytes on the device; freed with the object."""

    def __init__(self, size: int) -> None:
        self.size, at = size, c_uint64()
        _call("cuMemAlloc_v2", byref(at), c_size_t(max(size, 16)))
        self.at = at.value

    def put(self, data: NDArray[Any], offset: int = 0) -> None:
        """Copies an array to the device. Raises KernelError beyond the end."""
        flat = np.ascontiguousarray(data)
        if offset + flat.nbytes > self.size:
            raise KernelError(f"{flat.nbytes} bytes at {offset} of {self.size}", at="cuMemcpyHtoD")
        _call("cuMemcpyHtoD_v2", c_uint64(self.at + offset), c_void_p(flat.ctypes.data),
              c_size_t(flat.nbytes))  # fmt: skip

    def copy(self, source: int, size: int, offset: int = 0) -> None:
        """Copies from another address of the device. Raises KernelError beyond the end."""
        if offset + size > self.size:
            raise KernelError(f"{size} bytes at {offset} of {self.size}", at="cuMemcpyDtoD")
        _call("cuMemcpyDtoD_v2", c_uint64(self.at + offset), c_uint64(source), c_size_t(size))

    def get(self, like: NDArray[Any]) -> NDArray[Any]:
        """Fills an array from the device's first bytes."""
        _call("cuMemcpyDtoH_v2", c_void_p(like.ctypes.data), c_uint64(self.at),
              c_size_t(like.nbytes))  # fmt: skip
        return like

    def fill(self, word: int = 0) -> None:
        """Sets every 32-bit word."""
        _call("cuMemsetD32_v2", c_uint64(self.at), c_uint(word), c_size_t(self.size // 4))

    def clear(self, at: int, size: int) -> None:
        """Sets so many bytes to zero, both in whole words."""
        _call("cuMemsetD32_v2", c_uint64(self.at + at), c_uint(0), c_size_t(size // 4))

    def __del__(self) -> None:
        if getattr(self, "at", 0):
            _library().cuMemFree_v2(c_uint64(self.at))


class Shared:
    """Pinned memory of the host that the device writes, `array`; `at`: its address there."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = 4 * int(np.prod(shape))
        host, device = c_void_p(), c_uint64()
        _call("cuMemHostAlloc", byref(host), c_size_t(size), c_uint(_MAPPED))
        _call("cuMemHostGetDevicePointer_v2", byref(device), host, c_uint(0))
        assert host.value is not None
        words = (ctypes.c_uint32 * (size // 4)).from_address(host.value)
        self.at = device.value
        flat: NDArray[np.uint32] = np.ctypeslib.as_array(words)
        self.array: NDArray[np.uint32] = flat.reshape(shape)
        self.array[:] = 0


class Device:
    """One GPU's primary context, current in this thread, and a stream of its own."""

    def __init__(self, number: int = 0) -> None:
        _call("cuInit", c_uint(0))
        device, context, stream, count = c_int(), c_void_p(), c_void_p(), c_int()
        _call("cuDeviceGetCount", byref(count))
        if number >= count.value:
            raise Unsupported(
                f"this machine has {count.value} GPUs, none with number {number}",
                hint="name another with --device, or ask for fewer with --tp",
            )
        _call("cuDeviceGet", byref(device), c_int(number))
        _call("cuDevicePrimaryCtxRetain", byref(context), device)
        _call("cuCtxSetCurrent", context)
        _call("cuStreamCreate", byref(stream), c_uint(1))  # does not wait for the default stream
        self.number = number
        self._device, self._stream, self._context = device, stream, context
        if self._attribute(_MAJOR) != 9:
            raise Unsupported(
                "the persistent kernel needs a Hopper GPU", hint="use --backend torch"
            )

    def enter(self) -> None:
        """Makes the context current in this thread."""
        _call("cuCtxSetCurrent", self._context)

    def reach(self, other: Device) -> None:
        """Lets kernels of this device read and write the other one's memory. Raises Unsupported
        naming both where the machine cannot."""
        if other.number == self.number:
            return
        found = c_int()
        _call("cuDeviceCanAccessPeer", byref(found), self._device, other._device)
        if not found.value:
            raise Unsupported(
                f"GPU {self.number} cannot reach the memory of GPU {other.number}",
                hint="use GPUs that NVLink or PCIe peer access joins",
            )
        self.enter()
        _call("cuCtxEnablePeerAccess", other._context, c_uint(0), fine=_ENABLED)

    @property
    def sms(self) -> int:
        """Workers that fit at once."""
        return self._attribute(_SMS)

    def _attribute(self, which: int) -> int:
        value = c_int()
        _call("cuDeviceGetAttribute", byref(value), c_int(which), self._device)
        return value.value

    def launch(self, function: Kernel, workers: int, args: ctypes.Structure) -> None:
        """Starts a kernel of one block a worker, all resident. Raises KernelError."""
        _call("cuStreamSynchronize", c_void_p(0))  # copies to the device may be on their way yet
        parameters = (c_void_p * 1)(ctypes.addressof(args))
        one = c_uint(1)
        _call("cuLaunchCooperativeKernel", function.handle, c_uint(workers), one, one, c_uint(320),
              one, one, c_uint(function.shared), self._stream, parameters)  # fmt: skip

    def wait(self) -> None:
        """Until the stream is empty. Raises KernelError for what a kernel died of."""
        _call("cuStreamSynchronize", self._stream)

    def idle(self) -> bool:
        """Whether the stream is empty, or will never be."""
        self.enter()
        return _library().cuStreamQuery(self._stream) != _NOT_READY

    def event(self) -> c_void_p:
        """An event recorded now."""
        event = c_void_p()
        _call("cuEventCreate", byref(event), c_uint(0))
        _call("cuEventRecord", event, self._stream)
        return event

    def elapsed(self, first: c_void_p, second: c_void_p) -> float:
        """Microseconds between two events that are over."""
        ms = c_float()
        _call("cuEventElapsedTime", byref(ms), first, second)
        for event in (first, second):
            _call("cuEventDestroy_v2", event)
        return ms.value * 1000


class Kernel:
    """The kernel of a cubin, with the shared memory that it says it needs."""

    def __init__(self, cubin: bytes) -> None:
        module, handle, at, size = c_void_p(), c_void_p(), c_uint64(), c_size_t()
        _call("cuModuleLoadData", byref(module), c_char_p(cubin))
        _call("cuModuleGetFunction", byref(handle), module, c_char_p(b"treadle_mega_step"))
        _call("cuModuleGetGlobal_v2", byref(at), byref(size), module,
              c_char_p(b"treadle_mega_shared"))  # fmt: skip
        shared = c_uint()
        _call("cuMemcpyDtoH_v2", byref(shared), at, c_size_t(4))
        _call("cuFuncSetAttribute", handle, c_int(_SHARED), c_int(shared.value))
        self.handle, self.shared = handle, shared.value
