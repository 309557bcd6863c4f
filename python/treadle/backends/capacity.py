"""How many KV pages an executable gets when nobody says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from treadle.backends.params import size_of
from treadle.errors import InvalidRequest, LimitExceeded

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.limits import Limits

_TOKENS_A_SEQUENCE = 1_024  # a moderate context
_HOST_BYTES = 1 << 30
_HOST_SHARE = 0.25  # of the memory that is free
_DEVICE_SHARE = 0.85
_FEWEST_TOKENS = 2_048  # fewer would not hold one conversation


def page_size(graph: Graph) -> int:
    """Tokens a KV page holds: the graph's dim B (1 for a graph without attention)."""
    return graph.size("B") if graph.state else 1


def page_bytes(graph: Graph, item: int) -> int:
    """Bytes of one KV page over all layers, at `item` bytes an element."""
    total = 0
    for value in graph.state.values():
        elements = 1
        for entry in value.shape:
            if entry != "P":
                elements *= size_of(graph, entry)
        total += elements * item
    return total


def choose_pages(
    graph: Graph, limits: Limits, pages: int | None, *, item: int, free: int | None = None
) -> int:
    """As `fit_pages`, for the pages of a graph with `item` bytes an element."""
    return fit_pages(page_size(graph), page_bytes(graph, item), limits, pages, free=free)


def fit_pages(
    size: int, each: int, limits: Limits, pages: int | None, *, free: int | None = None
) -> int:
    """`pages`, or what memory suggests for pages of `size` tokens and `each` bytes: `free` bytes of
    a device, or the host's when None.

    On the host: a moderate context for every sequence the limits allow, at most 1 GiB and a quarter
    of what is free. On a device: most of what is free. Raises InvalidRequest for pages < 1,
    LimitExceeded where not even one conversation fits.
    """
    if pages is not None:
        if pages < 1:
            raise InvalidRequest(f"{pages} pages cannot hold a token", at="pages", hint="give >= 1")
        return pages
    each = max(1, each)
    fewest = -(-_FEWEST_TOKENS // size)
    if free is None:
        host = _free_host_bytes()
        wanted = limits.sequences * -(-_TOKENS_A_SEQUENCE // size)
        room = int(min(_HOST_BYTES, host * _HOST_SHARE))
        found = min(wanted, max(room // each, min(fewest, host // (2 * each))))
    else:
        found = int(free * _DEVICE_SHARE) // each
    if found < 1:
        raise LimitExceeded(
            "KV page bytes", each, free or 0, hint="free memory, or use a smaller page or model"
        )
    return found


def _free_host_bytes() -> int:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
