"""CUDA as a device: memory shared as descriptors, cold L2, replayed graphs, an idle device.

Rings are driver allocations (`cuMemCreate`) that the referee exports as descriptors; the harness
maps them into its own context. The referee works on a host copy of each ring: `push` after filling,
`pull` before judging. Devices do not grant read-only mappings, so inputs are compared after a call.

Needs the driver (through ctypes), torch in the harness, and `_core`: the design wants a compiled
timer in the measured path, so there is no slower clock to fall back to. Building `_core` needs a
C++20 compiler, cmake, ninja, nanobind, scikit-build-core and the interpreter's headers:
`pip install --no-build-isolation -e .`.
"""

# torch and the driver are foreign; what strict mode cannot see is checked on the device.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import KernelError, Unsupported
from treadle.kernels.run.layout import Operand, Place, State, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLACK = 1.25
_PINNED, _ON_DEVICE, _POSIX_FD, _READ_WRITE = 1, 1, 1, 3
_NAME_BYTES = 128
_L2_BYTES, _MAJOR, _MINOR, _MULTIPROCESSORS, _CLOCK_KHZ = 38, 75, 76, 16, 13


class _Location(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _Properties(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = (
        ("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", _Location),
        ("win32", ctypes.c_void_p), ("compression", ctypes.c_ubyte), ("rdma", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort), ("reserved", ctypes.c_ubyte * 4),
    )  # fmt: skip


class _Access(ctypes.Structure):
    _fields_ = (("location", _Location), ("flags", ctypes.c_int))


@cache
def driver() -> ctypes.CDLL:
    """The driver, initialised, with the first device's primary context current.

    Raises Unsupported where there is none.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Unsupported("no CUDA driver", at="--device", hint="use cpu") from None
    library.cuInit(0)
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if library.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise Unsupported("no CUDA device", at="--device", hint="use cpu")
    _done(library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "context")
    _done(library.cuCtxSetCurrent(context), "context")
    return library


class Range:
    """A mapped allocation: made here, or opened from another process's descriptor."""

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        cu = driver()
        properties = _Properties(type=_PINNED, handles=_POSIX_FD, location=_Location(_ON_DEVICE, 0))
        step = ctypes.c_size_t()
        _done(
            cu.cuMemGetAllocationGranularity(ctypes.byref(step), ctypes.byref(properties), 0),
            "granularity",
        )
        self.size = -(-size // step.value) * step.value
        self._handle = ctypes.c_uint64()
        if descriptor is None:
            made = cu.cuMemCreate(
                ctypes.byref(self._handle), ctypes.c_size_t(self.size), ctypes.byref(properties),
                ctypes.c_uint64(0),
            )  # fmt: skip
        else:
            made = cu.cuMemImportFromShareableHandle(
                ctypes.byref(self._handle), ctypes.c_void_p(descriptor), _POSIX_FD
            )
        _done(made, "memory")
        at = ctypes.c_uint64()
        span = ctypes.c_size_t(self.size)
        _done(
            cu.cuMemAddressReserve(ctypes.byref(at), span, step, ctypes.c_uint64(0),
                                   ctypes.c_uint64(0)),
            "address",
        )  # fmt: skip
        self.pointer = int(at.value)
        _done(cu.cuMemMap(at, span, ctypes.c_size_t(0), self._handle, ctypes.c_uint64(0)), "map")
        access = _Access(location=_Location(_ON_DEVICE, 0), flags=_READ_WRITE)
        _done(cu.cuMemSetAccess(at, span, ctypes.byref(access), ctypes.c_size_t(1)), "access")

    def share(self) -> int:
        """A new descriptor of this allocation."""
        found = ctypes.c_int(-1)
        _done(
            driver().cuMemExportToShareableHandle(
                ctypes.byref(found), self._handle, _POSIX_FD, ctypes.c_uint64(0)
            ),
            "descriptor",
        )
        return int(found.value)

    def close(self) -> None:
        """Unmaps and frees; a process that still has it mapped keeps its memory alive."""
        cu, at, span = driver(), ctypes.c_uint64(self.pointer), ctypes.c_size_t(self.size)
        cu.cuMemUnmap(at, span)
        cu.cuMemAddressFree(at, span)
        cu.cuMemRelease(self._handle)


class DeviceMemory:
    """A ring in device memory with its host copy: the face of `ring.Memory`."""

    def __init__(self, size: int) -> None:
        self._range = Range(size)
        self.size = self._range.size
        self._host = bytearray(self.size)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._host, np.uint8)

    def share(self) -> int:
        """A new descriptor; the caller closes it."""
        return self._range.share()

    def view(self, offset: int, shape: tuple[int, ...], stored: np.dtype[Any]) -> NDArray[Any]:
        """An array over a slot of the host copy."""
        return np.ndarray(shape, stored, self._host, offset)

    def push(self) -> None:
        """Host to device."""
        at = ctypes.c_uint64(self._range.pointer)
        _done(
            driver().cuMemcpyHtoD_v2(at, ctypes.c_void_p(self.bytes.ctypes.data), self.size), "push"
        )

    def pull(self) -> None:
        """Device to host."""
        at = ctypes.c_uint64(self._range.pointer)
        _done(
            driver().cuMemcpyDtoH_v2(ctypes.c_void_p(self.bytes.ctypes.data), at, self.size), "pull"
        )

    def close(self) -> None:
        """Frees the allocation."""
        self._range.close()


class Cuda:
    """The first CUDA device."""

    kind = "cuda"

    def __init__(self) -> None:
        from treadle import _core

        cu, text = driver(), ctypes.create_string_buffer(_NAME_BYTES)
        _done(cu.cuDeviceGetName(text, _NAME_BYTES, 0), "name")
        self.name = f"cuda:{text.value.decode().removeprefix('NVIDIA ').replace(' ', '-')}"
        self.timer = f"outer:clock_monotonic/{_core.clock_step_ns()}ns+graph"
        self._scratch = Range(max(2 * _attribute(_L2_BYTES), 1 << 20))
        self._bandwidth = self._measured()

    def allocate(self, size: int, *, read_only: bool) -> DeviceMemory:
        """A ring; read_only is wanted, but no device grants it."""
        del read_only
        return DeviceMemory(size)

    def flush(self, memories: Sequence[Any]) -> bool:
        """Drains the device, takes back pinned lines, and fills the L2 with something else."""
        del memories
        cu = driver()
        _done(cu.cuCtxSynchronize(), "idle")
        cu.cuCtxResetPersistingL2Cache()
        cu.cuCtxSetLimit(6, ctypes.c_size_t(0))  # CU_LIMIT_PERSISTING_L2_CACHE_SIZE
        at = ctypes.c_uint64(self._scratch.pointer)
        _done(cu.cuMemsetD8_v2(at, 0x5A, ctypes.c_size_t(self._scratch.size)), "flush")
        return cu.cuCtxSynchronize() == 0

    def cores(self) -> tuple[list[int], list[int]]:
        """Referee on the first processor, harnesses on the others."""
        mine = sorted(os.sched_getaffinity(0))
        return (mine[:1], mine[1:]) if len(mine) > 2 else ([], [])

    def floor(self, moved: int, flops: float) -> float:
        """By measured copy bandwidth and the tensor cores' best case."""
        peak = _attribute(_MULTIPROCESSORS) * _attribute(_CLOCK_KHZ) * 1e3 * 8192
        return max(moved / self._bandwidth, flops / peak) / SLACK

    def facts(self) -> dict[str, str]:
        """Driver, architecture and clock."""
        version = ctypes.c_int()
        driver().cuDriverGetVersion(ctypes.byref(version))
        return {
            "driver": f"{version.value // 1000}.{version.value % 1000 // 10}",
            "sm": f"{_attribute(_MAJOR)}{_attribute(_MINOR)}",
            "khz": str(_attribute(_CLOCK_KHZ)),
            "load": f"{os.getloadavg()[0]:.2f}",
        }

    def _measured(self) -> float:
        """Bytes a second, read and written, of the best of several copies within the device."""
        room = Range(512 << 20)
        half = room.size // 2
        cu, best = driver(), 1.0
        source, target = ctypes.c_uint64(room.pointer), ctypes.c_uint64(room.pointer + half)
        for _ in range(8):
            cu.cuCtxSynchronize()
            start = time.perf_counter_ns()
            cu.cuMemcpyDtoD_v2(target, source, ctypes.c_size_t(half))
            cu.cuCtxSynchronize()
            best = min(best, (time.perf_counter_ns() - start) * 1e-9)
        room.close()
        return 2 * half / best


class CudaViews:
    """Operands as torch tensors over the rings, in the harness: the face of `views.Views`."""

    def __init__(self, inputs: int, outputs: int, sizes: tuple[int, int], torch: Any) -> None:
        self._torch = torch
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # the context that the ranges are mapped into
        self._ranges = {
            Place.INPUT: Range(sizes[0], inputs),
            Place.OUTPUT: Range(sizes[1], outputs),
        }
        first = self._ranges[Place.INPUT]
        self._span = (first.pointer, first.pointer + first.size)
        self.inputs = np.zeros(0, np.uint8)

    def view(self, operand: Operand, stored: str, dtype: str) -> Any:
        """One operand."""
        place, offset, shape = operand
        if place == Place.INTEGER:
            return offset
        if place == Place.REAL:
            return real(offset)
        if place == Place.TRUTH:
            return bool(offset)
        kind = np.dtype(stored)
        wanted = getattr(self._torch, dtype)
        if not all(shape):
            return self._torch.empty(shape, dtype=wanted, device="cuda")
        pointer = self._ranges[Place(place)].pointer + offset
        plain = {"u2": "<i2", "u4": "<i4", "b1": "|b1"}.get(kind.str[1:], kind.str)
        tensor = self._torch.as_tensor(_Interface(pointer, shape, plain), device="cuda")
        return tensor if tensor.dtype == wanted else tensor.view(wanted)

    def take(self, made: Any, slots: Sequence[Any], held: list[Any]) -> None:
        """Copies results into their slots, on the current stream. Raises Wrong."""
        from treadle.kernels.run.views import Wrong

        parts = made if type(made) in (tuple, list) else (made,)
        if len(parts) != len(slots):
            raise Wrong(State.COUNT, f"{len(parts)} outputs, {len(slots)} are declared")
        for part, slot in zip(parts, slots, strict=True):
            if type(part) is not self._torch.Tensor:
                raise Wrong(State.KIND, f"an output is {type(part).__name__}")
            if tuple(part.shape) != tuple(slot.shape):
                raise Wrong(State.SHAPE, f"shape {tuple(part.shape)}, not {tuple(slot.shape)}")
            if part.dtype != slot.dtype:
                raise Wrong(State.DTYPE, f"dtype {part.dtype}, not {slot.dtype}")
            if part.nbytes and self._span[0] <= part.data_ptr() < self._span[1]:
                raise Wrong(State.ALIAS, "an output is an input")
            held.append(part)
            slot.copy_(part)

    def disjoint(self, held: Sequence[Any]) -> None:
        """Raises Wrong where two results of a batch share their memory."""
        from treadle.kernels.run.views import Wrong

        addresses = [part.data_ptr() for part in held if part.nbytes]
        if len(set(addresses)) < len(addresses):
            raise Wrong(State.ALIAS, "one output overwrites an earlier one")

    def planned(self, run: Callable[[], None]) -> Callable[[], None]:
        """A batch as a captured graph: capture itself refuses unjoined streams and host waits.

        Where capture fails the calls run as they are, which costs their launches.
        """
        torch = self._torch
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                run()  # first calls compile and allocate
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
        except Exception:
            torch.cuda.synchronize()
            return lambda: (run(), torch.cuda.synchronize())[1]
        return lambda: (graph.replay(), torch.cuda.synchronize())[1]


class _Interface:
    """Device memory as torch takes it (CUDA array interface, version 3)."""

    def __init__(self, pointer: int, shape: tuple[int, ...], stored: str) -> None:
        self.__cuda_array_interface__ = {
            "data": (pointer, False), "shape": shape, "typestr": stored, "version": 3,
            "strides": None,
        }  # fmt: skip


def _attribute(number: int) -> int:
    found = ctypes.c_int()
    _done(driver().cuDeviceGetAttribute(ctypes.byref(found), number, 0), "attribute")
    return int(found.value)


def _done(status: int, what: str) -> None:
    if status:
        raise KernelError(f"driver error {status}", at=f"cuda {what}", hint="see nvidia-smi")
