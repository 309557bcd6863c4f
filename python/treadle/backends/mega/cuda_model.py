"""A graph on a Hopper GPU: torch for prefill, one persistent kernel a bucket of rows for decode."""

# torch's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from treadle.backends.capacity import choose_pages
from treadle.backends.params import one_device, size_of, tensor_of
from treadle.backends.table import backend
from treadle.errors import Unsupported
from treadle.graph import shard
from treadle.mega import H200, compile
from treadle.mega.codegen import PAGE, generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs
from treadle.models.quant import dequantise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.backends.base import Executable
    from treadle.backends.mega.cuda import Decoder
    from treadle.backends.mega.cuda_driver import Memory
    from treadle.backends.mega.cuda_launch import Kernel
    from treadle.backends.mega.cuda_ranks import Cutter
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.mega.codegen_program import Program
    from treadle.types import Weights

ROWS = (1, 4, 16)
"""Sequences that a kernel decodes together; a step of more is torch's."""

CONTEXT = 32_768
"""Positions of a sequence at most; a longer one is torch's."""

_SPARE = 1 << 30  # bytes of the device that are left for activations

_log = logging.getLogger("treadle.backends.mega")


class MegaCuda:
    """`Backend` of Hopper GPUs: weights, activations and KV in bfloat16.

    page: tokens that a KV page must hold. trace: kernels note when they pass marks
    (`cuda_trace`). tp: how many GPUs share a model in decode, from the device's own on, which also
    does the prefill of all; gpus: others, one a rank. A model that the kernel does not cover
    decodes by torch's CUDA graphs, which is logged; on several GPUs it is refused. Raises
    Unsupported for another dtype.
    """

    act, threads, page = "bf16", 1, PAGE

    def __init__(
        self, device: str, dtype: str | None = None, trace: bool = False, tp: int = 1,
        gpus: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        if dtype not in (None, "bf16"):
            raise Unsupported(
                f"mega on CUDA computes in bf16, not in {dtype!r}", at="dtype",
                hint="leave it out, or use backend torch",
            )  # fmt: skip
        self.device, self._knobs = device, Knobs(trace=trace)
        first = int(device.partition(":")[2] or 0)
        self._gpus = list(gpus) if gpus is not None else list(range(first, first + tp))

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> Executable:
        """Plans and builds a kernel a bucket of rows, packs the weights for it and for torch.

        Raises Unsupported without a Hopper GPU, ModelFormatError for weights that do not fit.
        """
        from treadle.backends.mega.cuda_driver import Device

        tp, devices = len(self._gpus), [Device(gpu) for gpu in self._gpus]
        devices[0].enter()  # where torch computes
        together = max(self._gpus.count(gpu) for gpu in self._gpus)  # ranks on one GPU
        torch_backend = backend("torch", device=self.device, dtype="bf16")
        try:
            whole = one_device(graph)
            part = shard(whole, tp) if tp > 1 else whole
            free = _free(self.device)
            programs = _programs(
                part, limits, min(devices[0].sms, 128) // together, self._knobs,
                lambda some: _room(graph, some, len(set(self._gpus)), free),
            )  # fmt: skip
        except Unsupported as error:
            if tp > 1:
                raise
            _log.warning("%s; this model decodes by torch's CUDA graphs", error)
            return torch_backend.compile(graph, weights, limits, pages=pages)
        import torch

        from treadle.backends.mega.cuda import Decoder
        from treadle.backends.mega.cuda_executable import CudaExecutable
        from treadle.backends.mega.cuda_pages import SharedPages
        from treadle.backends.mega.cuda_ranks import Ranks, cutter

        # Both runtimes keep weights and pages in their own order.
        room = _room(graph, programs, len(set(self._gpus)), free)
        count = choose_pages(graph, limits, pages, item=4, free=room)
        inner: Any = torch_backend.compile(graph, weights, limits, pages=count)
        heads, d = size_of(graph, "K") // tp, size_of(graph, "d")
        shape = (len(graph.state), count + 1, heads, 2, self.page, d)
        kvs = [torch.zeros(shape, dtype=torch.bfloat16, device=f"cuda:{gpu}") for gpu in self._gpus]
        at, cut = [kv.data_ptr() for kv in kvs], cutter(graph, tp)
        kernels: list[Kernel] = []
        beside: list[Decoder] = []
        for program in programs:
            if tp == 1:
                kernel = Decoder(
                    program, pages=count + 1, device=devices[0], kv=at[0],
                    beside=beside[0] if beside else None,
                )  # fmt: skip
                parts = [kernel]
            else:
                kernel = Ranks(program, devices, pages=count + 1, kv=at, beside=beside)
                parts = kernel.decoders
            for decoder, near, gpu in zip(parts, beside or [None] * tp, self._gpus, strict=True):
                _load(decoder, near, graph, weights, f"cuda:{gpu}", cut)
            kernels.append(kernel)
            beside = parts
        devices[0].enter()
        _log.info(
            "decode of %s sequences by persistent kernels of %d workers on %d GPU(s), prefill by "
            "torch",
            " or ".join(str(k.rows) for k in kernels), programs[0].plan.workers,
            len(set(self._gpus)),
        )  # fmt: skip
        shared = SharedPages(kvs, inner.kv())
        return CudaExecutable(inner, kernels, shared, pages=count, spare=count, limits=limits)


def _programs(
    graph: Graph, limits: Limits, workers: int, knobs: Knobs,
    room: Callable[[list[Program]], int],
) -> list[Program]:  # fmt: skip
    """A program a bucket, built side by side. room: bytes that kernels leave for KV pages; one that
    leaves none is left out. Raises Unsupported if not even one row is covered."""
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
            made = _program(graph, rows, workers, knobs)
        except Unsupported as error:
            if not found:
                raise
            _log.info("no kernel of %d rows: %s", rows, error)
            break
        if found and room([*found, made]) <= 0:
            _log.info("no kernel of %d rows: its weights leave no memory for KV pages", rows)
            break
        found.append(made)
    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(build, (program.text for program in found)))
    return found


def _program(graph: Graph, rows: int, workers: int, knobs: Knobs) -> Program:
    """A program of one bucket. A rank's share of a small model may have too few strips for so many
    workers: then of fewer."""
    try:
        plan = compile(
            graph, replace(H200, workers=workers), rows=rows, slots=rows, context=CONTEXT,
            segment=segment(rows, CONTEXT),
        )  # fmt: skip
        return generate(plan, knobs)
    except Unsupported:
        if not graph.divided or workers < 16:
            raise
    return _program(graph, rows, workers // 2, knobs)


def _free(device: str) -> int:
    """Bytes of a device that nobody has."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def _room(graph: Graph, programs: list[Program], gpus: int, free: int) -> int:
    """Of so many free bytes of a device those that KV pages may take."""
    from treadle.backends.mega.cuda_pack import alike

    sizes = [
        math.prod(size_of(graph, entry) for entry in param.shape) * 2
        for param in graph.params.values()
    ]
    streams = len(programs) - sum(alike(*pair) for pair in pairwise(programs))
    # Torch's, each stream, and what is packed for the next one; the embedding for all kernels.
    copies = 1 + -(-(streams + 1) // gpus)
    return max(0, free - copies * sum(sizes) - max(sizes) - _SPARE)


def _load(
    decoder: Decoder, beside: Decoder | None, graph: Graph, weights: Weights, device: str,
    cut: Cutter,
) -> None:  # fmt: skip
    """Packs a rank's weights on its GPU, but those that the decoder beside it has."""
    import torch

    from treadle.backends.mega import cuda_pack

    program, names = decoder.program, decoder.program.plan.params

    def wide_of(number: int) -> Any:
        def whole(name: str) -> Any:
            return dequantise(tensor_of(graph, weights, name))

        return cut(decoder.rank, names[number], whole)

    def matrix(number: int) -> Any:
        wide = wide_of(number)
        return torch.tensor(wide, device=device).to(torch.bfloat16).view(torch.int16)

    def vector(number: int) -> Any:
        return wide_of(number).reshape(-1)

    def keep(memory: Memory, made: Any) -> None:
        torch.cuda.synchronize(device)
        decoder.device.enter()
        memory.copy(made.data_ptr(), made.numel() * 2)

    if beside is None or decoder.stream is not beside.stream:
        blob = torch.empty(decoder.stream.size // 2, dtype=torch.int16, device=device)
        cuda_pack.fill(blob, program, matrix)
        keep(decoder.stream, blob)
        del blob
    if beside is None:
        keep(decoder.embed, matrix(program.embed).contiguous())
    decoder.device.enter()
    decoder.pool.put(cuda_pack.pool(program, vector))
    torch.cuda.empty_cache()  # else torch keeps what the next kernel's weights need
