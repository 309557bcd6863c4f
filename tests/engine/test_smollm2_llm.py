"""The whole way on the real model: SmolLM2-135M through the torch backend."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from treadle import LLM, Sampling


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    city: Annotated[str, msgspec.Meta(max_length=12)]
    large: bool


@pytest.fixture(scope="module")
def llm():
    with LLM("smollm2-135m", backend="torch", threads=1, progress=False) as llm:
        yield llm


def test_greedy_answers_are_sensible_and_the_second_turn_is_cached(llm: LLM) -> None:
    greedy = Sampling(temperature=0, max_tokens=16)
    first = llm.chat("What is the capital of France?", sampling=greedy)
    assert "Paris" in first.text
    assert first.finish_reason == "stop"
    turns = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And of Italy?"},
    ]
    second = llm.chat(turns, sampling=greedy)
    assert second.usage.cached_tokens >= 32


def test_a_schema_gives_its_type_at_temperature_one(llm: LLM) -> None:
    prompts = [f"Name a city, number {i}." for i in range(4)]
    outs = llm.chat(prompts, schema=Answer, sampling=Sampling(seed=3, max_tokens=120))
    for out in outs:
        assert out.error is None
        if out.finish_reason == "stop":
            assert isinstance(out.value, Answer)
    assert any(out.finish_reason == "stop" for out in outs)


def test_tools_are_called(llm: LLM) -> None:
    def get_weather(city: Literal["Paris", "Rome"]) -> str:
        """Weather forecast of a city."""
        return f"sunny in {city}"

    out = llm.chat(
        "What is the weather in Rome?",
        tools=[get_weather],
        tool_choice="required",
        parallel_tool_calls=False,
        sampling=Sampling(temperature=0, max_tokens=60),
    )
    (call,) = out.tool_calls
    assert out.finish_reason == "tool_calls"
    assert call.name == "get_weather"
    assert get_weather(**msgspec.json.decode(call.arguments)).startswith("sunny in")
