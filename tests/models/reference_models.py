"""Tiny random models by transformers, the same weights as GGUF, and ragged runs of our graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from treadle.graph import run
from treadle.models import Model, dequantise

torch.set_num_threads(1)

TINY = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LENGTHS = (23, 9, 14)  # beyond every window used here


def make(kind: str, **changes: Any) -> Any:
    """A transformers model with random weights: norms and biases included, seeded by its kind."""
    config = AutoConfig.for_model(kind, **{**TINY, **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    draw = torch.Generator().manual_seed(len(kind) + 7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=draw)
            if "norm" in name:
                weight += 0.2 * noise
            else:
                weight.copy_(noise * (0.5 if "embed" in name else weight.shape[-1] ** -0.5))
    return model


def prompts(vocab: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, vocab, n).astype(np.int32) for n in LENGTHS]


def expected_logits(model: Any, ids: list[np.ndarray]) -> np.ndarray:
    """Logits of every token, one sequence at a time, stacked. [sum of lengths, V]"""
    with torch.no_grad():
        rows = [model(torch.from_numpy(one[None]).long()).logits[0] for one in ids]
    return torch.cat(rows).float().numpy()


def logits(model: Model, ids: list[np.ndarray], cut: int = 0) -> np.ndarray:
    """Logits of every token in the order of `expected_logits`, all sequences in one ragged batch.

    `cut` > 0: two steps, the last `cut` tokens of each sequence in the second, so it reads KV that
    the first wrote. Pages are dealt out of order: a mix-up of pages or slots cannot go unseen.
    """
    graph = model.graph
    params = {name: dequantise(tensor) for name, tensor in model.weights.items()}
    size = graph.size("B")
    most = max(-(-len(one) // size) for one in ids)
    pages = np.random.default_rng(1).permutation(most * len(ids) + 1).astype(np.int32)
    table = pages[: most * len(ids)].reshape(len(ids), most)
    state = {
        name: np.full([len(pages) if n is None else n for n in sizes], np.nan, np.float32)
        for name, sizes in ((k, graph.dims.sizes(v.shape)) for k, v in graph.state.items())
    }
    done = [0] * len(ids)
    parts: list[list[np.ndarray]] = [[] for _ in ids]
    for back in (cut, 0) if cut else (0,):
        ends = [len(one) - back for one in ids]
        batch = _batch(ids, done, ends, table, size)
        outputs, state = run(graph, batch, params, state)
        flat = outputs[graph.outputs[0]]
        for s in range(len(ids)):
            parts[s].append(flat[batch["starts"][s] : batch["starts"][s + 1]])
        done = ends
    return np.concatenate([part for pieces in parts for part in pieces])


def _batch(
    ids: list[np.ndarray], begins: list[int], ends: list[int], table: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    spans = [np.arange(a, b, dtype=np.int32) for a, b in zip(begins, ends, strict=True)]
    slots = [table[s][span // size] * size + span % size for s, span in enumerate(spans)]
    starts = np.cumsum([0, *map(len, spans)]).astype(np.int32)
    return {
        "ids": np.concatenate([one[span] for one, span in zip(ids, spans, strict=True)]),
        "pos": np.concatenate(spans),
        "slots": np.concatenate(slots).astype(np.int32),
        "starts": starts,
        "lens": np.array(ends, np.int32),
        "table": table,
        "rows": np.arange(starts[-1], dtype=np.int32),
    }


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the largest logit."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write_gguf(model: Any, arch: str, path: Path) -> None:
    """Writes a transformers model as llama.cpp's converter lays it out.

    Names come from package gguf's own tensor map. `llama` files have the rows of q and k
    interleaved; gemma's norm weights get their one added.
    """
    c = model.config
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    _write_extras(writer, c, arch)
    tensors = {k: v for k, v in model.state_dict().items() if not (
        k == "lm_head.weight" and c.tie_word_embeddings)}  # fmt: skip
    tensors = _stack_experts(tensors)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], c.num_hidden_layers)
    for name, weight in tensors.items():
        array = weight.float().numpy()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            count = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads
            array = interleave(array, count)
        if arch.startswith("gemma") and "norm" in name:
            array = array + np.float32(1)
        stem, _, suffix = name.rpartition(".")
        target = _TOP.get(name) or f"{names.get_name(stem)}.{suffix}"
        writer.add_tensor(target, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_extras(writer: gguf.GGUFWriter, c: Any, arch: str) -> None:
    rope = c.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, c.head_dim))
    window = getattr(c, "sliding_window", None)
    if window and arch in ("llama", "gemma2", "gemma3"):
        writer.add_sliding_window(window)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if arch == "qwen3moe":
        writer.add_expert_count(c.num_experts)
        writer.add_expert_used_count(c.num_experts_per_tok)
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)


def _stack_experts(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers keeps gate and up of all experts in one tensor; GGUF has three a layer."""
    out: dict[str, torch.Tensor] = {}
    for name, weight in tensors.items():
        if name.endswith("experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            gate, up = weight.chunk(2, dim=1)
            out[f"{stem}gate_proj.weight"], out[f"{stem}up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            out[f"{name}.weight"] = weight
        else:
            out[name] = weight
    return out


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Halves (x0 x1 … y0 y1 …) of each head → pairs (x0 y0 x1 y1 …), row by row."""
    out = np.empty_like(rows)
    d = rows.shape[0] // heads
    for h in range(heads):
        for j in range(d // 2):
            out[h * d + 2 * j] = rows[h * d + j]
            out[h * d + 2 * j + 1] = rows[h * d + d // 2 + j]
    return out


def llama3_divisors(rope: dict[str, Any], d: int) -> np.ndarray:
    """What Llama 3.1's converter stores: how much each inverse frequency is divided by."""
    out = []
    for i in range(0, d, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (i / d)
        ratio = rope["original_max_position_embeddings"] / wave
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        if ratio > high:
            out.append(1.0)
        elif ratio < low:
            out.append(rope["factor"])
        else:
            smooth = (ratio - low) / (high - low)
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, np.float32)
