"""Mistral 7B v0.1 to v0.3: a Llama-like decoder, v0.1 with a window (arXiv 2310.06825)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from treadle.models import blocks
from treadle.models import names as conventions
from treadle.models.fields import Fields
from treadle.models.rope import Rope
from treadle.models.shape import Shape, read_window
from treadle.models.weights import Checkpoint, Source
from treadle.types import Tensor

if TYPE_CHECKING:
    from treadle.graph import Graph

LAYER = conventions.ATTENTION + conventions.FEED_FORWARD
UNNEEDED: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)


class Config(Struct, frozen=True):
    """Hyperparameters of one model; `window` in tokens, 0 = full attention."""

    shape: Shape
    rope: Rope
    window: int

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(config, at)
        f.only("hidden_act", "silu")
        shape = Shape.from_hf(f)
        # A key that is absent means v0.1's window; null means none.
        window = read_window(f) if "sliding_window" in config else 4_096
        return Config(shape, Rope.from_hf(f, shape.d), window)

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "llama.")
        f.only("expert_count", 0)
        shape = Shape.from_gguf(f, tensors)
        window = read_window(f, "attention.sliding_window")
        return Config(shape, Rope.from_gguf(f, shape.d), window)


def claims(metadata: Mapping[str, Any]) -> bool:
    """Whether a GGUF file of architecture `llama` is one of these: it has a window or the name."""
    labels = [metadata.get(key) for key in ("general.basename", "general.name")]
    named = any(isinstance(label, str) and "mistral" in label.lower() for label in labels)
    return named or "llama.attention.sliding_window" in metadata


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder: norm, windowed attention, norm, gated feed-forward."""
    shape = config.shape
    b = blocks.start("mistral", shape, act=act, page=page)
    inv_freq = blocks.rope_table(b, shape)
    table = blocks.embedding(b)
    x = blocks.embed(b, table)  # [T, D]
    for i in range(shape.layers):
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(b, i, h, inv_freq, scale=shape.d**-0.5, window=config.window)
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
