"""Which source file and function of each language stand behind a definition.

A family is one op's calling order: every definition it matches has that many operands in that
order, and only constants differ, which go into a file of their own.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from treadle.kernels.schema import AxisConst, Definition


class Family(NamedTuple):
    """Names that match are solved by `symbol` of the file `stem`; `operands` counts the inputs."""

    names: str
    stem: str
    symbol: str
    operands: int


EVERYWHERE: tuple[Family, ...] = (
    Family(r"add_h\d+_\w+", "add", "run", 2),
    Family(r"scale_h\d+_\w+", "scale", "run", 1),
    Family(r"softcap_v\d+_\w+", "softcap", "run", 1),
    Family(r"glu_(silu|gelu_tanh)_f\d+_\w+", "glu", "run", 2),
    Family(r"(view|allreduce)_(q|h)\d+_.*", "copy", "run", 1),
    Family(r"(embed_v|take_h)\d+_.*", "gather", "run", 2),
    Family(r"split_.*", "split", "run", 1),
    Family(r"rmsnorm_h\d+(_\w+_eps.*)?", "rmsnorm", "run", 2),
    Family(r"(allreduce_)?add_rmsnorm_.*", "add_rmsnorm", "run", 3),
    Family(r"fused_add_rmsnorm_.*", "add_rmsnorm", "run_normed", 3),
    Family(r"gemm_.*_w4g32", "gemm_w4g32", "run", 2),
    Family(r"gemm_.*", "gemm", "run", 2),
    Family(r"linear_add_.*", "linear_add", "run", 3),
    Family(r"rmsnorm_linear_.*", "norm_linear", "run", 3),
    Family(r"take_norm_linear_.*", "norm_linear", "run_take", 4),
    Family(r"qkv_.*", "qkv", "run", 4),
    Family(r"gate_up_glu_.*", "gate_up_glu", "run", 3),
    Family(r"route_(softmax|sigmoid)_.*", "route", "run", 1),
    Family(r"experts_.*", "experts", "run", 6),
    Family(r"route_experts_.*", "route_experts", "run", 5),
    Family(r"rope_h\d+_.*", "rope", "run", 3),
    Family(r"rope_with_cos_sin_cache_.*", "rope_cache", "run", 4),
    Family(r"kv_write_.*", "kv_write", "run", 4),
    Family(r"qk_norm_rope_kv_.*", "qk_norm_rope_kv", "run", 7),
    Family(r"attention_.*", "attention", "run", 5),
    Family(r"gqa_paged_decode_.*_ps1", "gqa_paged", "run_decode", 6),
    Family(r"gqa_paged_decode_.*", "gqa_paged", "run_decode_last", 7),
    Family(r"gqa_paged_prefill_.*_ps1", "gqa_paged", "run_prefill", 7),
    Family(r"gqa_paged_prefill_.*", "gqa_paged", "run_prefill_last", 8),
    Family(r"gqa_ragged_.*", "gqa_ragged", "run", 6),
    Family(r"top_k_sampling_from_probs_v\d+", "sampling", "run_top_k", 2),
    Family(r"top_p_sampling_from_probs_v\d+", "sampling", "run_top_p", 2),
    Family(r"top_k_top_p_sampling_from_probs_v\d+", "sampling", "run_top_k_top_p", 3),
)
"""What torch, Triton and C++ all have."""

CUDA: tuple[Family, ...] = (
    Family(r"gemm_n\d+_k\d+(_bf16)?", "bind_gemm", "run", 2),
    Family(r"gemm_n\d+_k\d+_bf16_w4g32", "bind_gemm_w4g32", "run", 2),
    Family(r"rmsnorm_h\d+(_bf16_eps.*)?", "bind_rmsnorm", "run", 2),
    Family(r"fused_add_rmsnorm_h\d+", "bind_fused_add_rmsnorm", "run", 3),
    Family(r"add_rmsnorm_h\d+_bf16_eps.*", "bind_add_rmsnorm", "run", 3),
    Family(r"glu_silu_f\d+_bf16", "bind_glu", "run", 2),
    Family(r"rope_with_cos_sin_cache_.*", "bind_rope", "run", 4),
    Family(r"gqa_paged_decode_.*_ps1", "bind_gqa_paged_decode", "run", 6),
    Family(r"gqa_paged_decode_.*", "bind_gqa_paged_decode", "run", 7),
    Family(r"top_[kp]_sampling_from_probs_v\d+", "bind_sample", "run", 2),
    Family(r"top_k_top_p_sampling_from_probs_v\d+", "bind_sample", "run", 3),
)
"""What matters while decoding on Hopper."""

STREAMED: tuple[Family, ...] = (
    Family(r"gemm_n\d+_k\d+_bf16", "bind_stream", "run", 2),
    Family(r"linear_add_.*_bf16", "bind_stream_add", "run", 3),
    Family(r"gate_up_glu_silu_.*_bf16", "bind_stream_gate", "run", 3),
)
"""CUDA products whose blocks stay, and which read weights ahead once these are prepared."""

PACKED: tuple[Family, ...] = (Family(r"gemm_n\d+_k\d+_f32", "gemm_packed", "run", 2),)
"""Whose weights C++ brings into panels once, where they are loaded."""


def family_of(definition: Definition, families: tuple[Family, ...]) -> Family | None:
    """The first family that a definition's name and operands fit."""
    for family in families:
        if re.fullmatch(family.names, definition.name):
            return family if len(definition.inputs) == family.operands else None
    return None


def cuda_takes(stem: str, d: Definition) -> bool:
    """Whether the CUDA kernel takes the definition's sizes; what it refuses is not offered."""
    size = {name: a.value for name, a in d.axes.items() if isinstance(a, AxisConst)}
    match stem:
        case "bind_stream" | "bind_stream_add" | "bind_stream_gate":
            n, k = (_size(d, axis) for axis in [*d.inputs.values()][1].shape or [])
            return n % 16 == 0 and k % 1024 == 0 and k <= (8192 if k % 2048 else 16384)
        case "bind_gemm":
            return size["N"] % 16 == 0 and size["K"] % 64 == 0
        case "bind_gemm_w4g32":
            return size["N"] % 16 == 0 and size["K"] % 256 == 0
        case "bind_gqa_paged_decode":
            heads, kv_heads = size["num_qo_heads"], size["num_kv_heads"]
            return size["head_dim"] in (64, 128) and heads // kv_heads <= 16
        case _:
            return True


def cuda_constants(d: Definition) -> str:
    """`constants.h` of the CUDA sources."""
    attrs = (d.treadle or {}).get("attrs", {})
    page = d.axes.get("page_size")
    values: dict[str, object] = {
        "EPS": f"{attrs['eps']!r}f" if "eps" in attrs else None,
        "PAGE": page.value if isinstance(page, AxisConst) else None,
        "TOP_K": int("top_k" in d.inputs) if d.op_type == "sampling" else None,
        "TOP_P": int("top_p" in d.inputs) if d.op_type == "sampling" else None,
    }
    lines = [f"#define TREADLE_{name} {v}" for name, v in values.items() if v is not None]
    return "// What the definition bakes in.\n#pragma once\n" + "\n".join(lines) + "\n"


_STORED = {"float32": "float", "float16": "f16", "bfloat16": "bf16"}


def cpp_constants(d: Definition) -> str:
    """`constants.h` of the C++ sources: what activations are stored as, and the attrs."""
    lines = [f"using Act = {_STORED[next(iter(d.inputs.values())).dtype]};"]
    for name, value in _attrs(d).items():
        words = f"k{name.title()}"
        if isinstance(value, bool):
            lines.append(f"constexpr bool {words} = {str(value).lower()};")
        elif isinstance(value, int):
            lines.append(f"constexpr int {words} = {value};")
        else:
            lines.append(f"constexpr float {words} = {value!r}f;")
    body = "\n".join(lines)
    return (
        "// What the definition bakes in.\n#pragma once\n\n"
        f'#include "types.h"\n\nnamespace treadle {{\n\n{body}\n\n}}  // namespace treadle\n'
    )


def python_constants(d: Definition) -> str:
    """`constants.py` of the Triton and torch sources."""
    last = [[_size(d, axis) for axis in t.shape or []] for t in d.outputs.values()]
    values: dict[str, object] = dict(_attrs(d))
    if d.op_type in ("view", "allreduce"):
        values["SHAPE"] = tuple(last[0])
    if d.op_type == "split":
        values["SIZES"] = tuple(shape[-1] for shape in last)
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    return '"""What the definition bakes in."""\n\n' + "".join(f"{line}\n" for line in lines)


def _attrs(d: Definition) -> dict[str, bool | int | float]:
    """Attrs by the names that sources use."""
    given = (d.treadle or {}).get("attrs", {})
    found: dict[str, bool | int | float] = {}
    for name in ("eps", "scale", "softcap", "by", "cap", "mscale"):
        if name in given:
            found[name.upper()] = float(given[name])
    if "window" in given:
        found["WINDOW"] = int(given["window"])
    if "act" in given:
        found["SILU"] = given["act"] == "silu"
    if "score" in given:
        found["SOFTMAX"] = given["score"] == "softmax"
        found["RENORM"] = bool(given["renorm"])
        found["CHOSEN"] = _keyword(d.reference, "route", "A")
    return found


def _keyword(reference: str, function: str, name: str) -> int:
    """A number with which the reference calls a function: a dim that no operand shows."""
    for node in ast.walk(ast.parse(reference)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for word in node.keywords:
                if node.func.id == function and word.arg == name:
                    return int(ast.literal_eval(word.value))
    raise AssertionError(f"{function} is called without {name}")


def _size(d: Definition, axis: str) -> int:
    found = d.axes[axis]
    return found.value if isinstance(found, AxisConst) else -1
