"""A CUDA driver of several devices on this machine: memory that knows whose it is, kernels on
fibers. A call in the wrong context, or an address that a device cannot reach, is a failure."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda_host import launch

from treadle.backends.mega.cuda_args import POINTERS, Args

FAILED = 719  # CUDA_ERROR_LAUNCH_FAILED
_HOSTS = ("tokens", "error", "boxes", "allowed", "seats")  # of the host's memory


class FakeDriver:
    """`library`: of the kernel that every launch runs, once all ranks have launched. Contexts and
    streams are numbers: 100 + device, 1000 + 10 * device + n."""

    def __init__(self, devices: int, ranks: int, library: ctypes.CDLL) -> None:
        self.devices, self.ranks, self.library = devices, ranks, library
        self.memory: dict[int, tuple[int, int, np.ndarray]] = {}  # address: device, size, bytes
        self.reached: set[tuple[int, int]] = set()
        self.current = self.streams = -1
        self.waiting: list[Args] = []
        self.whole = True

    def __getattr__(self, name: str) -> Callable[..., int]:
        """What always succeeds."""
        if name in ("cuInit", "cuStreamCreate", "cuModuleLoadData", "cuModuleGetFunction",
                    "cuFuncSetAttribute"):  # fmt: skip
            return lambda *_: self._stream(_[0]) if name == "cuStreamCreate" else 0
        raise AttributeError(name)

    def _stream(self, out: Any) -> int:
        self.streams += 1
        out._obj.value = 1000 + 10 * self.current + self.streams
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self.devices
        return 0

    def cuDeviceGet(self, out: Any, number: Any) -> int:
        out._obj.value = number.value
        return 0

    def cuDevicePrimaryCtxRetain(self, out: Any, device: Any) -> int:
        out._obj.value = 100 + device.value
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self.current = context.value - 100
        return 0

    def cuDeviceGetAttribute(self, out: Any, which: Any, device: Any) -> int:
        out._obj.value = {16: 132, 75: 9}[which.value]
        return 0

    def cuDeviceCanAccessPeer(self, out: Any, device: Any, other: Any) -> int:
        out._obj.value = int(device.value != other.value)
        return 0

    def cuCtxEnablePeerAccess(self, context: Any, flags: Any) -> int:
        self.reached.add((self.current, context.value - 100))
        return 0

    def cuGetErrorName(self, code: int, out: Any) -> int:
        out._obj.value = str(code).encode()
        return 0

    def _take(self, size: int, device: int) -> int:
        data = np.zeros(size + 128, np.uint8)
        at = -(-data.ctypes.data // 128) * 128
        self.memory[at] = device, size, data
        return at

    def owner(self, at: int) -> int:
        """The device of an address, -1 the host."""
        for first, (device, size, _) in self.memory.items():
            if first <= at < first + size:
                return device
        raise AssertionError(f"{at} is nobody's")

    def cuMemAlloc_v2(self, out: Any, size: Any) -> int:
        out._obj.value = self._take(size.value, self.current)
        return 0

    def cuMemHostAlloc(self, out: Any, size: Any, flags: Any) -> int:
        assert flags.value & 1, "other devices cannot see it"
        out._obj.value = self._take(size.value, -1)
        return 0

    def cuMemHostGetDevicePointer_v2(self, out: Any, host: Any, flags: Any) -> int:
        out._obj.value = host.value
        return 0

    def cuMemFree_v2(self, at: Any) -> int:
        return 0

    def _copy(self, to: int, source: int, size: int, at: int) -> int:
        assert self.owner(at) == self.current, "a copy in another device's context"
        ctypes.memmove(to, source, size)
        return 0

    def cuMemcpyHtoD_v2(self, to: Any, source: Any, size: Any) -> int:
        return self._copy(to.value, source.value, size.value, to.value)

    def cuMemcpyDtoH_v2(self, to: Any, source: Any, size: Any) -> int:
        to = to.value if hasattr(to, "value") else ctypes.addressof(to._obj)
        return self._copy(to, source.value, size.value, source.value)

    def cuMemsetD32_v2(self, at: Any, word: Any, count: Any) -> int:
        assert self.owner(at.value) == self.current
        ctypes.memset(at.value, word.value, 4 * count.value)
        return 0

    def cuModuleGetGlobal_v2(self, at: Any, size: Any, *_: Any) -> int:
        at._obj.value = self._take(4, self.current)
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        number = stream.value
        if number is None:
            return 0
        assert (number - 1000) // 10 == self.current, "a stream of another device"
        assert not self.waiting, "waits for a launch whose peers were never launched"
        return 0 if self.whole else FAILED

    def cuStreamQuery(self, stream: Any) -> int:
        return self.cuStreamSynchronize(stream)

    def cuLaunchCooperativeKernel(self, handle: Any, *rest: Any) -> int:
        stream, parameters = rest[-2:]
        assert (stream.value - 1000) // 10 == self.current, "a launch in another device's context"
        args = Args.from_buffer_copy(Args.from_address(parameters[0]))
        for name in POINTERS:
            at = getattr(args, name)
            if at and name != "state_bytes":
                assert self.owner(at) == (-1 if name in _HOSTS else self.current), name
        for peer in list(args.peers)[: self.ranks]:
            device = self.owner(peer)
            assert device == self.current or (self.current, device) in self.reached, device
        self.waiting.append(args)
        if len(self.waiting) == self.ranks:
            every = sorted(self.waiting, key=lambda a: a.rank)
            self.waiting = []
            self.whole = launch(every, self.library, 3)
        return 0
