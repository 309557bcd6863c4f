"""On Apple's GPUs, by MLX. Importing it needs mlx."""

# MLX is not installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import mlx.core as mx


def apply_token_bitmask_mlx(bitmask: mx.array, logits: mx.array, vocab_size: int) -> mx.array:
    """New logits [n, V] with minus infinity where the bit of int32 [n, W] is 0, cut at V."""
    places = mx.arange(32, dtype=mx.uint32)
    bits = (bitmask.view(mx.uint32)[..., None] >> places) & 1
    legal = bits.flatten(-2)[..., :vocab_size] == 1
    return mx.where(legal, logits[..., :vocab_size], mx.array(float("-inf"), dtype=logits.dtype))
