"""The ops, one a file. Importing this package fills `OPS`."""

from treadle.graph.ops.add import add
from treadle.graph.ops.allreduce import allreduce
from treadle.graph.ops.attention import attention
from treadle.graph.ops.embed import embed
from treadle.graph.ops.experts import experts
from treadle.graph.ops.glu import glu
from treadle.graph.ops.kv_write import kv_write
from treadle.graph.ops.linear import linear
from treadle.graph.ops.rmsnorm import rmsnorm
from treadle.graph.ops.rope import rope
from treadle.graph.ops.route import route
from treadle.graph.ops.scale import scale
from treadle.graph.ops.softcap import softcap
from treadle.graph.ops.split import split
from treadle.graph.ops.take import take
from treadle.graph.ops.view import view

__all__ = [
    "add",
    "allreduce",
    "attention",
    "embed",
    "experts",
    "glu",
    "kv_write",
    "linear",
    "rmsnorm",
    "rope",
    "route",
    "scale",
    "softcap",
    "split",
    "take",
    "view",
]
