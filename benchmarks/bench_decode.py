"""Decode speed of SmolLM2-135M on the CPU: ours, transformers', and what memory allows.

Same weights, float32, greedy, one sequence. The two engines alternate in one process; the limit is
the time to read every weight once at the bandwidth that a plain sum over 512 MiB reaches.

    python benchmarks/bench_decode.py [--rounds 5] [--tokens 64] [--threads 2]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import transformers
from machine import machine, spread, versions, write
from peer_model import transformers_llama

from treadle import LLM, Sampling
from treadle.models import load as load_model

MODEL = "smollm2-135m"
PROMPT_TOKENS = 64


def bandwidth() -> float:
    """Bytes a second that a sum over memory reaches with torch's threads; best of five."""
    data = torch.ones(1 << 27)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        data.sum()
        best = max(best, data.nbytes / (time.perf_counter() - start))
    return best


def ours(llm: LLM, prompt: list[int], tokens: int) -> float:
    """Tokens a second after the first."""
    sampling = Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    marks: list[float] = []
    for delta in llm.stream(prompt, sampling=sampling):
        if delta.token_ids:
            marks += [time.perf_counter()] * len(delta.token_ids)
    return (len(marks) - 1) / (marks[-1] - marks[0])


def theirs(model: transformers.LlamaForCausalLM, prompt: list[int], tokens: int) -> float:
    """Tokens a second after the first, with transformers' own cache and greedy search."""
    ids = torch.tensor([prompt])
    marks: list[float] = []
    with torch.inference_mode():
        out = model(ids, use_cache=True)
        for _ in range(tokens):
            token = out.logits[:, -1:].argmax(-1)
            marks.append(time.perf_counter())
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
    return (len(marks) - 1) / (marks[-1] - marks[0])


def main() -> None:
    """Alternates the two and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    model = transformers_llama(load_model(MODEL, progress=False))
    with LLM(MODEL, backend="torch", device="cpu", threads=args.threads) as llm:
        reads = bandwidth()
        limit = reads / sum(p.nbytes for p in model.parameters())
        ours_tok, theirs_tok = [], []
        for index in range(args.rounds + 1):
            prompt = rng.integers(100, 40_000, PROMPT_TOKENS).tolist()
            pair = ours(llm, prompt, args.tokens), theirs(model, prompt, args.tokens)
            print(f"round {index}: treadle {pair[0]:.2f}, transformers {pair[1]:.2f} tokens/s")
            if index:  # the first round warms up
                ours_tok.append(pair[0])
                theirs_tok.append(pair[1])
    ratio = [a / b for a, b in zip(ours_tok, theirs_tok, strict=True)]
    figures = {
        "what": "decode, batch 1, greedy, float32 weights",
        "model": MODEL,
        "treadle_tok_s": spread(ours_tok),
        "transformers_tok_s": spread(theirs_tok),
        "ratio": spread(ratio),
        "memory_gb_s": round(reads / 1e9, 2),
        "limit_tok_s": round(limit, 2),
        "share_of_limit": round(spread(ours_tok)["median"] / limit, 3),
        "threads": args.threads,
        "seed": args.seed,
        "machine": machine(),
        "versions": versions("torch", "transformers", "numpy"),
    }
    print(f"{write('decode_cpu', figures)}: {figures['ratio']['median']}x transformers")


if __name__ == "__main__":
    main()
