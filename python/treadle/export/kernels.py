"""One function a kernel: from the sizes of a node to its printed module, T0's rules.

Every function takes plain numbers, so that tests print a kernel without a graph. `many`: four
tokens a thread share the unpacked weights. Buffers are named as the texts name them; the uniform
block follows them where a kernel uses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from treadle.errors import Unsupported
from treadle.export.wgsl import Binding, Kernel, Segment, module

WG = 64
"""Threads of a workgroup: one output row each."""

GROUP_WORDS = 1024
"""Query elements of one attention workgroup: 4 KiB each of queries and of sums."""

TILE = 512
"""Logits of a sampler tile, a multiple of 32; larger where TILES tiles would not be enough."""
TILES = 96
LARGEST_TILE = 3072
"""Beyond it, more tiles: a tile lies in workgroup memory."""

PICKERS = 256
"""Threads of `sample_pick`; they divide its 1,024 bins."""


def project(
    op: str,
    segments: Sequence[Segment],
    columns: int,
    *,
    many: bool,
    rows: tuple[int, int, int] | None = None,
    eps: float | None = None,
    bias: bool = False,
    cap: float = 0.0,
    half: bool = False,
    planes: bool = False,
) -> Kernel:
    """linear, rmsnorm_linear, linear_add, take_norm_linear.

    rows: (this kernel's rows, first of them in the output, rows of the whole output). half: in
    float16 where that fits. planes: weights lie as tier T2 keeps them.
    """
    total = sum(segment.rows for segment in segments)
    own, first, stride = rows or (total, 0, total)
    act = "vec4<f32>" if columns % 32 == 0 else "f32"
    bindings = [Binding("x", act)]
    if op in ("rmsnorm_linear", "take_norm_linear"):
        bindings.append(Binding("norm", act))
    bindings += _weights(planes)
    if op == "linear_add":
        bindings.append(Binding("y", "f32"))
    if bias:
        bindings.append(Binding("b", "f32"))
    flags = _tokens(many) | _kind(segments, columns, many, half, planes)
    if op == "take_norm_linear":
        bindings.append(Binding("batch", "u32"))
        flags.add("rows")
    bindings.append(Binding("out", "f32", write=True))
    consts = _columns(columns, eps) | {"ROWS": own, "FIRST": first, "STRIDE": stride}
    if cap:
        consts["CAP"] = float(cap)
    return module(op, bindings, consts, flags | _quads(columns), segments, columns)


def gate_up_glu(
    segments: Sequence[Segment],
    columns: int,
    *,
    act: str,
    eps: float | None,
    many: bool,
    rows: tuple[int, int] | None = None,
    half: bool = False,
    planes: bool = False,
) -> Kernel:
    """rmsnorm_gate_up_glu; eps None: without the norm. segments: the gate's rows, then as many.

    rows: (first of them in the output, rows of the whole output). half, planes: see `project`.
    """
    act_type = "vec4<f32>" if columns % 32 == 0 else "f32"
    bindings = [Binding("x", act_type)]
    if eps is not None:
        bindings.append(Binding("norm", act_type))
    bindings += [*_weights(planes), Binding("out", "f32", write=True)]
    own = sum(s.rows for s in segments) // 2
    first, stride = rows or (0, own)
    consts = _columns(columns, eps) | {"ROWS": own, "FIRST": first, "STRIDE": stride}
    flags = _tokens(many) | _quads(columns) | ({"SILU"} if act == "silu" else set[str]())
    flags |= _kind(segments, columns, many, half, planes)
    return module("rmsnorm_gate_up_glu", bindings, consts, flags, segments, columns)


def embed(
    segment: Segment, columns: int, *, rows: tuple[int, int] | None = None, by: float = 1.0
) -> Kernel:
    """embed; rows: (rows of this part of the table, the first of them)."""
    own, first = rows or (segment.rows, 0)
    blocks = columns % 32 == 0
    bindings = [
        Binding("w", "u32"),
        Binding("batch", "u32"),
        Binding("drawn", "i32"),
        Binding("out", "vec4<f32>" if blocks else "f32", write=True),
    ]
    consts = {
        "WG": WG, "WIDTH": columns // 4 if blocks else columns, "ROWS": own, "FIRST": first,
        "UNITS": columns // 32 if blocks else columns, "BY": float(by),
    }  # fmt: skip
    return module("embed", bindings, consts, _quads(columns), [segment], columns)


def embed_units(columns: int) -> int:
    """Threads a token of `embed` takes."""
    return columns // 32 if columns % 32 == 0 else columns


def attention_step(
    heads: tuple[int, int, int], page: int, attrs: Mapping[str, float], present: Collection[str]
) -> Kernel:
    """attention_step. heads: (H, K, d); attrs: scale window softcap mscale eps rotary."""
    bindings, consts = attention_operands(heads, page, attrs, present)
    return module("attention_step", bindings, consts, {"STEP"})


def attention_operands(
    heads: tuple[int, int, int], page: int, attrs: Mapping[str, float], present: Collection[str]
) -> tuple[list[Binding], dict[str, int | float]]:
    """Bindings and constants of `attention_step`."""
    bindings = [Binding("qkv", "f32"), Binding("freq", "f32")]
    bindings += [Binding(name, "f32") for name in ("q_norm", "k_norm") if name in present]
    bindings += [Binding("batch", "u32"), Binding("kv", "u32", write=True)]
    bindings.append(Binding("out", "f32", write=True))
    return bindings, _heads(heads, page) | _rotation(attrs) | _scores(attrs)


def qk_norm_rope_kv(
    heads: tuple[int, int, int], page: int, attrs: Mapping[str, float], present: Collection[str]
) -> Kernel:
    """qk_norm_rope_kv. heads: (H, K, d); attrs: mscale eps rotary."""
    bindings = [Binding("qkv", "f32"), Binding("freq", "f32")]
    bindings += [Binding(name, "f32") for name in ("q_norm", "k_norm") if name in present]
    bindings += [Binding("batch", "u32"), Binding("kv", "u32", write=True)]
    bindings.append(Binding("out", "f32", write=True))
    return module("qk_norm_rope_kv", bindings, _heads(heads, page) | _rotation(attrs))


def attention(heads: tuple[int, int, int], page: int, attrs: Mapping[str, float]) -> Kernel:
    """attention. heads: (H, K, d); attrs: scale window softcap."""
    bindings = [
        Binding("q", "f32"), Binding("batch", "u32"), Binding("kv", "u32"),
        Binding("out", "f32", write=True),
    ]  # fmt: skip
    return module("attention", bindings, _heads(heads, page) | _scores(attrs))


def group(heads: tuple[int, int, int]) -> int:
    """Query heads of one attention workgroup: as many of a KV head's as workgroup memory holds."""
    H, K, d = heads
    if d % 2 or H % K:
        raise Unsupported(f"attention of {H} heads over {K} of size {d}: the size must be even")
    each = H // K
    fits = [n for n in range(1, each + 1) if each % n == 0 and n * d <= max(GROUP_WORDS, d)]
    return min(fits[-1], WG)


def rmsnorm(columns: int, eps: float, *, add: bool) -> Kernel:
    """rmsnorm, with `add` onto a residual y."""
    bindings = [Binding("x", "f32"), Binding("norm", "f32")]
    bindings += [Binding("y", "f32")] if add else []
    bindings.append(Binding("out", "f32", write=True))
    return module("rmsnorm", bindings, {"WG": WG, "WIDTH": columns, "EPS": float(eps)})


def sampler(vocab: int, subgroups: bool = False, dialect: str = "naga") -> tuple[Kernel, Kernel]:
    """sample_tile, sample_pick. subgroups: reduced by them, with as many threads as a pick has."""
    tile, count = _tile(vocab), tiles(vocab)
    wg = PICKERS if subgroups else WG
    flags, enables = set[str](), tuple[str, ...]()
    if subgroups:
        flags = {"SUBGROUPS"}
        enables = () if dialect == "naga" else ("subgroups",)
    consts: dict[str, int | float] = {
        "VOCAB": vocab, "TILE": tile, "TILES": count, "WORDS": -(-vocab // 32),
    }  # fmt: skip
    logits, draws = Binding("logits", "f32"), Binding("draws", "u32")
    tiled = [logits, draws, Binding("mask", "u32"), Binding("entries", "u32")]
    tiled += [Binding("tiles", "u32", write=True), Binding("scores", "u32", write=True)]
    picked = [logits, draws, Binding("tiles", "u32"), Binding("scores", "u32")]
    picked += [Binding("drawn", "i32", write=True), Binding("told", "u32", write=True)]
    ahead = {"WG": wg, "LOADS": min(8, -(-tile // wg))}
    return (
        module("sample_tile", tiled, ahead | consts, flags, enables=enables),
        module("sample_pick", picked, {"WG": PICKERS} | consts, flags, enables=enables),
    )


def tiles(vocab: int) -> int:
    """Tiles of the sampler."""
    return -(-vocab // _tile(vocab))


def _tile(vocab: int) -> int:
    return min(TILE * -(-vocab // (TILE * TILES)), LARGEST_TILE)


STAGED = 12 << 10
"""Bytes of workgroup memory for tokens as float16."""


def _weights(planes: bool) -> list[Binding]:
    if planes:
        return [Binding("w", "vec4<u32>"), Binding("scales", "u32")]
    return [Binding("w", "u32")]


def _kind(
    segments: Sequence[Segment], columns: int, many: bool, half: bool, planes: bool
) -> set[str]:
    """Flags of how weights are unpacked: float16 unless they have more range than that."""
    formats = {segment.format for segment in segments}
    fits = columns % 32 == 0 and 2 * columns * (4 if many else 1) <= STAGED
    flags = {"HALF"} if half and fits and not formats & {"f32", "bf16"} else set[str]()
    if planes:
        flags |= {"PLANES"} | ({"MINIMUM"} if "q4_1" in formats else set[str]())
    return flags


def _tokens(many: bool) -> set[str]:
    return {"MANY"} if many else set()


def _quads(columns: int) -> set[str]:
    return {"QUADS"} if columns % 32 == 0 else set()


def _columns(columns: int, eps: float | None) -> dict[str, int | float]:
    quads = columns % 32 == 0
    consts: dict[str, int | float] = {"WG": WG, "WIDTH": columns // 4 if quads else columns}
    consts["COLUMNS"] = float(columns)
    if quads:
        consts["BLOCKS"] = columns // 32
    if eps is not None:
        consts["EPS"] = float(eps)
    return consts


def _heads(heads: tuple[int, int, int], page: int) -> dict[str, int | float]:
    H, K, d = heads
    return {"WG": WG, "HEADS": H, "KV_HEADS": K, "HEAD": d, "GROUP": group(heads), "PAGE": page}


def _rotation(attrs: Mapping[str, float]) -> dict[str, int | float]:
    return {
        "ROTARY": int(attrs["rotary"]),
        "MSCALE": float(attrs.get("mscale", 1.0)),
        "EPS": float(attrs.get("eps", 0.0)),
    }


def _scores(attrs: Mapping[str, float]) -> dict[str, int | float]:
    found: dict[str, int | float] = {"SCALE": float(attrs["scale"])}
    if attrs.get("window"):
        found["WINDOW"] = int(attrs["window"])
    if attrs.get("softcap"):
        found["CAP"] = float(attrs["softcap"])
    return found
