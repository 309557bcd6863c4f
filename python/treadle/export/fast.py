"""Kernels of tier T2: tokens as integers in workgroup memory, sums by subgroups, weights in planes.

A matrix in planes is two buffers: the quants of every block as one vec4<u32>, as in the file, and
words of two float16: of q4_0 the scales of a block of two rows, of q4_1 its scale and minimum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.export import kernels
from treadle.export.wgsl import Binding, Kernel, module

WG = 256
FORMATS = ("q4_0", "q4_1")
"""What T2 reads in planes; other formats stay with T0's kernels."""

SPLITS = 16
SHARE = 8
"""Most workgroups that share the keys of a head, and pages of each before there are more."""

SHARES = 8
"""Shares of a head that a projection has under way while it combines them."""

SPAN = 512
"""Keys of a share that are under way, times query heads of a KV head; 128 at most."""

MEMORY = 32 << 10
"""Workgroup memory that devices of this tier have."""

HEADS = (64, 128, 256)
"""Head sizes that attention in shares reads."""


def takes(format: str, columns: int) -> bool:
    """Whether a matrix has a kernel here: its token lies in workgroup memory."""
    staged = 2 * columns + columns // 4 + 512
    return format in FORMATS and columns % 64 == 0 and staged <= MEMORY


def shares(heads: tuple[int, int, int]) -> bool:
    """Whether attention may be done in shares, which the next projection combines."""
    H, _, d = heads
    return d in HEADS and H % 2 == 0 and takes("q4_0", H * d)


def share_width(heads: tuple[int, int, int]) -> int:
    """Words of a token's shares: vectors in float16, then maximum and mass of each."""
    H, _, d = heads
    return SPLITS * (H * d // 2 + 2 * H)


def packed_width(columns: int) -> int:
    """Words of a token as kernels pack it for those that read it: two bytes an element, then four
    words a block of 32, steps and sums of its halves, and two more, their sums of squares before
    the norm."""
    return columns // 32 * 22


def planes(format: str, blocks: NDArray[np.uint8], width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Blocks [n, size] of rows of `width` each as (quants [n, 4] uint32, scales uint32)."""
    head = 2 if format == "q4_0" else 4
    quants = np.ascontiguousarray(blocks[:, head:]).view(np.uint32)
    halves = np.ascontiguousarray(blocks[:, :head]).view(np.uint16)
    if format == "q4_0":
        rows = len(blocks) // width
        pairs = np.zeros((rows + rows % 2, width), np.uint16)
        pairs[:rows] = halves.reshape(rows, width)
        halves = np.ascontiguousarray(pairs.reshape(-1, 2, width).swapaxes(1, 2))
    return quants, halves.reshape(-1).view(np.uint32)


def project(
    op: str, format: str, rows: int, columns: int, *, eps: float | None = None, bias: bool = False,
    cap: float = 0.0, dialect: str = "naga", heads: tuple[int, int] | None = None,
    packed: bool = False, packs: bool = False, form: Form | None = None,
) -> Kernel:  # fmt: skip
    """linear, rmsnorm_linear, linear_add, take_norm_linear of one token a workgroup row.

    heads: (H, d) where the input is what `attention_step` here writes, shares of the keys to be
    combined. packed: the input lies as in `packed_width`, multiplied with the norm's vector if
    there is a norm. packs: `packed` gets the output likewise, times the vector `next`; a workgroup
    then makes whole blocks of it, and the grid has `packs_grid` of them.
    """
    norm = op in ("rmsnorm_linear", "take_norm_linear") and not packed
    bindings = _operands(norm, heads is not None or packed)
    if op == "linear_add":
        bindings.append(Binding("y", "f32"))
    if bias:
        bindings.append(Binding("b", "f32"))
    form = form or form_of(rows, columns, 4 if packs else 0, heads is not None)
    flags = _flags(format)
    if packed:
        flags.add("PACKED")
    if op == "take_norm_linear":
        bindings.append(Binding("batch", "u32"))
        flags.add("rows")
    bindings.append(Binding("out", "f32", write=True))
    if packs:
        bindings += [Binding("next", "vec4<f32>"), Binding("packed", "u32", write=True)]
    consts = _consts(rows, columns, eps, form, packed)
    consts |= {"PACK": 4 * form.quads} if packs else {}
    consts |= {"CAP": float(cap)} if cap else {}
    if heads is not None:
        consts |= {"SPLITS": SPLITS, "SHARE": SHARE, "SHARES": SHARES}
        consts |= {"HEADS": heads[0], "HEAD": heads[1]}
    return module("fast_project", bindings, consts, flags, enables=_enables(dialect))


def gate_up_glu(
    format: str, rows: int, columns: int, *, act: str, eps: float | None = None,
    dialect: str = "naga", packed: bool = False, packs: bool = False, form: Form | None = None,
) -> Kernel:  # fmt: skip
    """rmsnorm_gate_up_glu; `rows`: of the output; the others: see `project`.

    packed, packs: see `project`; with packs the output lies in `packed` alone.
    """
    out = Binding("packed", "u32", write=True) if packs else Binding("out", "f32", write=True)
    bindings = [*_operands(eps is not None and not packed, packed), out]
    form = form or form_of(2 * rows, columns, 8 if packs else 0)
    flags = _flags(format) | ({"SILU"} if act == "silu" else set[str]())
    consts = _consts(rows, columns, eps, form, packed)
    flags |= {"PACKED"} if packed else set[str]()
    consts |= {"PACK": 2 * form.quads} if packs else {}
    return module("fast_gate_up_glu", bindings, consts, flags, enables=_enables(dialect))


def grid(rows: int, form: Form) -> int:
    """Workgroups of a stack of matrices; of a gate and its up projection, `rows` counts both."""
    return -(-rows // (4 * form.quads))


def packs_whole(rows: int) -> bool:
    """Whether a projection may pack its output: there are whole blocks for enough workgroups."""
    return rows % 64 == 0 and rows >= PACKS


def attention_step(
    heads: tuple[int, int, int], page: int, attrs: Mapping[str, float],
    present: Collection[str], dialect: str = "naga", wg: int = 256,
) -> Kernel:  # fmt: skip
    """attention_step of one token over `splits` shares of its keys: see `project`'s heads.

    wg: most threads; fewer where the sums of their values would not fit.
    """
    bindings, consts = kernels.attention_operands(heads, page, attrs, present)
    kinds = {"kv": "vec4<u32>", "out": "u32"}
    bindings = [Binding(b.name, kinds.get(b.name, b.type), b.write) for b in bindings]
    group = kernels.group(heads)
    while wg * group > 1024 and wg > 64:  # half the values' sums lie in workgroup memory
        wg //= 2
    d, span = heads[2], 128 if 128 * group <= SPAN else 64
    consts |= {
        "WG": wg, "SPLITS": SPLITS, "SPAN": span, "EACH": d // 64, "ROUNDS": max(1, span * 8 // wg),
        "TURNS": max(1, span * d // (8 * wg)), "TAKES": -(-(group + 2) * d // wg),
    }  # fmt: skip
    return module("fast_attention_step", bindings, consts, enables=_enables(dialect))


def splits() -> str:
    """Workgroups that share a head's keys, of L pages a sequence."""
    return f"min({SPLITS}, ceil(L, {SHARE}))"


class Form(NamedTuple):
    """How a projection is spread: threads that share a row; blocks of the token each of them keeps;
    such teams of a workgroup; and quads of rows that a team does, one after another. A quad is four
    rows: of a gate and its up projection, two outputs."""

    span: int
    held: int
    teams: int
    turns: int

    @property
    def wg(self) -> int:
        """Threads of a workgroup."""
        return self.span * self.teams

    @property
    def quads(self) -> int:
        """Quads of a workgroup."""
        return self.teams * self.turns


FEW = 384
"""Workgroups that a device should have at least, before a team does more than one quad."""
TURNS = 8
"""Most quads of a team."""
PACKS = 2048
"""Least outputs that are packed: fewer half blocks are too few workgroups."""
TRIED: dict[tuple[int, int], Form] = {}
"""Forms of stacks of rows and columns that a measurement puts in the place of the chosen ones."""


def form_of(rows: int, columns: int, unit: int = 0, staged: bool = False) -> Form:
    """The form of a stack of matrices; of a gate and its up projection, `rows` counts both.

    unit: quads whose outputs are half a block, where a workgroup packs its outputs. staged: every
    workgroup makes its own token from shares of the keys, and does twice the rows. Measured on an
    H200 in whole decode steps (benchmarks/web): two blocks of the token a thread; 128 threads a
    workgroup, of which three or more share a multiprocessor, but 256 where there are fewer.
    """
    if (rows, columns) in TRIED:
        return TRIED[rows, columns]
    blocks = columns // 32
    held = 1
    while blocks > held * (32 if held == 1 else WG):
        held *= 2
    span = -(-blocks // (8 * held)) * 8
    total = -(-rows // 4)
    if not unit:
        teams = max(1, WG // 2 // span)
        return Form(span, held, teams, max(1, min(total // (teams * FEW), TURNS, span // 4)))
    quads = unit
    while total // (2 * quads) >= (FEW // 3 if staged else FEW) and 2 * quads * span <= TURNS * WG:
        quads *= 2
    teams = max(1, (WG if total < FEW * quads else WG // 2) // span)
    teams = min(quads, 1 << (teams.bit_length() - 1))
    return Form(span, held, teams, quads // teams)


def _flags(format: str) -> set[str]:
    return {"MINIMUM"} if format == "q4_1" else set[str]()


def _operands(norm: bool, shares: bool = False) -> list[Binding]:
    quad = "vec4<f32>"
    bindings = [Binding("x", "vec4<u32>" if shares else quad)] + (
        [Binding("norm", quad)] if norm else []
    )
    return [*bindings, Binding("w", "vec4<u32>"), Binding("scales", "u32")]


def _consts(
    rows: int, columns: int, eps: float | None, form: Form, packed: bool
) -> dict[str, int | float]:
    sums = form.span // 8 * (4 * form.quads + 4)
    consts: dict[str, int | float] = {
        "WG": form.wg, "WIDTH": columns // 4, "BLOCKS": columns // 32, "COLUMNS": float(columns),
        "ROWS": rows, "FIRST": 0, "STRIDE": rows, "SPAN": form.span, "TEAMS": form.teams,
        "HELD": form.held, "QUADS": form.quads,
        "ROOM": sums if packed else max(sums, columns // 32 * 18),
    }  # fmt: skip
    return consts | ({} if eps is None else {"EPS": float(eps)})


def _enables(dialect: str) -> tuple[str, ...]:
    return () if dialect == "naga" else ("subgroups",)
