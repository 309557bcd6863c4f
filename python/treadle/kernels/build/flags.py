"""Compiler flags a solution may ask for. Whatever is not listed here is refused.

A flag that names a file, a plugin, a linker script, or that hands words to another tool would reach
beyond the build's own folder, so none of them is on the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from treadle.kernels.build.artefact import BuildFailure
from treadle.kernels.schema import Solution

_DEFINE = r"-[DU][A-Za-z_]\w*(=[\w.+-]*)?"
_COMMON = (r"-O[0-3s]", r"-O(fast|z)", r"-g[0-3]?", r"-std=(c|gnu)\+\+\d[\da-z]", _DEFINE, r"-w")
_HOST = (
    *_COMMON,
    r"-march=[\w.+-]+",
    r"-mtune=[\w.+-]+",
    r"-m(no-)?(avx|avx2|avx512\w*|avxvnni|fma|f16c|sse[\d.]*|ssse3|bmi2?|popcnt|amx-\w+)",
    r"-mprefer-vector-width=\d+",
    r"-f(no-)?(fast-math|openmp|openmp-simd|unroll-loops|finite-math-only|math-errno|trapping-math)",
    r"-f(no-)?(associative-math|signed-zeros|reciprocal-math|exceptions|rtti|tree-vectorize|inline)",
    r"-ffp-contract=(on|off|fast)",
    r"-f(PIC|pic)",
    r"-W(no-)?[a-z][a-z0-9-]*(=\d+)?",
    r"-pthread",
)
_CUDA = (
    *_COMMON,
    r"-gencode=arch=compute_\d+[a-f]?,code=(sm|compute)_\d+[a-f]?",
    r"-arch=(sm|compute)_\d+[a-f]?",
    r"-arch=native",
    r"-?-use_fast_math",
    r"--(fmad|ftz|prec-div|prec-sqrt)=(true|false)",
    r"-?-expt-(relaxed-constexpr|extended-lambda)",
    r"-?-extended-lambda",
    r"-lineinfo",
    r"-?-maxrregcount=\d+",
    r"-Xptxas=-(v|O[0-3]|dlcm=c[agvs])",
    r"-rdc=false",
)
_LINK = (r"-l(m|pthread|gomp|cuda|cudart|cublas|cublasLt|cudnn|curand|nvrtc)",)
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "cflags": _HOST, "cxx_flags": _HOST, "cuda_cflags": _CUDA, "ld_flags": _LINK,
}  # fmt: skip
_LIBRARIES = ("cublas", "cublasLt", "cudnn", "curand")
MAX_FLAGS = 64


def checked(solution: Solution) -> dict[str, list[str]]:
    """The solution's flags by group. Raises BuildFailure (stage `check`) naming the bad one."""
    asked = solution.spec.compile_options or {}
    for group, flags in asked.items():
        if group not in _GROUPS:
            raise _refused(solution, f"compile_options.{group} is unknown; use {list(_GROUPS)}")
        if len(flags) > MAX_FLAGS:
            raise _refused(solution, f"compile_options.{group} has more than {MAX_FLAGS} flags")
        for flag in flags:
            if not _allowed(flag, _GROUPS[group]):
                raise _refused(solution, f"compile_options.{group}: {flag[:80]!r} is not allowed")
    return {group: list(asked.get(group, ())) for group in _GROUPS}


def libraries(dependencies: Sequence[str]) -> list[str]:
    """Linker flags of those dependencies that are libraries of the CUDA toolkit."""
    return [f"-l{name}" for name in _LIBRARIES if name in dependencies]


def _allowed(flag: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, flag, re.ASCII) for pattern in patterns)


def _refused(solution: Solution, text: str) -> BuildFailure:
    return BuildFailure(text, "check", at=f"solution {solution.name!r}")
