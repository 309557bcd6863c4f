"""The fused compositions, one a file. Importing this package fills `FUSED`."""

from treadle.graph import ops as _ops  # compositions name ops, which must be declared first
from treadle.graph.fused.add_rmsnorm import add_rmsnorm
from treadle.graph.fused.allreduce_add_rmsnorm import allreduce_add_rmsnorm
from treadle.graph.fused.gate_up_glu import gate_up_glu
from treadle.graph.fused.linear_add import linear_add
from treadle.graph.fused.qk_norm_rope_kv import qk_norm_rope_kv
from treadle.graph.fused.qkv import qkv
from treadle.graph.fused.rmsnorm_linear import rmsnorm_linear
from treadle.graph.fused.route_experts import route_experts
from treadle.graph.fused.take_norm_linear import take_norm_linear

del _ops

__all__ = [
    "add_rmsnorm",
    "allreduce_add_rmsnorm",
    "gate_up_glu",
    "linear_add",
    "qk_norm_rope_kv",
    "qkv",
    "rmsnorm_linear",
    "route_experts",
    "take_norm_linear",
]
