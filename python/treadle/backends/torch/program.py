"""A graph as a flat list of calls over numbered registers: nothing is looked up while it runs."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from treadle.backends.params import one_device
from treadle.backends.torch import fused, kernels
from treadle.backends.torch.kernels import PLAN, Kernel
from treadle.backends.torch.substitute import node_of
from treadle.graph import fuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.backends.torch.weights import Store
    from treadle.graph import Graph, Node

OPS: dict[str, Callable[[Store, Node], Kernel]] = {
    maker.__name__: maker
    for maker in (
        kernels.embed,
        kernels.linear,
        kernels.rmsnorm,
        kernels.rope,
        kernels.kv_write,
        kernels.attention,
        kernels.add,
        kernels.scale,
        kernels.softcap,
        kernels.glu,
        kernels.route,
        kernels.experts,
        kernels.split,
        kernels.view,
        kernels.take,
    )
} | fused.FUSIONS

Registers = list[Any]


class Program:
    """Kernels of a graph in order. Registers are reused as soon as their value has no reader left,
    so a step holds no more than the values alive at once."""

    def __init__(self, made: Sequence[Kernel], given: Sequence[str], output: str) -> None:
        last = {name: i for i, kernel in enumerate(made) for name in kernel.reads}
        last |= {name: len(made) for name in (*given, output)}
        self._slots: dict[str, int] = {name: i for i, name in enumerate(given)}
        self._size = len(given)
        self._calls: list[Callable[[Registers], None]] = []
        free: list[int] = []
        for i, kernel in enumerate(made):
            reads = [self._slots[name] for name in kernel.reads]
            # The outputs may take the registers of operands that this kernel is the last to read.
            free += {self._slots[name] for name in kernel.reads if last[name] == i}
            writes: list[int] = []
            for name in kernel.writes:
                writes.append(free.pop() if free else self._grow())
                self._slots[name] = writes[-1]
            free += [self._slots[name] for name in kernel.writes if last.get(name, -1) <= i]
            self._calls.append(_call(kernel.run, reads, writes))
        self._output = self._slots[output]

    def run(self, given: Sequence[Any]) -> Any:
        """The output for the values named `given` when the program was made."""
        registers: Registers = [*given, *([None] * (self._size - len(given)))]
        for call in self._calls:
            call(registers)
        return registers[self._output]

    def _grow(self) -> int:
        self._size += 1
        return self._size - 1


def compile_program(graph: Graph, store: Store, given: Sequence[str]) -> tuple[Graph, Program]:
    """Fuses, makes every kernel, and orders them; values once a step come first.

    Returns the fused graph too. Raises GraphError, ModelFormatError, or Unsupported.
    """
    graph = fuse(one_device(graph), set(fused.FUSIONS))
    store.graph = graph
    pairs = packed_pairs(graph)
    heads = {i: graph.nodes[j] for i, (j, _) in pairs.items()}
    skipped = {view for _, views in pairs.values() for view in views}
    joined = {id(head) for head in heads.values()}

    def make(i: int) -> Kernel:
        node = graph.nodes[i]
        if i in heads:
            return fused.packed_qk_norm_rope_kv(store, node, fused.packed_name(heads[i]))
        if id(node) in joined:
            return fused.packed_qkv(store, node)
        return node_of(store, node, OPS[node.op](store, node))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(make, (i for i in range(len(graph.nodes)) if i not in skipped)))
    first = [
        Kernel(kernels.trigonometry(store.param(freq, kernels.F32), mscale, d), (pos,), (name,))
        for (pos, freq, mscale, d), name in store.trigs.items()
    ]
    return graph, Program([*first, *made], [PLAN, *given], graph.outputs[0])


def packed_pairs(graph: Graph) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Prologues whose q, k and v come from one `qkv` through views that nobody else reads.

    Index of the qk_norm_rope_kv node → (index of the qkv node, indices of the three views).
    """
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    for i, node in enumerate(graph.nodes):
        if node.op != "qk_norm_rope_kv" or len(node.inputs) == 8:  # a norm for q alone
            continue
        views = [graph.producers.get(name, -1) for name in node.inputs[:3]]
        if any(v < 0 or graph.nodes[v].op != "view" for v in views):
            continue
        sources = [graph.nodes[v].inputs[0] for v in views]
        j = graph.producers.get(sources[0], -1)
        if j < 0 or graph.nodes[j].op != "qkv" or tuple(sources) != graph.nodes[j].outputs:
            continue
        inner = [*sources, *node.inputs[:3]]
        if all(len(graph.readers[name]) == 1 and name not in graph.outputs for name in inner):
            found[i] = (j, tuple(views))
    return found


def _call(
    run: Callable[..., Any], reads: list[int], writes: list[int]
) -> Callable[[Registers], None]:
    """A closure over register numbers, spelt out for the common shapes."""
    if len(writes) == 1:
        out = writes[0]
        if len(reads) == 1:
            a = reads[0]

            def one(r: Registers) -> None:
                r[out] = run(r[a])

            return one
        if len(reads) == 2:
            a, b = reads

            def two(r: Registers) -> None:
                r[out] = run(r[a], r[b])

            return two

        def many(r: Registers) -> None:
            r[out] = run(*[r[i] for i in reads])

        return many

    def several(r: Registers) -> None:
        made = run(*[r[i] for i in reads])
        for i, value in zip(writes, made or (), strict=True):
            r[i] = value

    return several
