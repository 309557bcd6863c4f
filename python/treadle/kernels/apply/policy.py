"""What a measured solution must show before it may stand in for a call."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of substitution; the defaults are those of a production engine.

    isolation: least level of the sandbox that the measurement ran in. gain: least lower end of the
    ratio's interval, less one (0.02: two per cent faster for sure). harness: the version a trace
    must name; None takes any. baseline: the solution that the ratio must have been taken against,
    where the caller's fallback is a measured one; None takes any. authors: whose solutions; None is
    everybody. unproven: take a PASSED trace without interval by its speed-up alone (the public
    dataset has nothing better). shadow: one call in so many is checked against the fallback, 0 is
    none. Raises InvalidRequest for a value out of range.
    """

    isolation: int = 2
    gain: float = 0.02
    harness: str | None = None
    baseline: str | None = None
    authors: frozenset[str] | None = None
    unproven: bool = False
    shadow: int = 1024

    def __post_init__(self) -> None:
        if not 0 <= self.isolation <= 4:
            raise InvalidRequest(f"{self.isolation} is no level", at="isolation", hint="0 to 4")
        if not 0.0 <= self.gain < 10.0:
            raise InvalidRequest(f"{self.gain} is no gain", at="gain", hint="0.02 is two per cent")
        if self.shadow < 0:
            raise InvalidRequest(f"{self.shadow} is negative", at="shadow", hint="0 turns it off")
