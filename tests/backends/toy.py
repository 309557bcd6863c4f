"""Small decoders that between them hold every op and fusion, and a driver of ragged steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import structs

from treadle.graph import Builder, Graph, run
from treadle.types import Batch, SampleBatch, Tensor

V = 37


@dataclass(frozen=True)
class Spec:
    """What one toy decoder has. Sizes are odd on purpose."""

    layers: int = 2
    heads: tuple[int, int] = (4, 2)
    d: int = 6
    rotary: int = 3
    mscale: float = 1.0
    bias: bool = False
    normed: str = ""  # which of q and k; "k" alone fits no composition
    rope: bool = True
    q_scale: float = 1.0
    post_norm: bool = False
    window: int = 0
    cap: float = 0.0
    final_cap: float = 0.0
    act: str = "silu"
    moe: str = ""  # score of the router
    renorm: bool = True
    fused_gate: bool = False  # gate and up from one matrix through `split`
    free_tail: bool = False  # a last sum that no norm reads
    tied: bool = True


SPECS = {
    "llama": Spec(),
    "odd_heads": Spec(heads=(3, 1), d=10, rotary=5, free_tail=True, tied=False),
    "biased": Spec(bias=True, heads=(2, 2), d=5, rotary=2, mscale=1.3, free_tail=True),
    "normed": Spec(normed="qk"),
    "windowed": Spec(window=5, normed="qk", bias=True),
    "capped": Spec(post_norm=True, cap=3.0, final_cap=5.0, window=6, act="gelu_tanh"),
    "moe": Spec(moe="softmax", normed="qk"),
    "moe_sigmoid": Spec(moe="sigmoid", renorm=False, act="gelu_tanh"),
    "unrotated": Spec(rope=False),
    "query_normed": Spec(normed="q", rotary=2),
    "key_normed": Spec(normed="k"),
    "scaled": Spec(q_scale=0.5),
    "split": Spec(fused_gate=True, layers=1),
}


@dataclass(frozen=True)
class Rules:
    """What a backend asks of models, and how close it must come. page: tokens of a KV page; head:
    what the size of a head must be a multiple of; close: of the largest logit; refused: toys that
    it says it cannot run."""

    page: int = 4
    head: int = 1
    close: float = 1e-5
    refused: frozenset[str] = frozenset()

    def fit(self, spec: Spec) -> Spec:
        """The spec with what the rules allow."""
        size = -(-spec.d // self.head) * self.head
        return replace(spec, d=size)


def build(spec: Spec, rules: Rules = Rules()) -> Graph:
    """The graph of a spec, in sizes that a backend takes."""
    spec = rules.fit(spec)
    H, K = spec.heads
    dims = {"D": 23, "H": H, "K": K, "d": spec.d, "F": 19, "V": V, "B": rules.page}
    dims |= {"Hd": ("H", "d"), "Kd": ("K", "d"), "E": 5, "A": 2, "F2": 38, "r": spec.rotary}
    b = Builder(name="toy", dims=dims)
    freq = b.param("inv_freq", ("r",), dtype="f32") if spec.rope else None
    embed = b.param("embed", ("V", "D"))
    x = b.add("scale", b.add("embed", embed, b.ids), by=1.7)
    for i in range(spec.layers):
        x = b.add("add", x, _attention(b, spec, f"l{i}", x, freq))
        x = b.add("add", x, _feed_forward(b, spec, f"l{i}", x))
    if spec.free_tail:
        x = b.add("add", b.add("linear", x, b.param("tail", ("D", "D"))), x)
        if spec.bias:
            y = b.add("linear", x, b.param("tail2", ("D", "D")), b.param("tail2_bias", ("D",)))
            x = b.add("add", x, y)
    x = _norm(b, b.add("take", x, b.rows), "norm_final")
    logits = b.add("linear", x, embed if spec.tied else b.param("head", ("V", "D")))
    if spec.final_cap:
        logits = b.add("softcap", logits, cap=spec.final_cap)
    return b.finish([logits])


def _norm(b: Builder, x, name, axis="D"):
    return b.add("rmsnorm", x, b.param(name, (axis,), dtype="f32"), eps=1e-5)


def _attention(b: Builder, spec: Spec, at: str, x, freq):
    x = _norm(b, x, f"{at}.norm")
    made = {}
    for name, rows, heads in (("q", "Hd", "H"), ("k", "Kd", "K"), ("v", "Kd", "K")):
        more = [b.param(f"{at}.{name}_bias", (rows,))] if spec.bias else []
        y = b.add("linear", x, b.param(f"{at}.{name}", (rows, "D")), *more)
        made[name] = b.add("view", y, shape=("T", heads, "d"))
    for name in ("q", "k"):
        if name in spec.normed:
            made[name] = _norm(b, made[name], f"{at}.{name}_norm", "d")
        if spec.q_scale != 1 and name == "q":
            made[name] = b.add("scale", made[name], by=spec.q_scale)
        if spec.rope:
            made[name] = b.add("rope", made[name], b.pos, freq, mscale=spec.mscale)
    kv = b.add(
        "kv_write", b.state(f"{at}.kv", ("P", 2, "B", "K", "d")), made["k"], made["v"], b.slots
    )
    o = b.add(
        "attention", made["q"], kv, b.starts, b.lens, b.table,
        scale=spec.d**-0.5, window=spec.window, softcap=spec.cap,
    )  # fmt: skip
    o = b.add("linear", b.add("view", o, shape=("T", "Hd")), b.param(f"{at}.o", ("D", "Hd")))
    return _norm(b, o, f"{at}.post") if spec.post_norm else o


def _feed_forward(b: Builder, spec: Spec, at: str, x):
    x = _norm(b, x, f"{at}.norm_ffn")
    if spec.moe:
        scores = b.add("linear", x, b.param(f"{at}.router", ("E", "D")))
        w, i = b.add_many("route", scores, renorm=spec.renorm, score=spec.moe, A="A")
        names = ((f"{at}.gates", ("E", "F", "D")), (f"{at}.ups", ("E", "F", "D")))
        params = [
            b.param(name, shape) for name, shape in (*names, (f"{at}.downs", ("E", "D", "F")))
        ]
        return b.add("experts", x, w, i, *params, act=spec.act)
    if spec.fused_gate:
        both = b.add("linear", x, b.param(f"{at}.gate_up", ("F2", "D")))
        g, u = b.add_many("split", both, sizes=("F", "F"))
    else:
        g = b.add("linear", x, b.param(f"{at}.gate", ("F", "D")))
        u = b.add("linear", x, b.param(f"{at}.up", ("F", "D")))
    y = b.add("glu", g, u, act=spec.act)
    return b.add("linear", y, b.param(f"{at}.down", ("D", "F")))


def weights(graph: Graph, seed: int = 0) -> dict[str, Tensor]:
    """Random weights large enough that every part of the model moves the logits."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, param in graph.params.items():
        shape = graph.dims.sizes(param.shape)
        data = rng.standard_normal(shape).astype(np.float32)
        if name == "inv_freq":
            data = (100.0 ** -(np.arange(shape[0]) / shape[0])).astype(np.float32)
        elif "norm" in name or "post" in name:
            data = 1 + 0.3 * data
        elif len(shape) > 1 and name != "embed":
            data *= 1.5 / np.sqrt(shape[-1])
        found[name] = Tensor(name, shape, "f32", data)
    return found


def oracle(graph: Graph, tensors: dict[str, Tensor], ids: list[int]) -> np.ndarray:
    """Logits [len(ids), V] of a whole prompt, by the references in float64."""
    T = len(ids)
    pages = -(-T // graph.size("B"))
    steps = np.arange(T, dtype=np.int32)
    inputs = {
        "ids": np.array(ids, np.int32), "pos": steps, "slots": steps, "rows": steps,
        "starts": np.array([0, T], np.int32), "lens": np.array([T], np.int32),
        "table": np.arange(pages, dtype=np.int32)[None],
    }  # fmt: skip
    params = {name: tensor.data.astype(np.float64) for name, tensor in tensors.items()}
    state = {k: np.zeros(graph.dims.sizes(v.shape, {"P": pages})) for k, v in graph.state.items()}
    out, _ = run(graph, inputs, params, state)
    return out[graph.outputs[0]]


@dataclass
class Pages:
    """Hands out pages in a scattered or an ascending order and remembers who has which."""

    free: list[int]
    page: int = 4
    held: dict[str, list[int]] = field(default_factory=dict)
    lens: dict[str, int] = field(default_factory=dict)

    def batch(self, work: dict[str, list[int]], rows: str = "all") -> Batch:
        """One step that appends `work[name]` to each sequence; rows: "all" or "last"."""
        ids, pos, slots, starts, lens, wanted = [], [], [], [0], [], []
        for name, tokens in work.items():
            held, start = self.held.setdefault(name, []), self.lens.get(name, 0)
            end = self.lens[name] = start + len(tokens)
            while len(held) * self.page < end:
                held.append(self.free.pop(0))
            span = range(start, end)
            ids += tokens
            pos += span
            slots += [held[p // self.page] * self.page + p % self.page for p in span]
            starts.append(len(ids))
            lens.append(end)
            wanted += range(starts[-2], starts[-1]) if rows == "all" else [starts[-1] - 1]
        width = max(len(self.held[name]) for name in work) + 1
        table = [self.held[name] + [0] * (width - len(self.held[name])) for name in work]
        return Batch(
            *(np.array(a, np.int32) for a in (ids, pos, slots, starts, lens, table, wanted))
        )


def scattered(count: int, page: int = 4, seed: int = 1) -> Pages:
    """Pages in random order."""
    return Pages([int(p) for p in np.random.default_rng(seed).permutation(count)], page)


def ascending(count: int, page: int = 4) -> Pages:
    """Pages in order, so that a lone sequence lies in one piece."""
    return Pages(list(range(count)), page)


_TYPES = {"top_k": np.int32, "key": np.uint64, "step": np.int32, "logprobs": np.int32}
_OFF = {
    "temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "presence": 0.0,
    "frequency": 0.0, "repetition": 1.0, "key": 0, "step": 0, "logprobs": -1,
}  # fmt: skip


def params(rows: int, bias=None, seen=None, **values) -> SampleBatch:
    """Sampling parameters: a number or one value a row; bias: row → {id: value}; seen: row →
    {id: count in the output}. Greedy unless told otherwise."""
    arrays = {
        name: np.full(rows, values.get(name, off), _TYPES.get(name, np.float32))
        for name, off in _OFF.items()
    }
    lists = {}
    for kind, table in (("bias", bias or {}), ("pen", seen or {})):
        rows_of = [table.get(r, {}) for r in range(rows)]
        lists[f"{kind}_ptr"] = np.cumsum([0, *map(len, rows_of)], dtype=np.int32)
        lists[f"{kind}_ids"] = np.array([i for row in rows_of for i in row], np.int32)
        flat = [v for row in rows_of for v in row.values()]
        key, dtype = ("bias_values", np.float32) if kind == "bias" else ("pen_out", np.int32)
        lists[key] = np.array(flat, dtype)
    return SampleBatch(**arrays, **lists)


def only(batch: Batch, **changes) -> Batch:
    """`batch` with some arrays replaced."""
    return structs.replace(batch, **{k: np.array(v, np.int32) for k, v in changes.items()})
