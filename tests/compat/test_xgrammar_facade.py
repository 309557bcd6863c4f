"""What the record cannot hold: refusals, strict schemas, stored text, draft trees, families."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("transformers")

import hosts
import torch
from pydantic import BaseModel

import treadle.compat.xgrammar as xgr
from treadle.compat.xgrammar.exception import RefusedError

BYTES = xgr.TokenizerInfo([bytes([i]) for i in range(256)], vocab_size=257, stop_token_ids=256)
COMPILER = xgr.GrammarCompiler(BYTES)
COMPACT: dict[str, Any] = {"any_whitespace": False, "separators": (",", ":")}


def takes(grammar: xgr.Grammar, text: str) -> bool:
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar(grammar))
    return matcher.accept_string(text) and matcher.is_completed()


def schema(value: Any, **options: Any) -> xgr.Grammar:
    return xgr.Grammar.from_json_schema(value, **options)


class Sailor(BaseModel):
    name: str
    age: int = 3


def test_schemas_of_every_kind() -> None:
    text = '{"name":"Ada","age":4}'
    for source in (Sailor, Sailor.model_json_schema(), json.dumps(Sailor.model_json_schema())):
        assert takes(schema(source, **COMPACT), text)
    with pytest.raises(ValueError, match="schema"):
        schema(3)


@pytest.mark.parametrize(
    ("source", "inside", "outside"),
    [
        ({"properties": {"a": {}}}, '{"a":1}', '{"b":1}'),
        ({"patternProperties": {"^a": {}}}, '{"ab":1}', '{"b":1}'),
        ({"prefixItems": [{}]}, "[1]", "[1,2]"),
        ({"properties": {"a": {}}, "required": ["b"]}, '{"b":1}', '{"b":1,"c":1}'),
        ({"anyOf": [{"properties": {"a": {}}}, {"type": "null"}]}, '{"a":1}', '{"b":1}'),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {}}}}}, "{}", '{"b":1}'),
        ({"items": {"properties": {"a": {}}}}, '[{"a":1}]', '[{"b":1}]'),
    ],
)
def test_strict_mode_closes_what_mentions_something(source: Any, inside: str, outside: str) -> None:
    for text, strict in ((inside, True), (outside, False)):
        assert takes(schema(source, **COMPACT), text) == strict
    assert takes(schema(source, strict_mode=False, **COMPACT), outside)


def test_strict_mode_leaves_conditions_and_open_schemas_alone() -> None:
    assert takes(schema({"type": "object"}, **COMPACT), '{"b":1}')
    excluded = {"type": "object", "not": {"properties": {"a": {"const": 1}}, "required": ["a"]}}
    assert not takes(schema(excluded, **COMPACT), '{"a":1}')
    together = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}
    assert takes(schema(together, **COMPACT), '{"a":1,"b":1}')
    assert not takes(schema(together, **COMPACT), '{"a":1,"c":1}')


def test_order_and_spelling() -> None:
    source = {"properties": {"a": {}, "b": {}}, "required": ["a"]}
    assert not takes(schema(source, **COMPACT), '{"b":1,"a":1}')
    any_order = schema(source, any_order=True, **COMPACT)
    assert takes(any_order, '{"b":1,"a":1}')
    assert not takes(any_order, '{"b":1}')
    assert takes(schema(source, max_whitespace_cnt=1), '{ "a" : 1 }')
    assert not takes(schema(source, max_whitespace_cnt=1), '{  "a" : 1 }')
    with pytest.raises(RefusedError, match="positive"):
        schema(source, max_whitespace_cnt=0)


@pytest.mark.parametrize(
    "layout", [{}, {"indent": 2}, {"indent": 0}, {"separators": (" , ", ":")}], ids=str
)
def test_without_whitespace_a_text_is_what_dumps_writes(layout: dict[str, Any]) -> None:
    source = {"properties": {"a": {"type": "array"}, "b": {"type": "object"}}, "type": "object"}
    fixed = schema(source, any_whitespace=False, **layout)
    for value in ({}, {"a": [], "b": {}}, {"a": [1, [2, 3]], "b": {"c": {"d": 1}}}):
        text = json.dumps(value, **layout)
        assert takes(fixed, text)
        assert not takes(fixed, " " + text)
        assert takes(fixed, json.dumps(value)) == (text == json.dumps(value))
    with pytest.raises(RefusedError, match="separators"):
        schema(source, any_whitespace=False, separators=(";", ":"))


def test_lenient_compiles_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"type": "array", "uniqueItems": True}
    with pytest.raises(RefusedError, match="uniqueItems"):
        schema(source, strict_mode=False)
    monkeypatch.setenv("TREADLE_XGRAMMAR_LENIENT", "1")
    with pytest.warns(UserWarning, match="uniqueItems"):
        schema(source, strict_mode=False)


@pytest.mark.parametrize(
    ("call", "error", "place"),
    [
        (lambda: xgr.Grammar.from_ebnf("root ::= a"), RefusedError, "1:10"),
        (lambda: xgr.Grammar.from_regex("(a"), RefusedError, "offset 0"),
        (lambda: schema('{"type": "foo"}'), RefusedError, "/type"),
        (lambda: schema("false"), RefusedError, "no value"),
        (xgr.Grammar.union, RefusedError, "nothing"),
        (lambda: xgr.Grammar.from_structural_tag("{"), xgr.InvalidJSONError, "structural tag"),
        (
            lambda: xgr.Grammar.from_structural_tag({"format": {"type": "nope"}}),
            xgr.InvalidStructuralTagError,
            "type",
        ),
        (lambda: xgr.Grammar.from_structural_tag(3), TypeError, "3"),
        (lambda: COMPILER.compile_grammar(3), ValueError, "3"),  # type: ignore[arg-type]
        (lambda: xgr.GrammarMatcher(3), ValueError, "CompiledGrammar"),  # type: ignore[arg-type]
        (lambda: xgr.GrammarCompiler(BYTES, fuel=3), TypeError, "fuel"),
        (lambda: xgr.TokenizerInfo(["a", "b"], vocab_size=1), RuntimeError, "2 tokens"),
        (lambda: xgr.TokenizerInfo(["a"], stop_token_ids=[7]), RuntimeError, "7"),
        (lambda: xgr.set_max_recursion_depth(0), RuntimeError, "got 0"),
    ],
)
def test_errors_name_the_place(call: Any, error: type[Exception], place: str) -> None:
    with pytest.raises(error, match=place):
        call()


def test_stored_text_comes_back() -> None:
    grammar = xgr.Grammar.concat(
        xgr.Grammar.from_regex("a+"),
        xgr.Grammar.union(xgr.Grammar.from_ebnf('root ::= "x"'), schema(Sailor)),
    )
    again = xgr.Grammar.deserialize_json(grammar.serialize_json())
    assert takes(again, "aax")
    assert not takes(again, "aa")
    compiled = COMPILER.compile_grammar(grammar)
    stored = compiled.serialize_json()
    loaded = xgr.CompiledGrammar.deserialize_json(stored, BYTES)
    assert xgr.GrammarMatcher(loaded).accept_string('a{"name":"x"}')
    info = xgr.TokenizerInfo.deserialize_json(BYTES.serialize_json())
    assert info.decoded_vocab == BYTES.decoded_vocab
    assert json.loads(stored)["__VERSION__"] == xgr.get_serialization_version()
    other = xgr.TokenizerInfo(["a", "b"])
    with pytest.raises(xgr.DeserializeFormatError, match="another tokenizer"):
        xgr.CompiledGrammar.deserialize_json(stored, other)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", xgr.InvalidJSONError),
        ("{}", xgr.DeserializeVersionError),
        ('{"__VERSION__": "v16"}', xgr.DeserializeVersionError),
        ("[]", xgr.DeserializeFormatError),
        ('{"__VERSION__": "treadle-1", "kind": "tokenizer_info"}', xgr.DeserializeFormatError),
        ('{"__VERSION__": "treadle-1", "kind": "grammar"}', xgr.DeserializeFormatError),
        (
            '{"__VERSION__": "treadle-1", "kind": "grammar", "source": {"type": "magic"}}',
            xgr.DeserializeFormatError,
        ),
        (
            '{"__VERSION__": "treadle-1", "kind": "grammar", "source": {"type": "regex"}}',
            xgr.DeserializeFormatError,
        ),
    ],
)
def test_stored_text_is_checked(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        xgr.Grammar.deserialize_json(text)


def tree(grammar: str, *nodes: tuple[int, int, str]) -> tuple[bool, list[set[str]]]:
    """Each node: child, sibling, character; the root's character is not looked at."""
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar(grammar))
    child, sibling = (torch.tensor([node[i] for node in nodes]) for i in (0, 1))
    tokens = torch.tensor([ord(node[2]) if node[2] != "$" else 256 for node in nodes])
    rows = torch.zeros((len(nodes), 9), dtype=torch.int32)
    done = matcher.traverse_draft_tree(child, sibling, tokens, rows)
    legal = xgr.testing.bitmask_to_bool_mask(rows, 257)
    names = [*(chr(i) for i in range(256)), "$"]
    assert matcher.accept_string("a")  # the matcher is where it was
    return done, [{names[i] for i in row.nonzero().flatten().tolist()} for row in legal]


def test_draft_trees() -> None:
    # root → a → (b → $ , c); a second child of the root that is illegal, with a child.
    done, masks = tree(
        'root ::= "a" [bc] "!"?',
        (1, -1, "?"),
        (2, 4, "a"),
        (3, 5, "b"),
        (-1, -1, "$"),
        (6, -1, "z"),
        (-1, -1, "c"),
        (-1, -1, "a"),
    )
    assert done
    assert masks == [{"a"}, {"b", "c"}, {"!", "$"}, set(), set(), {"!", "$"}, set()]


@pytest.mark.parametrize(
    "nodes",
    [[(1, -1, "a"), (0, -1, "a")], [(1, -1, "a"), (5, -1, "a")], [(1, 1, "a"), (-1, -1, "a")]],
)
def test_trees_that_are_none(nodes: list[tuple[int, int, str]]) -> None:
    with pytest.raises(RuntimeError, match=r"(child|sibling)\["):
        tree('root ::= "a"', *nodes)


def test_bitmasks_of_other_owners() -> None:
    matcher = xgr.GrammarMatcher(COMPILER.compile_grammar('root ::= "a"'))
    bitmask = xgr.allocate_token_bitmask(1, 257)
    matcher.fill_next_token_bitmask(bitmask)
    expected = bitmask.clone()
    with pytest.raises(RuntimeError, match="resiz"):  # it would move what the matcher remembers
        bitmask.resize_(100, 100)
    for other in (torch.zeros_like(expected), torch.zeros((3, 9), dtype=torch.int32)[1:2]):
        matcher.fill_next_token_bitmask(other)
        assert torch.equal(other, expected)
    array = torch.zeros((2, 9), dtype=torch.int32).numpy()
    matcher.fill_next_token_bitmask(array, 1)
    assert (array[1] == expected[0].numpy()).all()
    assert not array[0].any()
    row = torch.zeros(9, dtype=torch.int32)
    matcher.fill_next_token_bitmask(row)
    assert torch.equal(row, expected[0])
    for wrong in (expected.float(), expected[:, :2], [1, 2]):
        with pytest.raises(RuntimeError):
            matcher.fill_next_token_bitmask(wrong)
    with pytest.raises(RuntimeError, match="index"):
        matcher.fill_next_token_bitmask(expected, 1)


def test_batches() -> None:
    matchers = [xgr.GrammarMatcher(COMPILER.compile_regex(p)) for p in ("a|b", "b*", "c")]
    batch = xgr.BatchGrammarMatcher(max_threads=2)
    bitmask = xgr.allocate_token_bitmask(4, 257)
    batch.batch_fill_next_token_bitmask(matchers, bitmask, [3, 0, 1])
    one = xgr.allocate_token_bitmask(1, 257)
    for matcher, row in zip(matchers, (3, 0, 1), strict=True):
        matcher.fill_next_token_bitmask(one)
        assert torch.equal(one[0], bitmask[row])
    assert (bitmask[2] == -1).all()
    accept = xgr.BatchGrammarMatcher.batch_accept_token
    assert accept(matchers, [ord("b")] * 3) == [True, True, False]
    assert accept(matchers[:2], [256, 256]) == [True, True]
    with pytest.raises(RuntimeError, match="terminated"):
        batch.batch_fill_next_token_bitmask(matchers, bitmask)
    xgr.BatchGrammarMatcher.batch_rollback(matchers[:2], [2, 1])
    assert xgr.BatchGrammarMatcher.batch_accept_string(matchers, ["a", b"bb", "c"]) == [True] * 3
    temperatures = torch.zeros(3)
    xgr.BatchGrammarMatcher.batch_fill_temperature(matchers, temperatures)
    assert temperatures.tolist() == [-1.0] * 3


def test_logits_on_the_cpu() -> None:
    logits = torch.zeros((2, 300))
    bitmask = xgr.allocate_token_bitmask(2, 257)
    bitmask[0] = 1
    with pytest.warns(UserWarning, match="288 of 300"):
        xgr.apply_token_bitmask_inplace(logits, bitmask)
    assert (logits[0, 288:] == 0).all()
    assert int((logits[0] == 0).sum()) == 9 + 12
    assert (logits[1] == 0).all()
    for backend in ("cpu", "torch_native", "torch_compile"):
        again = torch.zeros((2, 300))
        xgr.apply_token_bitmask_inplace(again, bitmask, vocab_size=40, indices=[0], backend=backend)
        assert int((again[0, :40] == 0).sum()) == 2
        assert (again[0, 40:] == 0).all()
    for bad in ({"indices": [2], "vocab_size": 9}, {"vocab_size": 301}):
        with pytest.raises(RuntimeError):
            xgr.apply_token_bitmask_inplace(logits, bitmask, **bad)
    with pytest.raises(ValueError, match="float64"):
        xgr.apply_token_bitmask_inplace(logits.double(), bitmask, vocab_size=1)


def test_tokenizers_of_transformers() -> None:
    tokenizer = hosts.Tokenizer()
    info = xgr.TokenizerInfo.from_huggingface(tokenizer, vocab_size=300)
    assert info.vocab_type is xgr.VocabType.BYTE_FALLBACK
    assert info.stop_token_ids == [1]
    assert info.special_token_ids == [0, *range(len(tokenizer), 300)]
    assert info.decoded_vocab[2 + 0x41] == b"A"
    assert info.decoded_vocab[tokenizer.get_vocab()["▁a"]] == b" a"
    assert not info.add_prefix_space
    for bad, place in (({"stop_token_ids": []}, "empty"), ({}, "get_vocab")):
        with pytest.raises(ValueError, match=place):
            xgr.TokenizerInfo.from_huggingface(tokenizer if bad else object(), **bad)


TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}},
}


@pytest.mark.parametrize(
    ("options", "yes", "no"),
    [
        ({}, "hm</think>text", "text"),
        ({"reasoning": "disabled"}, "text", None),
        ({"reasoning": "auto"}, "<think>x</think>text", None),
        ({"reasoning": False, "tool_choice": "required"}, "{call}", "text"),
        (
            {"reasoning": False, "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "{call}",
            "{call}\n{call}",
        ),
        ({"reasoning": False, "parallel_tool_calls": False}, "a {call}", "{call}\n{call}"),
        ({"reasoning": False, "tool_choice": "none"}, "text", "</think>"),
    ],
)
def test_families(options: dict[str, Any], yes: str, no: str | None) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    tag = xgr.get_model_structural_tag("qwen_3", [TOOL], **options)
    grammar = xgr.Grammar.from_structural_tag(tag)
    assert takes(grammar, yes.replace("{call}", call))
    assert no is None or not takes(grammar, no.replace("{call}", call))


def test_families_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="nobody"):
        xgr.get_model_structural_tag("nobody")
    with pytest.raises(ValueError, match="often"):
        xgr.get_model_structural_tag("llama", reasoning="often")  # type: ignore[arg-type]
    for tools, choice in (
        ([], "required"),
        ([TOOL], {"type": "function", "function": {"name": "g"}}),
        ([TOOL], {"type": "web"}),
        (
            [TOOL],
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "z"}]}},
        ),
    ):
        with pytest.raises(ValueError, match="tool"):
            xgr.normalize_tool_choice(tools, choice)


def test_registered_families() -> None:
    @xgr.register_model_structural_tag("mine")
    def make(*args: Any, **kwargs: Any) -> xgr.StructuralTag:
        return xgr.StructuralTag.from_json({"format": {"type": "any_text"}})

    assert xgr.get_model_structural_tag("mine") == make()


def test_settings() -> None:
    before = xgr.get_max_recursion_depth()
    deep = "[" * 40 + "1" + "]" * 40
    with xgr.max_recursion_depth(30):
        assert xgr.get_max_recursion_depth() == 30
        with pytest.raises(RefusedError, match="source_depth"):
            schema('{"enum": [' + deep + "]}", strict_mode=False)
    assert xgr.get_max_recursion_depth() == before
    schema('{"enum": [' + deep + "]}", strict_mode=False)
