"""Writes a GGUF of Llama-3.2-1B's shape with random weights, for speed and memory alone.

Blocks are random, scales such that activations stay moderate; the tokeniser is that of a given
GGUF, padded with unused tokens. Tensors are made one after the other, so memory stays small.

    python benchmarks/cpu_synthetic.py OUT.gguf [--kind q4_0] [--tokens-of smollm2-135m]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from treadle.models import FORMATS, GgufFile
from treadle.models.sources import locate

KINDS = ("q4_0", "q4_1", "q8_0")
UNUSED = 5
"""Token type of an id that no text has."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model."""

    layers: int = 16
    width: int = 2048
    heads: int = 32
    kv_heads: int = 8
    head: int = 64
    inner: int = 8192
    vocab: int = 128_256
    context: int = 8192


def matrices(shape: Shape) -> dict[str, tuple[int, int]]:
    """Names and [rows, columns] in the order of the file; the head is the embedding."""
    width, kv = shape.width, shape.kv_heads * shape.head
    found = {"token_embd.weight": (shape.vocab, width)}
    for i in range(shape.layers):
        found |= {
            f"blk.{i}.attn_q.weight": (shape.heads * shape.head, width),
            f"blk.{i}.attn_k.weight": (kv, width),
            f"blk.{i}.attn_v.weight": (kv, width),
            f"blk.{i}.attn_output.weight": (width, shape.heads * shape.head),
            f"blk.{i}.ffn_gate.weight": (shape.inner, width),
            f"blk.{i}.ffn_up.weight": (shape.inner, width),
            f"blk.{i}.ffn_down.weight": (width, shape.inner),
        }
    return found


def norms(shape: Shape) -> list[str]:
    """Names of the vectors of ones."""
    each = [f"blk.{i}.{n}_norm.weight" for i in range(shape.layers) for n in ("attn", "ffn")]
    return [*each, "output_norm.weight"]


def blocks(rng: np.random.Generator, kind: str, rows: int, columns: int) -> np.ndarray:
    """A random matrix [rows, bytes of a row], its values about columns ** -0.5."""
    format = FORMATS[kind]
    count = rows * columns // format.weights
    data = rng.integers(0, 256, (count, format.size), np.uint8)
    levels = 74.0 if kind == "q8_0" else 4.6  # standard deviation of the stored numbers
    scale = np.float16(columns**-0.5 / levels)
    data[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    if kind == "q4_1":  # values begin at the minimum
        low = np.float16(-7.5 * float(scale))
        data[:, 2:4] = np.frombuffer(low.tobytes(), np.uint8)
    return data.reshape(rows, -1)


def _quant(kind: str) -> Any:
    return gguf.GGMLQuantizationType[kind.upper()]


def write(path: Path, shape: Shape, kind: str, metadata: dict[str, Any], seed: int) -> None:
    """The whole file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocab)
    words = metadata["tokenizer.ggml.tokens"]
    missing = shape.vocab - len(words)
    writer.add_tokenizer_model(metadata["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(metadata["tokenizer.ggml.pre"])
    writer.add_token_list([*words, *(f"<|unused_{i}|>" for i in range(missing))])
    writer.add_token_types([*metadata["tokenizer.ggml.token_type"], *[UNUSED] * missing])
    writer.add_token_merges(metadata["tokenizer.ggml.merges"])
    for name in ("bos", "eos"):
        number = metadata[f"tokenizer.ggml.{name}_token_id"]
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    quant = FORMATS[kind]
    for name, (rows, columns) in matrices(shape).items():
        row = columns // quant.weights * quant.size
        writer.add_tensor_info(name, (rows, row), np.dtype(np.uint8), rows * row, _quant(kind))
    for name in norms(shape):
        writer.add_tensor_info(name, (shape.width,), np.dtype(np.float32), shape.width * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for rows, columns in matrices(shape).values():
        writer.write_tensor_data(blocks(rng, kind, rows, columns))
    for _ in norms(shape):
        writer.write_tensor_data(np.ones(shape.width, np.float32))
    writer.close()


def main() -> None:
    """Writes one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="q4_0")
    parser.add_argument("--tokens-of", default="smollm2-135m")
    parser.add_argument("--layers", type=int, default=Shape.layers, help="fewer for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    metadata = GgufFile.open(locate(args.tokens_of)).metadata
    write(args.out, Shape(layers=args.layers), args.kind, metadata, args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
