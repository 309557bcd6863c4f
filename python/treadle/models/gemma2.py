"""Gemma 2: norms around each part, soft caps, windows on every other layer (arXiv 2408.00118)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from treadle.models import blocks
from treadle.models import names as conventions
from treadle.models.fields import Fields
from treadle.models.rope import Rope
from treadle.models.shape import Shape, windows
from treadle.models.weights import Checkpoint, Source
from treadle.types import Tensor

if TYPE_CHECKING:
    from treadle.graph import Graph

LAYER = (
    *conventions.ATTENTION,
    "norm_attn_post",
    *conventions.FEED_FORWARD,
    "norm_ffn_post",
)
UNNEEDED: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)
_WINDOW = 4_096  # of files that do not say
_LARGEST_LAYERS = 46  # the 27B model alone scales its queries by D/H; GGUF files do not say so


class Config(Struct, frozen=True):
    """Hyperparameters of one model.

    `windows` in tokens a layer, 0 = full; `scale` of attention scores; `attn_cap`, `final_cap`:
    soft caps of scores and logits, 0 = none.
    """

    shape: Shape
    rope: Rope
    windows: tuple[int, ...]
    scale: float
    attn_cap: float
    final_cap: float

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(config, at)
        f.only("hidden_activation", "gelu_pytorch_tanh")
        f.only("attention_bias", False)
        f.only("use_bidirectional_attention", False)
        shape = Shape.from_hf(f, tied=True)
        return Config(
            shape,
            Rope.from_hf(f, shape.d),
            windows(f, shape.layers, _alternate(shape.layers), window=_WINDOW),
            f.positive("query_pre_attn_scalar", 256.0) ** -0.5,
            _cap(f, config, "attn_logit_softcapping", 50.0),
            _cap(f, config, "final_logit_softcapping", 30.0),
        )

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "gemma2.")
        shape = Shape.from_gguf(f, tensors)
        slides, key = _alternate(shape.layers), "attention.sliding_window"
        head = shape.D / shape.H if shape.layers == _LARGEST_LAYERS else shape.d
        return Config(
            shape,
            Rope.from_gguf(f, shape.d),
            windows(f, shape.layers, slides, key=key, window=_WINDOW),
            f.positive("attention.scale", head**-0.5),
            f.positive("attn_logit_softcapping", 50.0),
            f.positive("final_logit_softcapping", 30.0),
        )


def _alternate(layers: int) -> list[bool]:
    return [i % 2 == 0 for i in range(layers)]


def _cap(f: Fields, config: Mapping[str, Any], key: str, default: float) -> float:
    """A soft cap: absent means the family's own, null means none."""
    return f.positive(key) if f.has(key) else (0.0 if key in config else default)


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder; embeddings are scaled by the root of the width."""
    shape = config.shape
    b = blocks.start("gemma2", shape, act=act, page=page)
    inv_freq = blocks.rope_table(b, shape)
    table = blocks.embedding(b)
    x = b.add("scale", blocks.embed(b, table), by=shape.D**0.5, name="x_scaled")  # [T, D]
    for i, window in enumerate(config.windows):
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(
            b, i, h, inv_freq, scale=config.scale, window=window, softcap=config.attn_cap
        )
        y = blocks.norm(b, y, f"l{i}.norm_attn_post", shape.eps)
        x = blocks.join(b, i, "attn", x, y)
        h = blocks.norm(b, x, f"l{i}.norm_ffn", shape.eps)
        y = blocks.feed_forward(b, i, h, act="gelu_tanh")
        y = blocks.norm(b, y, f"l{i}.norm_ffn_post", shape.eps)
        x = blocks.join(b, i, "ffn", x, y)
    return b.finish(outputs=[blocks.head(b, x, table, shape, config.final_cap)])


def names(config: Config, checkpoint: Checkpoint) -> dict[str, Source]:
    """Where each param lies. safetensors hold norm weights less one; GGUF has the one added."""
    kind = checkpoint.kind
    sources = conventions.top(kind, tied=config.shape.tied)
    for i in range(config.shape.layers):
        sources |= conventions.layer(kind, i, LAYER, conventions.SANDWICH)
    if kind == "hf":
        sources = conventions.add_one_to_norms(sources)
    sources["inv_freq"] = conventions.frequencies(config.rope, checkpoint)
    return sources
