"""Small random decoders, their weights and batches, for the properties of passes and references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from treadle.graph import Builder, Graph, Value

PAGE = 4
POOL = 12


@dataclass(frozen=True)
class Spec:
    """What differs between decoder families, in small."""

    layers: int = 2
    K: int = 2
    group: int = 2
    d: int = 8
    turned: int = 4  # r of rope; 0 = no rope
    qk_norm: bool = False
    bias: bool = False
    out_bias: bool = False
    post_norm: bool = False
    experts: int = 0
    joined: bool = False  # gate and up as one weight, split
    tied: bool = False
    window: int = 0
    softcap: float = 0.0
    act: str = "silu"
    scaled: bool = False


specs = st.builds(
    Spec,
    layers=st.integers(1, 2),
    K=st.sampled_from([1, 2, 4]),
    group=st.sampled_from([1, 2]),
    turned=st.sampled_from([0, 2, 4]),
    qk_norm=st.booleans(),
    bias=st.booleans(),
    out_bias=st.booleans(),
    post_norm=st.booleans(),
    experts=st.sampled_from([0, 4]),
    joined=st.booleans(),
    tied=st.booleans(),
    window=st.sampled_from([0, 3]),
    softcap=st.sampled_from([0.0, 5.0]),
    act=st.sampled_from(["silu", "gelu_tanh"]),
    scaled=st.booleans(),
)


def decoder(spec: Spec) -> Graph:
    """The graph of a spec: widths divide by 4, so that it can be cut into 2 or 4."""
    dims: dict[str, Any] = {
        "D": 12,
        "H": spec.K * max(spec.group, 4 // spec.K),
        "K": spec.K,
        "d": spec.d,
        "F": 8,
        "F2": (2, "F"),
        "V": 20,
        "E": 5,
        "A": 2,
        "B": PAGE,
        "r": max(spec.turned, 1),
        "Hd": ("H", "d"),
        "Kd": ("K", "d"),
    }
    b = Builder(name="random", dims=dims)
    table = b.param("embed", ("V", "D"))
    x = b.add("embed", table, b.ids, name="x")
    if spec.scaled:
        x = b.add("scale", x, by=3.0, name="x_scaled")
    freq = b.param("inv_freq", ("r",), dtype="f32") if spec.turned else None
    for i in range(spec.layers):
        x = _residual(b, spec, x, _attention(b, spec, i, _norm(b, x, f"l{i}.a"), freq), f"l{i}.a")
        x = _residual(b, spec, x, _feed(b, spec, i, _norm(b, x, f"l{i}.f")), f"l{i}.f")
    x = _norm(b, b.add("take", x, b.rows, name="taken"), "final")
    logits = b.add("linear", x, table if spec.tied else b.param("head", ("V", "D")), name="logits")
    if spec.softcap:
        logits = b.add("softcap", logits, cap=spec.softcap, name="capped")
    return b.finish([logits])


def _norm(b: Builder, x: Value, name: str, dim: str = "D") -> Value:
    w = b.param(f"{name}.norm", (dim,), dtype="f32")
    return b.add("rmsnorm", x, w, eps=1e-5, name=f"{name}.normed")


def _residual(b: Builder, spec: Spec, x: Value, y: Value, name: str) -> Value:
    if spec.post_norm:
        y = _norm(b, y, f"{name}.post")
    return b.add("add", x, y, name=f"{name}.sum")


def _heads(b: Builder, spec: Spec, x: Value, name: str, heads: str, norm: bool) -> Value:
    bias = [b.param(f"{name}.bias", (f"{heads}d",))] if spec.bias else []
    y = b.add("linear", x, b.param(name, (f"{heads}d", "D")), *bias, name=f"{name}.out")
    y = b.add("view", y, shape=("T", heads, "d"), name=f"{name}.heads")
    return _norm(b, y, name, "d") if norm else y


def _attention(b: Builder, spec: Spec, i: int, x: Value, freq: Value | None) -> Value:
    q = _heads(b, spec, x, f"l{i}.q", "H", spec.qk_norm)
    k = _heads(b, spec, x, f"l{i}.k", "K", spec.qk_norm)
    v = _heads(b, spec, x, f"l{i}.v", "K", False)
    if freq is not None:
        q = b.add("rope", q, b.pos, freq, name=f"l{i}.q.turned")
        k = b.add("rope", k, b.pos, freq, name=f"l{i}.k.turned")
    kv = b.add("kv_write", b.state(f"kv{i}", ("P", 2, "B", "K", "d")), k, v, b.slots)
    more = {"scale": 0.3, "window": spec.window, "softcap": spec.softcap}
    o = b.add("attention", q, kv, b.starts, b.lens, b.table, name=f"l{i}.o.heads", **more)
    o = b.add("view", o, shape=("T", "Hd"), name=f"l{i}.o.flat")
    bias = [b.param(f"l{i}.o.bias", ("D",))] if spec.out_bias else []
    return b.add("linear", o, b.param(f"l{i}.o", ("D", "Hd")), *bias, name=f"l{i}.o.out")


def _feed(b: Builder, spec: Spec, i: int, x: Value) -> Value:
    p = f"l{i}."
    if spec.experts:
        scores = b.add("linear", x, b.param(p + "router", ("E", "D")), name=p + "scores")
        w, chosen = b.add_many("route", scores, renorm=True, score="softmax", A="A")
        gates, ups = (b.param(p + n, ("E", "F", "D")) for n in ("gates", "ups"))
        downs = b.param(p + "downs", ("E", "D", "F"))
        return b.add("experts", x, w, chosen, gates, ups, downs, act=spec.act, name=p + "mixed")
    if spec.joined:
        both = b.add("linear", x, b.param(p + "gate_up", ("F2", "D")), name=p + "both")
        g, u = b.add_many("split", both, sizes=("F", "F"), names=(p + "g", p + "u"))
    else:
        g = b.add("linear", x, b.param(p + "gate", ("F", "D")), name=p + "g")
        u = b.add("linear", x, b.param(p + "up", ("F", "D")), name=p + "u")
    y = b.add("glu", g, u, act=spec.act, name=p + "y")
    bias = [b.param(p + "down.bias", ("D",))] if spec.out_bias else []
    return b.add("linear", y, b.param(p + "down", ("D", "F")), *bias, name=p + "down.out")


def weights(graph: Graph, seed: int, dtype: str = "float64") -> dict[str, Any]:
    """Random params of moderate size."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(graph.dims.sizes(p.shape)) * 0.4).astype(dtype)
        for name, p in graph.params.items()
    }


def states(graph: Graph, dtype: str = "float64") -> dict[str, Any]:
    """Empty KV pools, full of a value that must never be read."""
    return {
        name: np.full([POOL if n is None else n for n in graph.dims.sizes(v.shape)], 1e3, dtype)
        for name, v in graph.state.items()
    }


class Pool:
    """Hands out pages in an order of its own and makes batches of some sequences."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._free = [int(page) for page in self._rng.permutation(POOL)]
        self._pages: dict[int, list[int]] = {}
        self._ids: dict[int, list[int]] = {}

    def batch(self, grow: dict[int, int], every_row: bool = True) -> dict[str, Any]:
        """The next `grow[s]` tokens of each sequence s, ragged in one batch."""
        cols: dict[str, list[int]] = {n: [] for n in ("ids", "pos", "slots", "lens", "rows")}
        starts = [0]
        for s, new in grow.items():
            ids, pages = self._ids.setdefault(s, []), self._pages.setdefault(s, [])
            for j in range(new):
                position = len(ids)
                ids.append((7 * position + 3 * s + 1) % 20)
                if position % PAGE == 0:
                    pages.append(self._free.pop())
                cols["ids"].append(ids[-1])
                cols["pos"].append(position)
                cols["slots"].append(pages[-1] * PAGE + position % PAGE)
                if every_row or j == new - 1:
                    cols["rows"].append(starts[-1] + j)
            starts.append(starts[-1] + new)
            cols["lens"].append(len(ids))
        widest = max(len(self._pages[s]) for s in grow)
        table = np.zeros((len(grow), widest), np.int32)
        for row, s in enumerate(grow):
            table[row, : len(self._pages[s])] = self._pages[s]
        arrays = {name: np.array(column, np.int32) for name, column in cols.items()}
        return {**arrays, "starts": np.array(starts, np.int32), "table": table}
