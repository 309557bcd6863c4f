"""Block formats of GGUF files and their exact widening to float32.

Every format packs `weights` consecutive values of a row into `size` bytes: scales first or last,
then small integers. Layouts follow the ggml block structs (`ggml-common.h`, facts only); package
`gguf` is the oracle in the tests, and the results are equal to it bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import ModelFormatError, Unsupported
from treadle.types import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F32 = NDArray[np.float32]
    U8 = NDArray[np.integer[Any]]  # numpy's stubs forget the width when a small number is added
    Unpack = Callable[[U8, F32], None]  # (blocks [n, size], out [n, weights])

CHUNK_WEIGHTS = 1 << 16  # weights widened at a time: a chunk's temporaries stay in the L2 cache


@dataclass(frozen=True, slots=True)
class Format:
    """`weights` values lie in `size` bytes. `unpack` is None for the plain float formats."""

    weights: int
    size: int
    unpack: Unpack | None = None

    def row_bytes(self, columns: int) -> int | None:
        """Bytes of a row of `columns` weights; None when it is no whole number of blocks."""
        blocks, rest = divmod(columns, self.weights)
        return None if rest else blocks * self.size


def dequantise(tensor: Tensor) -> F32:
    """Widens a weight of any format to float32 with the tensor's own shape.

    Exact: bf16 and f16 are widened without rounding, block formats as scale · integer (+ minimum)
    in float32. Raises Unsupported for an unknown format, ModelFormatError if data and shape differ.
    """
    kind = FORMATS.get(tensor.format)
    if kind is None:
        raise Unsupported(
            f"format {tensor.format} cannot be widened", at=tensor.name, hint=_known_formats()
        )
    data: NDArray[Any] = tensor.data
    if kind.unpack is None:
        if data.shape != tensor.shape:
            raise ModelFormatError(f"data is {data.shape}, not {tensor.shape}", at=tensor.name)
        return _widen(data, tensor.format)
    rows, columns = int(np.prod(tensor.shape[:-1], dtype=np.int64)), tensor.shape[-1]
    if data.shape != (rows, kind.row_bytes(columns)):
        raise ModelFormatError(
            f"{tensor.format} data is {data.shape}, expected {(rows, kind.row_bytes(columns))}",
            at=tensor.name,
        )
    blocks: U8 = np.ascontiguousarray(data).reshape(-1, kind.size)
    out = np.empty((len(blocks), kind.weights), np.float32)
    step = CHUNK_WEIGHTS // kind.weights
    with np.errstate(invalid="ignore", over="ignore"):  # a file may hold infinite scales
        for i in range(0, len(blocks), step):
            kind.unpack(blocks[i : i + step], out[i : i + step])
    return out.reshape(tensor.shape)


def four_bit(tensor: Tensor) -> tuple[NDArray[np.uint8], F32, F32]:
    """Codes [rows, columns], scales and least values [rows, columns / 32] of a 4-bit weight.

    A weight is scale · code + least value. Raises Unsupported for other formats.
    """
    rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
    kind = FORMATS.get(tensor.format)
    if tensor.format not in ("q4_0", "q4_1", "q4_k") or kind is None:
        raise Unsupported(f"format {tensor.format} has no 4-bit codes", at=tensor.name)
    blocks: U8 = np.ascontiguousarray(tensor.data).reshape(-1, kind.size)
    if tensor.format == "q4_k":
        codes = ((blocks[:, 16:].reshape(-1, 4, 1, 32) >> _PLANES_4) & 15).astype(np.uint8)
        six, six_min = _six_bit_scales(blocks[:, 4:16])
        scale, low = _half(blocks, 0) * six, _half(blocks, 2) * -six_min.astype(np.float32)
    else:
        codes = _nibbles(blocks[:, kind.size - 16 :]).astype(np.uint8)
        scale = _half(blocks, 0)
        low = -8 * scale if tensor.format == "q4_0" else _half(blocks, 2)
    return codes.reshape(rows, -1), scale.reshape(rows, -1), low.reshape(rows, -1)


def _known_formats() -> str:
    return f"known formats: {', '.join(FORMATS)}"


def _widen(data: NDArray[Any], format: str) -> F32:
    if format == "bf16":  # the upper half of a float32
        return (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return data.astype(np.float32)


def _half(blocks: U8, at: int) -> F32:
    """One float16 of every block, widened. [n, 1]"""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: U8) -> U8:
    """Bytes [n, 16] → [n, 32]: low nibbles are the first 16 values, high ones the rest."""
    values = np.empty((len(packed), 32), np.uint8)  # kept narrow: one pass widens whole rows
    np.bitwise_and(packed, 15, out=values[:, :16])
    np.right_shift(packed, 4, out=values[:, 16:])
    return values


def _fifth_bits(blocks: U8, at: int) -> U8:
    """Bit i of a block's 32-bit word, moved to bit 4. [n, 32]"""
    word = blocks[:, at : at + 4].view(np.uint8)
    return np.unpackbits(word, axis=1, bitorder="little") << 4


def _q4_0(blocks: U8, out: F32) -> None:
    np.copyto(out, _nibbles(blocks[:, 2:]).view(np.int8) - 8)
    out *= _half(blocks, 0)


def _q4_1(blocks: U8, out: F32) -> None:
    np.copyto(out, _nibbles(blocks[:, 4:]))
    out *= _half(blocks, 0)
    out += _half(blocks, 2)


def _q5_0(blocks: U8, out: F32) -> None:
    values = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)
    np.copyto(out, values.view(np.int8) - 16)
    out *= _half(blocks, 0)


def _q5_1(blocks: U8, out: F32) -> None:
    np.copyto(out, _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4))
    out *= _half(blocks, 0)
    out += _half(blocks, 2)


def _q8_0(blocks: U8, out: F32) -> None:
    np.copyto(out, blocks[:, 2:].view(np.int8))
    out *= _half(blocks, 0)


def _crumbs(packed: U8) -> U8:
    """Two-bit values of 64 bytes [n, 64] → [n, 2, 4, 32]: per half, four planes of 32 bytes."""
    return (packed.reshape(-1, 2, 1, 32) >> _PLANES_2) & 3


def _q2_k(blocks: U8, out: F32) -> None:
    scales = blocks[:, :16]  # a 4-bit scale and a 4-bit minimum for every 16 weights
    values = _crumbs(blocks[:, 16:80]).reshape(-1, 16, 16)
    grid = out.reshape(-1, 16, 16)
    np.multiply(values, (_half(blocks, 80) * (scales & 15))[:, :, None], out=grid)
    grid -= (_half(blocks, 82) * (scales >> 4))[:, :, None]


def _q3_k(blocks: U8, out: F32) -> None:
    low, high = blocks[:, 96:104], blocks[:, 104:108]  # 4 + 2 bits of 16 scales
    scales = np.concatenate([low & 15, low >> 4], axis=1)
    scales |= ((high[:, None, :] >> _PLANES_2[0, 0]) & 3).reshape(-1, 16) << 4
    # The third bit is stored inverted: a clear bit means "subtract 4".
    third = (blocks[:, None, None, :32] >> _BITS.reshape(1, 2, 4, 1)) & 1
    values = (_crumbs(blocks[:, 32:96]) | third << 2).reshape(-1, 16, 16).view(np.int8) - 4
    factors = _half(blocks, 108) * (scales.view(np.int8) - 32)
    np.multiply(values, factors[:, :, None], out=out.reshape(-1, 16, 16))


def _six_bit_scales(packed: U8) -> tuple[U8, U8]:
    """Twelve bytes hold eight 6-bit scales and eight 6-bit minima. [n, 12] → 2 × [n, 8]"""
    first, second, rest = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (rest & 15) | (first >> 6) << 4], axis=1)
    minima = np.concatenate([second & 63, (rest >> 4) | (second >> 6) << 4], axis=1)
    return scales, minima


def _affine_k(blocks: U8, values: U8, out: F32) -> None:
    """The shared end of Q4_K and Q5_K: eight groups of 32 weights, each scale · q - minimum."""
    scales, minima = _six_bit_scales(blocks[:, 4:16])
    grid = out.reshape(-1, 8, 32)
    np.multiply(values, (_half(blocks, 0) * scales)[:, :, None], out=grid)
    grid -= (_half(blocks, 2) * minima)[:, :, None]


def _q4_k(blocks: U8, out: F32) -> None:
    values = (blocks[:, 16:].reshape(-1, 4, 1, 32) >> _PLANES_4) & 15
    _affine_k(blocks, values.reshape(-1, 8, 32), out)


def _q5_k(blocks: U8, out: F32) -> None:
    values = ((blocks[:, 48:].reshape(-1, 4, 1, 32) >> _PLANES_4) & 15).reshape(-1, 8, 32)
    fifth = (blocks[:, None, 16:48] >> _BITS.reshape(1, 8, 1)) & 1
    _affine_k(blocks, values | fifth << 4, out)


def _q6_k(blocks: U8, out: F32) -> None:
    low = (blocks[:, :128].reshape(-1, 2, 1, 64) >> _PLANES_4) & 15
    high = _crumbs(blocks[:, 128:192])
    values = (low.reshape(-1, 2, 4, 32) | high << 4).reshape(-1, 16, 16).view(np.int8) - 32
    factors = _half(blocks, 208) * blocks[:, 192:208].view(np.int8)
    np.multiply(values, factors[:, :, None], out=out.reshape(-1, 16, 16))


_PLANES_2 = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
_PLANES_4 = np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
_BITS = np.arange(8, dtype=np.uint8)

FORMATS: dict[str, Format] = {
    "f32": Format(1, 4),
    "f16": Format(1, 2),
    "bf16": Format(1, 2),
    "q4_0": Format(32, 18, _q4_0),
    "q4_1": Format(32, 20, _q4_1),
    "q5_0": Format(32, 22, _q5_0),
    "q5_1": Format(32, 24, _q5_1),
    "q8_0": Format(32, 34, _q8_0),
    "q2_k": Format(256, 84, _q2_k),
    "q3_k": Format(256, 110, _q3_k),
    "q4_k": Format(256, 144, _q4_k),
    "q5_k": Format(256, 176, _q5_k),
    "q6_k": Format(256, 210, _q6_k),
}
"""Every weight format a file may hold: name → (weights a block, bytes a block, unpacking)."""
