"""What every endpoint needs, handed over as an argument; and the few fields all answers share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.limits import Limits
from treadle.types import Usage

if TYPE_CHECKING:
    from treadle.engine import AsyncEngine


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The engine behind the server, the names it answers to, and the budgets of a request."""

    engine: AsyncEngine
    limits: Limits
    name: str
    aliases: tuple[str, ...] = ()
    created: int = 0

    @property
    def models(self) -> tuple[str, ...]:
        """Every name a request may use for the model."""
        return (self.name, *self.aliases)

    @property
    def fingerprint(self) -> str:
        """OpenAI's system_fingerprint: changes when graph, backend or version do."""
        return self.engine.fingerprint

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens included."""
        return self.engine.tokenizer.decode(list(ids), skip_special=False)


def new_id(prefix: str) -> str:
    """An unguessable identifier in OpenAI's style."""
    return f"{prefix}-{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970, as OpenAI's `created`."""
    return int(time.time())


def usage_body(usages: Sequence[Usage]) -> dict[str, Any]:
    """The usage object over one or several requests."""
    prompt = sum(u.prompt_tokens for u in usages)
    completion = sum(u.completion_tokens for u in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached_tokens for u in usages)},
    }


def merge_usage(usages: Sequence[Usage]) -> Usage:
    """Usage of one request from that of its choices, which share one prompt."""
    return Usage(
        max((u.prompt_tokens for u in usages), default=0),
        sum(u.completion_tokens for u in usages),
        max((u.cached_tokens for u in usages), default=0),
    )
