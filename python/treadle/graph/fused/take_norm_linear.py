"""take_norm_linear: wanted rows, final norm, head."""

from treadle.graph.fusion import fused, part

take_norm_linear = fused(
    "take_norm_linear",
    ins="x rows norm w b?",
    outs="logits",
    parts=[
        part("take", "x rows", "taken"),
        part("rmsnorm", "taken norm", "normed"),
        part("linear", "normed w b", "logits"),
    ],
)
