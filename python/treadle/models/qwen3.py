"""Qwen3, the dense models: a norm on each query and key head, head size of its own
(arXiv 2505.09388)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from treadle.models import blocks
from treadle.models import names as conventions
from treadle.models.fields import Fields
from treadle.models.rope import Rope
from treadle.models.shape import Shape, upper_windows
from treadle.models.weights import Checkpoint, Source
from treadle.types import Tensor

if TYPE_CHECKING:
    from treadle.graph import Graph

LAYER = (*conventions.ATTENTION, "q_norm", "k_norm", *conventions.FEED_FORWARD)
UNNEEDED: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)
HEAD_SIZE = 128  # of files that do not say


class Config(Struct, frozen=True):
    """Hyperparameters of one model; `windows` in tokens a layer, 0 = full attention."""

    shape: Shape
    rope: Rope
    windows: tuple[int, ...]

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields({"head_dim": HEAD_SIZE, **config}, at)
        f.only("hidden_act", "silu")
        f.only("attention_bias", False)
        shape = Shape.from_hf(f)
        return Config(shape, Rope.from_hf(f, shape.d), upper_windows(f, shape.layers))

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "qwen3.")
        f.only("attention.sliding_window", 0)
        shape = Shape.from_gguf(f, tensors)
        return Config(shape, Rope.from_gguf(f, shape.d), (0,) * shape.layers)


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder: norm, attention with head norms, norm, gated feed-forward."""
    shape = config.shape
    b = blocks.start("qwen3", shape, act=act, page=page)
    inv_freq = blocks.rope_table(b, shape)
    table = blocks.embedding(b)
    x = blocks.embed(b, table)  # [T, D]
    for i, window in enumerate(config.windows):
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(
            b, i, h, inv_freq, scale=shape.d**-0.5, window=window, head_norm=shape.eps
        )
        x = blocks.join(b, i, "attn", x, y)
        h = blocks.norm(b, x, f"l{i}.norm_ffn", shape.eps)
        x = blocks.join(b, i, "ffn", x, blocks.feed_forward(b, i, h))
    return b.finish(outputs=[blocks.head(b, x, table, shape)])


def names(config: Config, checkpoint: Checkpoint) -> dict[str, Source]:
    """Where each param lies."""
    sources = conventions.top(checkpoint.kind, tied=config.shape.tied)
    sources["inv_freq"] = conventions.frequencies(config.rope, checkpoint)
    for i in range(config.shape.layers):
        sources |= conventions.layer(checkpoint.kind, i, LAYER)
    return sources
