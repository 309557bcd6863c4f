"""Which earlier attempts the next question builds on. Pure: a replayed run asks the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from treadle.errors import InvalidRequest
from treadle.kernels.agent.attempts import Attempt

Policy: TypeAlias = Literal["best-of-n", "refine", "beam"]
POLICIES: tuple[str, ...] = get_args(Policy)


def ranked(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that passed, by what they are faster for sure; of equal sources only the first."""
    seen: dict[str, Attempt] = {}
    for one in attempts:
        if one.score is not None:
            seen.setdefault(one.identity, one)
    return sorted(seen.values(), key=lambda a: (-(a.score or 0.0), a.number))


def parents(policy: str, width: int, attempts: Sequence[Attempt]) -> list[Attempt]:
    """What to show in full: nothing (best-of-n), the best and the last if that failed (refine), or
    one of the `width` best in turn (beam). Raises InvalidRequest for an unknown policy."""
    if policy not in POLICIES:
        raise InvalidRequest(f"no policy {policy!r}", at="--policy", hint=f"one of {POLICIES}")
    if policy == "best-of-n" or not attempts:
        return []
    best, last = ranked(attempts), attempts[-1]
    if not best:
        return [last]
    if policy == "refine":
        return [best[0], *([last] if last.score is None else [])]
    return [best[len(attempts) % min(width, len(best))]]
