"""The adapters for vLLM and SGLang against recorded interfaces: they work or refuse loudly."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("transformers")

import hosts
import torch

from treadle.compat import sglang, vllm
from treadle.compat.xgrammar.testing import bitmask_to_bool_mask
from treadle.errors import GrammarError, Unsupported

TOKENIZER = hosts.Tokenizer()
SIZE = len(TOKENIZER) + 5
SCHEMA = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}'
TAG = {
    "type": "structural_tag",
    "format": {
        "type": "tag",
        "begin": "<",
        "content": {"type": "regex", "pattern": "x"},
        "end": ">",
    },
}
OLD_TAG = {"structures": [{"begin": "<f>", "schema": {}, "end": "</f>"}], "triggers": ["<f"]}


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(module: Any) -> Any:
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module

    return install


def option(name: str) -> Any:
    return hosts.vllm().StructuredOutputOptions[name]


@pytest.mark.parametrize(
    ("kind", "spec", "text"),
    [
        ("JSON", SCHEMA, '{"a": true, "b": 1}'),
        ("JSON_OBJECT", "", '{"x": []}'),
        ("REGEX", "[ab]{2}c", "abc"),
        ("GRAMMAR", 'root ::= "a" "b"*', "abb"),
        ("CHOICE", '["yes", "no \\"x\\""]', 'no "x"'),
        ("STRUCTURAL_TAG", json.dumps(TAG), "<x>"),
        ("STRUCTURAL_TAG", json.dumps(OLD_TAG), "t<f>1</f>"),
    ],
)
def test_vllm_follows_each_kind(kind: str, spec: str, text: str) -> None:
    backend = vllm.Backend(hosts.vllm_config(), TOKENIZER, SIZE)
    grammar = backend.compile_grammar(option(kind), spec)
    bitmask = backend.allocate_token_bitmask(3)
    tokens = ids(text)
    for token in tokens:
        grammar.fill_bitmask(bitmask, 1)
        assert bitmask_to_bool_mask(bitmask)[1, token]
        assert grammar.accept_tokens("r", [token])
    assert grammar.validate_tokens([1, 1]) == [1]
    assert grammar.num_processed_tokens == len(tokens)
    assert grammar.accept_tokens("r", [1, 50])  # what follows the end is ignored
    assert grammar.is_terminated()
    grammar.fill_bitmask(bitmask, 2)
    assert (bitmask[2] == -1).all()
    grammar.rollback(2)
    assert not grammar.is_terminated()
    assert grammar.validate_tokens([*tokens[-1:], 1, 1]) == [*tokens[-1:], 1]
    grammar.reset()
    assert grammar.validate_tokens(tokens) == tokens
    assert not grammar.accept_tokens("r", [0])


def test_vllm_errors_are_of_one_request() -> None:
    backend = vllm.Backend(hosts.vllm_config(), TOKENIZER, SIZE)
    with pytest.raises(RuntimeError, match="/type"):
        backend.compile_grammar(option("JSON"), '{"type": "nonsense"}')
    with pytest.raises(Unsupported, match="PROTOBUF"):
        backend.compile_grammar(SimpleNamespace(name="PROTOBUF"), "")
    grammar = backend.compile_grammar(option("REGEX"), "a", stop_token_ids={2})
    assert grammar.accept_tokens("r", [*ids("a"), 2])


def test_hosts_without_whitespace_write_as_dumps_does() -> None:
    config = hosts.vllm_config(disable_any_whitespace=True)
    grammar = vllm.Backend(config, TOKENIZER, SIZE).compile_grammar(option("JSON_OBJECT"), "")
    assert grammar.accept_tokens("r", ids('{"a": [1, 2]}'))
    assert grammar.validate_tokens([1]) == [1]
    grammar.reset()
    assert grammar.validate_tokens(ids('{ "a')) == ids("{")


def test_vllm_host_is_checked(host: Any) -> None:
    module = host(hosts.vllm())
    vllm.check_host()
    assert issubclass(vllm.Backend, module.StructuredOutputBackend)
    for change in ({"options": ["PROTOBUF"]}, {"grammar": ["accept_bytes"]}, {"backend": ["fork"]}):
        host(hosts.vllm(**change))
        with pytest.raises(Unsupported, match=next(iter(change.values()))[0]):
            vllm.check_host()


def test_vllm_fields_are_never_dropped() -> None:
    vllm.check_params(hosts.vllm_params(json="{}"))
    for change in ({"whitespace_pattern": " "}, {"max_items": 3}):
        with pytest.raises(Unsupported, match=next(iter(change))):
            vllm.check_params(hosts.vllm_params(**change))
    with pytest.raises(Unsupported, match="strictness"):
        vllm.Backend(hosts.vllm_config(strictness=2), TOKENIZER, SIZE)
    vllm.Backend(hosts.vllm_config(backend="treadle"), TOKENIZER, SIZE)


def arguments(**more: Any) -> SimpleNamespace:
    usual = {
        "grammar_backend": "treadle",
        "constrained_json_disable_any_whitespace": False,
        "constrained_json_whitespace_pattern": None,
        "reasoning_parser": None,
    }
    return SimpleNamespace(**(usual | more))


def backend_of(host: Any) -> Any:
    module = host(hosts.sglang())
    sglang.register()
    made = module.registry["treadle"](arguments(), TOKENIZER, SIZE, {1})
    assert isinstance(made, module.BaseGrammarBackend)
    return made


@pytest.mark.parametrize(
    ("method", "source", "text"),
    [
        ("dispatch_json", SCHEMA, '{"a": true}'),
        ("dispatch_json", sglang.ANY_JSON, "[1, {}]"),
        ("dispatch_regex", "[ab]{2}c", "abc"),
        ("dispatch_ebnf", 'root ::= "a" "b"*', "abb"),
        ("dispatch_structural_tag", json.dumps(TAG), "<x>"),
        ("dispatch_structural_tag", json.dumps(OLD_TAG), "t<f>1</f>"),
    ],
)
def test_sglang_follows_each_kind(host: Any, method: str, source: str, text: str) -> None:
    grammar = getattr(backend_of(host), method)(source)
    twin = grammar.copy()
    mask = grammar.allocate_vocab_mask(SIZE, 2, "cpu")
    for token in ids(text):
        grammar.fill_vocab_mask(mask, 0)
        logits = torch.zeros((2, SIZE))
        grammar.apply_vocab_mask(logits, grammar.move_vocab_mask(mask, "cpu"))
        assert logits[0, token] == 0
        assert logits[0, 0] == -torch.inf
        grammar.accept_token(token)
    grammar.accept_token(1)
    assert grammar.is_terminated()
    grammar.rollback(1)
    assert not grammar.is_terminated()
    rows = [SimpleNamespace(row=1, grammar=twin), SimpleNamespace(row=0, grammar=grammar)]
    grammar.fill_vocab_mask_batched(rows, mask)
    legal = bitmask_to_bool_mask(mask)
    assert legal[0, 1]
    assert legal[1, ids(text)[0]]
    with pytest.raises(ValueError, match="legal"):
        twin.accept_token(0)


def test_sglang_jumps_forward(host: Any) -> None:
    grammar = backend_of(host).dispatch_regex("abc[0-9]")
    helper = grammar.try_jump_forward(TOKENIZER)
    assert grammar.jump_forward_str_state(helper) == ("abc", -1)
    grammar.accept_token(ids("a")[0])
    old, word = ids("a"), TOKENIZER.get_vocab()["ab"]
    grammar.jump_and_retokenize(old, [word, *ids("c")], -1)
    assert grammar.try_jump_forward(TOKENIZER) is None
    grammar.accept_token(ids("7")[0])


def test_sglang_refuses_by_request_and_by_host(host: Any) -> None:
    refused = backend_of(host).dispatch_json('{"type": "nonsense"}')
    assert "/type" in refused.error_message
    for change in ({"object": ["accept_bytes"]}, {"backend": ["dispatch_lark"]}):
        host(hosts.sglang(**change))
        with pytest.raises(Unsupported, match=next(iter(change.values()))[0]):
            sglang.factory(arguments(), TOKENIZER, SIZE)


@pytest.mark.parametrize(
    "change",
    [
        {"constrained_json_whitespace_pattern": r"\s*"},
        {"constrained_depth": 3},
        {"reasoning_parser": "qwen3"},
    ],
)
def test_sglang_arguments_are_never_dropped(host: Any, change: dict[str, Any]) -> None:
    host(hosts.sglang())
    with pytest.raises((Unsupported, GrammarError), match=next(iter(change))):
        sglang.factory(arguments(**change), TOKENIZER, SIZE)
