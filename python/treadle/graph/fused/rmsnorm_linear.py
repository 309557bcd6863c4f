"""rmsnorm_linear: a norm that only one projection reads, folded into its input."""

from treadle.graph.fusion import fused, part

rmsnorm_linear = fused(
    "rmsnorm_linear",
    ins="x norm w b?",
    outs="y",
    parts=[part("rmsnorm", "x norm", "normed"), part("linear", "normed w b", "y")],
)
