"""add_rmsnorm: the residual sum and its norm in one pass over the row."""

from treadle.graph.fusion import fused, part

add_rmsnorm = fused(
    "add_rmsnorm",
    ins="x y w",
    outs="sum normed",
    parts=[part("add", "x y", "sum"), part("rmsnorm", "sum w", "normed")],
)
