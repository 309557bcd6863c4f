"""The Python API over the fake device: values, lists, streams, tools."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Literal, TypedDict

import jsonschema
import msgspec
import pydantic
import pytest
from fake import EOS, Fake, solo, submit
from fake_model import fake_model
from msgspec.structs import replace

from treadle import (
    LLM,
    ContextOverflow,
    GrammarError,
    GrammarLimits,
    InvalidRequest,
    LimitExceeded,
    Limits,
)
from treadle.engine.values import schema_of, tool_of
from treadle.errors import EngineDead, NotReady
from treadle.types import Message, Sampling, Tool


class Sailor(msgspec.Struct):
    name: Literal["Ann", "Bob"]
    age: int
    alive: bool = True


@dataclass
class SailorData:
    name: Literal["Ann", "Bob"]
    alive: bool


class SailorDict(TypedDict):
    alive: bool


class SailorModel(pydantic.BaseModel):
    name: Literal["Ann", "Bob"]
    alive: bool


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "y", 3, None]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm():
    with LLM(fake_model(Fake(pages=3_000), context=4_000)) as llm:
        yield llm


def seeded(seed: int = 1, **sampling: object) -> Sampling:
    return Sampling(**{"seed": seed, "max_tokens": 300, **sampling})


def test_text_ids_usage_and_choices(llm: LLM) -> None:
    out = llm.generate("abc", sampling=seeded(max_tokens=9, n=3, logprobs=1))
    ids = [257, 97, 98, 99]
    for i, choice in enumerate(out.choices):
        assert choice.token_ids == solo(submit(1, ids, max_tokens=9, seed=1), i)
        assert choice.usage.prompt_tokens == 4
        assert choice.usage.completion_tokens == len(choice.token_ids) == len(choice.logprobs)
        assert choice.finish_reason in ("stop", "length")
        assert choice.value == choice.text
    assert out is out.choices[0]
    assert llm.generate(ids, sampling=seeded(max_tokens=9)).token_ids == out.token_ids
    echoed = llm.generate("abc", sampling=seeded(max_tokens=9), echo=True)
    assert echoed.text == "abc" + out.text


def test_a_list_goes_on_past_a_bad_item(llm: LLM) -> None:
    prompts = ["one", "x" * 5_000, "two"] + [f"more {i}" for i in range(200)]
    outs = llm.generate(prompts, sampling=seeded(max_tokens=4))
    assert len(outs) == len(prompts)
    assert isinstance(outs[1].error, ContextOverflow)
    for i in (0, 2, 100, 202):
        ids = [257, *prompts[i].encode()]
        assert outs[i].error is None
        assert outs[i].token_ids == solo(submit(1, ids, max_tokens=4, seed=1))
    with pytest.raises(ContextOverflow):
        _ = outs[1].value
    with pytest.raises(ContextOverflow):
        llm.generate(prompts[1])


def test_streams_say_what_whole_answers_say(llm: LLM) -> None:
    whole = llm.chat("hi", sampling=seeded(5))
    with llm.stream_chat("hi", sampling=seeded(5)) as stream:
        pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == whole.text == stream.output.text
    assert stream.output.token_ids == whole.token_ids
    for piece in llm.stream("x", sampling=seeded(max_tokens=3_000, logit_bias={EOS: -100.0})):
        assert piece.token_ids
        break
    assert llm.generate("still here", sampling=seeded(max_tokens=2)).error is None


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (SCHEMA, dict),
        (json.dumps(SCHEMA), dict),
        (dict, dict),
        (Sailor, Sailor),
        (SailorData, SailorData),
        (SailorDict, dict),
        (SailorModel, SailorModel),
    ],
    ids=["schema", "json text", "dict", "struct", "dataclass", "typed dict", "pydantic"],
)
def test_values_have_the_type_that_was_asked_for(llm: LLM, schema: object, kind: type) -> None:
    sampling = seeded(3, max_tokens=1_500)
    outs = llm.generate([f"p{i}" for i in range(3)], schema=schema, sampling=sampling)
    done = [out for out in outs if out.finish_reason == "stop"]
    assert done
    assert all(isinstance(out.value, kind) for out in done)
    assert all(out.error is None for out in outs)


def test_whole_numbers_are_integers_however_they_are_spelt() -> None:
    _, decode = schema_of(Sailor)
    for text in ("7", "7.0", "70e-1", "0.7e1"):
        assert decode(f'{{"name": "Ann", "age": {text}}}') == Sailor("Ann", 7)
    _, decode = schema_of(dict[str, float])
    assert decode('{"a": 2, "b": 1e2, "c": 0.5}') == {"a": 2.0, "b": 100.0, "c": 0.5}


def test_every_constraint_holds_at_any_temperature(llm: LLM) -> None:
    rng = random.Random(4)
    chats = ["a", "b", "c"] * 3
    sampling = seeded(rng.randrange(999), temperature=1.7, max_tokens=900)
    for out in llm.chat(chats, schema=SCHEMA, sampling=sampling):
        jsonschema.validate(out.value, SCHEMA)
    for out in llm.chat(chats, choice=["red", "green"], sampling=sampling):
        assert out.value in ("red", "green")
    for out in llm.chat(chats, regex="[ab]{3,5}-[0-9]+z", sampling=sampling):
        assert __import__("re").fullmatch("[ab]{3,5}-[0-9]+z", out.text)
    for out in llm.chat(chats, grammar='root ::= "<" [a-c]+ ">"', sampling=sampling):
        assert __import__("re").fullmatch("<[a-c]+>", out.text)
    short = llm.chat("x", regex="a{50}", sampling=seeded(max_tokens=5))
    assert short.finish_reason == "length"
    assert llm.chat("x", schema=SCHEMA, sampling=seeded(max_tokens=2)).finish_reason == "length"


def test_a_value_that_was_cut_says_so(llm: LLM) -> None:
    out = llm.chat("x", schema=SCHEMA, sampling=seeded(max_tokens=2))
    with pytest.raises(LimitExceeded, match="raise max_tokens"):
        _ = out.value


def test_ends_and_grammars_together(llm: LLM) -> None:
    for i in range(8):
        late = llm.generate(f"{i}", regex="a*", sampling=seeded(min_tokens=6, max_tokens=400))
        assert len(late.token_ids) > 6
        forced = llm.generate(
            f"{i}", choice=["ok"], sampling=seeded(min_tokens=50, ignore_eos=True)
        )
        assert forced.text == "ok"  # a finished grammar leaves nothing but the end


def test_a_grammar_that_spends_its_budget_ends_its_request_alone() -> None:
    limits = replace(Limits(), grammar=replace(GrammarLimits(), step_fuel=40))
    with LLM(fake_model(), limits=limits) as llm:
        sick = llm.stream("x", schema=SCHEMA, sampling=seeded(n=3))
        well = llm.stream("x", sampling=seeded(max_tokens=20))
        with pytest.raises(LimitExceeded, match="step_fuel"):
            list(sick)
        list(well)
        assert well.output.token_ids == solo(submit(1, [257, 120], max_tokens=20, seed=1))


def lookup(city: Literal["Rome", "Oslo"], days: int = 1) -> str:
    """Weather of a city."""
    return f"{city} {days}"


def test_tools_become_calls_that_parse(llm: LLM) -> None:
    tool = tool_of(lookup)
    assert tool.name == "lookup"
    assert tool.description == "Weather of a city."
    assert tool.parameters["required"] == ["city"]
    assert set(tool.parameters["properties"]) == {"city", "days"}
    sampling = seeded(max_tokens=2_000)
    outs = llm.chat(
        ["a", "b", "c", "d"], tools=[lookup], tool_choice=("named", "lookup"), sampling=sampling
    )
    finished = [out for out in outs if out.finish_reason == "tool_calls"]
    assert finished
    for out in finished:
        (call,) = out.tool_calls
        assert call.name == "lookup"
        jsonschema.validate(json.loads(call.arguments), dict(tool.parameters))
        assert out.text == ""
    for seed in range(4):  # calls, or else what the schema asks for
        options = {"tools": [lookup], "choice": ["red"], "sampling": seeded(seed, max_tokens=900)}
        either = llm.chat("a", **options)
        assert either.text == "red" or either.tool_calls or either.finish_reason == "length"
    free = llm.chat("a", tools=[lookup], sampling=seeded(max_tokens=20))
    assert free.error is None
    none = llm.chat("a", tools=[lookup], tool_choice="none", sampling=seeded(max_tokens=5))
    assert none.token_ids == llm.chat("a", sampling=seeded(max_tokens=5)).token_ids


@pytest.mark.parametrize(
    ("call", "at"),
    [
        ({"schema": SCHEMA, "regex": "a"}, "regex"),
        ({"schema": object()}, "schema"),
        ({"tools": [3]}, "tools"),
        ({"tools": [{"name": "f", "extra": 1}]}, "tools"),
        ({"tools": [Tool("f")], "tool_choice": ("named", "g")}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [Tool("f")], "tool_choice": "required", "choice": ["a"]}, "tool_choice"),
        ({"choice": []}, "choice"),
    ],
)
def test_what_cannot_be_asked_names_its_place(llm: LLM, call: dict, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        llm.chat("x", **call)
    assert caught.value.at == at


def test_other_bad_input(llm: LLM) -> None:
    with pytest.raises(GrammarError) as caught:
        llm.chat("x", schema={"properties": {"a": {"type": "nothing"}}})
    assert "/properties/a" in str(caught.value)
    with pytest.raises(InvalidRequest, match="unknown field"):
        llm.chat([{"role": "user", "content": "x", "colour": "red"}])
    with pytest.raises(InvalidRequest, match="role"):
        llm.chat([{"role": "pirate", "content": "x"}])
    with pytest.raises(TypeError, match="temperatur"):
        llm.chat("x", temperatur=1)
    with pytest.raises(LimitExceeded):
        llm.chat([Message("user", "x")] * 5_000)
    assert llm.chat("x", sampling=seeded(max_tokens=1)).error is None


def test_close_frees_and_death_is_told() -> None:
    device = Fake(pages=400)
    llm = LLM(fake_model(device), limits=replace(Limits(), sequences=4))
    assert llm.generate("x", sampling=seeded(max_tokens=3)).error is None
    llm.close()
    llm.close()
    assert device.closed
    with pytest.raises(NotReady):
        llm.generate("x")
    with LLM(fake_model(Fake(pages=400, fail_at=2))) as broken:
        outs = broken.generate(["a", "b"], sampling=seeded(logit_bias={EOS: -100.0}))
        assert all(isinstance(out.error, EngineDead) for out in outs)
