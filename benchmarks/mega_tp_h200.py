"""One persistent kernel a GPU that sums over ranks in its peers' memory, on 2, 4 or 8 H200.

    python benchmarks/mega_tp_h200.py [--models Qwen3-8B] [--tp 2 4] [--rows 1] [--context 1024]
        [--steps 64] [--rounds 7] [--window 4 5] [--behind 1 2] [--baseline DIR] [--seconds 500]
    python benchmarks/mega_tp_h200.py --together --models Llama-3.2-1B [--workers 64] [--fault]

For each model and number of ranks: random weights cut by `shard`, the logits of teacher-forced
steps against the float32 reference of the whole model, tokens and inboxes that must be the same
bits on all ranks, two replays that must agree, then the time of a step by the slowest GPU. Numbers
of ranks above that of the GPUs are left out. --baseline: the folder of a decoder of the same shape
as one CUDA graph a GPU, `baseline.py` and `baseline_tp.py`; `mega_tp_peers.py` measures its
variants (NCCL or one-shot symmetric memory, cuBLAS or tuned products) after it in the same run.
Writes benchmarks/results/mega-h200-tp.json.

--together: all ranks on one GPU, whose SMs they share: correctness only. Nothing is said of speed,
since no byte goes over NVLink, and no row is written. --fault: a muted worker of the last rank must
end in an error record that names the rank; the process ends with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, versions, write
from mega_h200 import SIZES, Model

from treadle.backends.mega import cuda_pack
from treadle.backends.mega.cuda_driver import Device
from treadle.backends.mega.cuda_ranks import Ranks, cutter
from treadle.errors import EngineDead
from treadle.graph import shard
from treadle.mega import H200, Plan, compile
from treadle.mega.codegen import generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs


class Sharded(Model):
    """A model's weights and pages on the first GPU, and decoders of its parts on all."""

    def __init__(
        self, name: str, rows: int, context: int, seed: int, tp: int, workers: int, gpus: list[int]
    ) -> None:
        self.tp, self.workers, self.gpus = tp, workers, gpus
        super().__init__(name, rows, context, seed)

    def planned(self, limit: int) -> Plan:
        """The plan of a rank."""
        return compile(shard(self.graph, self.tp), replace(H200, workers=self.workers),
                       rows=self.rows, slots=self.rows, context=limit,
                       segment=segment(self.rows, limit))  # fmt: skip

    def ranks(self, knobs: Knobs) -> Ranks:
        """Decoders with packed weights; the KV is that of `restart`."""
        program = generate(self.plan, knobs)
        made = Ranks(program, [Device(g) for g in self.gpus], pages=self.pages)
        cut, names = cutter(self.graph, self.tp), self.plan.params
        for decoder, gpu in zip(made.decoders, self.gpus, strict=True):

            def part(number: int, rank: int = decoder.rank, gpu: int = gpu) -> torch.Tensor:
                found = cut(rank, names[number], lambda name: self.params[name])
                return found.to(f"cuda:{gpu}").contiguous()

            with torch.cuda.device(gpu):
                words = decoder.stream.size // 2
                blob = torch.empty(words, dtype=torch.int16, device=f"cuda:{gpu}")
                cuda_pack.fill(blob, program, lambda i, part=part: part(i).view(torch.int16))
                embed = part(program.embed)
                vectors = cuda_pack.pool(program, lambda i, part=part: part(i).cpu().numpy())
                torch.cuda.synchronize()
                decoder.device.enter()
                decoder.stream.copy(blob.data_ptr(), blob.nbytes)
                decoder.embed.copy(embed.data_ptr(), embed.nbytes)
                decoder.pool.put(vectors)
                del blob
        torch.cuda.set_device(0)
        return made

    def restart(self, made: Ranks) -> None:
        """Positions before the context as they were made, each rank's heads."""
        heads = self.kv.shape[2] // self.tp
        for decoder, gpu in zip(made.decoders, self.gpus, strict=True):
            mine = self.kv[:, :, decoder.rank * heads : (decoder.rank + 1) * heads]
            mine = mine.to(f"cuda:{gpu}").contiguous()
            torch.cuda.synchronize(gpu)
            decoder.device.enter()
            decoder.kv.copy(mine.data_ptr(), mine.nbytes)
        torch.cuda.set_device(0)

    def bytes_a_rank(self) -> int:
        """Weights that a rank reads in a step, and its heads' KV of the context."""
        sites = [s for s in self.plan.sites if s.op == 3]
        weights = sum(sum(s.rows[: s.parts]) * s.k * 2 for s in sites)
        kv = self.kv[0, 0, :, :, 0].nbytes * len(self.kv) // self.tp
        return weights + self.rows * self.context * kv


def begin_of(model: Sharded) -> list[tuple[int, int]]:
    """Token and position that each row begins with."""
    return [(17 + r, model.context) for r in range(model.rows)]


def inboxes(made: Ranks) -> list[np.ndarray]:
    """What the inboxes of each rank hold."""
    found: list[np.ndarray] = []
    for d in made.decoders:
        packets = d.sent(np.empty((made.program.packets, 4), np.uint32))
        parts = [packets[i.at : i.at + i.each * i.ranks] for i in made.program.inboxes]
        found.append(np.concatenate(parts))
    torch.cuda.set_device(0)
    return found


def correct(model: Sharded, made: Ranks, steps: int) -> dict[str, Any]:
    """Logits against the whole model's reference, bits over ranks, and a replay."""
    runs: list[tuple[np.ndarray, ...]] = []
    same = True
    for _ in range(2):
        model.restart(made)
        made.start(begin_of(model), model.table, steps)
        made.wait()
        tokens, held = made.tokens(steps), inboxes(made)
        same = same and all((t == tokens[0]).all() for t in tokens)
        same = same and all(np.array_equal(x, held[0]) for x in held)
        runs.append((tokens[0], made.logits()))
    replay = all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    tokens, last = runs[0]
    fed = np.concatenate(([[token for token, _ in begin_of(model)]], tokens[:-1]))
    wanted = model.reference(fed)
    apart = torch.linalg.norm(torch.tensor(last, device="cuda") - wanted[-1], dim=-1)
    size = torch.linalg.norm(wanted[-1], dim=-1)
    return {
        "replay_identical": replay, "ranks_identical": same,
        "relative_error": float(torch.linalg.norm(apart) / torch.linalg.norm(size)),
        "worst_row": float((apart / size).max()),
        "top1": float((wanted.argmax(-1).cpu().numpy() == tokens).mean()),
    }  # fmt: skip


def soak(model: Sharded, made: Ranks, steps: int) -> dict[str, Any]:
    """Long launches from the same pages: tokens over ranks, and all that a replay leaves."""
    runs: list[list[np.ndarray]] = []
    for _ in range(2):
        model.restart(made)
        made.start(begin_of(model), model.table, steps)
        made.wait()
        payloads = [packets[:, :3] for packets in inboxes(made)]  # less the phase's number
        runs.append([made.tokens(steps), made.logits(), *payloads])
    same = all((t == runs[0][0][0]).all() for t in runs[0][0])
    replay = all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    return {"soak_steps": steps, "soak_replay_identical": replay, "soak_ranks_identical": same}


def timed(model: Sharded, made: Ranks, steps: int) -> float:
    """Microseconds a step of one launch, by the slowest GPU."""
    args = [d.prepare(begin_of(model), model.table, steps) for d in made.decoders]
    spans: list[tuple[Any, Any]] = []
    for decoder, one in zip(made.decoders, args, strict=True):
        decoder.device.enter()
        first = decoder.device.event()
        decoder.launch(one)
        spans.append((first, decoder.device.event()))
    made.wait()
    found: list[float] = []
    for decoder, (first, second) in zip(made.decoders, spans, strict=True):
        decoder.device.enter()
        found.append(decoder.device.elapsed(first, second) / steps)
    return max(found)


def fault(model: Sharded) -> None:
    """A muted worker of the last rank must be named within the patience of a wait."""
    made = model.ranks(Knobs())
    model.restart(made)
    begun = time.perf_counter()
    phases = made.program.phases_a_step
    made.start(begin_of(model), model.table, 2, mute=(model.tp - 1, 5, phases + 4))
    try:
        made.wait()
    except EngineDead as error:
        print(f"fault: {time.perf_counter() - begun:.2f} s: {error}", flush=True)
        return
    raise SystemExit("fault: the launch ended as if nothing were missing")


def peers(args: argparse.Namespace, name: str, tp: int, batch: int) -> dict[str, Any]:
    """What `mega_tp_peers.py` measures: read bandwidth, microseconds by variant."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peers.json"
        with suppress(subprocess.TimeoutExpired):  # what it has by then counts
            subprocess.run(
                [sys.executable, str(Path(__file__).with_name("mega_tp_peers.py")),
                 str(args.baseline), str(out), "--model", name, "--tp", str(tp), "--rows",
                 str(batch), "--context", str(args.context)],
                check=False, timeout=max(30, args.seconds / 2),
            )  # fmt: skip
        return json.loads(out.read_text()) if out.exists() else {}


def placed(args: argparse.Namespace, tp: int) -> tuple[int, list[int]]:
    """Workers of a rank, and the GPU of each."""
    gpus = [0] * tp if args.together else list(range(tp))
    return args.workers or 128 // gpus.count(0), gpus


def measure(args: argparse.Namespace, name: str, tp: int, batch: int) -> list[dict[str, Any]]:
    """Rows of one model, the fastest setting last."""
    begun = time.perf_counter()
    torch.cuda.set_device(0)
    model = Sharded(name, batch, args.context, args.seed, tp, *placed(args, tp))
    checked: dict[str, Any] = {}
    times: dict[Knobs, list[float]] = {}
    for window, behind in product(args.window, args.behind):
        if times and time.perf_counter() - begun > args.seconds / 2:
            print("out of time", flush=True)
            break
        knobs = Knobs(window=window, behind=behind)
        made = model.ranks(knobs)
        if not checked:
            checked = correct(model, made, 4) | (soak(model, made, args.soak) if args.soak else {})
            print(f"{name} tp {tp} x {batch}: {checked}", flush=True)
        if args.together:
            return [{"model": name, "batch": batch, "context": args.context, "tp": tp,
                     "workers": model.workers, **checked}]  # fmt: skip
        model.restart(made)
        times[knobs] = [timed(model, made, args.steps) for _ in range(args.rounds)]
        us = statistics.median(times[knobs])
        print(f"{name} tp {tp} x {batch} window {window} behind {behind}: {us:.1f} us", flush=True)
        del made
    local = model.bytes_a_rank()
    del model
    torch.cuda.empty_cache()
    found = peers(args, name, tp, batch) if args.baseline else {}
    others: dict[str, float] = found.get("us", {})
    best = min(others, key=lambda v: others[v]) if others else ""
    gbs = found.get("read_gbs", args.gbs)
    floor = local / gbs / 1e3
    rows: list[dict[str, Any]] = []
    for knobs, each in sorted(times.items(), key=lambda item: -statistics.median(item[1])):
        us = statistics.median(each)
        rows.append({
            "model": name, "batch": batch, "context": args.context, "tp": tp, "quant": "bf16",
            "us_per_step": us, "floor_us": floor, "ratio_to_floor": us / floor,
            "best_kernel_per_op": best, "best_kernel_per_op_us": others.get(best),
            "speedup": others[best] / us if best else None, "window": knobs.window,
            "behind": knobs.behind, "peers_us": others, "all_reduce_us": found.get("all_reduce"),
            "read_gbs": gbs, "spread_us": (min(each), max(each)), "steps_a_launch": args.steps,
            **checked,
        })  # fmt: skip
    return rows


def main() -> None:
    """Measures what this machine has GPUs for and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["Qwen3-8B"], choices=list(SIZES))
    parser.add_argument("--tp", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rows", type=int, nargs="+", default=[1])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, nargs="+", default=[5])
    parser.add_argument("--behind", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, help="of a rank; 128, --together 128 for all")
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--gbs", type=float, default=4571, help="read bandwidth without a baseline")
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--soak", type=int, default=0, help="steps of a long launch, up to 250")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--fault", action="store_true")
    args = parser.parse_args()
    torch.cuda.init()
    count = torch.cuda.device_count()
    if args.fault:
        tp = args.tp[0]
        fault(Sharded(args.models[0], 1, args.context, args.seed, tp, *placed(args, tp)))
        return
    rows: list[dict[str, Any]] = []
    for name, tp, batch in product(args.models, args.tp, args.rows):
        if tp > count and not args.together:
            print(f"{name} tp {tp}: this machine has {count} GPUs", flush=True)
            continue
        rows += measure(args, name, tp, batch)
        torch.cuda.empty_cache()
        write("mega-h200-tp-together" if args.together else "mega-h200-tp", {
            "machine": machine(), "versions": versions("torch", "numpy"),
            "gpu": torch.cuda.get_device_name(), "gpus": count, "seed": args.seed,
            "driver": subprocess.run(
                ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"],
                check=True, capture_output=True, text=True).stdout.strip(),
            "rows": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
