"""transformers' Llama with the weights of a model that treadle loaded."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from treadle.models import Model, dequantise

_PARTS = {
    "norm_attn": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "norm_ffn": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def transformers_llama(model: Model) -> LlamaForCausalLM:
    """A float32 LlamaForCausalLM with tied embeddings, ready for inference."""
    shape = model.config.shape
    config = LlamaConfig(
        vocab_size=shape.V,
        hidden_size=shape.D,
        intermediate_size=shape.F,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.H,
        num_key_value_heads=shape.K,
        head_dim=shape.d,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.eps,
        rope_parameters={"rope_type": "default", "rope_theta": model.config.rope.base},
        tie_word_embeddings=True,
    )
    peer = LlamaForCausalLM(config).eval()
    state = {"model.embed_tokens.weight": _tensor(model, "embed")}
    state["model.norm.weight"] = _tensor(model, "norm_final")
    for i in range(shape.layers):
        for ours, theirs in _PARTS.items():
            state[f"model.layers.{i}.{theirs}.weight"] = _tensor(model, f"l{i}.{ours}")
    missing, unexpected = peer.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"]), missing
    peer.tie_weights()
    return peer


def _tensor(model: Model, name: str) -> torch.Tensor:
    return torch.from_numpy(dequantise(model.weights[name]).copy())
