"""The persistent kernel with the weights of a file: `mega_cuda_coverage.py text` and `soak`."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from msgspec.structs import fields, replace

from treadle.backends.mega.cuda_launch import greedy
from treadle.limits import Limits
from treadle.mega.codegen import PAGE
from treadle.types import Batch, SampleBatch

PROMPTS = (
    "Explain in a few sentences why the sea is salty.",
    "Write a short poem about a loom.",
    "List five uses of a wooden spoon.",
)


def drawn_by(rows: int, **changes: Any) -> SampleBatch:
    """Greedy params with changes."""
    base = greedy(rows)
    kinds = {f.name: getattr(base, f.name).dtype for f in fields(SampleBatch)}
    return replace(base, **{k: np.full(rows, v, kinds[k]) for k, v in changes.items()})


def step_of(tokens: list[int], at: int, pages: np.ndarray) -> Batch:
    """New tokens of one sequence from position `at` on."""
    n = len(tokens)
    pos = np.arange(at, at + n, dtype=np.int32)
    slots = (pages[pos // PAGE] * PAGE + pos % PAGE).astype(np.int32)
    i32 = lambda *x: np.array(x, np.int32)  # noqa: E731
    return Batch(i32(*tokens), pos, slots, i32(0, n), i32(at + n), pages[None], i32(n - 1))


def generated(exe: Any, prompt: list[int], count: int, pages: np.ndarray) -> list[int]:
    """Greedy tokens, asked for as the engine does: a step ahead of what it knows."""
    handle = exe.forward(step_of(prompt, 0, pages))
    tokens, out, at = exe.sample(handle, None, greedy(1)), [], len(prompt)
    for _ in range(count - 1):
        handle = exe.forward(step_of([-1], at, pages))
        out.append(int(tokens.wait().ids[0]))
        tokens = exe.sample(handle, None, greedy(1))
        at += 1
    return [*out, int(tokens.wait().ids[0])]


class Real:
    """The model of a file, on the executable."""

    def __init__(self, file: str) -> None:
        from treadle.backends.table import backend
        from treadle.engine.load import _words
        from treadle.models import load

        begun = time.perf_counter()
        self.model = load(file, act="bf16", page=PAGE, limits=Limits(), progress=False)
        self.words = _words(self.model, Limits())
        limits = Limits()
        self.exe: Any = backend("mega", device="cuda").compile(
            self.model.graph, self.model.weights, limits, pages=200
        )
        print(f"compiled in {time.perf_counter() - begun:.1f} s", type(self.exe), flush=True)

    def prompt(self, text: str) -> list[int]:
        """Tokens of one turn of a chat."""
        from treadle.types import Message

        template = self.words.template
        assert template is not None
        return self.words.tokenizer.encode(template.render([Message("user", text)]), special=True)


def relaunched(real: Real, tokens: list[int], prompt: int, pages: np.ndarray) -> np.ndarray:
    """Logits of the kernel for each token behind the first answered, in launches of a step."""
    kernel = real.exe.kernel()
    real.exe._shared.enter("kernel")
    found: list[np.ndarray] = []
    for at in range(prompt, len(tokens) - 1):
        kernel.start([(tokens[at], at)], pages[None], 1)
        kernel.wait()
        found.append(kernel.logits()[0].copy())
    return np.stack(found)


def apart(ours: Any, wanted: Any) -> list[float]:
    """Median and greatest relative error of rows of logits."""
    errors = (ours - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    return [round(float(errors.median()), 4), round(float(errors.max()), 4)]


def text(args: argparse.Namespace) -> dict[str, Any]:
    """64 greedy tokens against the reference."""
    import torch

    from treadle.backends.params import tensor_of
    from treadle.graph import run
    from treadle.models.quant import dequantise

    real = Real(args.model)
    graph = real.model.graph
    params: dict[str, Any] = {}
    for name, param in graph.params.items():
        wide = torch.tensor(
            dequantise(tensor_of(graph, real.model.weights, name)), device="cuda"
        ).float()
        params[name] = wide.bfloat16().float() if len(param.shape) > 1 else wide
    pages = np.arange(3, 20, dtype=np.int32)
    rows: list[dict[str, Any]] = []
    for question in PROMPTS:
        prompt = real.prompt(question)
        tokens = generated(real.exe, prompt, 64, pages)
        whole = [*prompt, *tokens]
        count = len(whole)
        batch = step_of(whole, 0, np.arange(8, dtype=np.int32))
        inputs = {
            n: torch.tensor(getattr(batch, n), device="cuda") for n in Batch.__struct_fields__
        }
        inputs["rows"] = torch.arange(count, device="cuda", dtype=torch.int32)
        state = {
            n: torch.zeros(
                [8 if x is None else x for x in graph.dims.sizes(v.shape)], device="cuda"
            )
            for n, v in graph.state.items()
        }
        out, _ = run(graph, inputs, params, state, torch, in_place=True)
        logits = out[graph.outputs[0]][len(prompt) - 1 : count - 1].float()
        handle = real.exe.forward(replace(step_of(whole, 0, np.arange(100, 108, dtype=np.int32)),
                                          rows=np.arange(count, dtype=np.int32)))  # fmt: skip
        drawn_by_torch = handle.call.wait()[len(prompt) - 1 : count - 1].float()
        again = torch.tensor(relaunched(real, whole, len(prompt), pages), device="cuda")
        best = logits.argmax(-1).cpu().numpy()
        wrong = [i for i in range(64) if int(best[i]) != tokens[i]]
        gaps = [
            round(float(logits[i].max() - logits[i, tokens[i]]), 4) for i in wrong
        ]  # of logits of a spread of about 20
        rows.append({"prompt": question, "equal": 64 - len(wrong), "wrong_at": wrong, "gaps": gaps,
                     "errors": apart(again, logits[1:]),
                     "torch_errors": apart(drawn_by_torch[1:], logits[1:]),
                     "torch_equal": int((drawn_by_torch.argmax(-1) == logits.argmax(-1)).sum()),
                     "kernel_equal": int((again.argmax(-1) == logits[1:].argmax(-1)).sum()),
                     "text": real.words.tokenizer.decode(tokens)[:160]})  # fmt: skip
        print(rows[-1], flush=True)
    print(real.exe.stats(), flush=True)
    return {"model": real.model.name, "tokens": 64, "rows": rows}


def soak(args: argparse.Namespace) -> dict[str, Any]:
    """1,000 steps twice."""
    import torch

    real = Real(args.model)
    pages = np.arange(1, 60, dtype=np.int32)
    prompt = real.prompt(PROMPTS[0])
    token = generated(real.exe, prompt, 2, pages)[0]
    real.exe._settle()
    kernel, shared = real.exe._kernels[0], real.exe._shared
    shared.enter("kernel")
    before = shared._kv.clone()
    steps = args.steps or 1000
    found: dict[str, Any] = {"steps": steps}
    for way in ("greedy", "sampled"):
        runs: list[tuple[Any, Any, Any]] = []
        seconds: list[float] = []
        for _ in range(2):
            with torch.inference_mode():
                shared._kv.copy_(before)
            torch.cuda.synchronize()
            kernel.boxes.post(0, drawn_by(1, temperature=0.8, top_p=0.95, top_k=64, key=11))
            begun = time.perf_counter()
            kernel.start([(token, len(prompt))], pages[None], steps,
                         rules="same" if way == "sampled" else "")  # fmt: skip
            kernel.wait()
            seconds.append(time.perf_counter() - begun)
            runs.append((kernel.tokens(steps), kernel.logits(), shared._kv.clone()))
        first, second = runs
        found[way] = {
            "tokens_identical": bool(np.array_equal(first[0], second[0])),
            "logits_identical": bool(np.array_equal(first[1], second[1])),
            "kv_identical": bool(torch.equal(*(run[2].view(torch.int16) for run in runs))),
            "distinct_tokens": len(np.unique(first[0])),
            "us_per_step": [round(s / steps * 1e6, 1) for s in seconds],
            "finite": bool(np.isfinite(first[1]).all()),
        }  # fmt: skip
        print(way, found[way], flush=True)
    return found
