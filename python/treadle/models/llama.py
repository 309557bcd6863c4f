"""Llama 2, 3, 3.1, 3.2 and SmolLM2 (arXiv 2307.09288, 2407.21783)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from treadle.models import blocks
from treadle.models import names as conventions
from treadle.models.fields import Fields
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.models.weights import Checkpoint, Source
from treadle.types import Tensor

if TYPE_CHECKING:
    from treadle.graph import Graph

LAYER = conventions.ATTENTION + conventions.FEED_FORWARD
UNNEEDED: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)


class Config(Struct, frozen=True):
    """Hyperparameters of one model."""

    shape: Shape
    rope: Rope

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(config, at)
        f.only("hidden_act", "silu")
        f.only("attention_bias", False)
        f.only("mlp_bias", False)
        shape = Shape.from_hf(f)
        return Config(shape, Rope.from_hf(f, shape.d))

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "llama.")
        f.only("expert_count", 0)
        f.only("attention.sliding_window", 0)
        shape = Shape.from_gguf(f, tensors)
        return Config(shape, Rope.from_gguf(f, shape.d))


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder: norm, attention, norm, gated feed-forward, each on the residual stream."""
    shape = config.shape
    b = blocks.start("llama", shape, act=act, page=page)
    inv_freq = blocks.rope_table(b, shape)
    table = blocks.embedding(b)
    x = blocks.embed(b, table)  # [T, D]
    for i in range(shape.layers):
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(b, i, h, inv_freq, scale=shape.d**-0.5)
        x = blocks.join(b, i, "attn", x, y)
        h = blocks.norm(b, x, f"l{i}.norm_ffn", shape.eps)
        x = blocks.join(b, i, "ffn", x, blocks.feed_forward(b, i, h))
    return b.finish(outputs=[blocks.head(b, x, table, shape)])


def names(config: Config, checkpoint: Checkpoint) -> dict[str, Source]:
    """Where each param lies. GGUF files of this architecture interleave the rows of q and k."""
    kind, shape = checkpoint.kind, config.shape
    sources = conventions.top(kind, tied=shape.tied)
    sources["inv_freq"] = conventions.frequencies(config.rope, checkpoint)
    for i in range(shape.layers):
        sources |= conventions.layer(kind, i, LAYER)
        if kind == "gguf":
            for part, heads in (("q", shape.H), ("k", shape.K)):
                sources[f"l{i}.{part}"] = replace(sources[f"l{i}.{part}"], heads=heads)
    return sources
