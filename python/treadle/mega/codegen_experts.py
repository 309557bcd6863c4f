"""Experts in the Hopper kernel's source: what it covers, and where their weights lie.

Which worker streams which expert is known in the step only, so the weights of all experts stand
behind the workers' streams: layer after layer, expert after expert, strip after strip, in bf16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.mega import lanes
from treadle.mega.plan import Plan
from treadle.mega.records import STRIP, Code, Site

EXPERTS = (Code.EXPERTS_UP, Code.EXPERTS_DOWN)
KIB = 1024
_MOST, _ACTIVE = 1024, 32  # a lane of the choice has 32 experts; a lane for each chosen one


@dataclass(frozen=True, slots=True)
class Region:
    """The weights of a site with experts. kib: where they begin, in KiB behind the streams."""

    site: int
    kib: int


def words(site: Site) -> int:
    """16-bit words of one expert."""
    return lanes.strips(site) * STRIP * site.k


def regions(plan: Plan) -> tuple[tuple[Region, ...], int]:
    """Of all sites with experts in their order, and the KiB of all."""
    found: list[Region] = []
    at = 0
    for number, site in enumerate(plan.sites):
        if Code(site.op) in EXPERTS:
            found.append(Region(number, at))
            at += -(-site.experts * words(site) * 2 // KIB)
    return tuple(found), at


def uncovered(plan: Plan) -> str:
    """What of a plan's experts the kernel does not cover, "" if nothing."""
    for site in plan.sites:
        if Code(site.op) not in EXPERTS:
            continue
        if site.experts > _MOST or site.active > _ACTIVE:
            return f"chooses among {_MOST} experts at most, at most {_ACTIVE} of them"
        if site.k % 32 or site.n % STRIP or any(n % 8 for n in site.rows[: site.parts]):
            return "needs experts of widths in multiples of 32"
        if site.act and site.active * lanes.strips(site) < plan.workers:
            return f"has {plan.workers} workers, more than strips of a token's experts"
    return ""


def most_used(plan: Plan) -> int:
    """Experts that a step's rows may choose together."""
    sites = [s for s in plan.sites if s.experts]
    return max((min(s.experts, plan.shape.rows * s.active) for s in sites), default=1)


def scores(plan: Plan) -> set[int]:
    """Arena offsets of what routers write."""
    return {t.aux_off for t in plan.tasks if Code(t.op) is Code.EXPERTS_UP}


def places(made: Sequence[Region], site: int, stride: int, repeat: int) -> tuple[int, int]:
    """KiB of a site's weights, and how much further those of a layer on lie."""
    kib = {region.site: region.kib for region in made}
    steps = {kib[site + (r + 1) * stride] - kib[site + r * stride] for r in range(repeat - 1)}
    assert len(steps) < 2, "layers of one template are alike"
    return kib[site], steps.pop() if steps else 0


def fields(site: Site, kib: tuple[int, int]) -> dict[str, int | float]:
    """Constants of a phase with experts."""
    return {
        "experts": site.experts, "strips": lanes.strips(site), "score": site.score,
        "scale": site.scale, "act": site.act, "kib": kib[0], "kib_step": kib[1],
    }  # fmt: skip


def shared_bytes(plan: Plan) -> int:
    """Of the choice, in shared memory."""
    active = max(s.active for s in plan.sites) or 1
    return most_used(plan) * (2 + plan.shape.rows) + plan.shape.rows * active * 6 + 32


def activations(plan: Plan) -> int:
    """Columns that down reads of a row: what its experts have made, side by side."""
    found = (s.active * s.k for s in plan.sites if Code(s.op) is Code.EXPERTS_DOWN)
    return max(found, default=0)
