"""Every family's logits against transformers on the same random weights, and GGUF = safetensors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from reference_models import (
    expected_logits,
    logits,
    make,
    prompts,
    relative_error,
    write_gguf,
)
from transformers import AutoModelForCausalLM

from treadle.models import load

BOUND = 1e-4  # relative, float32
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MOE = {
    "moe_intermediate_size": 24,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 16,
    "norm_topk_prob": True,
}
GEMMA = {"head_dim": 16, "sliding_window": 5, "hidden_activation": "gelu_pytorch_tanh"}

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {  # name → model_type, GGUF arch, changes
    "llama2": ("llama", "llama", {"num_key_value_heads": 4}),
    "llama3.2": (
        "llama",
        "llama",
        {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "head_dim": 8},
    ),
    "llama-linear": (
        "llama",
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    ),
    "mistral-v0.1": ("mistral", "llama", {"sliding_window": 5, "head_dim": 12}),
    "mistral-v0.3": ("mistral", "llama", {"sliding_window": None}),
    "qwen2": ("qwen2", "qwen2", {"tie_word_embeddings": True}),
    "qwen2-windows": (
        "qwen2",
        "",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", "qwen3", {"head_dim": 16}),
    "qwen3-moe": ("qwen3_moe", "qwen3moe", MOE),
    "qwen3-moe-mixed": (
        "qwen3_moe",
        "",
        {
            **MOE,
            "mlp_only_layers": [1],
            "norm_topk_prob": False,
            "use_sliding_window": True,
            "sliding_window": 5,
        },
    ),
    "gemma2": ("gemma2", "gemma2", {**GEMMA, "query_pre_attn_scalar": 16, "num_hidden_layers": 4}),
    "gemma3": (
        "gemma3_text",
        "gemma3",
        {
            **GEMMA,
            "query_pre_attn_scalar": 16,
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
}


@pytest.fixture(scope="module", params=CASES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(case name, transformers model, its folder, GGUF architecture)"""
    kind, arch, changes = CASES[request.param]
    model = make(kind, **changes)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return request.param, model, folder, arch


def test_logits_equal_transformers(saved: Any) -> None:
    name, reference, folder, _ = saved
    model = load(str(folder), page=4)
    ids = prompts(reference.config.vocab_size)
    wanted = expected_logits(reference, ids)
    whole, chunked = logits(model, ids), logits(model, ids, cut=4)
    errors = relative_error(whole, wanted), relative_error(chunked, wanted)
    print(f"{name}: max relative error {errors[0]:.1e} whole, {errors[1]:.1e} in two chunks")
    assert max(errors) <= BOUND
    assert model.context == reference.config.max_position_embeddings


def test_gguf_equals_safetensors(saved: Any) -> None:
    name, reference, folder, arch = saved
    if not arch:
        assert name in ("qwen2-windows", "qwen3-moe-mixed")  # GGUF cannot say what these need
        return
    path = folder / "model.gguf"
    write_gguf(reference, arch, path)
    ids = prompts(reference.config.vocab_size)
    from_hf, from_gguf = load(str(folder), page=4), load(str(path), page=4)
    assert from_gguf.graph.name == from_hf.graph.name or name == "mistral-v0.3"
    assert set(from_gguf.weights) == set(from_hf.weights)
    for param in from_hf.weights:
        a, b = from_hf.weights[param].data, from_gguf.weights[param].data
        if param.startswith("inv_freq"):  # Llama 3.1's table comes through float32 divisors
            np.testing.assert_allclose(a, b, rtol=3e-7)
        else:
            np.testing.assert_array_equal(a, b, err_msg=param)
    error = relative_error(logits(from_gguf, ids), logits(from_hf, ids))
    assert error <= (1e-5 if name == "llama3.2" else 1e-6)


def test_half_precision_is_kept_as_in_the_file(tmp_path: Any) -> None:
    reference = make("gemma3_text", **CASES["gemma3"][2]).to(torch.bfloat16)
    reference.save_pretrained(tmp_path)
    model = load(str(tmp_path), act="bf16", page=4)
    assert model.weights["l0.q"].format == "bf16"
    assert model.weights["l0.q"].data.dtype == np.uint16
    assert model.graph.params["l0.q"].format == "bf16"
    # 1 + w is not representable in bf16: the sum is made in float32.
    norm = reference.model.layers[0].input_layernorm.weight.detach().float().numpy() + np.float32(1)
    np.testing.assert_array_equal(model.weights["l0.norm_attn"].data, norm)
    ids = prompts(reference.config.vocab_size)
    # Read back, because a cast would have rounded the reference's own frequencies as well.
    wide = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert relative_error(logits(model, ids), expected_logits(wide, ids)) <= BOUND


def test_text_part_of_a_multimodal_gemma3(tmp_path: Any) -> None:
    """Nested text_config that leaves defaults out, wrapped names, picture weights beside them."""
    from safetensors.numpy import load_file, save_file

    changes = {**CASES["gemma3"][2], "num_attention_heads": 8, "num_key_value_heads": 4}
    changes |= {"query_pre_attn_scalar": 256}
    reference = make("gemma3_text", **changes)
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    text = {k: v for k, v in config.items() if k not in ("architectures", "layer_types")}
    text = {k: v for k, v in text.items() if k not in ("num_attention_heads", "rope_parameters")}
    text = {
        k: v for k, v in text.items() if k not in ("num_key_value_heads", "query_pre_attn_scalar")
    }
    text["rope_scaling"] = {"factor": 8.0, "rope_type": "linear"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    tensors = load_file(tmp_path / "model.safetensors")
    for prefix in ("language_model.model.", "model.language_model."):
        wrapped = {prefix + k.removeprefix("model."): v for k, v in tensors.items()}
        wrapped["vision_tower.patch.weight"] = np.zeros((2, 2), np.float32)
        save_file(wrapped, tmp_path / "model.safetensors")
        model = load(str(tmp_path), page=4)
        ids = prompts(reference.config.vocab_size)
        assert relative_error(logits(model, ids), expected_logits(reference, ids)) <= BOUND
