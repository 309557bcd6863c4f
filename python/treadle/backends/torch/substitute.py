"""Where measured kernels come in: every product, node and attention is resolved once, here.

Without a resolver nothing changes: the makers' own functions run.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from treadle.kernels.definitions.nodes import decode_view, gemm_view, node_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.backends.torch.attention import Plan, Pool
    from treadle.backends.torch.kernels import Kernel
    from treadle.backends.torch.weights import Store
    from treadle.graph import Node
    from treadle.kernels.schema import Definition

ACTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def found(store: Store, definition: Definition | None) -> str | None:
    """The resolver's name for a definition."""
    if store.resolver is None or definition is None:
        return None
    return store.resolver.find(definition)


def product_of(store: Store, w: Any, fallback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A callable for x · wᵀ, chosen by the rows of x."""
    if store.resolver is None:
        return fallback
    name = found(store, gemm_view(w.shape[0], w.shape[1], ACTS[store.dtype]))
    if name is None:
        return fallback
    return store.resolver.resolve(name, fallback, bound={"B": w}, trusted=frozenset({"A"}))


def node_of(store: Store, node: Node, kernel: Kernel) -> Kernel:
    """The kernel with a measured one in front, where its maker told its weights and a definition
    of this very signature is measured."""
    if store.resolver is None or not kernel.operands:
        return kernel
    definition = node_view(store.graph, node, ACTS[store.dtype])
    name = found(store, definition)
    if name is None or definition is None:
        return kernel
    inputs = [*definition.inputs]
    pairs = zip(inputs, kernel.operands, strict=True)
    bound = {key: value for key, value in pairs if value is not None}
    run = store.resolver.resolve(
        name, kernel.run, bound=bound, trusted=frozenset(inputs) - set(bound)
    )
    return replace(kernel, run=run)


def attention_of(
    store: Store,
    heads: int,
    pool: Pool,
    scale: float,
    attend: Callable[[Plan, Any], Any],
) -> Callable[[Plan, Any], Any]:
    """Attention of a step in which every sequence has one query; `attend` is for all others.

    The step's index arrays are made once for all layers, and the key is what the host knows.
    """
    definition = decode_view(heads, pool.heads, pool.d, pool.size, ACTS[store.dtype])
    name = found(store, definition)
    if name is None or definition is None:
        return attend
    assert store.resolver is not None
    step: list[Plan] = []
    pages = [0]

    def fallback(q: Any, *rest: Any) -> tuple[Any, None]:
        del rest
        return attend(step[0], q), None

    handle = store.resolver.resolve(
        name, fallback, host={"num_kv_indices": pages}, trusted=frozenset({"q"})
    )
    if handle is fallback:
        return attend
    last = "kv_last_page_len" in definition.inputs

    def run(plan: Plan, q: Any) -> Any:
        paged = plan.decoding
        if paged is None:
            return attend(plan, q)
        step[:] = (plan,)
        pages[0] = paged.pages
        indices = (paged.indptr, paged.indices, *((paged.last,) if last else ()))
        # After a packed projection q is a slice of q and k together.
        return handle(q.contiguous(), *pool.paged(), *indices, scale)[0]

    return run
