"""Hyperparameters of hostile, old and incomplete files: read right, or refused by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import gguf_bytes
import numpy as np
import pytest
from reference_models import interleave, make, write_gguf
from safetensors.numpy import load_file, save_file

from treadle.errors import LimitExceeded, ModelFormatError, NotFound, Unsupported
from treadle.graph import Builder
from treadle.models import FAMILIES, dequantise, gemma2, gemma3, llama, load, mistral, qwen2
from treadle.models.rope import Bands, Rope
from treadle.models.weights import Checkpoint, Source, bind
from treadle.types import Tensor

GOOD: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}


GEMMA3_GGUF = {
    "gemma3.block_count": 3,
    "gemma3.context_length": 64,
    "gemma3.embedding_length": 32,
    "gemma3.feed_forward_length": 40,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
}
EMBEDDING = {"token_embd.weight": Tensor("t", (96, 32), "f32", np.zeros((96, 32), np.float32))}


def test_missing_keys_are_named() -> None:
    optional = {"model_type", "num_key_value_heads", "rms_norm_eps"}
    for key in set(GOOD) - optional:
        for changed in ({k: v for k, v in GOOD.items() if k != key}, {**GOOD, key: None}):
            with pytest.raises(ModelFormatError, match=rf"config\.json: {key} is missing"):
                llama.Config.from_hf(changed)
    shape = llama.Config.from_hf({k: GOOD[k] for k in set(GOOD) - optional}).shape
    assert (shape.K, shape.eps, shape.d) == (4, 1e-6, 8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 0),
        ("num_attention_heads", 6),  # does not divide the width
        ("num_attention_heads", True),
        ("num_attention_heads", "4"),
        ("num_attention_heads", 4.0),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("head_dim", 7),
        ("head_dim", -8),
        ("hidden_size", 1 << 40),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", [2]),
        ("vocab_size", -1),
        ("max_position_embeddings", 1 << 31),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", float("nan")),
        ("rms_norm_eps", float("inf")),
        ("rope_theta", -1.0),
        ("rope_theta", {"a": 1}),
        ("tie_word_embeddings", 1),
        ("rope_scaling", "linear"),
        ("rope_scaling", {"rope_type": "linear"}),
        ("rope_scaling", {"rope_type": "linear", "factor": 0}),
    ],
)
def test_impossible_values_are_named(key: str, value: Any) -> None:
    named = "head_dim" if (key, value) == ("num_attention_heads", 6) else key
    with pytest.raises(ModelFormatError, match=named):
        llama.Config.from_hf({**GOOD, key: value})


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (llama.Config, "hidden_act", "relu"),
        (llama.Config, "attention_bias", True),
        (llama.Config, "mlp_bias", True),
        (llama.Config, "quantization_config", {"quant_method": "gptq"}),
        (llama.Config, "partial_rotary_factor", 0.5),
        (llama.Config, "rope_scaling", {"type": "dynamic", "factor": 2.0}),
        (llama.Config, "rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
        (llama.Config, "rope_parameters", {"rope_type": "longrope"}),
        (gemma2.Config, "use_bidirectional_attention", True),
        (gemma2.Config, "hidden_activation", "gelu"),
        (gemma2.Config, "layer_types", ["chunked_attention", "full_attention"]),
        (gemma3.Config, "attn_logit_softcapping", 50.0),
    ],
)
def test_what_cannot_be_run_is_named(config: Any, key: str, value: Any) -> None:
    config.from_hf(GOOD)
    with pytest.raises(Unsupported, match=key):
        config.from_hf({**GOOD, key: value})


def test_old_and_new_spellings_agree() -> None:
    """Files written before and after transformers gathered rope into `rope_parameters`."""
    bands = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    bands["original_max_position_embeddings"] = 8_192
    old = {**GOOD, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **bands}}
    new = {**GOOD, "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **bands}}
    assert llama.Config.from_hf(old) == llama.Config.from_hf(new)
    assert llama.Config.from_hf(old).rope == Rope(8, 5e5, bands=Bands(8.0, 1.0, 4.0, 8_192))
    linear = {**GOOD, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert llama.Config.from_hf(linear).rope == Rope(8, 1e4, 2.0)
    local = {"sliding_attention": {"rope_theta": 1e4}, "full_attention": {"rope_theta": 1e6}}
    assert gemma3.Config.from_hf({**GOOD, "rope_parameters": local}) == gemma3.Config.from_hf(GOOD)


def test_windows() -> None:
    assert mistral.Config.from_hf(GOOD).window == 4_096  # v0.1's files may leave it out
    assert mistral.Config.from_hf({**GOOD, "sliding_window": None}).window == 0
    sliding = {**GOOD, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    assert qwen2.Config.from_hf(sliding).windows == (0, 8)
    assert qwen2.Config.from_hf({**sliding, "use_sliding_window": False}).windows == (0, 0)
    with pytest.raises(ModelFormatError, match="sliding_window is missing"):
        qwen2.Config.from_hf({**sliding, "sliding_window": None})
    types = ["full_attention", "sliding_attention"]
    assert gemma2.Config.from_hf({**GOOD, "layer_types": types}).windows == (0, 4_096)
    with pytest.raises(ModelFormatError, match="layer_types"):
        gemma2.Config.from_hf({**GOOD, "layer_types": types[:1]})
    with pytest.raises(ModelFormatError, match=r"gemma3\.attention\.sliding_window is missing"):
        gemma3.Config.from_gguf(GEMMA3_GGUF, EMBEDDING)
    seven = gemma3.Config.from_hf({**GOOD, "num_hidden_layers": 7}).windows
    assert [w > 0 for w in seven] == [True] * 5 + [False, True]


def test_gguf_llama_is_told_from_mistral_by_metadata() -> None:
    claiming = [f for f in FAMILIES if f.gguf == "llama"]
    assert [f.module for f in claiming] == [mistral, llama]
    for metadata, wanted in (
        ({"general.basename": "Mistral-7B-v0.3"}, mistral),
        ({"general.name": "Smollm2 135M"}, llama),
        ({"llama.attention.sliding_window": 4_096}, mistral),
        ({}, llama),
    ):
        assert next(f.module for f in claiming if f.claims(metadata)) is wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    make("llama").save_pretrained(path)
    return path


def changed(folder: Path, out: Path, config: dict[str, Any], tensors: dict[str, Any]) -> str:
    """A copy of a model with config keys and tensors replaced (None = removed)."""
    old = json.loads((folder / "config.json").read_text())
    new = {k: v for k, v in {**old, **config}.items() if v is not None}
    (out / "config.json").write_text(json.dumps(new))
    weights = {**load_file(folder / "model.safetensors"), **tensors}
    kept = {k: np.ascontiguousarray(v) for k, v in weights.items() if v is not None}
    save_file(kept, out / "model.safetensors")
    return str(out)


def test_weights_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    q = "model.layers.0.self_attn.q_proj.weight"
    zeros = np.zeros((32, 32), np.float32)
    cases: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
        ({}, {q: None}, ModelFormatError, rf"tensor '{q}' \(param l0.q\) is missing"),
        ({}, {q: zeros[:8]}, ModelFormatError, r"is \[8, 32\], expected \[32, 32\] for l0.q"),
        (
            {"hidden_size": 64, "head_dim": 8},
            {},
            ModelFormatError,
            r"expected \[96, 64\] for embed",
        ),
        ({}, {q: zeros.astype(np.int8)}, Unsupported, "has the type i8"),
        ({}, {q.replace("weight", "bias"): zeros[0]}, Unsupported, "q_proj.bias' has no place"),
        ({"num_hidden_layers": 2}, {}, Unsupported, "model.layers.2.* has no place"),
        ({"model_type": "mamba"}, {}, Unsupported, "model_type is 'mamba'.*qwen3_moe"),
        ({"model_type": None}, {}, ModelFormatError, "model_type is None"),
    ]
    for config, tensors, error, message in cases:
        with pytest.raises(error, match=message):
            load(changed(folder, tmp_path, config, tensors))
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": zeros[0, :4]}  # of old files
    model = load(changed(folder, tmp_path, {"tie_word_embeddings": True}, buffer))
    assert "head" not in model.weights  # the file's copy of the head is not needed


def test_a_folder_without_what_is_needed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama", "model_type": "llama"}')
    with pytest.raises(ModelFormatError, match="'model_type' appears twice"):
        load(str(tmp_path))
    with pytest.raises(Unsupported, match="give its folder"):
        load(str(folder / "model.safetensors"))


def test_tokeniser_and_template_of_a_folder(folder: Path, tmp_path: Path) -> None:
    path = changed(folder, tmp_path, {"eos_token_id": 2}, {})
    source = load(path).tokenizer_source
    assert (source.kind, source.path, source.stop_ids) == ("json", None, (2,))
    (tmp_path / "tokenizer.json").write_text("{}")
    templates = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    model = load(path)
    assert model.tokenizer_source.path == tmp_path / "tokenizer.json"
    assert (model.chat_template, model.tokenizer_source.stop_ids) == ("D", (5, 6))
    (tmp_path / "chat_template.jinja").write_text("J")
    assert load(path).chat_template == "J"
    (tmp_path / "chat_template.jinja").write_text("J" * ((1 << 20) + 1))
    with pytest.raises(LimitExceeded, match="template_bytes"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("block_count", 0, ModelFormatError),
        ("attention.head_count", 0, ModelFormatError),
        ("attention.head_count_kv", 3, ModelFormatError),
        ("attention.head_count_kv", [2, 2, 2], ModelFormatError),
        ("attention.layer_norm_rms_epsilon", None, ModelFormatError),
        ("context_length", None, ModelFormatError),
        ("attention.value_length", 16, Unsupported),
        ("rope.dimension_count", 4, Unsupported),
        ("rope.scaling.type", "yarn", Unsupported),
        ("expert_count", 8, Unsupported),
    ],
)
def test_gguf_metadata_is_checked(key: str, value: Any, error: Any) -> None:
    good: dict[str, Any] = {
        "llama.block_count": 3,
        "llama.context_length": 64,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 40,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    assert llama.Config.from_gguf(good, EMBEDDING).shape.V == 96
    with pytest.raises(ModelFormatError, match=r"token_embd\.weight"):
        llama.Config.from_gguf(good, {})
    with pytest.raises(error, match=key):
        llama.Config.from_gguf({**good, f"llama.{key}": value}, EMBEDDING)


def test_a_part_of_a_split_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00003.gguf"
    path.write_bytes(gguf_bytes.document([gguf_bytes.key("split.count", "u16", 3)], []))
    with pytest.raises(Unsupported, match="one of 3 parts"):
        load(str(path))


def test_rope_divisors_must_be_usable(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 0.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
    reference = make("llama", head_dim=8)
    reference.config.rope_parameters = {**rope, "factor": 1e-30}
    path = tmp_path / "m.gguf"
    write_gguf(reference, "llama", path)
    load(str(path))
    reference.config.head_dim, reference.config.hidden_size = 8, 32
    reference.config.rope_parameters = {**rope, "factor": -1.0}
    write_gguf(reference, "llama", path)
    with pytest.raises(ModelFormatError, match="positive divisors"):
        load(str(path))


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16"])
def test_rows_are_put_back_in_any_format_without_loss(name: str) -> None:
    """Interleave, quantise, put back = quantise: whole rows move, so no block is touched."""
    kind = gguf.GGMLQuantizationType[name.upper()]
    rows = np.random.default_rng(0).standard_normal((24, 64)).astype(np.float32)
    packed = gguf.quants.quantize(interleave(rows, 3), kind)
    checkpoint = Checkpoint("gguf", Path("m"), {}, {"t": Tensor("t", (24, 64), name, packed)})
    b = Builder(name="one", dims={"O": 24, "I": 64, "V": 8})
    x = b.add("embed", b.param("embed", ("V", "I")), b.ids)
    graph = b.finish(outputs=[b.add("linear", x, b.param("w", ("O", "I")))])
    embed = Source(values=np.zeros((8, 64), np.float32))
    graph, weights = bind(graph, {"w": Source(("t",), heads=3), "embed": embed}, checkpoint, ())
    assert graph.params["w"].format == name
    wanted = gguf.quants.dequantize(gguf.quants.quantize(rows, kind), kind)
    np.testing.assert_array_equal(dequantise(weights["w"]), wanted)
