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
from treadle.mega.codegen import PAIR
from treadle.mega.forms import FOUR_LOW, Form
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


def bf16(x: NDArray[Any]) -> NDArray[np.uint16]:
    """Rounds float32 to the nearest bfloat16, kept as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    """float32 of bfloat16 kept as uint16."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def matrix_of(tensor: Tensor) -> NDArray[np.uint16] | Codes:
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


def values(x: Codes) -> NDArray[np.float32]:
    """What the codes mean, [rows, k]; in numpy."""
    scale = x.scale.view(np.float16).astype(np.float32)[..., None]
    low = -8 * scale if x.low is None else x.low.view(np.float16).astype(np.float32)[..., None]
    codes = x.code.reshape(len(x.code), -1, PAIR)
    return (codes * scale + low).reshape(len(x.code), -1)


def plain(x: Array | Codes) -> Array:
    """bf16 [rows, k] of a matrix, rounded where it is of codes."""
    return bf16(values(x)) if isinstance(x, Codes) else x


def fragments(site: Site, weights: list[Array]) -> Array:
    """A site's weights in the order of tiles. weights: bf16 [rows, k] each; [strips, k * 16]."""
    joined = _packed(site, weights)
    shape = (len(joined) // STRIP, 2, 8, site.k // PAIR, 4, 2, 2, 2)
    return _permute(joined.reshape(shape), (0, 3, 5, 2, 4, 6, 1, 7)).reshape(shape[0], -1)


def code_fragments(site: Site, form: Form, weights: list[Array | Codes]) -> Array:
    """A site's codes and scales in the order of tiles: [strips, k / 32 * words of the form].

    Of 32 columns: a word for each fragment and lane, nibble i of its halves the two weights of the
    fragment's register i; then for rows g and g + 8 the scales and, where the form has them, the
    least values, pair by pair.
    """
    found: list[Codes] = []
    for x in weights:
        if not isinstance(x, Codes):
            raise KernelError(
                f"a weight of site {site.w} is not of codes, as the program was told",
                at="treadle.backends.mega.cuda_tiles", hint="generate with the file's formats",
            )  # fmt: skip
        found.append(x)
    code = _packed(site, [x.code for x in found])
    strips, pairs = len(code) // STRIP, site.k // PAIR
    shape = (strips, 2, 8, pairs, 4, 2, 2, 2)
    code = _permute(code.reshape(shape), (0, 3, 2, 4, 5, 7, 6, 1)).reshape(strips, pairs, 128, 4)
    word = _short(_wide(code[..., 0]) | _wide(code[..., 1]) << 4 | _wide(code[..., 2]) << 8
                  | _wide(code[..., 3]) << 12)  # fmt: skip
    kinds = [[x.scale for x in found]]
    if form is FOUR_LOW:
        kinds.append([_lowest(x) for x in found])
    halves = [_packed(site, kind).reshape(strips, 2, 8, pairs) for kind in kinds]
    scales = [_permute(x, (0, 3, 2, 1)) for x in halves]  # [strips, pairs, 8, 2]
    both = scales[0] if len(scales) == 1 else _concatenate(scales, axis=3)
    made = _concatenate([word, both.reshape(strips, pairs, -1)], axis=2)
    return made.reshape(strips, pairs * form.words)


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
    scale = x.scale.view(np.float16)
    with np.errstate(over="ignore"):
        return (scale * np.float16(-8)).view(np.uint16)


def _packed(site: Site, weights: list[Array]) -> Array:
    """Rows of a site's weights, joined in the order of its strips."""
    if site.parts == 1:
        return weights[0]
    part, row = lanes.order(site)
    base = np.cumsum([0, *site.rows[: site.parts - 1]])
    return _concatenate(weights)[base[part] + row]


def _wide(x: Array) -> Array:
    return x.astype(np.int32) if isinstance(x, np.ndarray) else x.int()


def _short(x: Array) -> Array:
    return x.astype(np.uint16) if isinstance(x, np.ndarray) else x.short()


def _permute(x: Array, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes) if isinstance(x, np.ndarray) else x.permute(axes)


def _concatenate(parts: list[Array], axis: int = 0) -> Array:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis)
    size = list(parts[0].shape)
    size[axis] = sum(part.shape[axis] for part in parts)
    joined = parts[0].new_empty(size)
    at = 0
    for part in parts:
        joined.narrow(axis, at, part.shape[axis]).copy_(part)
        at += part.shape[axis]
    return joined
