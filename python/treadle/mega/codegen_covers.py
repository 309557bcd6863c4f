"""Which plans the Hopper kernel covers: the others are refused by name."""

from __future__ import annotations

from treadle.errors import Unsupported
from treadle.mega import codegen_experts
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, STRIP, Code, SiteFlag

PAGE, PAIR, COLUMNS = 64, 32, 512
"""Positions of a page, columns of a pair of fragments, and of a tile."""

HEADS = (32, 64, 128, 192, 256)
"""Sizes of heads."""


def refuse(message: str, hint: str = "use the torch backend for this model") -> Unsupported:
    """The error that names what is missing."""
    return Unsupported(f"mega on CUDA {message}", at="treadle.mega.codegen", hint=hint)


def check(plan: Plan) -> None:
    """Raises Unsupported naming what the kernel does not cover."""
    shape = plan.shape
    if shape.page != PAGE or shape.tile_k != COLUMNS or shape.segment % PAGE:
        raise refuse(f"needs pages of {PAGE} positions", "build the graph with page=64")
    if shape.rows > 16:
        raise refuse("covers decode buckets of at most 16 rows")
    for number, site in enumerate(plan.sites):
        code = Code(site.op)
        if code in (Code.KV, Code.KEYS):
            raise refuse(f"has no body for {code.name}")
        if site.cap and code is not Code.ATTN and number != len(plan.sites) - 2:
            raise refuse("has no soft caps but of scores and logits")
        if site.post != NONE and code not in (Code.LINEAR, Code.PREP):
            raise refuse(f"has no norm behind a branch that {code.name} reads")
        if site.flags & (SiteFlag.ADD | SiteFlag.FOLD):
            raise refuse("needs a plan for the target h200", "compile with mega.H200")
        if code is Code.LINEAR:
            step = 8 if site.act else STRIP
            if site.k % PAIR or any(n % step for n in site.rows[: site.parts]):
                raise refuse(f"needs widths in multiples of {PAIR} and {step}")
        if code is Code.ATTN and site.heads > 8 * site.kv_heads:
            raise refuse("has more than eight query heads a KV head")
        if code is Code.ATTN and (site.head not in HEADS or site.turned * 2 != site.head):
            raise refuse(f"needs heads of {HEADS}, turned as a whole")
    if missing := codegen_experts.uncovered(plan):
        raise refuse(missing)
    for worker in range(plan.workers):
        made = (Code.LINEAR, Code.EXPERTS_UP)
        every = {t.p0 for t in plan.list_of(worker) if Code(t.op) in made}
        for number, site in enumerate(plan.sites):
            if (site.act or number == len(plan.sites) - 2) and number not in every:
                raise refuse(
                    f"has {plan.workers} workers, more than strips of site {number}",
                    "plan for fewer workers",
                )
