"""A decoder a kernel an operator whose products take 4-bit weights: peers of mega_quant_h200.py."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl

from treadle.backends.mega.cuda_tiles import Codes

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

SOLUTIONS = Path(__file__).parents[1] / "kernels" / "solutions" / "treadle" / "gemm"
SETTINGS = [(n, b, w) for n in (1, 2, 4, 8, 16) for b in (4, 8, 16) for w in (2, 4, 8)]
"""Rows of a program, blocks of 128 columns at a time, warps: what `tuned` tries."""


@triton.jit
def _gemv(x, w, scales, y, n, k, width, height: tl.constexpr, blocks: tl.constexpr):
    rows = tl.program_id(0) * height + tl.arange(0, height)
    byte = tl.arange(0, 64 * blocks)
    block, lane, group, inner = byte // 64, byte // 16 % 4, byte // 4 % 4, byte % 4
    low = block * 128 + group * 32 + lane * 8 + 4 * (inner % 2) + inner // 2
    here = (rows < n)[:, None]
    codes_at = w + rows[:, None].to(tl.int64) * width + byte[None]
    scales_at = scales + rows[:, None].to(tl.int64) * (width // 2) + k // 4
    scales_at += (block * 4 + group)[None]
    acc = tl.zeros((height, 64 * blocks), tl.float32)
    for first in range(0, k // 128, blocks):
        inside = (first + block < k // 128)[None] & here
        codes = tl.load(codes_at + first * 64, mask=inside, other=0).to(tl.int32)
        scale = tl.load(scales_at + first * 4, mask=inside, other=0.0).to(tl.float32)
        columns = first * 128 + low
        even = tl.load(x + columns, mask=columns < k, other=0.0).to(tl.float32)[None]
        odd = tl.load(x + columns + 2, mask=columns + 2 < k, other=0.0).to(tl.float32)[None]
        sums = ((codes & 15) - 8).to(tl.float32) * even
        sums += ((codes >> 4 & 15) - 8).to(tl.float32) * odd
        acc += sums * scale
    tl.store(y + rows, tl.sum(acc, 1).to(y.dtype.element_ty), mask=rows < n)


def gemv_of(setting: tuple[int, int, int]) -> Product:
    """y = x wᵀ of one row x [1, K] and an operand [N, K / 2 + K / 16]."""
    rows, blocks, warps = setting

    def call(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        n, k = len(w), x.shape[1]
        y = torch.empty((1, n), dtype=x.dtype, device=x.device)
        _gemv[(triton.cdiv(n, rows),)](x, w, w.view(torch.float16), y, n, k, w.shape[1],
                                      height=rows, blocks=blocks, num_warps=warps)  # fmt: skip
        return y

    return call


def operand_of(codes: Codes) -> torch.Tensor:
    """A matrix as the definitions `gemm … w4g32` take it: int8 [N, K / 2 + K / 16]."""
    rows, columns = codes.code.shape
    grouped = codes.code.view(rows, columns // 128, 4, 4, 8)  # block, group, lane, column
    low, high = grouped[..., [0, 4, 1, 5]], grouped[..., [2, 6, 3, 7]]
    packed = (low | high << 4).transpose(2, 3).reshape(rows, columns // 2)
    return torch.cat([packed, codes.scale.contiguous().view(torch.uint8)], 1).view(torch.int8)


def solution(n: int, k: int) -> tuple[str, Product] | None:
    """Name and product of the repository's solution for a shape, CUDA before Triton, if any."""
    folder = SOLUTIONS / f"gemm_n{n}_k{k}_bf16_w4g32"
    for path in (p for kind in ("cuda", "triton") for p in folder.glob(f"*_{kind}_*.json")):
        found = json.loads(path.read_text())
        file, _, entry = found["spec"]["entry_point"].partition("::")
        if not file.endswith(".py"):  # needs a build: the engine's, not a benchmark's
            continue
        kept = Path(tempfile.mkdtemp())
        for source in found["sources"]:
            (kept / source["path"]).write_text(source["content"])
        spec = importlib.util.spec_from_file_location(path.stem, kept / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return found["name"], getattr(module, entry)
    return None


def variants(
    module: Any, m: Any, packed: Callable[[torch.Tensor], Codes]
) -> dict[str, Callable[[], None]]:
    """Steps of the baseline decoder `m`, its products replaced. module: the baseline script."""
    held: dict[int, torch.Tensor] = {}
    by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for w in (*(L[n] for L in m.layers for n in ("wqkv", "wo", "wgu", "wd")), m.lm_head):
        held[w.data_ptr()] = operand_of(packed(w))
        by_shape.setdefault(tuple(w.shape), []).append(held[w.data_ptr()])
    sets: dict[str, dict[tuple[int, ...], Product]] = {}
    known = {shape: solution(*shape) for shape in by_shape}
    if all(known.values()):
        sets["w4_gemm"] = {shape: found[1] for shape, found in known.items() if found}
    if m.B == 1:
        sets["w4_gemv"] = {shape: tuned(module, ws, shape[1]) for shape, ws in by_shape.items()}

    def step(products: dict[tuple[int, ...], Product]) -> Callable[[], None]:
        def call() -> None:
            m.lin = lambda x, w: products[tuple(w.shape)](x, held[w.data_ptr()])
            m.step_triton()

        return call

    return {name: step(products) for name, products in sets.items()}


def tuned(module: Any, weights: list[torch.Tensor], columns: int) -> Product:
    """The fastest GEMV over all weights of a shape, so that none is found in the cache."""
    x = torch.randn((1, columns), dtype=torch.bfloat16, device=weights[0].device)
    best: tuple[float, Product] = float("inf"), gemv_of(SETTINGS[0])
    for setting in SETTINGS:
        product = gemv_of(setting)

        def every(product: Product = product) -> None:
            for w in weights:
                product(x, w)

        replay = module.Captured(every, warm=1).replay
        seconds = module.bench(replay, target_s=0.01, reps=3)[0]
        best = min(best, (seconds, product), key=lambda found: found[0])
    return best[1]
