"""One maker an op: it looks at a node once, at compile time, and returns what runs every step.

A kernel reads values by name and returns the node's outputs; weights, sizes and pools are bound
when it is made. `$plan` is the step's plan (`attention.Plan`).
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from treadle.backends.params import constant_attrs, size_of
from treadle.backends.torch import own
from treadle.backends.torch.substitute import attention_of, product_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.backends.torch.weights import Store
    from treadle.graph import Node

PLAN = "$plan"
F32 = torch.float32
_FEW_ROWS = 32
_SMALL = 20_000_000  # elements of a matrix that one row passes faster by a kernel of our own


@dataclass(frozen=True, slots=True)
class Kernel:
    """`run(*values of reads)` returns one tensor, or a tuple where there are several `writes`.

    operands: for a kernel that another may stand in for, the op's operands in declared order: the
    weight, or None for the next of `reads`.
    """

    run: Callable[..., Any]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    operands: tuple[Any, ...] = ()


def embed(store: Store, node: Node) -> Kernel:
    table = store.param(node.inputs[0])
    if own.fits(table.device):
        from treadle.backends.torch import decode_triton

        chosen = decode_triton.embed
        return Kernel(lambda ids: chosen(ids, table), node.inputs[1:], node.outputs)
    return Kernel(lambda ids: functional.embedding(ids, table), node.inputs[1:], node.outputs)


def product(store: Store, w: Any, b: Any = None) -> Callable[[Any], Any]:
    """x [T, K] → x · wᵀ + b [T, N] for w [N, K], by whatever is fastest for the rows of x."""
    own = matrix_product(w, b)
    return own if b is not None else product_of(store, w, own)


def matrix_product(w: Any, b: Any = None) -> Callable[[Any], Any]:
    """As `product`, by torch.

    On the CPU, `linear` repacks all of w for a handful of rows, which costs two to four times the
    product itself; with w as the left operand nothing is repacked. One row and two rows have a
    path of their own, and many rows pay for the packing.
    """

    def plain(x: Any) -> Any:
        return functional.linear(x, w, b)

    def few(x: Any) -> Any:
        if not 2 < x.shape[0] <= _FEW_ROWS:
            return functional.linear(x, w, b)
        y = torch.mm(w, x.t()).t()
        return y.contiguous() if b is None else y + b

    if own.fits(w.device) and b is None and w.numel() <= _SMALL:
        from treadle.backends.torch.decode_triton import row_product

        return lambda x: row_product(x.contiguous(), w) if x.shape[0] == 1 else plain(x)
    return few if w.device.type == "cpu" else plain


def product_add(w: Any) -> Callable[[Any, Any], Any]:
    """x [T, K], y [T, N] → y + x · wᵀ by one kernel and with one rounding; not for the CPU."""
    turned = w.t()
    if not own.fits(w.device) or w.numel() > _SMALL:
        return lambda x, y: torch.addmm(y, x, turned)
    from treadle.backends.torch.decode_triton import row_product

    def run(x: Any, y: Any) -> Any:
        if x.shape[0] != 1:
            return torch.addmm(y, x, turned)
        return row_product(x.contiguous(), w, y.contiguous())

    return run


def linear(store: Store, node: Node) -> Kernel:
    x, w, *b = node.inputs
    bias = store.param(b[0]) if b else None
    return Kernel(product(store, store.param(w), bias), (x,), node.outputs)


def rms(w: Any, eps: float) -> Callable[[Any], Any]:
    """x [..., D] → x / sqrt(mean(x²) + eps) · w, in float32 inside, in four calls.

    The mean's 1/D is folded into w and eps, so the norm of a row serves as it is.
    """
    D = w.shape[-1]
    bias = torch.tensor(eps * D, dtype=torch.float32, device=w.device)
    scaled = w * D**0.5

    def run(x: Any) -> Any:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, 2, -1, True)
        y = torch.mul(wide, torch.addcmul(bias, norm, norm).rsqrt_()).mul_(scaled)
        return y.to(x.dtype)

    def run_f32(x: Any) -> Any:
        norm = torch.linalg.vector_norm(x, 2, -1, True)
        return torch.mul(x, torch.addcmul(bias, norm, norm).rsqrt_()).mul_(scaled)

    return lambda x: run_f32(x) if x.dtype is torch.float32 else run(x)


def rmsnorm(store: Store, node: Node) -> Kernel:
    w = store.param(node.inputs[1], torch.float32)
    eps = float(constant(store, node)["eps"])
    run = rms(w, eps)
    if own.fits(w.device):
        from treadle.backends.torch import decode_triton

        run = decode_triton.rmsnorm(w, eps)
    return Kernel(run, node.inputs[:1], node.outputs, (None, w))


def turn(x: Any, trig: tuple[Any, Any, int, bool]) -> Any:
    """Rotates x [T, H, d] by the angles of `trigonometry`."""
    cos, sin, r, whole = trig
    if whole:
        return torch.addcmul(x * cos, torch.roll(x, r, -1), sin).to(x.dtype)
    part = x[..., : 2 * r]
    turned = torch.addcmul(part * cos, torch.roll(part, r, -1), sin).to(x.dtype)
    return torch.cat((turned, x[..., 2 * r :]), -1)


def trigonometry(inv_freq: Any, mscale: float, d: int) -> Callable[[Any], Any]:
    """pos [T] → cosines and signed sines [T, 1, 2r], as `turn` takes them; once a step."""
    r = inv_freq.shape[0]
    if own.fits(inv_freq.device):
        from treadle.backends.torch import decode_triton

        angles = decode_triton.angles
        return lambda pos: (*angles(inv_freq, pos, mscale), r, 2 * r == d)
    sign = torch.cat((-torch.ones_like(inv_freq), torch.ones_like(inv_freq))) * mscale

    def run(pos: Any) -> tuple[Any, Any, int, bool]:
        angle = pos.float()[:, None] * inv_freq  # [T, r]
        angle = torch.cat((angle, angle), -1)[:, None, :]
        return angle.cos().mul_(mscale), angle.sin().mul_(sign), r, 2 * r == d

    return run


def rope(store: Store, node: Node) -> Kernel:
    x, pos, freq = node.inputs
    d = store.width(x)
    trig = store.trig(pos, freq, float(constant(store, node)["mscale"]), d)
    return Kernel(turn, (x, trig), node.outputs)


def kv_write(store: Store, node: Node) -> Kernel:
    kv, k, v, _slots = node.inputs
    write = store.pool(kv).write
    # Versions are order, which the program keeps: no value stands for them.
    return Kernel(lambda plan, k, v: write(plan.slots, k, v), (PLAN, k, v), ())


def attention(store: Store, node: Node) -> Kernel:
    q, kv = node.inputs[:2]
    pool = store.pool(kv)
    attrs = constant(store, node)
    scale, window, cap = float(attrs["scale"]), int(attrs["window"]), float(attrs["softcap"])

    def attend(plan: Any, q: Any) -> Any:
        return plan.attend(q, pool, scale, window, cap)

    if window or cap:
        return Kernel(attend, (PLAN, q), node.outputs)
    heads = size_of(store.graph, store.graph.values[q].shape[1])
    return Kernel(attention_of(store, heads, pool, scale, attend), (PLAN, q), node.outputs)


def add(store: Store, node: Node) -> Kernel:
    del store
    return Kernel(torch.add, node.inputs, node.outputs, (None, None))


def scale(store: Store, node: Node) -> Kernel:
    by = float(constant(store, node)["by"])
    return Kernel(lambda x: x * by, node.inputs, node.outputs, (None,))


def softcap(store: Store, node: Node) -> Kernel:
    cap = float(constant(store, node)["cap"])

    def run(x: Any) -> Any:
        return (x.float() / cap).tanh_().mul_(cap).to(x.dtype)

    return Kernel(run, node.inputs, node.outputs, (None,))


def gate(act: str) -> Callable[[Any, Any], Any]:
    """(g, u) → act(g) · u."""
    if act == "silu":
        return lambda g, u: functional.silu(g).mul_(u)
    return lambda g, u: functional.gelu(g, approximate="tanh").mul_(u)


def glu(store: Store, node: Node) -> Kernel:
    return Kernel(gate(constant(store, node)["act"]), node.inputs, node.outputs, (None, None))


def route(store: Store, node: Node) -> Kernel:
    attrs = constant(store, node)
    A, renorm, softmax = int(attrs["A"]), bool(attrs["renorm"]), attrs["score"] == "softmax"

    def run(x: Any) -> tuple[Any, Any]:
        wide = x.float()
        # A stable sort, because topk leaves open which of two equal logits wins.
        chosen = torch.argsort(wide, dim=-1, descending=True, stable=True)[:, :A]
        scores = torch.softmax(wide, -1) if softmax else torch.sigmoid(wide)
        weights = scores.gather(-1, chosen)
        if renorm:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights, chosen

    return Kernel(run, node.inputs, node.outputs)


def experts(store: Store, node: Node) -> Kernel:
    x, w, i, gates, ups, downs = node.inputs
    both = store.joined((gates, ups), axis=1)  # [E, 2F, D]
    down = store.param(downs)  # [E, D, F]
    F = down.shape[-1]
    act = gate(constant(store, node)["act"])

    def run(x: Any, w: Any, i: Any) -> Any:
        y = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for e in torch.unique(i).tolist():
            row, column = (i == e).nonzero(as_tuple=True)
            h = functional.linear(x[row], both[e])
            part = functional.linear(act(h[:, :F], h[:, F:]), down[e])
            y.index_add_(0, row, part.float() * w[row, column, None])
        return y.to(x.dtype)

    return Kernel(run, (x, w, i), node.outputs)


def split(store: Store, node: Node) -> Kernel:
    sizes = constant(store, node)["sizes"]
    return Kernel(lambda x: torch.split(x, sizes, -1), node.inputs, node.outputs)


def view(store: Store, node: Node) -> Kernel:
    shape = constant(store, node)["shape"]
    return Kernel(lambda x: x.reshape(shape), node.inputs, node.outputs)


def take(store: Store, node: Node) -> Kernel:
    del store

    def run(plan: Any, x: Any) -> Any:
        return x if plan.rows is None else x.index_select(0, plan.rows)

    return Kernel(run, (PLAN, node.inputs[0]), node.outputs)


def constant(store: Store, node: Node) -> dict[str, Any]:
    """Attrs of a node as numbers and words."""
    return constant_attrs(store.graph, node)
