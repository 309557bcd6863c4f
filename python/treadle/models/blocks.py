"""The parts of a decoder that families share, as functions that add nodes to a graph.

Axes: T tokens, D width, H/K query and KV heads, d head size, F feed-forward width, R wanted rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from treadle.models.shape import Shape

if TYPE_CHECKING:
    from treadle.graph import Builder, Value


def start(
    name: str, shape: Shape, *, act: str, page: int, more: Mapping[str, int] | None = None
) -> Builder:
    """A builder with the family's dims bound; `page` = tokens a KV page."""
    from treadle.graph import Builder  # a start whose graph is planned already needs none of it

    dims = {
        "D": shape.D,
        "H": shape.H,
        "K": shape.K,
        "d": shape.d,
        "F": shape.F,
        "V": shape.V,
        "B": page,
        "Hd": ("H", "d"),
        "Kd": ("K", "d"),
        **(more or {}),
    }
    return Builder(name=name, dims=dims, act=act)


def embedding(b: Builder) -> Value:
    """The embedding as a param; a tied head reads it too. [V, D]"""
    return b.param("embed", ("V", "D"))


def embed(b: Builder, table: Value) -> Value:
    """Token ids to their rows of the embedding. → [T, D]"""
    return b.add("embed", table, b.ids, name="x")


def norm(b: Builder, x: Value, weight: str, eps: float, axis: str = "D") -> Value:
    """RMS norm over the last axis; the weight is float32. […, axis] → the same"""
    return b.add("rmsnorm", x, b.param(weight, (axis,), dtype="f32"), eps=eps, name=f"{weight}.y")


def rope_table(b: Builder, shape: Shape, name: str = "inv_freq") -> Value:
    """The table of inverse frequencies as a param. [d/2] float32"""
    return b.param(name, (shape.d // 2,), dtype="f32")


def attention(
    b: Builder,
    i: int,
    x: Value,
    inv_freq: Value,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    bias: bool = False,
    head_norm: float | None = None,
) -> Value:
    """Grouped causal attention of layer i over the paged KV. x [T, D] → [T, D]

    `scale` multiplies the scores, `window` counts visible tokens (0 = all), `softcap` 0 = none,
    `head_norm`: eps of the RMS norm on each query and key head, None = no such norm.
    """

    def heads(part: str, rows: str, count: str) -> Value:
        inputs = [x, b.param(f"l{i}.{part}", (rows, "D"))]
        if bias:
            inputs.append(b.param(f"l{i}.{part}_bias", (rows,)))
        y = b.add("linear", *inputs, name=f"l{i}.{part}_out")
        return b.add("view", y, shape=("T", count, "d"), name=f"l{i}.{part}_heads")

    def rotate(part: str, y: Value) -> Value:
        if head_norm is not None:
            y = norm(b, y, f"l{i}.{part}_norm", head_norm, "d")
        return b.add("rope", y, b.pos, inv_freq, mscale=1.0, name=f"l{i}.{part}_rope")

    q, k, v = heads("q", "Hd", "H"), heads("k", "Kd", "K"), heads("v", "Kd", "K")
    q, k = rotate("q", q), rotate("k", k)
    kv = b.state(f"kv{i}", ("P", 2, "B", "K", "d"))
    kv = b.add("kv_write", kv, k, v, b.slots, name=f"kv{i}.1")
    o = b.add(
        "attention", q, kv, b.starts, b.lens, b.table,
        scale=scale, window=window, softcap=softcap, name=f"l{i}.attn",
    )  # fmt: skip
    o = b.add("view", o, shape=("T", "Hd"), name=f"l{i}.attn_flat")
    return b.add("linear", o, b.param(f"l{i}.o", ("D", "Hd")), name=f"l{i}.o_out")


def feed_forward(b: Builder, i: int, x: Value, *, act: str = "silu", width: str = "F") -> Value:
    """Gated feed-forward: down(act(gate x) · up x). [T, D] → [T, D]"""
    g = b.add("linear", x, b.param(f"l{i}.gate", (width, "D")), name=f"l{i}.gate_out")
    u = b.add("linear", x, b.param(f"l{i}.up", (width, "D")), name=f"l{i}.up_out")
    y = b.add("glu", g, u, act=act, name=f"l{i}.glu")
    return b.add("linear", y, b.param(f"l{i}.down", ("D", width)), name=f"l{i}.down_out")


def mixture(b: Builder, i: int, x: Value, *, renorm: bool) -> Value:
    """Top-A experts of E by softmax of the router. [T, D] → [T, D]"""
    scores = b.add("linear", x, b.param(f"l{i}.router", ("E", "D")), name=f"l{i}.scores")
    weights, chosen = b.add_many(
        "route", scores, names=(f"l{i}.route_w", f"l{i}.route_i"),
        renorm=renorm, score="softmax", A="A",
    )  # fmt: skip
    gates = b.param(f"l{i}.gates", ("E", "F", "D"))
    ups = b.param(f"l{i}.ups", ("E", "F", "D"))
    downs = b.param(f"l{i}.downs", ("E", "D", "F"))
    return b.add(
        "experts", x, weights, chosen, gates, ups, downs, act="silu", name=f"l{i}.experts_out"
    )


def join(b: Builder, i: int, part: str, x: Value, y: Value) -> Value:
    """The residual stream after a part of layer i. [T, D]"""
    return b.add("add", x, y, name=f"l{i}.x_{part}")


def head(b: Builder, x: Value, table: Value, shape: Shape, softcap: float = 0.0) -> Value:
    """Logits of the wanted rows only. x [T, D] → [R, V]"""
    y = b.add("take", x, b.rows, name="wanted")
    y = norm(b, y, "norm_final", shape.eps)
    weight = table if shape.tied else b.param("head", ("V", "D"))
    logits = b.add("linear", y, weight, name="logits")
    return b.add("softcap", logits, cap=softcap, name="logits_capped") if softcap else logits
