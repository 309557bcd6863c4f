"""Makers for the compositions that pay here. `FUSIONS` is what the pass may pick."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from treadle.backends.params import size_of
from treadle.backends.torch import own
from treadle.backends.torch.kernels import (
    PLAN,
    Kernel,
    constant,
    gate,
    product,
    product_add,
    rms,
    turn,
)

if TYPE_CHECKING:
    from treadle.backends.torch.weights import Store
    from treadle.graph import Node


def add_rmsnorm(store: Store, node: Node) -> Kernel:
    x, y, w = node.inputs
    weight = store.param(w, torch.float32)
    eps = float(constant(store, node)["eps"])
    if own.fits(weight.device):
        from treadle.backends.torch import decode_triton

        both = decode_triton.add_rmsnorm(weight, eps)
        return Kernel(both, (x, y), node.outputs, (None, None, weight))
    norm = rms(weight, eps)

    def run(x: Any, y: Any) -> tuple[Any, Any]:
        total = x + y
        return total, norm(total)

    return Kernel(run, (x, y), node.outputs, (None, None, weight))


def linear_add(store: Store, node: Node) -> Kernel:
    x, w, y, *b = node.inputs
    param = store.param(w)
    bias = store.param(b[0]) if b else None
    if bias is None and param.device.type != "cpu":  # one kernel, and one rounding
        return Kernel(product_add(param), (x, y), node.outputs, (None, param, None))
    run = product(store, param, bias)
    operands = (None, param, None) if bias is None else (None, param, None, bias)
    return Kernel(lambda x, y: run(x).add_(y), (x, y), node.outputs, operands)


def gate_up_glu(store: Store, node: Node) -> Kernel:
    x, gates, ups = node.inputs
    both = store.joined((gates, ups))  # [2F, D]
    F = both.shape[0] // 2
    name = constant(store, node)["act"]
    act = gate(name)
    multiply = product(store, both)

    def run(x: Any) -> Any:
        h = multiply(x)
        return act(h[:, :F], h[:, F:])

    def run_own(x: Any) -> Any:
        from treadle.backends.torch import decode_triton

        if x.shape[0] == 1:
            return decode_triton.row_gate(x.contiguous(), both, name)
        return decode_triton.gate(name)(multiply(x))

    run = run_own if own.fits(both.device) else run
    return Kernel(run, (x,), node.outputs, (None, both[:F], both[F:]))


def qkv(store: Store, node: Node) -> Kernel:
    packed = packed_qkv(store, node)
    q, k, _ = (store.width(name) for name in node.outputs)

    def run(x: Any) -> tuple[Any, Any, Any]:
        h = packed.run(x)
        return h[:, :q], h[:, q : q + k], h[:, q + k :]

    return Kernel(run, packed.reads, node.outputs)


def packed_qkv(store: Store, node: Node) -> Kernel:
    """As `qkv`, with one output: the three side by side [T, Hd + 2 Kd]."""
    bias = store.joined(node.inputs[4:7]) if len(node.inputs) > 4 else None
    run = product(store, store.joined(node.inputs[1:4]), bias)
    return Kernel(run, node.inputs[:1], (packed_name(node),))


def packed_name(node: Node) -> str:
    """Name of the value that `packed_qkv` makes."""
    return f"{node.outputs[0]}$packed"


def qk_norm_rope_kv(store: Store, node: Node) -> Kernel:
    q, k, v, pos, freq, kv, _slots, *norms = node.inputs
    attrs = constant(store, node)
    trig = store.trig(pos, freq, float(attrs["mscale"]), store.width(q))
    write = store.pool(kv).write
    eps = float(attrs["eps"])
    norm_q = rms(store.param(norms[0], torch.float32), eps) if norms else None
    norm_k = rms(store.param(norms[1], torch.float32), eps) if len(norms) > 1 else None

    def run(plan: Any, trig: Any, q: Any, k: Any, v: Any) -> Any:
        q = norm_q(q) if norm_q is not None else q
        k = norm_k(k) if norm_k is not None else k
        write(plan.slots, turn(k, trig), v)
        return turn(q, trig)

    return Kernel(run, (PLAN, trig, q, k, v), node.outputs[:1])


def packed_qk_norm_rope_kv(store: Store, node: Node, packed: str) -> Kernel:
    """As `qk_norm_rope_kv` on the value of `packed_qkv`: q and k go through norm and rotation as
    the heads of one tensor."""
    q, k, _v, pos, freq, kv, _slots, *norms = node.inputs
    attrs = constant(store, node)
    d = store.width(q)
    H, K = (size_of(store.graph, store.graph.values[name].shape[1]) for name in (q, k))
    trig = store.trig(pos, freq, float(attrs["mscale"]), d)
    pool, eps = store.pool(kv), float(attrs["eps"])
    write = pool.write
    norm = weights = None
    if norms:
        of_q, of_k = (store.param(w, torch.float32) for w in norms)
        weights = torch.cat((of_q.expand(H, d), of_k.expand(K, d)))
        norm = rms(weights, eps)
    if own.fits(store.device):
        from treadle.backends.torch import attend_triton

        def turned(plan: Any, trig: Any, h: Any) -> Any:
            return attend_triton.prologue(h, trig, plan.slots, weights, eps, H, pool)

        return Kernel(turned, (PLAN, trig, packed), node.outputs[:1])

    def run(plan: Any, trig: Any, h: Any) -> Any:
        heads = h.view(-1, H + 2 * K, d)
        both = heads[:, : H + K]
        if norm is not None:
            both = norm(both)
        both = turn(both, trig)
        write(plan.slots, both[:, H:], heads[:, H + K :])
        return both[:, :H]

    return Kernel(run, (PLAN, trig, packed), node.outputs[:1])


FUSIONS = {
    "add_rmsnorm": add_rmsnorm,
    "linear_add": linear_add,
    "gate_up_glu": gate_up_glu,
    "qkv": qkv,
    "qk_norm_rope_kv": qk_norm_rope_kv,
}
