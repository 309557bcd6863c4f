"""A graph on a Hopper GPU: torch for prefill, one persistent kernel a bucket of rows for decode."""

# torch's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from treadle.backends.capacity import choose_pages
from treadle.backends.params import one_device, size_of, tensor_of
from treadle.backends.table import backend
from treadle.errors import Unsupported
from treadle.mega import H200, compile
from treadle.mega.codegen import PAGE, Knobs, generate
from treadle.models.quant import dequantise

if TYPE_CHECKING:
    from treadle.backends.base import Executable
    from treadle.backends.mega.cuda import Decoder
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.mega.codegen import Program
    from treadle.types import Weights

ROWS = (1, 4)
"""Sequences that a kernel decodes together; a step of more is torch's."""

CONTEXT = 32_768
"""Positions of a sequence at most; a longer one is torch's."""

_SEGMENT = 128  # positions that a worker attends to at a time
_SPARE = 1 << 30  # bytes of the device that are left for activations

_log = logging.getLogger("treadle.backends.mega")


class MegaCuda:
    """`Backend` of one Hopper GPU: weights, activations and KV in bfloat16.

    page: tokens that a KV page must hold. trace: kernels note when they pass marks
    (`cuda_trace`). A model that the kernel does not cover decodes by torch's
    CUDA graphs, which is logged. Raises Unsupported for another dtype.
    """

    act, threads, page = "bf16", 1, PAGE

    def __init__(self, device: str, dtype: str | None = None, trace: bool = False) -> None:
        if dtype not in (None, "bf16"):
            raise Unsupported(
                f"mega on CUDA computes in bf16, not in {dtype!r}", at="dtype",
                hint="leave it out, or use backend torch",
            )  # fmt: skip
        self.device, self._knobs = device, Knobs(trace=trace)

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> Executable:
        """Plans and builds a kernel a bucket of rows, packs the weights for it and for torch.

        Raises Unsupported without a Hopper GPU, ModelFormatError for weights that do not fit.
        """
        from treadle.backends.mega.cuda_driver import Device

        gpu = Device(int(self.device.partition(":")[2] or 0))
        torch_backend = backend("torch", device=self.device, dtype="bf16")
        try:
            programs = _programs(one_device(graph), limits, min(gpu.sms, 128), self._knobs)
        except Unsupported as error:
            _log.warning("%s; this model decodes by torch's CUDA graphs", error)
            return torch_backend.compile(graph, weights, limits, pages=pages)
        import torch

        from treadle.backends.mega.cuda import Decoder
        from treadle.backends.mega.cuda_executable import CudaExecutable
        from treadle.backends.mega.cuda_pages import SharedPages

        # Both runtimes keep weights and pages in their own order.
        room = _room(graph, programs, self.device)
        count = choose_pages(graph, limits, pages, item=4, free=room)
        inner: Any = torch_backend.compile(graph, weights, limits, pages=count)
        heads, d = size_of(graph, "K"), size_of(graph, "d")
        shape = (len(graph.state), count + 1, heads, 2, self.page, d)
        kv = torch.zeros(shape, dtype=torch.bfloat16, device=self.device)
        decoders: list[Decoder] = []
        for program in programs:
            decoder = Decoder(program, pages=count + 1, device=gpu, kv=kv.data_ptr())
            _load(decoder, graph, weights, self.device)
            decoders.append(decoder)
        _log.info(
            "decode of %s sequences by persistent kernels of %d workers, prefill by torch",
            " or ".join(str(d.rows) for d in decoders), programs[0].plan.workers,
        )  # fmt: skip
        shared = SharedPages(kv, inner.kv())
        return CudaExecutable(inner, decoders, shared, pages=count, spare=count, limits=limits)


def _programs(graph: Graph, limits: Limits, workers: int, knobs: Knobs) -> list[Program]:
    """A program a bucket, built side by side. Raises Unsupported if not even one row is covered."""
    from treadle.backends.mega.cuda_build import build

    if graph.state and graph.size("B") != PAGE:
        raise Unsupported(
            f"KV pages of {graph.size('B')} tokens", at=f"graph {graph.name}",
            hint=f"build the graph with pages of {PAGE}",
        )  # fmt: skip
    found: list[Program] = []
    for rows in ROWS:
        if found and found[-1].plan.shape.rows >= limits.sequences:
            break
        try:
            plan = compile(
                graph, replace(H200, workers=workers), rows=rows, slots=rows, context=CONTEXT,
                segment=_SEGMENT,
            )  # fmt: skip
            found.append(generate(plan, knobs))
        except Unsupported as error:
            if not found:
                raise
            _log.info("no kernel of %d rows: %s", rows, error)
            break
    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(build, (program.text for program in found)))
    return found


def _room(graph: Graph, programs: list[Program], device: str) -> int:
    """Bytes of the device that KV pages may take."""
    import torch

    matrices = sum(
        math.prod(size_of(graph, entry) for entry in param.shape) * 2
        for param in graph.params.values()
    )
    copies = 1 + 2 * len(programs)  # the embedding too is kept by each
    return max(0, torch.cuda.mem_get_info(device)[0] - copies * matrices - _SPARE)


def _load(decoder: Decoder, graph: Graph, weights: Weights, device: str) -> None:
    """Packs the weights on the GPU."""
    import torch

    from treadle.backends.mega import cuda_pack

    program, names = decoder.program, decoder.program.plan.params

    def matrix(number: int) -> Any:
        wide = dequantise(tensor_of(graph, weights, names[number]))
        return torch.tensor(wide, device=device).to(torch.bfloat16).view(torch.int16)

    def vector(number: int) -> Any:
        return dequantise(tensor_of(graph, weights, names[number])).reshape(-1)

    blob = torch.empty(decoder.stream.size // 2, dtype=torch.int16, device=device)
    cuda_pack.fill(blob, program, matrix)
    embed = matrix(program.embed).contiguous()
    torch.cuda.synchronize(device)
    decoder.stream.copy(blob.data_ptr(), blob.numel() * 2)
    decoder.embed.copy(embed.data_ptr(), embed.numel() * 2)
    decoder.pool.put(cuda_pack.pool(program, vector))
