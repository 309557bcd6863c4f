"""Captures against every parse of small texts, by a parser that tries all of them."""

from __future__ import annotations

import random

import pytest
from byte_matcher import _COMPILER as COMPILER

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar, Matcher

Rules = dict[str, list[list[str]]]


def matcher(grammar: Grammar, text: str) -> Matcher:
    made = COMPILER.compile(grammar).matcher()
    assert made.accept_bytes(text.encode())
    return made


def captures(grammar: Grammar, text: str, longest: bool = True) -> list[tuple[str, bytes]]:
    made = matcher(grammar, text)
    if made.accepting:
        assert made.accept(256)
    return made.captures(longest)


def lark(text: str) -> Grammar:
    return Grammar.lark(text)


def test_occurrences_in_the_order_of_their_ends() -> None:
    assert captures(lark('start: "a" v "b"\nv[capture]: /[0-9]+/'), "a123b") == [("v", b"123")]
    nested = 'start: outer\nouter[capture="o"]: "x" inner "!"\ninner[capture="i"]: /[a-z]+/'
    assert captures(lark(nested), "xabc!") == [("i", b"abc"), ("o", b"xabc!")]
    many = 'start: (item ",")* item\nitem[capture]: /[0-9]+/'
    assert captures(lark(many), "1,22,3") == [("item", b"1"), ("item", b"22"), ("item", b"3")]
    right = 'start: lst\nlst[capture]: ITEM "," lst | ITEM\nITEM: /[0-9]+/'
    assert captures(lark(right), "1,2") == [("lst", b"2"), ("lst", b"1,2")]
    left = 'start: lst\nlst[capture]: lst "," ITEM | ITEM\nITEM: /[0-9]+/'
    assert captures(lark(left), "1,2") == [("lst", b"1,2")]
    assert captures(lark(left), "1,2", longest=False) == [("lst", b"1"), ("lst", b"1,2")]
    assert captures(lark('start[capture="all"]: "a" /b*/'), "abb") == [("all", b"abb")]
    json = 'start: v\nv[capture]: %json {"type": "object"}'
    assert captures(lark(json), '{"a": [1, {}]}') == [("v", b'{"a": [1, {}]}')]
    assert captures(lark('start: "a"'), "a") == []


def test_every_end_and_the_ends_that_last() -> None:
    grammar = Grammar.ebnf('root ::= "a" v "b"\nv[capture="n"] ::= [0-9]+')
    every = [("n", b"1"), ("n", b"12"), ("n", b"123")]
    assert captures(grammar, "a123b", longest=False) == every
    assert captures(grammar, "a123b") == [("n", b"123")]
    assert captures(grammar, "a12") == [("n", b"12")]  # it may have ended here, not before
    assert captures(grammar, "a12", longest=False) == every[:2]


def test_captures_go_back_with_the_text() -> None:
    made = COMPILER.compile(Grammar.ebnf('root ::= (v ",")*\nv[capture] ::= [0-9]+')).matcher()
    for byte in b"12,3,":
        assert made.accept(byte)
    twin = made.fork()
    assert made.captures() == [("v", b"12"), ("v", b"3")]
    made.rollback(2)
    assert made.captures() == [("v", b"12")]
    assert made.accept_bytes(b"45,")
    assert made.captures() == [("v", b"12"), ("v", b"45")]
    assert twin.captures() == [("v", b"12"), ("v", b"3")]
    made.reset()
    assert made.captures() == []
    joined = Grammar.literal("x") + Grammar.ebnf('root ::= v\nv[capture] ::= "a"+') | Grammar.regex(
        "y"
    )
    assert captures(joined, "xaa") == [("v", b"aa")]


def parses(
    rules: Rules, name: str, text: str, at: int
) -> set[tuple[int, frozenset[tuple[str, int, int]]]]:
    """(end, captured spans) of every way that a rule matches from `at` (no left recursion)."""
    out: set[tuple[int, frozenset[tuple[str, int, int]]]] = set()
    for production in rules[name]:
        ends = {(at, frozenset[tuple[str, int, int]]())}
        for symbol in production:
            ends = {
                (end, spans | inner)
                for begin, spans in ends
                for end, inner in (
                    parses(rules, symbol, text, begin)
                    if symbol in rules
                    else {(begin + 1, frozenset())}
                    if text[begin : begin + 1] == symbol
                    else set()
                )
            }
        out |= {
            (end, spans | {(name, at, end)} if name != "root" else spans) for end, spans in ends
        }
    return out


def random_rules(rng: random.Random) -> Rules:
    """Rules that begin with a letter, or refer to later ones only: no left recursion."""
    names = ["root", "x", "y", "z"]
    rules: Rules = {}
    for i, name in enumerate(names):
        rules[name] = []
        for _ in range(rng.randrange(1, 4)):
            later = names[i + 1 :]
            first = rng.choice(["a", "b", *later])
            rest = [rng.choice(["a", "b", *names[1:]]) for _ in range(rng.randrange(3))]
            rules[name].append([first, *rest])
        rules[name].append([rng.choice("ab")])
    return rules


def test_longest_captures_against_all_parses() -> None:
    rng = random.Random(12)
    compared = 0
    for _ in range(150):
        rules = random_rules(rng)
        lines = []
        for name, productions in rules.items():
            body = " | ".join(
                " ".join(f'"{s}"' if s in "ab" else s for s in production)
                for production in productions
            )
            lines.append(f"{name}{'' if name == 'root' else '[capture]'} ::= {body}")
        grammar = Grammar.ebnf("\n".join(lines))
        for _ in range(6):
            text = "".join(rng.choice("ab") for _ in range(rng.randrange(1, 7)))
            whole = [spans for end, spans in parses(rules, "root", text, 0) if end == len(text)]
            if not whole:
                continue
            best: dict[tuple[str, int], int] = {}
            for name, begin, end in frozenset().union(*whole):
                best[name, begin] = max(end, best.get((name, begin), 0))
            expected = sorted((name, text[b:e].encode(), e) for (name, b), e in best.items())
            try:
                found = captures(grammar, text)
            except LimitExceeded:  # the matcher's own: too many readings at once
                continue
            assert sorted(found) == [(name, part) for name, part, _ in expected]
            compared += 1
    assert compared > 60


def test_captures_stand_on_rules() -> None:
    with pytest.raises(GrammarError, match="lower-case"):
        Grammar.lark("start: A\nA[capture]: /a/")
