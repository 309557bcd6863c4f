"""linear_add: a projection that lands on the residual."""

from treadle.graph.fusion import fused, part

linear_add = fused(
    "linear_add",
    ins="x w y b?",
    outs="sum",
    parts=[part("linear", "x w b", "out"), part("add", "y out", "sum")],
)
