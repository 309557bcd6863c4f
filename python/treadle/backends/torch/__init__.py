"""The graph on torch, CPU or CUDA, with every node resolved to a call when it is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from treadle.backends.stream import StreamExecutable
from treadle.backends.torch.device import TorchDevice
from treadle.errors import InvalidRequest, Unsupported

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.kernels.apply import Resolver
    from treadle.limits import Limits
    from treadle.types import Weights

__all__ = ["Torch"]

_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Torch:
    """`Backend` on a torch device.

    device: "cpu", "cuda", "cuda:1", …; None = CUDA where there is one. dtype: "f32", "bf16" or
    "f16" for weights, activations and KV; None = float32 on the CPU, bfloat16 on CUDA. threads:
    CPU threads of an operation, a setting of the whole process; None leaves it alone. kernels: a
    table of measured kernels (`treadle.kernels.apply`), asked once for every node. graphs: replay
    decode steps as CUDA graphs where that is possible.
    """

    def __init__(
        self,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        kernels: Resolver | None = None,
        graphs: bool = True,
    ) -> None:
        self._kernels, self._graphs = kernels, graphs
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._device = torch.device(name)
        except RuntimeError:
            raise InvalidRequest(
                f"{name!r} is no device", at="device", hint="cpu or cuda"
            ) from None
        if self._device.type not in ("cpu", "cuda"):
            raise Unsupported(f"no support for {name!r}", at="device", hint="use cpu or cuda")
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise Unsupported("torch sees no CUDA device", at="device", hint="use device cpu")
        chosen = dtype or ("f32" if self._device.type == "cpu" else "bf16")
        if chosen not in _DTYPES:
            raise InvalidRequest(
                f"unknown dtype {dtype!r}", at="dtype", hint=f"one of {[*_DTYPES]}"
            )
        self.act = chosen
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.device = str(self._device)

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> StreamExecutable:
        """Fuses the graph, moves the weights to the device and resolves every node.

        Raises ModelFormatError for weights that do not fit, Unsupported for an op without kernel.
        """
        device = TorchDevice(
            graph, weights, limits, pages, self._device, _DTYPES[self.act], self._kernels,
            graphs=self._graphs,
        )  # fmt: skip
        return StreamExecutable(f"torch {self._device}", device, limits)
