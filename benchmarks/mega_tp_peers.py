"""Kernels an operator under tensor parallelism, one process a GPU, each a CUDA graph.

    python benchmarks/mega_tp_peers.py FOLDER OUT.json [--model Qwen3-8B] [--tp 2] [--rows 1]

FOLDER: a decoder of the same shape, `baseline.py` and `baseline_tp.py`. Variants: the Triton set
with cuBLAS or with each product by a GEMV tuned by shape (one row) or the kernel of `mega_rows.py`
(more), sums over ranks by NCCL in the graph or by the one-shot kernel of torch's symmetric memory.
NVLink multicast stays off. Times are those of the slowest rank. Writes {read_gbs, us, all_reduce}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

os.environ |= {
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
}


def modules(folder: Path) -> tuple[Any, Any]:
    """The two scripts as modules; they read the command line when they are loaded."""
    sys.path.insert(0, str(folder))
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        import baseline
        import baseline_tp
    finally:
        sys.argv = kept
    baseline.ON_GPU = True
    return baseline, baseline_tp


def tuned(base: Any, model: Any, comm: Any, rows: int) -> Any:
    """Gives the model the fastest product a shape; a communicator that multiplies into memory its
    peers see does it by those too."""
    if rows == 1:
        if not model.use_gemv:
            base.tune_gemv(model)
        model.use_gemv = True
    elif getattr(model, "tuned_lin", None) is None:
        import mega_rows

        mega_rows.tune(model, rows, lambda call: base.bench(
            base.Captured(call, warm=1).replay, target_s=0.02, reps=3)[0])  # fmt: skip
        model.lin = model.tuned_lin
    if not hasattr(comm, "linear_reduce"):
        return comm

    def linear_reduce(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        out = comm.buf[: x.shape[0] * w.shape[0]].view(x.shape[0], w.shape[0])
        config = model.gemv_cfg.get(tuple(w.shape)) if rows == 1 else None
        if config is not None:
            base.gemv(x, w, out, *config)
        else:
            out.copy_(model.lin(x, w))
        return torch.ops.symm_mem.one_shot_all_reduce(out, "sum", comm.group)

    comm.linear_reduce = linear_reduce
    return comm


def work(rank: int, args: argparse.Namespace, init: str) -> None:
    """One GPU's part."""
    base, tp = modules(args.folder)
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", init_method=init, rank=rank, world_size=args.tp,
                            timeout=timedelta(seconds=120), device_id=device)  # fmt: skip
    found: dict[str, Any] = {
        "read_gbs": -tp.agree(-read_gbs(base, device), device),
        "us": {},
        "all_reduce": {},
    }
    model = base.Model(args.model, base.CONFIGS[args.model], device, torch.bfloat16,
                       comm=tp.NcclComm(rank, args.tp, device))  # fmt: skip
    nccl = model.comm
    model.set_state(args.rows, args.context)
    for products in ("cublas", "tuned"):
        comms = {"nccl": nccl}
        try:
            comms["symm"] = tp.SymmComm(rank, args.tp, device, 1 << 20, torch.bfloat16)
        except (RuntimeError, AssertionError) as error:
            print("no symmetric memory:", repr(error)[:200], flush=True)
        if tp.agree(float("symm" in comms), device, dist.ReduceOp.MIN) < 1:
            comms.pop("symm", None)
        for name, comm in comms.items():
            model.comm = tuned(base, model, comm, args.rows) if products == "tuned" else comm
            dist.barrier()
            model.reset()
            graph = base.Captured(model.step_triton, warm=2)
            seconds, _ = tp.bench_tp(graph.replay, device)
            found["us"][f"{products}+{name}"] = seconds * 1e6
            if products == "cublas":
                found["all_reduce"][name] = reduced(base, tp, comm, device, name)
            del graph
            if rank == 0:
                args.out.write_text(json.dumps(found))
                print(args.model, args.tp, products, name, f"{seconds * 1e6:.1f} us", flush=True)
    dist.barrier()
    dist.destroy_process_group()


def read_gbs(base: Any, device: torch.device) -> float:
    """GB/s of the best read of 2 GiB."""
    data = torch.ones(1 << 29, dtype=torch.int32, device=device)
    found = 0.0
    for block, turns, warps in ((4096, 16, 8), (4096, 64, 8), (8192, 16, 8), (2048, 64, 4)):
        grid = data.numel() // (block * turns)
        out = torch.empty(grid, dtype=torch.int32, device=device)
        launch, sizes = base.k_read[(grid,)], {"ITERS": turns, "BLOCK": block, "num_warps": warps}
        seconds, _ = base.bench(
            lambda launch=launch, out=out, sizes=sizes: launch(data, out, data.numel(), **sizes),
            target_s=0.05, reps=3,
        )  # fmt: skip
        found = max(found, data.nbytes / seconds / 1e9)
    return found


def reduced(base: Any, tp: Any, comm: Any, device: torch.device, name: str) -> float:
    """Microseconds of one sum of 8 KB, 64 in a chain in a graph."""
    x = torch.ones(4096, device=device, dtype=torch.bfloat16)

    def chain() -> None:
        for _ in range(64):
            if name == "nccl":
                dist.all_reduce(x)
            else:
                torch.ops.symm_mem.one_shot_all_reduce(comm.buf[:4096], "sum", comm.group)

    return (
        tp.bench_tp(base.Captured(chain, warm=2).replay, device, target_s=0.05, reps=3)[0] / 64e-6
    )


def main() -> None:
    """Runs all ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="Qwen3-8B")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--context", type=int, default=1024)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(args, f"file://{folder}/init"), nprocs=args.tp, join=True)


if __name__ == "__main__":
    main()
