"""The verifier: every stage of a graph has a list of rules, run on every compile."""

from __future__ import annotations

from treadle.errors import GraphError
from treadle.graph.ir import STAGES, Graph
from treadle.graph.rules import RULES, error


def verify(graph: Graph, stage: str | None = None) -> None:
    """Raises GraphError for the first broken rule of a stage (default: the graph's own).

    The error names graph, node, value, rule and remedy. Rules and their ids are in
    `treadle.graph.rules`; later rules may rely on earlier ones.
    """
    at = stage or graph.stage
    if at not in STAGES:
        raise GraphError(
            f"unknown stage {at!r}", at=f"graph {graph.name}", hint=f"one of {' '.join(STAGES)}"
        )
    for rule in RULES:
        if at in rule.stages:
            for fault in rule.check(graph):
                raise error(graph, rule, fault)
