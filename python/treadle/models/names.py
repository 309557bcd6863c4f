"""Names of weights in files, by convention: params of the graph → Hugging Face and GGUF names."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from treadle.errors import ModelFormatError
from treadle.models.rope import Rope
from treadle.models.weights import Checkpoint, Kind, Source

_TOP: Mapping[str, tuple[str, str]] = {
    "embed": ("model.embed_tokens.weight", "token_embd.weight"),
    "norm_final": ("model.norm.weight", "output_norm.weight"),
    "head": ("lm_head.weight", "output.weight"),
}
_LAYER: Mapping[str, tuple[str, str]] = {
    "norm_attn": ("input_layernorm.weight", "attn_norm.weight"),
    "q": ("self_attn.q_proj.weight", "attn_q.weight"),
    "k": ("self_attn.k_proj.weight", "attn_k.weight"),
    "v": ("self_attn.v_proj.weight", "attn_v.weight"),
    "o": ("self_attn.o_proj.weight", "attn_output.weight"),
    "q_bias": ("self_attn.q_proj.bias", "attn_q.bias"),
    "k_bias": ("self_attn.k_proj.bias", "attn_k.bias"),
    "v_bias": ("self_attn.v_proj.bias", "attn_v.bias"),
    "q_norm": ("self_attn.q_norm.weight", "attn_q_norm.weight"),
    "k_norm": ("self_attn.k_norm.weight", "attn_k_norm.weight"),
    "norm_ffn": ("post_attention_layernorm.weight", "ffn_norm.weight"),
    "gate": ("mlp.gate_proj.weight", "ffn_gate.weight"),
    "up": ("mlp.up_proj.weight", "ffn_up.weight"),
    "down": ("mlp.down_proj.weight", "ffn_down.weight"),
    "router": ("mlp.gate.weight", "ffn_gate_inp.weight"),
    "gates": ("mlp.experts.{}.gate_proj.weight", "ffn_gate_exps.weight"),
    "ups": ("mlp.experts.{}.up_proj.weight", "ffn_up_exps.weight"),
    "downs": ("mlp.experts.{}.down_proj.weight", "ffn_down_exps.weight"),
}
SANDWICH: Mapping[str, tuple[str, str]] = {
    "norm_attn_post": ("post_attention_layernorm.weight", "post_attention_norm.weight"),
    "norm_ffn": ("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
    "norm_ffn_post": ("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
}
"""Norms before and after each part of a layer: there `post_attention_layernorm` means another."""

ATTENTION = ("norm_attn", "q", "k", "v", "o")
FEED_FORWARD = ("norm_ffn", "gate", "up", "down")


def top(kind: Kind, *, tied: bool) -> dict[str, Source]:
    """Embedding, last norm and head; a tied head is the embedding and has no entry."""
    column = _column(kind)
    return {
        param: Source((names[column],))
        for param, names in _TOP.items()
        if not (tied and param == "head")
    }


def layer(
    kind: Kind, i: int, params: Iterable[str], other: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, Source]:
    """Sources of one layer's params; `other` replaces or extends the common names."""
    table = {**_LAYER, **(other or {})}
    lead = (f"model.layers.{i}.", f"blk.{i}.")[_column(kind)]
    return {f"l{i}.{param}": Source((lead + table[param][_column(kind)],)) for param in params}


def experts(kind: Kind, i: int, count: int) -> dict[str, Source]:
    """Router and expert weights: a tensor an expert in safetensors, one stacked tensor in GGUF."""
    sources = layer(kind, i, ("router", "gates", "ups", "downs"))
    if kind == "gguf":
        return sources
    return {
        param: Source(tuple(name.format(e) for e in range(count)) if "{}" in name else (name,))
        for param, (name,) in ((param, source.tensors) for param, source in sources.items())
    }


def add_one_to_norms(sources: Mapping[str, Source]) -> dict[str, Source]:
    """For families whose files hold norm weights less one: the one is added in float32."""
    return {
        param: replace(source, offset=1.0) if "norm" in param else source
        for param, source in sources.items()
    }


def frequencies(rope: Rope, checkpoint: Checkpoint) -> Source:
    """The rope table. GGUF files may carry divisors of its frequencies (`rope_freqs.weight`)."""
    table = rope.table()
    name = "rope_freqs.weight"
    if checkpoint.kind != "gguf" or name not in checkpoint.tensors:
        return Source(values=table)
    divisors = checkpoint.tensors[name]
    fits = divisors.format == "f32" and divisors.shape == (len(table),)
    found = divisors.raw.cast("f") if fits else ()
    if not fits or not all(one > 0 for one in found):
        raise ModelFormatError(
            f"tensor {name!r} is {divisors.format} {list(divisors.shape)}, expected f32 "
            f"{[len(table)]} of positive divisors",
            at=str(checkpoint.path),
        )
    return Source((name,), values=array("f", [a / b for a, b in zip(table, found, strict=True)]))


def _column(kind: Kind) -> int:
    return ("hf", "gguf").index(kind)
