"""What the persistent kernel does beside its speed, on one H200.

    python benchmarks/mega_cuda_coverage.py PART [--model FILE.gguf] [--rounds 5]

PART is one of
  text        real weights: 64 greedy tokens of three prompts through the executable, against the
              argmax of the float32 reference over the same bf16 weights, teacher-forced
  soak        1,000 steps in one launch, twice from the same pages: tokens, logits and KV must be
              the same bits; greedy, and drawn with top_p and top_k
  structured  tokens a second of a launch without the host, with boxes, and with masks of a JSON
              Schema that the host's matcher computes step by step, alternating
  engine      the same through the engine, prompts and answers of a chat, beside torch alone
  many        1, 4, 8 and 16 prompts at once through the engine, without HTTP, beside torch alone
  fault       a muted worker: seconds to the error record (the process ends with it)
  trace       marks of a traced step to --out FILE.npz (treadle mega trace reads it), and whether
              tracing changed a bit
  small       a tiny model with numpy alone, to be run under compute-sanitizer; with --batch 5 or
              more, its rows come in chunks; --strict: a kernel whose barriers racecheck can follow
Each prints one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import mega_tiny
import numpy as np
from mega_real import PROMPTS, drawn_by, soak, text
from msgspec.structs import replace

from treadle.backends.mega.cuda import Decoder
from treadle.errors import EngineDead
from treadle.limits import Limits
from treadle.mega.codegen import PAGE
from treadle.mega.codegen_program import Knobs
from treadle.types import Mask

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 40},
                           "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street", "zip"],
        },
        "kind": {"enum": ["sailor", "cook", "smith"]},
    },
    "required": ["name", "age", "tags", "address", "kind"],
}  # fmt: skip


# -- a decoder with random weights -------------------------------------------------------------


def random_decoder(name: str, rows: int, context: int, seed: int) -> tuple[Decoder, np.ndarray]:
    """A decoder of a model's shape, weights and pages made on the GPU; and its page table."""
    from mega_h200 import Model

    model = Model(name, rows, context, seed)
    decoder = model.decoder(Knobs())
    model.reset(decoder)
    return decoder, model.table


def small(rows: int, *, strict: bool) -> dict[str, Any]:
    """A tiny model without torch, every way to draw."""
    from treadle.models import llama
    from treadle.models.rope import Rope
    from treadle.models.shape import Shape

    shape = Shape(layers=2, D=128, H=4, K=2, d=64, F=256, V=512, eps=1e-5, context=512, tied=False)
    graph = llama.build(llama.Config(shape, Rope(64, 1e4)), page=PAGE)
    decoder, table = mega_tiny.decoder(graph, rows, strict=strict)
    begin = [(3 + 2 * r, 0 if r % 2 else 62) for r in range(rows)]
    decoder.start(begin, table, 3)
    decoder.wait()
    greedily = decoder.tokens(3).tolist()
    decoder.boxes.post(0, drawn_by(rows, temperature=0.9, top_k=50, top_p=0.9, key=7))
    decoder.start(begin, table, 2, rules="same")
    decoder.wait()
    mixed = decoder.tokens(2).tolist()
    bits = np.zeros((rows, 16), np.int32)
    bits[:, 3] = 0b1010
    mask = Mask(bits, np.arange(rows, dtype=np.int32))
    decoder.start(begin, table, 4, rules="each", allowed=1)
    for step in range(2):
        decoder.boxes.post(step, drawn_by(rows), mask)
        decoder.allow(step + 1)
        while decoder.told(step) is None and not decoder.over():
            time.sleep(1e-4)
    decoder.allow(2, last=True)
    decoder.wait()
    masked = decoder.tokens(2).tolist()
    assert all(token in (97, 99) for row in masked for token in row), masked
    return {"chunks": decoder.program.fed, "greedy": greedily, "sampled": mixed, "masked": masked}


def fault() -> dict[str, Any]:
    """A worker that stays silent."""
    decoder, table = random_decoder("tiny", 1, 128, 1)
    begun = time.perf_counter()
    decoder.start([(17, 128)], table, 2, mute=(5, 11))
    try:
        decoder.wait()
    except EngineDead as error:
        return {"seconds": round(time.perf_counter() - begun, 2), "record": str(error)}
    raise SystemExit("the launch ended as if nothing were missing")


# -- structured decoding -----------------------------------------------------------------------


class Writer:
    """The host's side of structured decoding: matchers of the schema, begun again when they end."""

    def __init__(self, file: str | None, vocab: int, rows: int) -> None:
        from treadle.engine.load import _tokenizer
        from treadle.grammar import Compiler, Grammar, Vocab
        from treadle.models import load

        assert file is not None
        model = load(file, act="bf16", page=PAGE, limits=Limits(), progress=False)
        table = _tokenizer(model.tokenizer_source, Limits()).table
        self.ends = set(table.stop_ids)
        grammar = Grammar.json_schema(SCHEMA, order="declared", whitespace=0)
        compiled = Compiler(Vocab(table, len(table.data))).compile(grammar)
        self.matchers = [compiled.matcher() for _ in range(rows)]
        self.bits = np.zeros((rows, -(-vocab // 32)), np.int32)
        self.width = -(-len(table.data) // 32)
        self.seconds: list[float] = []
        self.answers = 0
        self.bad = 0

    def mask(self) -> Mask:
        """What may follow in each row."""
        for row, matcher in enumerate(self.matchers):
            matcher.fill(self.bits[row : row + 1, : self.width])
        return Mask(self.bits, np.arange(len(self.bits), dtype=np.int32))

    def reset(self) -> None:
        """Begins all answers again."""
        for matcher in self.matchers:
            matcher.reset()

    def take(self, tokens: list[int]) -> None:
        """Goes on behind the tokens of all rows."""
        for token, matcher in zip(tokens, self.matchers, strict=True):
            if token in self.ends:
                matcher.reset()
                self.answers += 1
            elif not matcher.accept(token):
                self.bad += 1


def structured(args: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a step by way of drawing, alternating."""
    found: dict[str, Any] = {}
    steps, rows = args.steps or 192, args.batch
    begin = [(17 + r, 1024) for r in range(rows)]
    for name in args.shapes:
        decoder, table = random_decoder(name, rows, 1024, 1)
        vocab = decoder.program.plan.shape.vocab
        writer = Writer(args.model, vocab, rows)

        def free(rules: str, decoder: Decoder = decoder, table: Any = table) -> float:
            if rules == "same":
                decoder.boxes.post(0, drawn_by(rows, temperature=0.8, key=3))
            begun = time.perf_counter()
            decoder.start(begin, table, steps, rules=rules)
            decoder.wait()
            return (time.perf_counter() - begun) / steps * 1e6

        def boxed(
            masks: bool, decoder: Decoder = decoder, table: Any = table, writer: Writer = writer
        ) -> float:
            warm = drawn_by(rows, temperature=0.8, key=3)
            writer.reset()
            begun = time.perf_counter()
            decoder.start(begin, table, steps, rules="each")
            for step in range(steps):
                params = replace(warm, step=np.full(rows, step, np.int32))
                at = time.perf_counter()
                mask = writer.mask() if masks else None
                decoder.boxes.post(step, params, mask)
                writer.seconds.append(time.perf_counter() - at)
                turns = 0
                while (told := decoder.told(step)) is None:
                    turns += 1
                    if turns % 20000 == 0 and decoder.over():
                        break
                if told is None:
                    break
                if masks:
                    writer.take(told[:, 0].tolist())
            decoder.wait()
            return (time.perf_counter() - begun) / steps * 1e6

        ways: dict[str, Callable[[], float]] = {
            "free_greedy": lambda f=free: f(""),
            "free_sampled": lambda f=free: f("same"),
            "boxes": lambda b=boxed: b(False),
            "json_schema": lambda b=boxed: b(True),
        }
        for way in ways.values():
            way()
        writer.seconds.clear()
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, call in ways.items():
                times[way].append(call())
        medians = {way: round(statistics.median(own), 1) for way, own in times.items()}
        base = medians["free_sampled"]
        found[f"{name} x {rows}"] = {
            "us_per_step": medians,
            "spread_us": {way: [round(min(o), 1), round(max(o), 1)] for way, o in times.items()},
            "cost_percent": round((medians["json_schema"] / base - 1) * 100, 2),
            "cost_percent_of_greedy": round(
                (medians["json_schema"] / medians["free_greedy"] - 1) * 100, 2
            ),
            "host_us": round(statistics.median(writer.seconds) * 1e6, 1),
            "answers": writer.answers, "refused_tokens": writer.bad, "steps": steps,
            "rounds": args.rounds, "vocab": vocab,
        }  # fmt: skip
        print(name, rows, found[f"{name} x {rows}"], flush=True)
        del decoder
    return found


def trace(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens and logits with and without marks, and the marks."""
    from mega_h200 import Model

    from treadle.backends.mega import cuda_trace

    found: dict[str, Any] = {}
    for name in args.shapes:
        model = Model(name, 1, 1024, 1)
        results: list[tuple[Any, Any]] = []
        times: list[float] = []
        took = 0.0
        for knobs in (Knobs(), Knobs(trace=True)):
            decoder = model.decoder(knobs)
            for _ in range(2):
                model.reset(decoder)
                begun = time.perf_counter()
                decoder.start([(17, 1024)], model.table, 64)
                decoder.wait()
                took = time.perf_counter() - begun
            results.append((decoder.tokens(64), decoder.logits()))
            times.append(took / 64 * 1e6)
            if knobs.trace and args.out:
                np.savez_compressed(f"{args.out}-{name}.npz", marks=cuda_trace.words(decoder))
            del decoder
        (first, one), (second, two) = results
        found[name] = {
            "tokens_identical": bool(np.array_equal(first, second)),
            "logits_identical": bool(np.array_equal(one, two)),
            "us_per_step": [round(t, 1) for t in times],
        }  # fmt: skip
        print(name, found[name], flush=True)
    return found


def engine(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of one chat, free and by schema, with the kernel and with torch alone."""
    from treadle.engine import LLM
    from treadle.types import Sampling

    found: dict[str, Any] = {}
    for name in args.backends:
        begun = time.perf_counter()
        with LLM(args.model, backend=name, device="cuda", pages=200, progress=False) as llm:
            print(name, f"ready in {time.perf_counter() - begun:.1f} s", flush=True)
            most = args.steps or 192
            rates: dict[str, list[float]] = {"free": [], "json_schema": []}
            valid: list[bool] = []
            llm.chat(PROMPTS[0], sampling=Sampling(max_tokens=most // 2, seed=1))
            llm.chat(PROMPTS[0], schema=SCHEMA, sampling=Sampling(max_tokens=most // 2, seed=1))
            for turn in range(args.rounds):
                for way in rates:
                    more: dict[str, Any] = {"schema": SCHEMA} if way == "json_schema" else {}
                    sampling = Sampling(
                        max_tokens=most, temperature=0.7, seed=turn, ignore_eos=not more
                    )
                    stream = llm.stream_chat(PROMPTS[turn % 3], sampling=sampling, **more)
                    first = 0.0
                    with stream:
                        for _ in stream:
                            first = first or time.perf_counter()
                    last = time.perf_counter()
                    done = stream.output
                    rates[way].append((done.usage.completion_tokens - 1) / (last - first))
                    if more:
                        valid.append(done.finish_reason != "stop" or done.value is not None)
            stats = getattr(llm.loaded.exe, "stats", dict)()
            found[name] = {
                "tokens_per_second": {w: round(statistics.median(r), 1) for w, r in rates.items()},
                "spread": {w: [round(min(r), 1), round(max(r), 1)] for w, r in rates.items()},
                "valid": all(valid), "answers": len(valid), "stats": str(stats)[:400],
            }  # fmt: skip
            print(name, found[name], flush=True)
    return found


def many(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of all prompts together, from the call to the last token."""
    from treadle.engine import LLM
    from treadle.types import Sampling

    found: dict[str, Any] = {}
    for name in args.backends:
        with LLM(args.model, backend=name, device="cuda", pages=1000, progress=False) as llm:

            def rate(count: int, seed: int, llm: LLM = llm) -> float:
                sampling = Sampling(
                    max_tokens=args.steps or 192, temperature=0.7, seed=seed, ignore_eos=True
                )
                texts = [f"{PROMPTS[i % 3]} {i}" for i in range(count)]
                begun = time.perf_counter()
                outputs = llm.generate(texts, sampling=sampling)
                seconds = time.perf_counter() - begun
                return sum(output.usage.completion_tokens for output in outputs) / seconds

            counts = (1, 4, 8, 16)
            rates = [
                {count: rate(count, turn) for count in counts} for turn in range(-1, args.rounds)
            ]
            found[name] = {
                str(count): [round(turn[count]) for turn in rates[1:]] for count in counts
            }  # the first round warms
            print(name, found[name], getattr(llm.loaded.exe, "stats", dict)(), flush=True)
    return found


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "part", choices=("text", "soak", "structured", "engine", "many", "fault", "small", "trace")
    )
    parser.add_argument("--model")
    parser.add_argument("--shapes", nargs="+", default=["Llama-3.2-1B"])
    parser.add_argument("--backends", nargs="+", default=["mega", "torch"])
    parser.add_argument("--out", help="where a trace goes, without its ending")
    parser.add_argument("--steps", type=int, help="of a launch; 192, for the soak 1,000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="rows of `structured` and `small`")
    parser.add_argument("--strict", action="store_true", help="of `small`: for racecheck")
    args = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "text": lambda: text(args), "soak": lambda: soak(args), "trace": lambda: trace(args),
        "structured": lambda: structured(args), "engine": lambda: engine(args),
        "many": lambda: many(args),
        "small": lambda: small(max(args.batch, 2), strict=args.strict), "fault": fault,
    }  # fmt: skip
    print(json.dumps({args.part: parts[args.part]()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
