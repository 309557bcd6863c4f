"""gate_up_glu: both projections of a gated feed-forward block and the gate; rows interleaved."""

from treadle.graph.fusion import fused, part

gate_up_glu = fused(
    "gate_up_glu",
    ins="x wg wu",
    outs="y",
    parts=[
        part("linear", "x wg", "g"),
        part("linear", "x wu", "u"),
        part("glu", "g u", "y"),
    ],
)
