"""Qwen3-MoE: Qwen3's attention, then experts chosen by a router (arXiv 2505.09388)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from treadle.models import blocks
from treadle.models import names as conventions
from treadle.models.fields import Fields
from treadle.models.rope import Rope
from treadle.models.shape import Shape, read_window
from treadle.models.weights import Checkpoint, Source
from treadle.types import Tensor

if TYPE_CHECKING:
    from treadle.graph import Graph

ATTENTION = (*conventions.ATTENTION, "q_norm", "k_norm")
UNNEEDED: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$",)
_EXPERTS = 1 << 16


class Config(Struct, frozen=True):
    """Hyperparameters of one model. F is an expert's width, `dense_width` that of dense layers.

    E experts, A of them active a token; `renorm`: their weights sum to one; `sparse`: the layers
    with experts.
    """

    shape: Shape
    rope: Rope
    window: int
    E: int
    A: int
    renorm: bool
    sparse: tuple[bool, ...]
    dense_width: int

    @staticmethod
    def from_hf(config: Mapping[str, Any], at: str = "config.json") -> Config:
        """Reads config.json. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(config, at)
        f.only("hidden_act", "silu")
        f.only("attention_bias", False)
        shape = Shape.from_hf(f, feed_forward="moe_intermediate_size")
        count = "num_local_experts" if f.has("num_local_experts") else "num_experts"
        E = f.integer(count, hi=_EXPERTS)
        step = f.integer("decoder_sparse_step", 1, hi=1 << 16)
        dense = set(f.items("mlp_only_layers", int))
        sparse = tuple(i not in dense and (i + 1) % step == 0 for i in range(shape.layers))
        # Unlike the dense models, every layer slides when the switch is on.
        window = read_window(f) if f.flag("use_sliding_window", False) else 0
        return Config(
            shape,
            Rope.from_hf(f, shape.d),
            window,
            E,
            f.integer("num_experts_per_tok", hi=E),
            f.flag("norm_topk_prob", False),
            sparse,
            shape.F if all(sparse) else f.integer("intermediate_size", hi=1 << 20),
        )

    @staticmethod
    def from_gguf(
        metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "metadata"
    ) -> Config:
        """Reads GGUF metadata. Raises ModelFormatError, Unsupported naming the key."""
        f = Fields(metadata, at, "qwen3moe.")
        f.only("attention.sliding_window", 0)
        f.only("expert_weights_norm", True)
        shape = Shape.from_gguf(f, tensors, feed_forward="expert_feed_forward_length")
        E = f.integer("expert_count", hi=_EXPERTS)
        A = f.integer("expert_used_count", hi=E)
        rope = Rope.from_gguf(f, shape.d)
        return Config(shape, rope, 0, E, A, True, (True,) * shape.layers, shape.F)


def build(config: Config, *, act: str = "f32", page: int = 16) -> Graph:
    """The decoder: norm, attention with head norms, norm, experts or a dense feed-forward."""
    shape = config.shape
    more = {"E": config.E, "A": config.A}
    if not all(config.sparse):
        more["Fd"] = config.dense_width
    b = blocks.start("qwen3_moe", shape, act=act, page=page, more=more)
    inv_freq = blocks.rope_table(b, shape)
    table = blocks.embedding(b)
    x = blocks.embed(b, table)  # [T, D]
    for i, sparse in enumerate(config.sparse):
        h = blocks.norm(b, x, f"l{i}.norm_attn", shape.eps)
        y = blocks.attention(
            b, i, h, inv_freq, scale=shape.d**-0.5, window=config.window, head_norm=shape.eps
        )
        x = blocks.join(b, i, "attn", x, y)
        h = blocks.norm(b, x, f"l{i}.norm_ffn", shape.eps)
        if sparse:
            y = blocks.mixture(b, i, h, renorm=config.renorm)
        else:
            y = blocks.feed_forward(b, i, h, width="Fd")
        x = blocks.join(b, i, "ffn", x, y)
    return b.finish(outputs=[blocks.head(b, x, table, shape)])


def names(config: Config, checkpoint: Checkpoint) -> dict[str, Source]:
    """Where each param lies."""
    kind = checkpoint.kind
    sources = conventions.top(kind, tied=config.shape.tied)
    sources["inv_freq"] = conventions.frequencies(config.rope, checkpoint)
    for i, sparse in enumerate(config.sparse):
        sources |= conventions.layer(kind, i, ATTENTION)
        if sparse:
            sources |= conventions.layer(kind, i, ("norm_ffn",))
            sources |= conventions.experts(kind, i, config.E)
        else:
            sources |= conventions.layer(kind, i, conventions.FEED_FORWARD)
    return sources
