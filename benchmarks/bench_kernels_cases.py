"""The CUDA decode kernels beside their references: what `bench_kernels_cuda.py` checks and times.

A case makes inputs, knows its float64 reference, a torch baseline, the bytes it must move, and how
to call the compiled library. Needs torch and a Hopper GPU; not the treadle package.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

DEVICE = "cuda"
BF16 = torch.bfloat16


class Library:
    """Compiled kernels of one folder, by function name. Every call is checked."""

    def __init__(self, folder: Path) -> None:
        self._functions: dict[str, Any] = {}
        for path in sorted(folder.resolve().glob("*.so")):
            library = ctypes.CDLL(str(path))
            for name in (f"treadle_{path.stem}_{t}" for t in ("bf16", "f16", "f32")):
                if hasattr(library, name):
                    self._functions[name] = getattr(library, name)

    def __call__(self, name: str, *args: Any) -> None:
        given: list[Any] = []
        for value in args:
            if value is None:
                given.append(ctypes.c_void_p(0))
            elif isinstance(value, torch.Tensor):
                given.append(ctypes.c_void_p(value.data_ptr()))
            elif isinstance(value, float):
                given.append(ctypes.c_float(value))
            else:
                given.append(value)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        status = self._functions[name](*given, stream)
        if status:
            raise RuntimeError(f"{name}: CUDA error {status}")


i64 = ctypes.c_int64
Call = Callable[[], Any]


@dataclass
class Case:
    """make(): inputs of one call. run(inputs, overlap) fills and returns the outputs."""

    name: str
    shape: dict[str, int]
    make: Callable[[], dict[str, Any]]
    run: Callable[..., tuple[torch.Tensor, ...]]
    reference: Callable[[dict[str, Any]], tuple[torch.Tensor, ...]]
    baselines: dict[str, Callable[[dict[str, Any]], Any]]
    bytes: int
    variants: tuple[int, ...] = (-1,)
    tolerance: float = 4e-3  # relative L2 error of a row of bf16 results
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    read: Callable[..., tuple[torch.Tensor, ...]] = lambda inputs, *outputs: outputs


def normal(*shape: int, dtype: torch.dtype = BF16, by: float = 1.0) -> torch.Tensor:
    return (torch.randn(shape, device=DEVICE, dtype=torch.float32) * by).to(dtype)


def poison(*shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
    return torch.full(shape, math.nan, device=DEVICE, dtype=dtype)


def rmsnorm(lib: Library, T: int, D: int, *, fused: bool, eps: float = 1e-6) -> Case:
    def make() -> dict[str, Any]:
        made = {"x": normal(T, D), "w": 1 + normal(D, by=0.1), "y": poison(T, D)}
        if fused:
            made |= {"r": normal(T, D), "s": poison(T, D)}
        return made

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        lib("treadle_rmsnorm_bf16", a["y"], a.get("s"), a["x"], a.get("r"), a["w"], T, D, i64(D),
            eps, 0, 0, overlap)  # fmt: skip
        return (a["y"], a["s"]) if fused else (a["y"],)

    def reference(a: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        v = a["x"].double() + (a["r"].double() if fused else 0.0)
        y = v * torch.rsqrt(v.square().mean(-1, keepdim=True) + eps) * a["w"].double()
        return (y, v) if fused else (y,)

    def eager(a: dict[str, Any]) -> Any:
        x = a["x"] + a["r"] if fused else a["x"]
        return functional.rms_norm(x, (D,), a["w"], eps)

    size = 2 * T * D * (4 if fused else 2) + 2 * D
    name = "fused_add_rmsnorm" if fused else "rmsnorm"
    return Case(name, {"T": T, "D": D}, make, run, reference, {"torch": eager}, size)


def silu_and_mul(lib: Library, T: int, F: int) -> Case:
    def make() -> dict[str, Any]:
        return {"x": normal(T, 2 * F), "y": poison(T, F)}

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        up = ctypes.c_void_p(a["x"].data_ptr() + 2 * F)
        lib("treadle_silu_and_mul_bf16", a["y"], a["x"], up, T, F, i64(2 * F), overlap)
        return (a["y"],)

    def reference(a: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        x = a["x"].double()
        return (functional.silu(x[:, :F]) * x[:, F:],)

    def eager(a: dict[str, Any]) -> Any:
        return functional.silu(a["x"][:, :F]) * a["x"][:, F:]

    return Case("silu_and_mul", {"T": T, "F": F}, make, run, reference, {"torch": eager}, 6 * T * F)


def rope(lib: Library, T: int, H: int, K: int, d: int, r: int, *, norm: bool, cache: bool) -> Case:
    """r: half the rotated dimensions. norm: of q and k before. cache: appends k and v."""
    positions, slots = 4096, 64 * max(T, 1)

    def make() -> dict[str, Any]:
        angle = torch.arange(positions, device=DEVICE)[:, None] * (
            5e5 ** (-torch.arange(r, device=DEVICE, dtype=torch.float64) / r)
        )
        made: dict[str, Any] = {
            "h": normal(T, (H + 2 * K) * d),
            "table": torch.cat((angle.cos(), angle.sin()), -1).float().contiguous(),
            "pos": torch.randint(0, positions, (T,), device=DEVICE),
            "q": poison(T, H, d),
            "k": poison(slots if cache else T, K, d),
        }
        if cache:
            made["slots"] = torch.randperm(slots, device=DEVICE)[:T]
            made["v"] = poison(slots, K, d)
        if norm:
            made["qw"] = 1 + normal(d, dtype=torch.float32, by=0.1)
            made["kw"] = 1 + normal(d, dtype=torch.float32, by=0.1)
        return made

    row = (H + 2 * K) * d

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        base = a["h"].data_ptr()
        k_at, v_at = (ctypes.c_void_p(base + 2 * d * n) for n in (H, H + K))
        lib("treadle_rope_bf16", a["q"], a["k"], a.get("v"), a["h"], k_at, v_at if cache else None,
            a["table"], a["pos"], a.get("slots"), a.get("qw"), a.get("kw"), T, H, K, d, r,
            i64(row), i64(row), i64(row), 1e-6, overlap)  # fmt: skip
        return (a["q"], a["k"], a["v"]) if cache else (a["q"], a["k"])

    def read(a: dict[str, Any], q: Any, *kv: Any) -> tuple[torch.Tensor, ...]:
        return (q, *(t[a["slots"]] for t in kv)) if cache else (q, *kv)

    def compute(a: dict[str, Any], wide: torch.dtype) -> tuple[torch.Tensor, ...]:
        h = a["h"].view(T, H + 2 * K, d)
        qk = h[:, : H + K].to(wide)
        if norm:
            w = torch.cat((a["qw"].expand(H, d), a["kw"].expand(K, d))).to(wide)
            qk = qk * torch.rsqrt(qk.square().mean(-1, keepdim=True) + 1e-6) * w
        c, s = a["table"][a["pos"]].to(wide)[:, None].chunk(2, -1)
        x, y, rest = qk[..., :r], qk[..., r : 2 * r], qk[..., 2 * r :]
        out = torch.cat((x * c - y * s, y * c + x * s, rest), -1)
        found = (out[:, :H], out[:, H:])
        return (*found, h[:, H + K :].to(wide)) if cache else found

    def eager(a: dict[str, Any]) -> Any:
        q, k, *v = compute(a, torch.float32)
        if cache:
            a["k"].index_copy_(0, a["slots"], k.to(BF16))
            a["v"].index_copy_(0, a["slots"], v[0].to(BF16))
        return q.to(BF16)

    name = "rope" + ("_norm" if norm else "") + ("_append" if cache else "")
    shape = {"T": T, "H": H, "K": K, "d": d, "r": r}
    size = 4 * T * (H + K * (2 if cache else 1)) * d + 8 * T * r
    return Case(name, shape, make, run, lambda a: compute(a, torch.float64), {"torch": eager},
                size, tolerance=6e-3 if norm else 4e-3, read=read)  # fmt: skip


def pack_w4g32(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Codes 0..15 uint8 [N, K] and float16 scales [N, K/32] -> int8 [N, K/2 + K/16]."""
    N, K = codes.shape
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7], device=codes.device)
    parts = codes.view(N, K // 128, 4, 4, 8)[..., order]  # [N, blocks, group, lane, nibble]
    packed = parts[..., 0::2] | (parts[..., 1::2] << 4)  # [N, blocks, group, lane, 4 bytes]
    packed = packed.transpose(2, 3).reshape(N, K // 2)
    tail = scales.contiguous().view(torch.uint8).view(N, K // 16)
    return torch.cat((packed, tail), 1).view(torch.int8)


EPILOGUES = {"plain": 0, "add": 1, "gate": 2}


def gemm(lib: Library, M: int, N: int, K: int, *, bits: int = 16, epilogue: str = "plain") -> Case:
    """y = x . w^T; gate: w holds 2N rows and y = silu(first half) * second half."""
    rows = 2 * N if epilogue == "gate" else N

    def make() -> dict[str, Any]:
        made: dict[str, Any] = {"x": normal(M, K), "y": poison(M, N)}
        if bits == 4:
            codes = torch.randint(0, 16, (rows, K), device=DEVICE, dtype=torch.uint8)
            scales = (torch.rand(rows, K // 32, device=DEVICE) + 0.5) * (0.2 / math.sqrt(K))
            scales = scales.half()
            made["w"] = pack_w4g32(codes, scales)
            if "wide" in case.notes:  # only when checking: the dequantised weights
                made["dense"] = (codes.double() - 8) * scales.double().repeat_interleave(32, 1)
            if "baseline" in case.notes:
                made["w16"] = normal(rows, K, by=K**-0.5)
        else:
            made["w"] = normal(rows, K, by=K**-0.5)
        if epilogue == "add":
            made["r"] = normal(M, N)
        return made

    function = "treadle_gemm_w4g32_bf16" if bits == 4 else "treadle_gemm_small_bf16"

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        lib(function, a["y"], a["x"], a["w"], a.get("r"), M, N, K, i64(K), EPILOGUES[epilogue],
            variant, overlap)  # fmt: skip
        return (a["y"],)

    def finish(y: torch.Tensor, a: dict[str, Any]) -> torch.Tensor:
        if epilogue == "add":
            return y + a["r"]
        return functional.silu(y[:, :N]) * y[:, N:] if epilogue == "gate" else y

    def reference(a: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        w = a["dense"] if bits == 4 else a["w"].double()
        return (finish(a["x"].double() @ w.T, a),)

    def cublas(a: dict[str, Any]) -> Any:
        return finish(functional.linear(a["x"], a["w16"] if bits == 4 else a["w"]), a)

    size = rows * K * 2 if bits == 16 else rows * (K // 2 + K // 16)
    size += 2 * M * (K + N * (2 if epilogue == "add" else 1))
    name = ("gemm" if bits == 16 else "gemm_w4g32") + (
        "" if epilogue == "plain" else "_" + epilogue
    )
    case = Case(name, {"M": M, "N": N, "K": K}, make, run, reference, {"cublas_bf16": cublas}, size,
                variants=(0, 4, 8, 16),
                tolerance=1e-2 if epilogue == "gate" else 4e-3)  # fmt: skip
    return case


def splits_for(batch: int, K: int, length: int) -> int:
    """Blocks a sequence and key head: enough to fill 132 multiprocessors, a warp a tile or more."""
    return max(1, min(math.ceil(length / 64), 132 * 4 // (batch * K), 64))


def gqa(lib: Library, b: int, H: int, K: int, d: int, page: int, lens: list[int],
        splits: int | None = None) -> Case:  # fmt: skip
    pages = [math.ceil(n / page) for n in lens]
    pool = sum(pages) + 3
    scale = d**-0.5
    parts = splits or splits_for(b, K, max(lens, default=1))

    def make() -> dict[str, Any]:
        order = torch.randperm(pool, device=DEVICE)[: sum(pages)].int()
        ptr = torch.tensor([0, *torch.tensor(pages).cumsum(0).tolist()], dtype=torch.int32)
        last = torch.tensor(
            [n - (p - 1) * page if p else 0 for n, p in zip(lens, pages, strict=True)]
        )
        k, v = normal(pool, page, K, d), normal(pool, page, K, d)
        for i, n in enumerate(lens):  # what lies beyond a sequence must not matter
            if n % page:
                at = order[int(ptr[i + 1]) - 1]
                k[at, n % page :] = math.nan
                v[at, n % page :] = math.nan
        return {
            "q": normal(b, H, d), "k": k, "v": v, "ptr": ptr.to(DEVICE), "idx": order,
            "last": last.int().to(DEVICE), "o": poison(b, H, d),
            "lse": poison(b, H, dtype=torch.float32),
            "work": poison(b * H * parts * (d + 2), dtype=torch.float32),
            "arrived": torch.zeros(b * K, dtype=torch.int32, device=DEVICE),
        }  # fmt: skip

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        lib("treadle_gqa_paged_decode_bf16", a["o"], a["lse"], a["q"], a["k"], a["v"], a["ptr"],
            a["idx"], None if page == 1 else a["last"], a["work"], a["arrived"], b, H, K, d, page,
            i64(H * d), variant if variant > 0 else parts, scale, overlap)  # fmt: skip
        return a["o"], a["lse"]

    def gathered(a: dict[str, Any], i: int) -> tuple[torch.Tensor, torch.Tensor]:
        first, stop = int(a["ptr"][i]), int(a["ptr"][i + 1])
        at = a["idx"][first:stop].long()
        return tuple(a[n][at].view(-1, K, d)[: lens[i]] for n in ("k", "v"))  # type: ignore

    def reference(a: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        out = torch.zeros(b, H, d, dtype=torch.float64, device=DEVICE)
        lse = torch.full((b, H), -math.inf, dtype=torch.float64, device=DEVICE)
        for i in range(b):
            if not lens[i]:
                continue
            k, v = (t.double().repeat_interleave(H // K, 1) for t in gathered(a, i))
            s = torch.einsum("hd,nhd->hn", a["q"][i].double(), k) * scale
            lse[i] = torch.logsumexp(s, -1) / math.log(2)
            out[i] = torch.einsum("hn,nhd->hd", s.softmax(-1), v)
        return out, lse

    def sdpa(a: dict[str, Any]) -> Any:
        """On contiguous keys of one length: no pages to follow, which favours it."""
        if "dense" not in a:
            n = max(lens)
            a["dense"] = tuple(normal(b, K, n, d) for _ in range(2))
        k, v = a["dense"]
        return functional.scaled_dot_product_attention(
            a["q"][:, :, None], k, v, scale=scale, enable_gqa=True
        )

    size = sum(lens) * K * d * 4 + b * H * d * 4
    shape = {
        "b": b,
        "H": H,
        "K": K,
        "d": d,
        "page": page,
        "len": max(lens, default=0),
        "splits": parts,
    }
    return Case("gqa_paged_decode", shape, make, run, reference, {"sdpa_dense": sdpa}, size,
                tolerance=6e-3)  # fmt: skip


def sample(lib: Library, b: int, V: int, k: int, p: float) -> Case:
    """Draws under top_k and top_p; checked apart, by their distribution."""

    def make() -> dict[str, Any]:
        return {
            "p": torch.softmax(torch.randn(b, V, device=DEVICE) * 2.5, -1),
            "k": torch.full((b,), k, device=DEVICE, dtype=torch.int32),
            "tp": torch.full((b,), p, device=DEVICE),
            "o": torch.full((b,), -1, device=DEVICE, dtype=torch.int64),
        }

    def run(a: dict[str, Any], overlap: int = 0, variant: int = -1) -> tuple[torch.Tensor, ...]:
        lib("treadle_sample_f32", a["o"], a["p"], a["k"], a["tp"], None, b, V,
            ctypes.c_uint64(11), overlap)  # fmt: skip
        return (a["o"],)

    def sort(a: dict[str, Any]) -> Any:
        v, i = a["p"].sort(-1, descending=True)
        if k:
            v[:, k:] = 0
        c = v.cumsum(-1)
        v = v.masked_fill((c - v) > a["tp"][:, None] * c[:, -1:], 0.0)
        u = torch.rand(b, 1, device=DEVICE) * v.sum(-1, keepdim=True)
        return i.gather(-1, torch.searchsorted(v.cumsum(-1), u))

    shape = {"b": b, "V": V, "k": k, "p100": int(p * 100)}
    return Case("sample", shape, make, run, lambda a: (), {"torch_sort": sort}, b * V * 4)
