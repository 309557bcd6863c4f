"""The same grammar and tokens give the masks that xgrammar 0.2.8 gave; differences are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("transformers")

import treadle.compat.xgrammar as xgr
from treadle.compat.xgrammar.testing import bitmask_to_bool_mask, bool_mask_to_bitmask

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "xgrammar_behaviour.json").read_text()
)
VOCAB: list[str] = RECORD["vocab"]
SIZE: int = RECORD["vocab_size"]
INFO = xgr.TokenizerInfo(VOCAB, vocab_size=SIZE)
COMPILER = xgr.GrammarCompiler(INFO)

# Tokens that are legal here and were not there: every spelling of a value is allowed, so escapes in
# strings and keys, exponents of numbers, and whitespace before a value. Nothing is legal there that
# is not legal here, and forced text is never longer.
MORE = {
    "enum": {"\\", "0"},
    "pattern": {"\\"},
    "objects": {"\\", "\\n"},
    "builtin json": {" ", "  ", "\n"},
}


def compiled(case: dict[str, Any]) -> xgr.CompiledGrammar:
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in case["kwargs"].items()}
    return getattr(COMPILER, case["method"])(*case["args"], **options)


def legal(matcher: xgr.GrammarMatcher) -> tuple[set[int], bool]:
    bitmask = xgr.allocate_token_bitmask(1, SIZE)
    masked = matcher.fill_next_token_bitmask(bitmask)
    row = bitmask_to_bool_mask(bitmask, SIZE)[0].tolist()
    return {token for token, is_legal in enumerate(row) if is_legal}, masked


def test_tokenizer_info() -> None:
    assert INFO.stop_token_ids == RECORD["info"]["stop"]
    assert INFO.special_token_ids == RECORD["info"]["special"]
    assert INFO.dump_metadata() == RECORD["info"]["metadata"]
    again = xgr.TokenizerInfo.from_vocab_and_metadata(VOCAB, INFO.dump_metadata())
    assert again.decoded_vocab == INFO.decoded_vocab


@pytest.mark.parametrize("case", RECORD["cases"], ids=lambda case: case["name"])
def test_masks_step_by_step(case: dict[str, Any]) -> None:
    matcher = xgr.GrammarMatcher(compiled(case))
    more = MORE.get(case["name"], set())
    for step in case["steps"]:
        ours, masked = legal(matcher)
        theirs = set(step["legal"])
        assert theirs <= ours
        assert {VOCAB[token] for token in ours - theirs} <= more
        assert masked == step["masked"]
        assert matcher.is_completed() == step["completed"]
        jump = matcher.find_jump_forward_string()
        assert step["jump"].startswith(jump) if more else step["jump"] == jump
        if "token" in step:
            assert matcher.accept_token(step["token"]) == step["accepted"]


def test_the_end_of_a_text() -> None:
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar('root ::= "ab"'))
    stop = INFO.stop_token_ids[0]
    assert not matcher.accept_token(stop)
    assert matcher.accept_string("ab")
    assert legal(matcher) == ({stop}, True)
    assert (matcher.is_completed(), matcher.is_terminated()) == (True, False)
    assert matcher.accept_token(stop)
    assert matcher.is_terminated()
    assert not matcher.accept_token(stop)
    assert not matcher.accept_string("a")
    for call in (lambda: legal(matcher), matcher.find_jump_forward_string):
        with pytest.raises(RuntimeError, match="terminated"):
            call()
    matcher.rollback(1)
    assert legal(matcher)[0] == {stop}
    matcher.reset()
    assert not matcher.is_completed()


def test_termination_without_a_stop_token() -> None:
    grammar = COMPILER.compile_grammar('root ::= "a"*')
    matcher = xgr.GrammarMatcher(grammar, terminate_without_stop_token=True)
    assert matcher.is_terminated()
    assert matcher.accept_string("a")
    assert matcher.is_terminated()


@pytest.mark.parametrize("token", [-1, SIZE, 10**9, VOCAB.index("<s>"), VOCAB.index("")])
def test_tokens_that_are_never_legal(token: int) -> None:
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar("root ::= [a-z]*"))
    assert not matcher.accept_token(token)
    assert matcher.accept_string("ok")


def test_forks_go_on_by_themselves() -> None:
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar('root ::= "a" [bc] "!"'))
    matcher.accept_string("a")
    twin = matcher.fork()
    assert twin.accept_string("b!")
    assert matcher.accept_string("c")
    assert (twin.is_completed(), matcher.is_completed()) == (True, False)
    assert twin != matcher
    with pytest.raises(TypeError):
        hash(matcher)


def test_override_of_stop_tokens() -> None:
    b = VOCAB.index("b")
    grammar = COMPILER.compile_grammar('root ::= "a"*')
    matcher = xgr.GrammarMatcher(grammar, override_stop_tokens=b)
    assert matcher.stop_token_ids == [b]
    assert b in legal(matcher)[0]
    assert INFO.stop_token_ids[0] not in legal(matcher)[0]
    with pytest.raises(RuntimeError):
        xgr.GrammarMatcher(grammar, override_stop_tokens=[SIZE])


def test_bitmasks_as_booleans() -> None:
    torch = pytest.importorskip("torch")
    bools = torch.rand((3, 77)) < 0.5
    bits = bool_mask_to_bitmask(bools)
    assert bits.dtype == torch.int32
    assert torch.equal(bitmask_to_bool_mask(bits, 77), bools)
