"""A tiny model as a GGUF file, its bundle, and what Python answers with it.

`python tests/web/tiny_bundle.py` writes web/test/tiny, which web/test/cpu*.test.ts runs; a test
holds the two together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray

from treadle.backends.mega import Mega
from treadle.backends.sampler import sample
from treadle.export import Options, write
from treadle.graph import Graph
from treadle.limits import Limits
from treadle.models import load
from treadle.text.alphabet import LETTER_OF
from treadle.types import Batch, Mask, SampleBatch, Weights

HOME = Path(__file__).parents[2] / "web" / "test" / "tiny"
CONTEXT = 160
LAYERS, D, H, K, HEAD, F = 2, 64, 4, 2, 16, 96
PIECES = [*(LETTER_OF[byte] for byte in range(256)), "th", "<|im_start|>", "<|im_end|>"]
PROMPTS = ([5, 17, 200, 3], [40 + 3 * i for i in range(37)])
TOKENS = 24


def blocks(rng: np.random.Generator, rows: int, cols: int, kind: str) -> NDArray[np.uint8]:
    """Random rows of Q4_1 or Q8_0 whose products keep activations moderate."""
    count, scale = rows * cols // 32, 1.6 * cols**-0.5
    d = rng.uniform(0.5, 1.0, (count, 1)) * scale
    if kind == "Q4_1":
        heads = np.concatenate((d / 8, -d), axis=1).astype("<f2")
        quants = rng.integers(0, 256, (count, 16), np.uint8)
    else:
        heads = (d / 127).astype("<f2")
        quants = rng.integers(-127, 128, (count, 32), np.int8).view(np.uint8)
    return np.concatenate((heads.view(np.uint8), quants), axis=1).reshape(rows, -1)


def write_gguf(path: Path) -> Path:
    """A Llama of two layers with Q4_1 matrices, Q8_0 embedding and head."""
    rng = np.random.default_rng(7)
    out = GGUFWriter(path, "llama")
    out.add_block_count(LAYERS)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(D)
    out.add_feed_forward_length(F)
    out.add_head_count(H)
    out.add_head_count_kv(K)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(1000.0)
    out.add_rope_dimension_count(HEAD)
    out.add_vocab_size(len(PIECES))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(PIECES)
    out.add_token_types([1] * (len(PIECES) - 2) + [3, 3])
    out.add_token_merges(["t h"])
    out.add_bos_token_id(len(PIECES) - 2)
    out.add_eos_token_id(len(PIECES) - 1)
    out.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")

    def matrix(name: str, rows: int, cols: int, kind: str = "Q4_1") -> None:
        data = blocks(rng, rows, cols, kind)
        out.add_tensor(name, data, raw_dtype=GGMLQuantizationType[kind])

    def norm(name: str) -> None:
        out.add_tensor(name, rng.uniform(0.8, 1.2, D).astype(np.float32))

    matrix("token_embd.weight", len(PIECES), D, "Q8_0")
    matrix("output.weight", len(PIECES), D, "Q8_0")
    norm("output_norm.weight")
    for i in range(LAYERS):
        norm(f"blk.{i}.attn_norm.weight")
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", H * HEAD, D)
        matrix(f"blk.{i}.attn_k.weight", K * HEAD, D)
        matrix(f"blk.{i}.attn_v.weight", K * HEAD, D)
        matrix(f"blk.{i}.attn_output.weight", D, H * HEAD)
        matrix(f"blk.{i}.ffn_gate.weight", F, D)
        matrix(f"blk.{i}.ffn_up.weight", F, D)
        matrix(f"blk.{i}.ffn_down.weight", D, F)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def greedy(source: str, prompt: list[int], count: int) -> dict[str, Any]:
    """Greedy tokens after a prompt and the first logits, of the native runtime."""
    model = load(source)
    return decoded(model.graph, model.weights, prompt, count)


def decoded(graph: Graph, weights: Weights, prompt: list[int], count: int) -> dict[str, Any]:
    """The same of a graph and its weights."""
    exe = Mega(threads=1).compile(graph, weights, Limits(), pages=16)
    ids, done, tokens, first = list(prompt), 0, [], []
    while len(tokens) < count:
        new = np.arange(done, len(ids), dtype=np.int32)
        size = exe.page_size
        batch = Batch(
            np.array(ids[done:], np.int32), new, new, np.array([0, len(new)], np.int32),
            np.array([len(ids)], np.int32),
            np.arange(-(-len(ids) // size), dtype=np.int32)[None],
            np.array([len(new) - 1], np.int32),
        )  # fmt: skip
        logits = exe.forward(batch).call.wait().array[0]
        first = first or [float(x) for x in logits]
        done = len(ids)
        tokens.append(int(logits.argmax()))
        ids.append(tokens[-1])
    exe.close()
    return {"prompt": prompt, "tokens": tokens, "logits": first}


def draws(logits: list[float], count: int = 60) -> list[dict[str, Any]]:
    """Draws of every kind, and what the project's sampler makes of them. Fields of `Draw` in
    web/src/executor.ts; lists are pairs, the mask is a list of words."""
    rng = np.random.default_rng(11)
    x = np.array([logits], np.float32)
    vocab = len(logits)
    out: list[dict[str, Any]] = []
    for index in range(count):
        seen = {int(i): int(rng.integers(1, 4)) for i in rng.choice(vocab, 4, replace=False)}
        prompt = [int(i) for i in rng.choice(vocab, 5, replace=False)]
        bias = {int(i): float(rng.integers(-8, 9)) / 2 for i in rng.choice(vocab, 3, replace=False)}
        seed = int(rng.integers(0, 2**63)) * 2 + 1
        legal = rng.random(-(-vocab // 32) * 32) < 0.3
        mask = np.packbits(legal, bitorder="little").view(np.int32)[None]
        draw: dict[str, Any] = {
            "temperature": float(rng.choice([0, 0.5, 1, 1.5])),
            "topP": float(rng.choice([1, 1, 0.5, 0.9])),
            "topK": int(rng.choice([0, 0, 5, 40])),
            "minP": float(rng.choice([0, 0, 0.0625])),
            "repetition": float(rng.choice([1, 1.25])),
            "presence": float(rng.choice([0, 0.5])),
            "frequency": float(rng.choice([0, 0.25])),
            "logprobs": int(rng.choice([-1, 0, 3, 20])),
            "index": index,
            "seed": str(seed),
            "seen": sorted(seen.items()) if index % 2 else [],
            "prompt": prompt if index % 3 else [],
            "bias": sorted(bias.items()) if index % 4 == 1 else [],
            "mask": mask[0].tolist() if index % 5 == 2 else None,
        }
        counts = dict.fromkeys(draw["prompt"], 0) | dict(draw["seen"])
        if draw["repetition"] == 1:
            counts = dict(draw["seen"])

        def row(name: str, kind: Any = np.float32, of: dict[str, Any] = draw) -> NDArray[Any]:
            return np.array([of[name]], kind)

        params = SampleBatch(
            temperature=row("temperature"), top_k=row("topK", np.int32), top_p=row("topP"),
            min_p=row("minP"), presence=row("presence"), frequency=row("frequency"),
            repetition=row("repetition"), key=np.array([seed], np.uint64),
            step=row("index", np.int32), logprobs=row("logprobs", np.int32),
            bias_ptr=np.array([0, len(draw["bias"])], np.int32),
            bias_ids=np.array([i for i, _ in draw["bias"]], np.int32),
            bias_values=np.array([v for _, v in draw["bias"]], np.float32),
            pen_ptr=np.array([0, len(counts)], np.int32),
            pen_ids=np.array(list(counts), np.int32),
            pen_out=np.array(list(counts.values()), np.int32),
        )  # fmt: skip
        rows = np.zeros(1, np.int32)
        found = sample(x, Mask(mask, rows) if draw["mask"] is not None else None, params)
        told = draw["logprobs"]
        wanted: dict[str, Any] = {"token": int(found.ids[0])}
        if told >= 0:
            wanted["logprob"] = float(found.logprobs[0])
            wanted["top"] = found.top_ids[0, :told].tolist()
        out.append({**draw, "wanted": wanted})
    return out


def main() -> int:
    """Writes the committed bundle anew, and what Python says of it."""
    folder = Path(sys.argv[1])
    source = str(write_gguf(folder / "tiny.gguf"))
    write(load(source), HOME, ("cpu",), Options(shard=1 << 20))
    answers = [greedy(source, list(p), TOKENS) for p in PROMPTS]
    for answer in answers:
        answer["draws"] = draws(answer["logits"])
    (HOME.parent / "tiny.json").write_text(json.dumps(answers, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
