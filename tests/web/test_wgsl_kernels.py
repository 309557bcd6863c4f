"""Every WGSL kernel against the reference of the op it carries out, on a software GPU."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import device, launch, read
from random_blocks import F32, floats, packed, raw

from treadle.errors import KernelError, Unsupported
from treadle.export import kernels, wgsl
from treadle.export.wgsl import FORMATS, Segment
from treadle.graph import reference
from treadle.models.quant import dequantise
from treadle.types import Tensor


@pytest.fixture(autouse=True)
def _adapter() -> None:
    device()


def close(got: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-5) -> None:
    assert got.shape == wanted.shape
    worst = np.abs(got - wanted).max()
    assert worst <= tolerance * max(1.0, float(np.abs(wanted).max())), worst


def grid_of(rows: int, tokens: int, many: bool) -> tuple[int, int]:
    return -(-rows // kernels.WG), -(-tokens // 4) if many else tokens


PLAIN = ("f32", "f16", "bf16")
ODD = [(1, 1), (3, 3), (31, 33), (65, 31), (5, 577)]
CASES = [(f, 33, 576 if FORMATS[f][0] < 256 else 768) for f in FORMATS]
CASES += [(PLAIN[i % 3], *shape) for i, shape in enumerate(ODD)]
CASES += [("q8_0", 1, 32), ("q4_0", 67, 96), ("q6_k", 3, 256)]


@pytest.mark.parametrize(("format", "rows", "columns"), CASES)
def test_projections_in_every_format(format: str, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows * columns)
    w = packed(rng, format, rows, columns)
    data, segments = raw(w)
    wide = dequantise(w)
    norm = 1 + 0.3 * floats(rng, columns)
    for op, tokens in (("linear", 3), ("linear_add", 1), ("rmsnorm_linear", 1 + rows % 2 * 4)):
        x, y, b = floats(rng, tokens, columns), floats(rng, tokens, rows), floats(rng, rows)
        many = tokens > 1
        given = {"x": x, "w": data, "y": y, "b": b, "norm": norm}
        given["out"] = np.zeros((tokens, rows), F32)
        eps = 1e-5 if "norm" in op else None
        operands = {"linear": (x, wide, b), "linear_add": (x, wide, y)}.get(op, (x, norm, wide))
        wanted = reference(op)(np, *operands, **({"eps": eps} if eps else {}))
        kernel = kernels.project(op, segments, columns, many=many, eps=eps, bias=op == "linear")
        out = launch(kernel, given, grid_of(rows, tokens, many), {"T": tokens})
        close(read(out["out"], F32, tokens * rows).reshape(tokens, rows), wanted)


def test_segments_of_several_formats_and_a_cut_matrix() -> None:
    rng = np.random.default_rng(5)
    parts = [packed(rng, f, n, 256) for f, n in (("q4_k", 37), ("q6_k", 5), ("q8_0", 3))]
    data, segments = raw(*parts)
    x, norm = floats(rng, 2, 256), floats(rng, 256)
    wide = np.concatenate([dequantise(part) for part in parts])
    kernel = kernels.project("rmsnorm_linear", segments, 256, many=False, eps=1e-6)
    given = {"x": x, "norm": norm, "w": data, "out": np.zeros((2, 45), F32)}
    out = read(launch(kernel, given, (1, 2), {"T": 2})["out"], F32, 90).reshape(2, 45)
    close(out, reference("rmsnorm_linear")(np, x, norm, wide, eps=1e-6))
    # The same rows as two kernels over two bindings, as a matrix beyond the binding limit is cut.
    given["out"] = np.zeros((2, 45), F32)
    for first, part in ((0, parts[0]), (37, parts[1])):
        cut, one = raw(part)
        rows = part.shape[0]
        kernel = kernels.project(
            "rmsnorm_linear", one, 256, many=False, eps=1e-6, rows=(rows, first, 45)
        )
        given = launch(kernel, {**given, "w": cut}, (1, 2), {"T": 2})
    close(read(given["out"], F32, 90).reshape(2, 45)[:, :42], out[:, :42])


@pytest.mark.parametrize(
    ("format", "rows", "columns"), [("q4_1", 31, 576), ("q6_k", 33, 256), ("f32", 3, 31)]
)
@pytest.mark.parametrize("act", ["silu", "gelu_tanh"])
def test_gate_up_glu(format: str, rows: int, columns: int, act: str) -> None:
    rng = np.random.default_rng(7)
    wg, wu = packed(rng, format, rows, columns), packed(rng, format, rows, columns)
    data, segments = raw(wg, wu)
    norm = 1 + 0.3 * floats(rng, columns)
    for tokens, eps in ((1, 1e-5), (5, 1e-5), (1, None)):
        x = 3 * floats(rng, tokens, columns)
        many = tokens > 1
        kernel = kernels.gate_up_glu(segments, columns, act=act, eps=eps, many=many)
        given = {"x": x, "norm": norm, "w": data, "out": np.zeros((tokens, rows), F32)}
        out = launch(kernel, given, grid_of(rows, tokens, many), {"T": tokens})["out"]
        h = x if eps is None else reference("rmsnorm")(np, x, norm, eps=eps)
        wanted = reference("gate_up_glu")(np, h, dequantise(wg), dequantise(wu), act=act)
        close(read(out, F32, tokens * rows).reshape(tokens, rows), wanted)


@pytest.mark.parametrize("format", list(FORMATS))
def test_embed_and_head(format: str) -> None:
    rng = np.random.default_rng(3)
    V, D = (97, 256) if format not in ("f32", "bf16") else (31, 33)
    table = packed(rng, format, V, D)
    data, segments = raw(table)
    wide = dequantise(table)
    ids = np.array([V - 1, 0, -2, 5, -1], np.int32)  # -1-j: token j of the last draw
    drawn = np.array([7, -1], np.int32)
    batch = np.concatenate([ids.view(np.uint32), np.array([4, 1, 2], np.uint32)])
    run = {"T": 5, "R": 3, "ids": 0, "rows": 5}
    given = {"w": data, "batch": batch, "drawn": drawn, "out": np.zeros((5, D), F32)}
    units = -(-5 * kernels.embed_units(D) // kernels.WG)
    x = launch(kernels.embed(segments[0], D, by=1.5), given, (units,), run)["out"]
    wanted = wide[[V - 1, 0, 0, 5, 7]] * F32(1.5)
    np.testing.assert_array_equal(read(x, F32, 5 * D).reshape(5, D), wanted)
    norm = 1 + 0.3 * floats(rng, D)
    for many in (False, True):
        kernel = kernels.project("take_norm_linear", segments, D, many=many, eps=1e-6, cap=5.0)
        given = {"x": x, "norm": norm, "w": data, "batch": batch, "out": np.zeros((3, V), F32)}
        out = launch(kernel, given, grid_of(V, 3, many), run)["out"]
        logits = reference("take_norm_linear")(
            np, wanted, np.array([4, 1, 2]), norm, wide, eps=1e-6
        )
        close(read(out, F32, 3 * V).reshape(3, V), 5 * np.tanh(logits / 5))


def test_embed_from_a_cut_table() -> None:
    rng = np.random.default_rng(4)
    table = packed(rng, "q8_0", 64, 64)
    ids = np.array([0, 39, 40, 63], np.uint32)
    out: object = np.zeros((4, 64), F32)
    for first, rows in ((0, 40), (40, 24)):
        part = Tensor("w", (rows, 64), "q8_0", table.data[first : first + rows])
        data, segments = raw(part)
        kernel = kernels.embed(segments[0], 64, rows=(rows, first))
        given = {"w": data, "batch": ids, "drawn": np.zeros(1, np.int32), "out": out}
        out = launch(kernel, given, (1,), {"T": 4})["out"]
    got = read(out, F32, 256).reshape(4, 64)
    np.testing.assert_array_equal(got, dequantise(table)[ids])


class Pages:
    """A pool of f16 pages with sequences of given lengths, and NaN where nothing was written."""

    def __init__(self, rng: np.random.Generator, K: int, d: int, lengths: list[int]) -> None:
        self.B, count = 16, sum(-(-n // 16) for n in lengths) + 2
        self.kv = np.full((count, 2, self.B, K, d), np.nan, np.float16)
        order, at = rng.permutation(count), 0
        self.table = np.zeros((len(lengths), max(-(-n // 16) for n in lengths)), np.int32)
        for s, n in enumerate(lengths):
            for j in range(-(-n // 16)):
                self.table[s, j] = order[at]
                at += 1
            for p in range(n):
                page = self.table[s, p // 16]
                self.kv[page, :, p % 16] = rng.standard_normal((2, K, d))

    def slot(self, s: int, position: int) -> int:
        return int(self.table[s, position // 16]) * 16 + position % 16


def batch_of(**arrays: list[int] | np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Inputs in one buffer, and where each starts."""
    run: dict[str, int] = {}
    words: list[np.ndarray] = []
    at = 0
    for name, values in arrays.items():
        flat = np.asarray(values, np.uint32).reshape(-1)
        run[name] = at
        at += len(flat)
        words.append(flat)
    return np.concatenate(words), run


HEADS = [(4, 2, 8), (9, 3, 64), (2, 1, 256), (16, 1, 128), (3, 3, 2)]


@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("kind", ["plain", "normed", "capped"])
def test_attention_step(heads: tuple[int, int, int], kind: str) -> None:
    H, K, d = heads
    rng = np.random.default_rng(H * d)
    lengths = [1, 15, 16, 17, 131]
    S = len(lengths)
    pages = Pages(rng, K, d, lengths)
    pos = np.array(lengths) - 1
    slots = [pages.slot(s, p) for s, p in enumerate(pos)]
    qkv = floats(rng, S, (H + 2 * K) * d)
    rotary = d // 2 if kind != "capped" else max(1, d // 4)
    freq = (10.0 ** -np.linspace(0, 3, rotary)).astype(F32)
    norms = {"q_norm": 1 + 0.2 * floats(rng, d), "k_norm": 1 + 0.2 * floats(rng, d)}
    if kind != "normed":
        norms = {}
    attrs = {
        "scale": d**-0.5, "rotary": rotary, "eps": 1e-6,
        "mscale": 1.2 if kind == "capped" else 1.0,
        "window": 18 if kind == "capped" else 0, "softcap": 4.0 if kind == "capped" else 0.0,
    }  # fmt: skip
    q, k, v = np.split(qkv.reshape(S, H + 2 * K, d), [H, H + K], axis=1)
    if norms:
        q = reference("rmsnorm")(np, q, norms["q_norm"], eps=1e-6)
        k = reference("rmsnorm")(np, k, norms["k_norm"], eps=1e-6)
    q, k = (reference("rope")(np, a, pos, freq, mscale=attrs["mscale"]) for a in (q, k))
    kv = reference("kv_write")(np, pages.kv.copy(), k, v, np.array(slots))
    starts = np.arange(S + 1)
    wanted = reference("attention")(
        np, q, kv, starts, np.array(lengths), pages.table,
        scale=attrs["scale"], window=attrs["window"], softcap=attrs["softcap"],
    )  # fmt: skip
    batch, run = batch_of(pos=pos, slots=slots, starts=starts, lens=lengths, table=pages.table)
    run |= {"T": S, "S": S, "L": pages.table.shape[1], "P": len(kv)}
    given = {
        "qkv": qkv, "freq": freq, **norms, "batch": batch, "kv": pages.kv.copy(),
        "out": np.zeros((S, H * d), F32),
    }  # fmt: skip
    groups = H // kernels.group(heads)
    made = launch(kernels.attention_step(heads, 16, attrs, norms), given, (groups, S), run)
    close(read(made["out"], F32, S * H * d), wanted.reshape(-1), 3e-4)
    held = read(made["kv"], np.float16, kv.size).reshape(kv.shape)
    np.testing.assert_allclose(held, kv, rtol=2e-3, atol=1e-4, equal_nan=True)
    # The same tokens through the two kernels of a prefill.
    given["kv"], given["out"] = pages.kv.copy(), np.zeros((S, H * d), F32)
    made = launch(kernels.qk_norm_rope_kv(heads, 16, attrs, norms), given, (H + 2 * K, S), run)
    given |= {"q": made["out"], "kv": made["kv"]}
    made = launch(kernels.attention(heads, 16, attrs), given, (groups, S), run)
    close(read(made["out"], F32, S * H * d), wanted.reshape(-1), 3e-4)


def test_attention_of_ragged_chunks() -> None:
    rng = np.random.default_rng(2)
    H, K, d = heads = (4, 2, 16)
    lengths, new = [33, 5, 16], [9, 5, 0]
    pages = Pages(rng, K, d, lengths)
    starts = np.concatenate([[0], np.cumsum(new)])
    T = int(starts[-1]) + 2  # two tokens of no sequence
    q = floats(rng, T, H, d)
    attrs = {"scale": 0.3, "window": 0, "softcap": 0.0}
    wanted = reference("attention")(
        np, q, pages.kv, starts, np.array(lengths), pages.table, scale=0.3
    )
    batch, run = batch_of(starts=starts, lens=lengths, table=pages.table)
    run |= {"T": T, "S": 3, "L": pages.table.shape[1], "P": len(pages.kv)}
    given = {"q": q, "batch": batch, "kv": pages.kv, "out": np.full((T, H, d), 9, F32)}
    made = launch(kernels.attention(heads, 16, attrs), given, (H // kernels.group(heads), T), run)
    close(read(made["out"], F32, T * H * d).reshape(wanted.shape), wanted, 3e-4)


def test_rotation_is_exact_far_from_the_start() -> None:
    rng = np.random.default_rng(1)
    pos = np.array([0, 1, 4095, 40_000, 131_071])
    T, d = len(pos), 64
    qkv = floats(rng, T, 3 * d)
    freq = (10_000.0 ** -np.linspace(0, 1, 32)).astype(F32)
    batch, run = batch_of(pos=pos, slots=np.arange(T))
    given = {
        "qkv": qkv, "freq": freq, "batch": batch, "out": np.zeros((T, d), F32),
        "kv": np.zeros((1, 2, 16, 1, d), np.float16),
    }  # fmt: skip
    attrs = {"rotary": 32, "eps": 0.0, "mscale": 1.0}
    made = launch(kernels.qk_norm_rope_kv((1, 1, d), 16, attrs, ()), given, (3, T), run | {"T": T})
    wanted = reference("rope")(np, qkv[:, :d].reshape(T, 1, d), pos, freq, mscale=1.0)
    close(read(made["out"], F32, T * d), wanted.reshape(-1), 2e-6)


@pytest.mark.parametrize("columns", [1, 3, 33, 576])
def test_rmsnorm_onto_the_residual(columns: int) -> None:
    rng = np.random.default_rng(columns)
    x, y, norm = floats(rng, 3, columns), floats(rng, 3, columns), floats(rng, columns)
    for add in (False, True):
        given = {"x": x, "y": y, "norm": norm, "out": np.zeros((3, columns), F32)}
        out = launch(kernels.rmsnorm(columns, 1e-5, add=add), given, (3,))["out"]
        wanted = reference("rmsnorm")(np, x, norm, eps=1e-5) + (y if add else 0)
        close(read(out, F32, x.size).reshape(x.shape), wanted)


def test_directives_and_formats_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernels.project("linear", [Segment(1, "f32", 0)], 1, many=False)
    assert kernel.reads == ("x", "w")
    for text, message in (
        ("//#if A\n", "without"),
        ("//#for A\n", "nothing"),
        ("//#for i A\n//#end\n", "integer"),
        ("//#end\n", "nothing"),
    ):
        monkeypatch.setattr(wgsl, "_source", lambda _, text=text: text)
        with pytest.raises(KernelError, match=message):
            wgsl.module("broken", [], {})
    with pytest.raises(Unsupported, match="q2_k"):
        wgsl.row_bytes("q2_k", 256)
    with pytest.raises(Unsupported, match="blocks"):
        wgsl.row_bytes("q4_k", 128)
    with pytest.raises(Unsupported, match="even"):
        kernels.group((4, 2, 5))
