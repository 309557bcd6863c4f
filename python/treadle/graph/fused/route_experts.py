"""route_experts: top-k routing and the chosen experts, without a round trip of the choice."""

from treadle.graph.fusion import fused, part

route_experts = fused(
    "route_experts",
    ins="scores x wg wu wd",
    outs="y",
    parts=[
        part("route", "scores", "w i"),
        part("experts", "x w i wg wu wd", "y"),
    ],
)
