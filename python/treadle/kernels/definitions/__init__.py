"""Definitions from the graph's declarations: every op and fused composition, under public names
where signature, semantics and constants agree."""

from treadle.kernels.definitions.batches import ordinary
from treadle.kernels.definitions.derive import define
from treadle.kernels.definitions.shipped import shipped

__all__ = ["define", "ordinary", "shipped"]
