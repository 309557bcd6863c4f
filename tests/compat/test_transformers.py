"""The logits processors: masked rows, skipped prompts, padding, beams, a second call."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("transformers")

import hosts
import torch

import treadle.compat.xgrammar as xgr
from treadle.compat.transformers import LogitsProcessor
from treadle.errors import GrammarError, InvalidRequest
from treadle.grammar import Compiler, Grammar

TOKENIZER = hosts.Tokenizer()
INFO = xgr.TokenizerInfo.from_huggingface(TOKENIZER)
SIZE = INFO.vocab_size
COMPILED = Compiler(INFO._handle.vocab).compile(Grammar.regex("a[bc]d|ax"))
STOP = 1


def token(text: str) -> int:
    return TOKENIZER.encode(text)[0]


def step(processor: object, rows: list[list[int]], width: int = SIZE) -> list[set[str | int]]:
    """The legal tokens of each row, by their text."""
    scores = torch.zeros((len(rows), width))
    masked = processor(torch.tensor(rows), scores)  # type: ignore[operator]
    assert not scores.any()
    names = {number: name for name, number in TOKENIZER.get_vocab().items()}
    out: list[set[str | int]] = []
    for row in masked:
        legal = (row == 0).nonzero().flatten().tolist()
        out.append({names.get(i, i) for i in legal})
    return out


def hexed(text: str) -> str:
    return f"<0x{ord(text):02X}>"


def test_rows_go_their_own_way_and_padding_is_ignored() -> None:
    processor = LogitsProcessor(COMPILED, SIZE)
    rows = [[7, 7], [9, 9]]
    assert step(processor, rows, SIZE + 3) == [{hexed("a"), "ab"}] * 2
    rows = [[*rows[0], token("a")], [*rows[1], TOKENIZER.get_vocab()["ab"]]]
    assert step(processor, rows) == [{hexed("b"), hexed("c"), hexed("x")}, {hexed("d")}]
    rows = [[*rows[0], token("x")], [*rows[1], token("d")]]
    assert step(processor, rows) == [{"</s>"}] * 2
    rows = [[*row, STOP] for row in rows]
    assert len(step(processor, rows)[0]) == SIZE
    step(processor, [[*row, 0] for row in rows])  # padding


def test_a_second_call_begins_a_new_text() -> None:
    processor = LogitsProcessor(COMPILED, SIZE)
    first = step(processor, [[7]])
    step(processor, [[7, token("a")]])
    assert step(processor, [[7]]) == first
    assert step(processor, [[7, 8, 9]]) == first


def test_an_illegal_token_is_an_error() -> None:
    processor = LogitsProcessor(COMPILED, SIZE)
    step(processor, [[7]])
    with pytest.raises(GrammarError, match="not legal"):
        step(processor, [[7, token("z")]])


def test_beams_are_followed_as_they_are_reordered() -> None:
    processor = LogitsProcessor(COMPILED, SIZE, beams=True)
    step(processor, [[7], [7]])
    step(processor, [[7, token("a")], [7, TOKENIZER.get_vocab()["ab"]]])
    # Both beams go on from the second row, and one of them dies.
    second = [7, TOKENIZER.get_vocab()["ab"]]
    legal = step(processor, [[*second, token("d")], [*second, token("z")]])
    assert legal == [{"</s>"}, legal[1]]
    assert len(legal[1]) == SIZE
    third = [*second, token("d")]
    assert len(step(processor, [[*third, STOP], [*third, STOP]])[1]) == SIZE


def test_a_grammar_a_prompt() -> None:
    other = Compiler(INFO._handle.vocab).compile(Grammar.regex("z"))
    processor = LogitsProcessor([COMPILED, other], SIZE)
    assert step(processor, [[7], [7]])[1] == {hexed("z")}
    with pytest.raises(InvalidRequest, match="3 rows"):
        step(processor, [[7, 1], [7, 1], [7, 1]])


def test_the_processor_of_xgrammar() -> None:
    compiled = xgr.GrammarCompiler(INFO).compile_regex("a[bc]")
    processor = xgr.hf.LogitsProcessor(compiled)
    masked = processor(torch.tensor([[7], [8]]), torch.zeros((2, SIZE)))
    assert int((masked == 0).sum()) == 4  # a and ab, twice
    rows = torch.tensor([[7, token("a")], [8, TOKENIZER.get_vocab()["ab"]]])
    masked = processor(rows, torch.zeros((2, SIZE)))
    assert (masked[1] == 0).nonzero().flatten().tolist() == [STOP]
    with pytest.raises(RuntimeError, match="row 0"):
        processor(torch.tensor([[7, 3, 0], [8, 3, STOP]]), torch.zeros((2, SIZE)))
