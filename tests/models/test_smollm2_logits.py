"""SmolLM2-135M as people get it: fetched by its alias, loaded, compared whole with transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from reference_models import logits, relative_error
from transformers import LlamaConfig, LlamaForCausalLM

from treadle.models import aliases, load, pull

TOKENS = 32


@pytest.fixture(scope="module")
def path() -> Path:
    return pull("smollm2-135m", progress=False)


def reference(path: Path) -> LlamaForCausalLM:
    """transformers' Llama with the file's weights, read and widened by package gguf.

    The rows of q and k are taken apart one by one: the inverse of what llama.cpp's converter does,
    written without the loader's own way of doing it.
    """
    reader = GGUFReader(path)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8_192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        attn_implementation="eager",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    state = {}
    for tensor in reader.tensors:
        weight = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        pieces = tensor.name.split(".")
        if pieces[0] == "blk":
            if pieces[2] in ("attn_q", "attn_k"):
                order = [h * 64 + 2 * j + half
                         for h in range(len(weight) // 64) for half in (0, 1) for j in range(32)
                         ]  # fmt: skip
                weight = weight[order]
            name = f"model.layers.{pieces[1]}.{parts[pieces[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[
                pieces[0]
            ]
        state[name] = torch.from_numpy(weight)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True, strict=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffers are not weights
    return model.eval()


@pytest.mark.slow
def test_logits_equal_transformers(path: Path) -> None:
    model = load(str(path))
    assert model.context == 8_192
    assert (model.graph.dims["V"], model.graph.dims["D"]) == (49_152, 576)
    formats = [param.format for param in model.graph.params.values()]
    assert (formats.count("q4_1"), formats.count("q8_0")) == (210, 1)
    ids = np.random.default_rng(0).integers(0, 49_152, TOKENS).astype(np.int32)
    with torch.no_grad():
        wanted = reference(path)(torch.from_numpy(ids[None]).long()).logits[0].numpy()
    error = relative_error(logits(model, [ids]), wanted)
    print(f"SmolLM2-135M, {TOKENS} tokens: max relative error {error:.1e}")
    assert error <= 1e-4


def test_an_alias_loads_by_name(path: Path) -> None:
    model = load("smollm2-135m", progress=False)
    assert model.name == "smollm2-135m"
    assert model.path == path
    assert path.stat().st_size == aliases()["smollm2-135m"].bytes
    assert model.chat_template
    assert "<|im_start|>" in model.chat_template
    assert model.tokenizer_source.kind == "gguf"
