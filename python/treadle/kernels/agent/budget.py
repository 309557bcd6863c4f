"""What a run may cost, and what it has cost so far, over all its restarts."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.errors import InvalidRequest

LEAST_REPLY = 256
"""Tokens below which an answer is not worth asking for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """attempts; tokens of questions and answers; seconds by the clock; seconds of the device."""

    attempts: int = 8
    tokens: int = 400_000
    wall: float = 3600.0
    device: float = 1200.0
    reply: int = 16_384

    def __post_init__(self) -> None:
        for name in ("attempts", "tokens", "wall", "device", "reply"):
            if not getattr(self, name) > 0:
                raise InvalidRequest(f"{getattr(self, name)} is no budget", at=f"--{name}",
                                     hint="give more than nothing")  # fmt: skip


@dataclass(slots=True)
class Spent:
    """In the units of `Budget`."""

    attempts: int = 0
    tokens: int = 0
    wall: float = 0.0
    device: float = 0.0


def over(budget: Budget, spent: Spent) -> str | None:
    """The first budget with nothing left, None while there is something of each."""
    for name in ("attempts", "tokens", "wall", "device"):
        if getattr(spent, name) >= getattr(budget, name):
            return name
    return None


def reply_tokens(budget: Budget, spent: Spent, question: int) -> int:
    """How long an answer may be after a question of so many tokens; 0 where none fits."""
    left = min(budget.reply, budget.tokens - spent.tokens - question)
    return left if left >= LEAST_REPLY or left == budget.reply else 0
