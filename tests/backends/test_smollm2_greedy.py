"""SmolLM2-135M: greedy decoding equals transformers' on the same weights."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import toy
from transformers import LlamaConfig, LlamaForCausalLM

from treadle.backends.table import backend
from treadle.limits import Limits
from treadle.models import dequantise, load
from treadle.types import Batch

# "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n", and the
# start of a list, both as the model's own tokeniser cuts them.
PROMPTS = (
    [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198],
    [504, 685, 3575, 8004, 359, 42],
)


@pytest.fixture(scope="module")
def model():
    return load("smollm2-135m", progress=False)


@pytest.fixture(scope="module")
def transformers_model(model):
    """transformers' Llama with the weights of our graph, widened by us."""
    sizes = model.graph.size
    config = LlamaConfig(
        vocab_size=sizes("V"), hidden_size=sizes("D"), intermediate_size=sizes("F"),
        num_hidden_layers=len(model.graph.state), num_attention_heads=sizes("H"),
        num_key_value_heads=sizes("K"), max_position_embeddings=8192, rms_norm_eps=1e-5,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e5},
    )  # fmt: skip
    with torch.device("meta"):
        made = LlamaForCausalLM(config)
    parts = {"norm_attn": "input_layernorm", "norm_ffn": "post_attention_layernorm"}
    parts |= {n: f"self_attn.{n}_proj" for n in "qkvo"}
    parts |= {n: f"mlp.{n}_proj" for n in ("gate", "up", "down")}
    top = {"embed": "model.embed_tokens.weight", "norm_final": "model.norm.weight"}
    state = {}
    for name in model.graph.params:
        layer = re.fullmatch(r"l(\d+)\.(\w+)", name)
        if layer:
            key = f"model.layers.{layer[1]}.{parts[layer[2]]}.weight"
        elif name in top:
            key = top[name]
        else:
            assert name == "inv_freq"
            continue
        state[key] = torch.from_numpy(np.array(dequantise(model.weights[name])))
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    missing = made.load_state_dict(state, strict=True, assign=True)
    assert not missing.missing_keys
    made.model.rotary_emb = type(made.model.rotary_emb)(config)  # its table is no parameter
    return made.eval()


def decode(executable, prompt, tokens):
    """Greedy tokens, each step launched before the one before it has been waited for."""
    B = executable.page_size
    table = np.arange(3, 3 + -(-(len(prompt) + tokens) // B), dtype=np.int32)[None]
    futures, ids, start = [], prompt, 0
    for _ in range(tokens):
        pos = np.arange(start, start + len(ids), dtype=np.int32)
        start += len(ids)
        slots = table[0][pos // B] * B + pos % B
        ends = np.array([0, len(ids)], np.int32)
        last = np.array([len(ids) - 1], np.int32)
        lens = np.array([start], np.int32)
        batch = Batch(np.array(ids, np.int32), pos, slots, ends, lens, table, last)
        futures.append(executable.sample(executable.forward(batch), None, toy.params(1)))
        ids = [-1]
    return [int(future.wait().ids[0]) for future in futures]


@pytest.mark.parametrize(("name", "options", "prompts", "tokens"), [
    ("torch", {"device": "cpu"}, PROMPTS, 64),
    ("reference", {}, PROMPTS[1:], 4),
    pytest.param("torch", {"device": "cuda", "dtype": "f32"}, PROMPTS, 64, marks=pytest.mark.gpu),
])  # fmt: skip
def test_greedy_decoding_equals_transformers(
    model, transformers_model, name, options, prompts, tokens
):
    if options.get("device") == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    executable = backend(name, **options).compile(model.graph, model.weights, Limits(), pages=16)
    for prompt in prompts:
        drawn = decode(executable, prompt, tokens)
        assert len(set(drawn)) >= min(tokens, 5) - 1
        # Each token is the most likely one after those before it: by induction the greedy decode.
        with torch.inference_mode():
            logits = transformers_model(torch.tensor([prompt + drawn])).logits[0]
        assert logits.argmax(-1)[len(prompt) - 1 : -1].tolist() == drawn
    executable.close()
