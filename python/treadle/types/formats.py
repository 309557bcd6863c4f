"""Storage formats of params: weights a block and bytes a block, scales included."""

from __future__ import annotations

BLOCKS: dict[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "fp8": (1, 1),
    "q8_0": (32, 34),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
}
"""Format -> (weights of a block, bytes of a block); block formats as GGUF lays them out."""

FORMATS: dict[str, float] = {name: 8 * size / n for name, (n, size) in BLOCKS.items()}
"""Format -> bits a weight."""

PLAIN = ("f32", "f16", "bf16")
"""What norms, biases and frequency tables may be stored in: a float an element."""

BITS: dict[str, float] = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "i32": 32.0}
"""Bits of an element in memory by dtype."""
