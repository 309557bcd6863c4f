"""Substitution: measured winners stand in for calls, and the fallback answers when in doubt.

    table  = Table.from_store(Dataset("kernels"), device, build=build)
    handle = table.resolve("gemm_n576_k576_f32", fallback)

Imports schema and store only, torch lazily; building is injected by whoever enables a table.
"""

from treadle.kernels.apply.core import Decision
from treadle.kernels.apply.frozen import Frozen, freeze
from treadle.kernels.apply.ops import Ops
from treadle.kernels.apply.policy import Policy
from treadle.kernels.apply.sites import Site, apply, enabled
from treadle.kernels.apply.table import Build, Resolver, Table

__all__ = [
    "Build",
    "Decision",
    "Frozen",
    "Ops",
    "Policy",
    "Resolver",
    "Site",
    "Table",
    "apply",
    "enabled",
    "freeze",
]
