"""Gemma 3, the text part: five windowed layers to one full, two rope bases (arXiv 2503.19786)."""

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
    "q_norm",
    "k_norm",
    "norm_attn_post",
    *conventions.FEED_FORWARD,
    "norm_ffn_post",
)
UNNEEDED: tuple[str, ...] = (
    r"\.rotary_emb\.inv_freq$",
    r"^(model\.)?(vision_tower|multi_modal_projector)\.",  # pictures are not read
)
_LARGEST_LAYERS = 62  # the 27B model alone scales its queries by D/H; GGUF files do not say so
_DEFAULTS: Mapping[str, Any] = {  # files of the multimodal models leave these out
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "sliding_window": 4_096,
    "sliding_window_pattern": 6,
}


class Config(Struct, frozen=True):
    """Hyperparameters of one model. `windows` in tokens a layer, 0 = full; full layers use `rope`,
    windowed ones `rope_local`; `scale` of attention scores; `final_cap` 0 = none."""

    shape: Shape
    rope: Rope
    rope_local: Rope
    windows: tuple[int, ...]
    scale: float
    final_cap: float

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json, `text_config` in it if there. Raises ModelFormatError, Unsupported."""
        outer = Fields(config, at)
        f = outer.section("text_config") or outer
        f = Fields({**_DEFAULTS, **f.values}, at, shown=f.shown)
        f.only("hidden_activation", "gelu_pytorch_tanh")
        f.only("attention_bias", False)
        f.only("use_bidirectional_attention", False)
        f.only("attn_logit_softcapping")
        shape = Shape.from_hf(f, tied=True)
        every = f.integer("sliding_window_pattern", hi=1 << 16)
        slides = [(i + 1) % every != 0 for i in range(shape.layers)]
        return Config(
            shape,
            Rope.from_hf(f, shape.d, base=1e6, layers="full_attention"),
            _local_rope(f, shape.d),
            windows(f, shape.layers, slides),
            f.positive("query_pre_attn_scalar", 256.0) ** -0.5,
            f.positive("final_logit_softcapping") if f.has("final_logit_softcapping") else 0.0,
        )

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "gemma3.")
        shape = Shape.from_gguf(f, tensors)
        every = f.integer("attention.sliding_window_pattern", 6, hi=1 << 16)
        head = shape.D / shape.H if shape.layers == _LARGEST_LAYERS else shape.d
        slides = [(i + 1) % every != 0 for i in range(shape.layers)]
        cap = "final_logit_softcapping"
        return Config(
            shape,
            Rope.from_gguf(f, shape.d, base=1e6),
            Rope(shape.d, f.positive("rope.freq_base_swa", 10_000.0)),
            windows(f, shape.layers, slides, key="attention.sliding_window"),
            f.positive("attention.scale", head**-0.5),
            f.positive(cap) if f.has(cap) else 0.0,
        )


def _local_rope(f: Fields, d: int) -> Rope:
    """Windowed layers keep their own base and are never scaled in older files."""
    if f.has("rope_parameters"):
        return Rope.from_hf(f, d, layers="sliding_attention")
    return Rope(d, f.positive("rope_local_base_freq", 10_000.0))


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder; embeddings are scaled by the root of the width."""
    shape = config.shape
    b = blocks.start("gemma3", shape, act=act, page=page)
    inv_freq = blocks.rope_table(b, shape)
    inv_freq_local = blocks.rope_table(b, shape, "inv_freq_local")
    table = blocks.embedding(b)
    x = b.add("scale", blocks.embed(b, table), by=shape.D**0.5, name="x_scaled")  # [T, D]
    for i, window in enumerate(config.windows):
        frequencies = inv_freq_local if window else inv_freq
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(
            b, i, h, frequencies, scale=config.scale, window=window, head_norm=shape.eps
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
    sources["inv_freq_local"] = Source(values=config.rope_local.table())
    return sources
