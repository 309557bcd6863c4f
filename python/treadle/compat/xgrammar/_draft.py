"""Draft trees: a mask a node, by walking the tree with one matcher."""

# The objects of this package work on each other's handles.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from treadle.compat.xgrammar._rows import float_row

if TYPE_CHECKING:
    from treadle.compat.xgrammar.matcher import GrammarMatcher


def traverse(
    matcher: GrammarMatcher,
    tree: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    bitmask: torch.Tensor,
    seconds: float,
    temperatures: torch.Tensor | None,
) -> bool:
    """See `GrammarMatcher.traverse_draft_tree`. The matcher ends where it began."""
    child, sibling, tokens = (_numbers(tensor) for tensor in tree)
    _check_tree(child, sibling, tokens, bitmask)
    warm = None if temperatures is None else float_row(temperatures, len(child), "temperatures")
    if warm is not None:
        warm[: len(child)] = -1.0
    deadline = time.monotonic() + seconds if seconds > 0 else None
    depth = 0  # tokens accepted so far
    pending = [(0, 0)]  # node, and the depth of its parent's path
    try:
        while pending:
            if deadline is not None and time.monotonic() > deadline:
                return False
            node, above = pending.pop()
            if node and sibling[node] >= 0:
                pending.append((sibling[node], above))
            if depth > above:
                matcher.rollback(depth - above)
                depth = above
            if node:
                if not matcher.accept_token(tokens[node]):
                    bitmask[node] = 0
                    continue
                depth += 1
            if matcher._stopped:  # nothing follows a stop token
                bitmask[node] = 0
                continue
            matcher.fill_next_token_bitmask(bitmask, node)
            if warm is not None and matcher.temperature is not None:
                warm[node] = matcher.temperature
            if child[node] >= 0:
                pending.append((child[node], depth))
    finally:
        if depth:
            matcher.rollback(depth)
    return True


def _numbers(tensor: Any) -> list[int]:
    if tensor.dim() != 1 or tensor.dtype != torch.int64 or tensor.device.type != "cpu":
        raise RuntimeError("a draft tree is three int64 tensors of one axis on the CPU")
    return tensor.tolist()


def _check_tree(child: list[int], sibling: list[int], tokens: list[int], bitmask: Any) -> None:
    """Each node but the root is the child or sibling of exactly one: no cycles, nothing shared."""
    n = len(child)
    if n == 0 or len(sibling) != n or len(tokens) != n:
        raise RuntimeError("a draft tree needs the same number of children, siblings and tokens")
    if bitmask.dim() != 2 or bitmask.shape[0] < n:
        raise RuntimeError(f"token_bitmask: expected at least {n} rows")
    if sibling[0] != -1:
        raise RuntimeError("retrieve_next_sibling[0]: the root has no sibling")
    seen = [False] * n
    for name, links in (("retrieve_next_token", child), ("retrieve_next_sibling", sibling)):
        for node, to in enumerate(links):
            if not -1 <= to < n:
                raise RuntimeError(f"{name}[{node}] is {to}, outside -1 to {n - 1}")
            if to == 0 or (to > 0 and seen[to]):
                raise RuntimeError(f"{name}[{node}] is {to}: two nodes lead there, or the root")
            if to > 0:
                seen[to] = True
