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
from treadle.kernels.run.layout import Operand, Place, real
from treadle.kernels.run.views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLACK = 1.25
MOST_COPIES = 64
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
    """A ring in device memory with its host copy: the face of `ring.Memory`.

    Devices do not grant read-only mappings, so inputs have a twin that is never shared: `restore`
    copies it over the ring, `changed` compares the two.
    """

    def __init__(self, size: int, *, read_only: bool = False) -> None:
        self._range = Range(size)
        self.size = self._range.size
        self._twin = Range(self.size) if read_only else None
        self._host = bytearray(self.size)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._host, np.uint8)

    def share(self) -> int:
        """A new descriptor; the caller closes it."""
        return self._range.share()

    def view(self, offset: int, shape: tuple[int, ...], stored: np.dtype[Any]) -> NDArray[Any]:
        """An array over a slot of the host copy."""
        return np.ndarray(shape, stored, self._host, offset)

    def push(self, spans: Sequence[tuple[int, int]] | None = None) -> None:
        """Host to device."""
        target = (self._twin or self._range).pointer
        for offset, size in [(0, self.size)] if spans is None else spans:
            at, host = ctypes.c_uint64(target + offset), self.bytes.ctypes.data + offset
            _done(
                driver().cuMemcpyHtoD_v2(at, ctypes.c_void_p(host), ctypes.c_size_t(size)), "push"
            )

    def repeat(self, offset: int, size: int, count: int) -> None:
        """Device to device, before `restore`."""
        base = (self._twin or self._range).pointer + offset
        for slot in range(1, count):
            to, source = ctypes.c_uint64(base + slot * size), ctypes.c_uint64(base)
            _done(driver().cuMemcpyDtoDAsync_v2(to, source, ctypes.c_size_t(size), None), "repeat")

    def restore(self) -> None:
        """Device to device."""
        if self._twin is not None:
            to, source = ctypes.c_uint64(self._range.pointer), ctypes.c_uint64(self._twin.pointer)
            span = ctypes.c_size_t(self.size)
            _done(driver().cuMemcpyDtoDAsync_v2(to, source, span, None), "restore")
            _done(driver().cuCtxSynchronize(), "restore")

    def changed(self) -> bool:
        """Compares on the device."""
        if self._twin is None:
            return False
        import torch

        words = [
            torch.as_tensor(_Interface(part.pointer, (self.size // 8,), "<i8"), device="cuda")
            for part in (self._range, self._twin)
        ]
        return not torch.equal(*words)

    def pull(self) -> None:
        """Device to host."""
        at = ctypes.c_uint64(self._range.pointer)
        host, span = ctypes.c_void_p(self.bytes.ctypes.data), ctypes.c_size_t(self.size)
        _done(driver().cuMemcpyDtoH_v2(host, at, span), "pull")

    def close(self) -> None:
        """Frees the allocation."""
        self._range.close()
        if self._twin is not None:
            self._twin.close()


class Cuda:
    """The first CUDA device."""

    kind = "cuda"
    shared = 1 << 20
    oracle = "cuda"
    ahead = True
    slack = SLACK

    def __init__(self) -> None:
        from treadle import _core

        cu, text = driver(), ctypes.create_string_buffer(_NAME_BYTES)
        _done(cu.cuDeviceGetName(text, _NAME_BYTES, 0), "name")
        self.name = f"cuda:{text.value.decode().removeprefix('NVIDIA ').replace(' ', '-')}"
        self.timer = f"outer:clock_monotonic/{_core.clock_step_ns()}ns+graph"
        # Asked once: the referee pins itself afterwards.
        self._mine = sorted(os.sched_getaffinity(0))
        self._scratch = Range(max(2 * _attribute(_L2_BYTES), 1 << 20))
        self._bandwidth = self._measured()

    def allocate(self, size: int, *, read_only: bool) -> DeviceMemory:
        """A ring; read_only is wanted, but no device grants it, so it can be put back."""
        return DeviceMemory(size, read_only=read_only)

    def evict(self) -> None:
        """Nothing to do: `flush` fills the L2, whoever's lines lie there."""

    def copies(self, size: int, *, held: bool = False) -> int:
        """As many as take twice the L2."""
        del held
        return max(1, min(MOST_COPIES, -(-2 * _attribute(_L2_BYTES) // max(size, 1))))

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
        return (self._mine[:1], self._mine[1:]) if len(self._mine) > 2 else ([], [])

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


class CudaViews(Views):
    """Operands as torch tensors over the rings, in the harness; results are taken as on the CPU."""

    def __init__(self, inputs: int, outputs: int, sizes: tuple[int, int], torch: Any) -> None:
        self._torch = torch
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # makes the context that the ranges are mapped into
        self._ranges = {
            Place.INPUT: Range(sizes[0], inputs),
            Place.OUTPUT: Range(sizes[1], outputs),
        }
        self._mark = torch.zeros(1, device="cuda")
        first = self._ranges[Place.INPUT]
        self._inputs = (first.pointer, first.pointer + first.size)
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

    def wake(self) -> None:
        """A device that another process used last takes its time to change over."""
        self._mark.add_(1)
        self._torch.cuda.synchronize()

    def planned(self, run: Callable[[], None]) -> Callable[[], None]:
        """A batch as a captured graph: capture itself refuses unjoined streams and host waits.

        Where capture fails the calls run as they are, which costs their launches.
        """
        torch = self._torch
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                run()  # first calls compile and allocate
            torch.cuda.synchronize()
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            with torch.cuda.stream(stream):
                graph.capture_begin()
                try:
                    run()
                finally:
                    graph.capture_end()
            graph.replay()  # a graph's first launch uploads it
            torch.cuda.synchronize()
        except Exception:
            torch.cuda.synchronize()
            return self.finished(run)
        return self.finished(graph.replay)

    def finished(self, run: Callable[[], None]) -> Callable[[], None]:
        """`run`, and waiting until the device has done it."""
        return lambda: (run(), self._torch.cuda.synchronize())[1]


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
