"""A graph without its nodes."""

from __future__ import annotations

from msgspec import Struct


class Outline(Struct, frozen=True, array_like=True):
    """What it takes to run a graph of which everything else is planned already.

    `hash` and `name` are the graph's. `vocab`: width of a logits row. `page_size`: tokens a KV page
    holds, 1 without attention. `heads`: KV heads of each layer and their size. `params`: format and
    shape of every weight, in the graph's order.
    """

    hash: str
    name: str
    vocab: int
    page_size: int
    heads: list[tuple[int, int]]
    params: dict[str, tuple[str, tuple[int, ...]]]

    def page_bytes(self, item: int) -> int:
        """Bytes of one KV page over all layers, at `item` bytes an element."""
        return sum(2 * self.page_size * heads * size * item for heads, size in self.heads)
