"""Sampling parameters of a request. The ranges stand here once; the server's bodies reuse them."""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from treadle.errors import InvalidRequest

Temperature = Annotated[float, Meta(ge=0.0, le=2.0)]
TopP = Annotated[float, Meta(gt=0.0, le=1.0)]
TopK = Annotated[int, Meta(ge=0, le=1 << 24)]
MinP = Annotated[float, Meta(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Repetition = Annotated[float, Meta(gt=0.0, le=10.0)]
Bias = Annotated[float, Meta(ge=-100.0, le=100.0)]
TokenId = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
LogitBias = Annotated[dict[TokenId, Bias], Meta(max_length=1_024)]
MaxTokens = Annotated[int, Meta(ge=1, le=1 << 24)]
MinTokens = Annotated[int, Meta(ge=0, le=1 << 24)]
Stop = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = Annotated[tuple[Stop, ...], Meta(max_length=16)]
StopIds = Annotated[tuple[TokenId, ...], Meta(max_length=64)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Choices = Annotated[int, Meta(ge=1, le=16)]
Seed = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn and when a request ends. Order and ranges: the serving reference, 7.

    Raises InvalidRequest naming the field when a value is out of range.
    """

    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    top_k: TopK = 0  # 0 = off
    min_p: MinP = 0.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Repetition = 1.0
    logit_bias: LogitBias = {}
    max_tokens: MaxTokens | None = None  # None = up to the context
    min_tokens: MinTokens = 0
    ignore_eos: bool = False
    stop: Stops = ()
    stop_token_ids: StopIds = ()
    logprobs: TopLogprobs | None = None  # None = none; 0 = the drawn token's only
    n: Choices = 1
    seed: Seed | None = None  # None = a fresh random seed a request

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            try:
                msgspec.convert(getattr(self, name), _hints()[name], strict=True)
            except msgspec.ValidationError as error:
                raise InvalidRequest(str(error), at=name) from None


_cached_hints: dict[str, Any] = {}


def _hints() -> dict[str, Any]:
    if not _cached_hints:
        _cached_hints.update(get_type_hints(Sampling, include_extras=True))
    return _cached_hints
