"""The order of weights in a tile of the Hopper kernel's stream: as registers want them.

A strip is 16 packed rows; 32 of its columns make two fragments A of `mma.m16n8k16`. What a lane
reads of them is contiguous, so that a warp reads without conflicts; columns are permuted such that
the same lane finds its 8 columns of the activations in one 16-byte word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.errors import KernelError, ModelFormatError
from treadle.mega import lanes
from treadle.mega.codegen_covers import PAIR
from treadle.mega.forms import EIGHT, FOUR_LOW, Form
from treadle.mega.records import STRIP, Site
from treadle.models.quant import dequantise, four_bit
from treadle.types import Tensor

Array = Any
"""numpy, or torch where a caller packs on the GPU."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A matrix of 4-bit codes: scale * code + low, or scale * (code - 8) where low is None.

    code: integers [rows, k]; scale, low: bits of float16 [rows, k / 32].
    """

    code: Array
    scale: Array
    low: Array | None


@dataclass(frozen=True, slots=True)
class Eights:
    """A matrix of e4m3 codes and scales: of rows [rows, 1], or of rows in blocks of 128 columns.

    code: uint8 [rows, k]; scale: float32 [rows, 1] or [rows, k / 128]. A file's scales of blocks of
    rows are repeated for each row, their inverses inverted.
    """

    code: Array
    scale: Array


Matrix = NDArray[np.uint16] | Codes | Eights
"""A weight as it is packed: bf16 [rows, k], or codes."""


def bf16(x: NDArray[Any]) -> NDArray[np.uint16]:
    """Rounds float32 to the nearest bfloat16, kept as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    """float32 of bfloat16 kept as uint16."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def matrix_of(tensor: Tensor) -> Matrix:
    """A weight as `cuda_pack.fill` takes it: codes where a form of the stream has them, else bf16.

    A scale beyond float16 raises ModelFormatError: Q4_K makes its scales by a product.
    """
    if tensor.format not in FOUR_LOW.formats:
        return bf16(dequantise(tensor))
    code, scale, low = four_bit(tensor)
    return Codes(
        code,
        _half(scale, tensor.name),
        None if tensor.format == "q4_0" else _half(low, tensor.name),
    )


def values(x: Codes | Eights) -> NDArray[np.float32]:
    """What the codes mean, [rows, k]; in numpy."""
    if isinstance(x, Eights):
        rows, blocks = x.scale.shape
        codes = _E4M3[x.code].reshape(rows, blocks, -1) * x.scale[..., None]
        return codes.reshape(rows, -1).astype(np.float32)
    scale = x.scale.view(np.float16).astype(np.float32)[..., None]
    low = -8 * scale if x.low is None else x.low.view(np.float16).astype(np.float32)[..., None]
    codes = x.code.reshape(len(x.code), -1, PAIR)
    return (codes * scale + low).reshape(len(x.code), -1)


def plain(x: Array | Codes | Eights) -> Array:
    """bf16 [rows, k] of a matrix, rounded where it is of codes."""
    return bf16(values(x)) if isinstance(x, Codes | Eights) else x


def fragments(site: Site, weights: list[Array]) -> Array:
    """A site's weights in the order of tiles. weights: bf16 [rows, k] each; [strips, k * 16]."""
    joined = _packed(site, weights)
    shape = (len(joined) // STRIP, 2, 8, site.k // PAIR, 4, 2, 2, 2)
    return _permute(joined.reshape(shape), (0, 3, 5, 2, 4, 6, 1, 7)).reshape(shape[0], -1)


def code_fragments(site: Site, form: Form, weights: list[Array | Codes | Eights]) -> Array:
    """A site's codes and scales in the order of tiles: [strips, k / 32 * words of the form].

    Raises KernelError for weights that the program was not told of.
    """
    kind = Eights if form is EIGHT else Codes
    if not all(isinstance(x, kind) for x in weights):
        raise KernelError(
            f"weights of site {site.w} are not {kind.__name__}, as the program was told",
            at="treadle.backends.mega.cuda_tiles", hint="generate with the file's formats",
        )  # fmt: skip
    made = _eight_bits(site, weights) if form is EIGHT else _four_bits(site, form, weights)
    return made.reshape(len(made), site.k // PAIR * form.words)


def _four_bits(site: Site, form: Form, weights: list[Any]) -> Array:
    """Of 32 columns: a word for each fragment and lane, nibble i of its halves the two weights of
    the fragment's register i; then for rows g and g + 8 the scales and, where the form has them,
    the least values."""
    code = _packed(site, [x.code for x in weights])
    strips, pairs = len(code) // STRIP, site.k // PAIR
    shape = (strips, 2, 8, pairs, 4, 2, 2, 2)
    code = _permute(code.reshape(shape), (0, 3, 2, 4, 5, 7, 6, 1)).reshape(strips, pairs, 128, 4)
    word = _short(_wide(code[..., 0]) | _wide(code[..., 1]) << 4 | _wide(code[..., 2]) << 8
                  | _wide(code[..., 3]) << 12)  # fmt: skip
    kinds = [[x.scale for x in weights]]
    if form is FOUR_LOW:
        kinds.append([_lowest(x) for x in weights])
    halves = [_packed(site, kind).reshape(strips, 2, 8, pairs) for kind in kinds]
    scales = [_permute(x, (0, 3, 2, 1)) for x in halves]  # [strips, pairs, 8, 2]
    both = scales[0] if len(scales) == 1 else _concatenate(scales, axis=3)
    return _concatenate([word, both.reshape(strips, pairs, -1)], axis=2)


def _eight_bits(site: Site, weights: list[Any]) -> Array:
    """Of 32 columns: 16 bytes a lane, then the scales of four rows: pair j of four holds rows
    4j ... 4j + 3."""
    code = _packed(site, [x.code for x in weights])
    strips, pairs = len(code) // STRIP, site.k // PAIR
    shape = (strips, 2, 8, pairs, 4, 2, 2, 2)
    code = _permute(code.reshape(shape), (0, 3, 2, 4, 5, 6, 7, 1)).reshape(strips, pairs, 512)
    scales = [_blocks(x.scale, site.k // 128) for x in weights]
    scale = _packed(site, scales).reshape(strips, 4, 4, pairs // 4)
    scale = _permute(scale, (0, 3, 1, 2)).reshape(strips, pairs, 4)
    return _concatenate([_bits(code), _bits(scale)], axis=2)


def _blocks(scale: Array, count: int) -> Array:
    """Scales [rows, count], of rows repeated."""
    if scale.shape[1] == count:
        return scale
    return scale.repeat(count, axis=1) if _in_numpy(scale) else scale.repeat(1, count)


def _bits(x: Array) -> Array:
    """As 16-bit words."""
    if _in_numpy(x):
        return np.ascontiguousarray(x).view(np.uint16)
    import torch  # whoever packs on the GPU has it

    return x.contiguous().view(torch.int16)


def _table() -> NDArray[np.float32]:
    """Numbers of the 256 codes of e4m3 (OCP 8-bit floating point, 2023); 127 and 255 are NaN."""
    code = np.arange(256)
    exponent, fraction = code >> 3 & 15, (code & 7) / 8
    size = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - 7), fraction * 2.0**-6)
    size[code & 127 == 127] = np.nan
    return np.where(code > 127, -size, size).astype(np.float32)


_E4M3 = _table()


def _half(x: NDArray[np.float32], name: str) -> NDArray[np.uint16]:
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    if not np.isfinite(half).all():
        raise ModelFormatError("has scales that float16 does not hold", at=name)
    return half.view(np.uint16)


def _lowest(x: Codes) -> Array:
    """Bits of the least values: where there are none, -8 scales."""
    if x.low is not None:
        return x.low
    return _half(-8 * x.scale.view(np.float16).astype(np.float32), "a weight of Q4_0")


def _packed(site: Site, weights: list[Array]) -> Array:
    """Rows of a site's weights, joined in the order of its strips."""
    if site.parts == 1:
        return weights[0]
    part, row = lanes.order(site)
    base = np.cumsum([0, *site.rows[: site.parts - 1]])
    return _concatenate(weights)[base[part] + row]


def _in_numpy(x: Array) -> bool:
    return hasattr(x, "__array_interface__")


def _wide(x: Array) -> Array:
    return x.astype(np.int32) if _in_numpy(x) else x.int()


def _short(x: Array) -> Array:
    return x.astype(np.uint16) if _in_numpy(x) else x.short()


def _permute(x: Array, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes) if _in_numpy(x) else x.permute(axes)


def _concatenate(parts: list[Array], axis: int = 0) -> Array:
    if _in_numpy(parts[0]):
        return np.concatenate(parts, axis)
    size = list(parts[0].shape)
    size[axis] = sum(part.shape[axis] for part in parts)
    joined = parts[0].new_empty(size)
    at = 0
    for part in parts:
        joined.narrow(axis, at, part.shape[axis]).copy_(part)
        at += part.shape[axis]
    return joined
