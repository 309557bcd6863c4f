"""Task graphs: a model graph compiled for workers that never return between operators.

    plan = compile(graph, CPU, rows=8, slots=8, context=4096)

One plan format, one verifier and one interpreter for every device: docs/mega-plan.md.
"""

from treadle.mega.compile import compile
from treadle.mega.fuse import grouped
from treadle.mega.plan import Plan, read, to_bytes, write
from treadle.mega.target import BUCKETS, CPU, H200, TARGETS, Target
from treadle.mega.verify import verify

__all__ = [
    "BUCKETS",
    "CPU",
    "H200",
    "TARGETS",
    "Plan",
    "Target",
    "compile",
    "grouped",
    "read",
    "to_bytes",
    "verify",
    "write",
]
