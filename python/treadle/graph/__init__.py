"""The graph: ops, fused compositions, a builder, passes, a verifier, JSON, and an interpreter.

from treadle.graph import Builder, fuse, run, shard, verify
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from treadle.graph import fused as _fused  # fills OPS and FUSED
from treadle.graph.builder import Builder
from treadle.graph.cost import Cost, cost
from treadle.graph.declared import Declared, lookup, reference
from treadle.graph.dims import RUN_TIME, Dims
from treadle.graph.dump import debug_dump, dump
from treadle.graph.fusion import FUSED, Fused, fused
from treadle.graph.ir import INPUTS, Graph, Node, Param, Value
from treadle.graph.op import OPS, Op, Role, op
from treadle.graph.outline import outline
from treadle.graph.run import number_attrs, run, run_ranks, run_sizes, steps_of
from treadle.graph.store import dumps, loads
from treadle.graph.verify import verify
from treadle.graph.xp import namespace
from treadle.types.formats import FORMATS

if TYPE_CHECKING:
    from treadle.graph.passes.fuse import PRIORITY as PRIORITY
    from treadle.graph.passes.fuse import fuse as fuse
    from treadle.graph.passes.shard import Cut as Cut
    from treadle.graph.passes.shard import cuts as cuts
    from treadle.graph.passes.shard import shard as shard

del _fused

# passes that a start with a plan on disk does not run
_HOMES = {"PRIORITY": "fuse", "fuse": "fuse", "Cut": "shard", "cuts": "shard", "shard": "shard"}

__all__ = [
    "FORMATS",
    "FUSED",
    "INPUTS",
    "OPS",
    "PRIORITY",
    "RUN_TIME",
    "Builder",
    "Cost",
    "Cut",
    "Declared",
    "Dims",
    "Fused",
    "Graph",
    "Node",
    "Op",
    "Param",
    "Role",
    "Value",
    "cost",
    "cuts",
    "debug_dump",
    "dump",
    "dumps",
    "fuse",
    "fused",
    "loads",
    "lookup",
    "namespace",
    "number_attrs",
    "op",
    "outline",
    "reference",
    "run",
    "run_ranks",
    "run_sizes",
    "shard",
    "steps_of",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.passes.{home}"), name)
