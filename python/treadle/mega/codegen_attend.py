"""What layers of one template may differ in: how far back they see, and by which table they turn.

A kind is a window and a table of rope frequencies. The kernel keeps rotations and items of
attention for each; a bit a layer says which one it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.mega.codegen_covers import refuse
from treadle.mega.plan import Plan
from treadle.mega.records import Code, Site

KINDS, LAYERS = 2, 64
"""Kinds of a model and layers of a template at most."""

_NORMS = ("norm", "post", "q_norm", "k_norm")


@dataclass(frozen=True, slots=True)
class Kinds:
    """windows and freqs (params) of each kind; of: the kind of each site with attention."""

    windows: tuple[int, ...]
    freqs: tuple[int, ...]
    of: dict[int, int]

    @property
    def tables(self) -> tuple[int, ...]:
        """Frequency tables that are kept: one if all kinds turn alike."""
        return self.freqs if len(set(self.freqs)) > 1 else self.freqs[:1]

    @property
    def ends(self) -> int:
        """Segments of a row that may be shorter than others: the last, and of windows the first."""
        return 2 if any(self.windows) else 1

    def mask(self, sites: Sequence[int]) -> int:
        """Kinds of the layers of a template, by the numbers of their sites."""
        if len(self.windows) > 1 and len(sites) > LAYERS:
            raise refuse(f"has {len(sites)} layers of two kinds in one template")
        return sum(self.of[number] << bit for bit, number in enumerate(sites))

    def model(self, site: Site) -> dict[str, int | float]:
        """Constants of the model. site: of any of its attentions."""
        windows = (*self.windows, 0)
        return {
            "Heads": site.heads, "KvHeads": site.kv_heads, "Head": site.head,
            "Turned": site.turned, "Mscale": site.mscale,
            "Kinds": len(self.windows), "Sees0": windows[0], "Sees1": windows[1],
            "Ropes": len(self.tables), "Rope1": site.turned * (len(self.tables) - 1),
        }  # fmt: skip


def kinds(plan: Plan) -> Kinds:
    """Of a plan's attentions; a fold is of the kind of the attention before it."""
    found: dict[tuple[int, int], int] = {}
    of: dict[int, int] = {}
    for number, site in enumerate(plan.sites):
        if Code(site.op) is Code.ATTN:
            of[number] = found.setdefault((site.window, site.freq), len(found))
        elif Code(site.op) is Code.FOLD:
            of[number] = of[number - 1]
    if len(found) > KINDS:
        raise refuse(f"has {len(found)} kinds of attention in one model")
    attns = [site for site in plan.sites if Code(site.op) is Code.ATTN]
    if len({(s.heads, s.kv_heads, s.head, s.turned, s.mscale) for s in attns}) > 1:
        raise refuse("has attentions of several shapes in one model")
    return Kinds(tuple(w for w, _ in found), tuple(f for _, f in found), of)


def alike(sites: Sequence[Site]) -> None:
    """Raises Unsupported if the layers of a template differ in more than data and kind."""
    data = {"w": (), "b": (), "freq": 0, "window": 0, "state": 0} | dict.fromkeys(_NORMS, 0)
    if len({replace(site, **data) for site in sites}) > 1:
        raise refuse("has layers of different make in one template")


def segments(plan: Plan, most: int) -> int:
    """Segments of a row that the kernel keeps partials of."""
    return min(plan.shape.context // plan.shape.segment, most)
