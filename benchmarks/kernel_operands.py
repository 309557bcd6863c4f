"""Valid operands of any shipped definition, and how far a result may lie from its reference.

Works on definitions as JSON, so that it runs where only torch is installed. The tests of solutions
and `bench_kernels_solutions.py` share it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
    "int32": torch.int32,
    "int64": torch.int64,
}
ULP = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
"""Half a unit in the last place, relative to a value."""
POSITIONS = 2048


def operands(
    d: dict[str, Any], rows: int, *, longest: int = 40, device: str = "cpu", seed: int = 0
) -> dict[str, Any]:
    """Inputs by name. rows: tokens, or sequences where each has one query; longest: of a sequence.

    One sequence in four is empty where a definition allows it.
    """
    g = torch.Generator().manual_seed(seed)
    own = torch.Generator(device=device).manual_seed(seed)  # weights are made where they stay
    sizes = _sizes(d, rows, longest, g)
    made: dict[str, Any] = {}
    for name, tensor in d["inputs"].items():
        if tensor["shape"] is None:
            made[name] = sizes["head_dim"] ** -0.5
            continue
        shape = [sizes[axis] for axis in tensor["shape"]]
        value = _integers(d, name, shape, sizes, g, own)
        if value is None:
            value = _floats(name, tensor["dtype"], shape, own)
        made[name] = value.to(DTYPES[tensor["dtype"]]).to(device).contiguous()
    return made


def outputs(d: dict[str, Any], given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Destinations by name, full of poison."""
    sizes = {name: axis["value"] for name, axis in d["axes"].items() if "value" in axis}
    device = "cpu"
    for name, tensor in d["inputs"].items():
        if tensor["shape"] is not None:
            sizes.update(zip(tensor["shape"], given[name].shape, strict=True))
            device = given[name].device
    return {
        name: torch.full(
            [sizes[axis] for axis in t["shape"]], -77, dtype=DTYPES[t["dtype"]], device=device
        )
        for name, t in d["outputs"].items()
    }


def reference(d: dict[str, Any]) -> Any:
    """`run` of a definition of our own making."""
    space: dict[str, Any] = {}
    exec(compile(d["reference"], d["name"], "exec"), space)  # noqa: S102 - our own text
    return space["run"]


def wanted(d: dict[str, Any], given: dict[str, Any], dtype: Any = torch.float64) -> tuple[Any, ...]:
    """The reference's outputs with every float operand in `dtype`; None leaves them as they are."""
    wide = [
        v.to(dtype) if dtype and isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for v in given.values()
    ]
    found = reference(d)(*wide)
    return found if isinstance(found, tuple) else (found,)


def error(found: torch.Tensor, oracle: torch.Tensor) -> float:
    """Largest relative error of a row; infinite where infinities, NaN or integers differ."""
    if found.shape != oracle.shape:
        return math.inf
    if not oracle.is_floating_point():
        return 0.0 if torch.equal(found.to(oracle.dtype), oracle) else math.inf
    if not oracle.numel():
        return 0.0
    found = found.double().reshape(-1, found.shape[-1])
    oracle = oracle.double().reshape(-1, oracle.shape[-1])
    finite = torch.isfinite(oracle)
    if not torch.equal(found[~finite], oracle[~finite]) or not bool(found[finite].isfinite().all()):
        return math.inf
    apart = torch.where(finite, found - oracle, 0.0).norm(dim=-1)
    return float((apart / torch.where(finite, oracle, 0.0).norm(dim=-1).clamp(min=1e-3)).max())


def excess(d: dict[str, Any], given: dict[str, Any], found: Any) -> float:
    """The largest error as a share of what is allowed: 1 or less is right.

    Allowed is three times the error of the reference in the storage types, whose sums are float32,
    and never less than three times half a unit in the last place.
    """
    if d["op_type"] == "sampling":
        return math.inf if unlikely(given, found[0]) else 0.0
    exact, low = wanted(d, given), wanted(d, given, None)
    worst = 0.0
    for value, one, near, t in zip(found, exact, low, d["outputs"].values(), strict=True):
        if value.dtype != DTYPES[t["dtype"]]:
            return math.inf
        floor = ULP.get(t["dtype"], 0.0) * (8 if t["dtype"] == "float32" else 1)
        own = error(near, one)
        share = error(value, one)
        worst = max(worst, share / (3 * max(own, floor, 1e-30)))
    return worst


def moved(d: dict[str, Any], given: dict[str, Any]) -> int:
    """Bytes that a call must read and write: of pages, tables and experts only what it uses."""

    def size(t: torch.Tensor) -> int:
        return t.numel() * t.element_size()

    total = sum(size(t) for t in outputs(d, given).values())
    lengths = None
    if "kv_indptr" in given and d["op_type"] == "gqa_paged":
        page = given["k_cache"].shape[1]
        counts = given["kv_indptr"].diff()
        last = given.get("kv_last_page_len", counts)[: counts.shape[0]]
        keys = (counts - 1).clamp(min=0) * page + (last if page > 1 else 1) * (counts > 0)
        lengths = int(keys.sum())
    for name, t in given.items():
        if not isinstance(t, torch.Tensor):
            continue
        if name in ("k_cache", "v_cache"):
            total += lengths * size(t[0, 0])  # type: ignore[operator]
        elif name == "kv" and d["op_type"] == "attention":
            total += int(given["lens"].sum()) * 2 * size(t[0, 0, 0])
        elif d["op_type"] in ("embed", "take", "take_norm_linear") and name in ("table", "x"):
            rows = given["ids"] if "ids" in given else given["rows"]
            total += rows.shape[0] * size(t[0])
        elif name == "cos_sin_cache":
            total += given["positions"].shape[0] * size(t[0])
        elif name in ("wg", "wu", "wd") and t.ndim == 3:
            used = given["i"].unique().numel() if "i" in given else t.shape[0]
            total += used * size(t[0])
        else:
            total += size(t)
    return total


def unlikely(given: dict[str, Any], samples: torch.Tensor) -> int:
    """Draws outside what the filters leave."""
    wrong = 0
    for b, token in enumerate(samples.tolist()):
        row = given["probs"][b].double()
        if not 0 <= token < len(row) or row[token] <= 0:
            wrong += 1
            continue
        p = row[token]
        k = int(given["top_k"][b]) if "top_k" in given else 0
        if 0 < k < len(row):
            kept = row.topk(k).values
            wrong += bool(p < kept[-1])
            row, p = torch.where(row >= kept[-1], row, 0.0) / kept.sum(), p / kept.sum()
        if "top_p" in given:
            wrong += bool(row[row > p].sum() > float(given["top_p"][b]) + 1e-5)
    return wrong


def _sizes(d: dict[str, Any], rows: int, longest: int, g: Any) -> dict[str, Any]:
    """Sizes of all axes; under names that no axis has, lengths and offsets of sequences."""
    sizes: dict[str, Any] = {n: a["value"] for n, a in d["axes"].items() if "value" in a}
    names, page = d["inputs"], sizes.get("page_size", sizes.get("B", 1))
    one_query = "qo_indptr" not in names and "kv_indptr" in names
    sequences = rows if one_query else max(1, min(4, rows // 2))
    lens = torch.randint(1, longest + 1, (sequences,), generator=g)
    if one_query and sequences > 3:
        lens[1::4] = 0
    queries = torch.ones(sequences, dtype=torch.int64)
    if not one_query:  # the queries dealt to sequences that hold at least as many keys
        cuts = torch.sort(torch.randint(0, rows + 1, (sequences - 1,), generator=g)).values.tolist()
        bounds = torch.tensor([0, *cuts, rows])
        queries = bounds[1:] - bounds[:-1]
        lens = torch.maximum(lens, queries)
    counts = (lens + page - 1) // page
    total = int(counts.sum())
    sizes |= {"lens": lens, "queries": queries, "counts": counts}
    extra = 3
    given = {
        "T": rows, "M": rows, "R": (rows + 1) // 2, "S": sequences, "S_plus_1": sequences + 1,
        "total_q": rows,
        "num_tokens": rows, "batch_size": rows if "kv_indptr" not in names else sequences,
        "len_indptr": sequences + 1, "num_pages": total + extra, "num_kv_indices": total,
        "total_kv": int(lens.sum()), "L": int(counts.max()), "max_seq_len": POSITIONS,
        "P": max(total + extra, rows // page + 2), "num_qo_heads": 8, "num_kv_heads": 2,
    }  # fmt: skip
    return {**given, **sizes}


def _integers(
    d: dict[str, Any], name: str, shape: list[int], sizes: dict[str, Any], g: Any, own: Any
) -> torch.Tensor | None:
    """Indices, offsets and packed codes; None for what is random floats."""

    def offsets(parts: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.zeros(1, dtype=parts.dtype), parts.cumsum(0)))

    ragged = d["op_type"] == "gqa_ragged"
    match name:
        case "ids":
            return torch.randint(0, sizes["V"], shape, generator=g)
        case "rows":
            return torch.randint(0, sizes["T"], shape, generator=g)
        case "slots":
            return torch.randperm(sizes["P"] * sizes["B"], generator=g)[: shape[0]]
        case "pos":
            return torch.randint(0, 300, shape, generator=g)
        case "positions":
            return torch.randint(0, POSITIONS, shape, generator=g)
        case "i":
            order = torch.rand(shape[0], sizes["E"], generator=g).argsort(-1)
            return order[:, : shape[1]]
        case "starts" | "qo_indptr":
            return offsets(sizes["queries"])
        case "kv_indptr":
            return offsets(sizes["lens" if ragged else "counts"])
        case "kv_indices":
            return torch.randperm(sizes["num_pages"], generator=g)[: shape[0]]
        case "kv_last_page_len":
            last = sizes["lens"] - (sizes["counts"] - 1) * sizes["page_size"]
            return torch.nn.functional.pad(last, (0, shape[0] - last.shape[0]))
        case "lens":
            return sizes["lens"]
        case "table" if len(shape) == 2 and d["op_type"] == "attention":
            pages = torch.zeros(shape, dtype=torch.int64)
            order = torch.randperm(sizes["P"], generator=g)
            at = offsets(sizes["counts"]).tolist()
            for s, n in enumerate(sizes["counts"].tolist()):
                pages[s, :n] = order[at[s] : at[s] + n]
            return pages
        case "top_k":
            return torch.randint(1, 30, shape, generator=g)
        case "B" if d["inputs"]["B"]["dtype"] == "int8":  # any code, small positive scales
            raw = torch.randint(0, 256, shape, dtype=torch.uint8, generator=own, device=own.device)
            count = shape[1] // 18  # K / 32
            scales = torch.rand(shape[0], count, generator=own, device=own.device)
            scales = (scales + 0.5) * 0.01
            raw[:, -2 * count :] = scales.half().view(torch.uint8)
            return raw.view(torch.int8)
        case _:
            return None


def _floats(name: str, dtype: str, shape: list[int], g: Any) -> torch.Tensor:
    if name == "probs":
        return torch.softmax(torch.randn(shape, generator=g, device=g.device) * 3, -1)
    if name == "top_p":
        return torch.rand(shape, generator=g, device=g.device) * 0.9 + 0.05
    if name in ("freq", "inv_freq"):
        return 1e4 ** (-torch.arange(shape[0]) / shape[0])
    if name == "cos_sin_cache":
        r = shape[1] // 2
        angle = torch.arange(shape[0])[:, None] * 1e4 ** (-torch.arange(r) / r)
        return torch.cat((angle.cos(), angle.sin()), -1)
    made = torch.randn(shape, generator=g, device=g.device)
    if name == "w" and len(shape) == 2 and dtype == "float32" and shape[1] <= 8:
        return torch.rand(shape, generator=g, device=g.device)  # routing weights
    if len(shape) == 1:
        return 1 + 0.1 * made  # weights of a norm
    if name in ("w", "wg", "wu", "wd", "wq", "wk", "wv", "B"):
        return made * shape[-1] ** -0.5
    return made
