"""allreduce_add_rmsnorm: a block's partial output over the ranks, residual sum, next norm."""

from treadle.graph.fusion import fused, part

allreduce_add_rmsnorm = fused(
    "allreduce_add_rmsnorm",
    ins="x y w",
    outs="sum normed",
    parts=[
        part("allreduce", "y", "whole"),
        part("add", "x whole", "sum"),
        part("rmsnorm", "sum w", "normed"),
    ],
)
