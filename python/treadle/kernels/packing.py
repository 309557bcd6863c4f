"""Solutions made of the CUDA sources beside a dataset: `sources/cuda` → solutions of ours.

One binding file a family stands between a definition's signature and a kernel; what a definition
bakes in goes into `constants.h`. The binding is `dlpack`, which a v1 reader does not know, so these
solutions live under `ext/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from treadle.errors import NotFound
from treadle.kernels.schema import AxisConst, Definition, Solution, Source, Spec

AUTHOR = "treadle"
FAMILIES: tuple[tuple[str, str], ...] = (
    (r"gemm_n\d+_k\d+(_bf16)?", "gemm"),
    (r"gemm_n\d+_k\d+_bf16_w4g32", "gemm_w4g32"),
    (r"rmsnorm_h\d+(_bf16_eps.*)?", "rmsnorm"),
    (r"fused_add_rmsnorm_h\d+", "fused_add_rmsnorm"),
    (r"add_rmsnorm_h\d+_bf16_eps.*", "add_rmsnorm"),
    (r"glu_silu_f\d+_bf16", "glu"),
    (r"rope_with_cos_sin_cache_.*", "rope"),
    (r"gqa_paged_decode_.*", "gqa_paged_decode"),
    (r"top_[kp].*_sampling_from_probs_v\d+", "sample"),
)
"""Pattern of a definition's name → binding file `bind_<family>.cu`."""

_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def packed(definitions: Mapping[str, Definition], sources: Path) -> Iterator[Solution]:
    """A solution for each definition that a family fits and whose shape its kernel takes."""
    for name, definition in definitions.items():
        for pattern, family in FAMILIES:
            if re.fullmatch(pattern, name) and _fits(family, definition):
                yield pack(definition, family, sources)
                break


def pack(definition: Definition, family: str, sources: Path) -> Solution:
    """One solution with all files its binding includes. Raises NotFound for a missing file."""
    entry = f"bind_{family}.cu"
    files: dict[str, str] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        if name in files:
            continue
        files[name] = _constants(definition) if name == "constants.h" else _text(sources / name)
        wanted += _INCLUDE.findall(files[name])
    return Solution(
        name=f"{AUTHOR}_cuda_{definition.name}",
        definition=definition.name,
        author=AUTHOR,
        spec=Spec(
            language="cuda",
            target_hardware=["H100", "H200"],
            entry_point=f"{entry}::run",
            binding="dlpack",
            compile_options={
                "cuda_cflags": ["-O3", "-std=c++17", "-gencode=arch=compute_90a,code=sm_90a"]
            },
        ),
        sources=[Source(path=name, content=files[name]) for name in sorted(files)],
    )


def _fits(family: str, d: Definition) -> bool:
    """Whether the kernel takes the definition's sizes; what it refuses is not offered."""
    size = {name: a.value for name, a in d.axes.items() if isinstance(a, AxisConst)}
    match family:
        case "gemm":
            return size["N"] % 16 == 0 and size["K"] % 64 == 0
        case "gemm_w4g32":
            return size["N"] % 16 == 0 and size["K"] % 256 == 0
        case "gqa_paged_decode":
            heads, kv_heads = size["num_qo_heads"], size["num_kv_heads"]
            return size["head_dim"] in (64, 128) and heads // kv_heads <= 16
        case _:
            return True


def _constants(d: Definition) -> str:
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


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise NotFound(
            f"no source {path.name}", at=str(path.parent), hint="check FAMILIES"
        ) from None
