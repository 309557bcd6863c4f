"""Draft trees against a walk with a matcher of one's own; forced tokens against a tokenizer."""

from __future__ import annotations

import random

import numpy as np
import pytest
import vocabularies

from treadle.errors import GrammarError, InvalidRequest
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows

TABLE = vocabularies.small()
VOCAB = Vocab(TABLE)
STOP = TABLE.stop_ids[0]
COMPILER = Compiler(VOCAB)
WORDS = (VOCAB.size + 31) // 32
GRAMMARS = [
    Grammar.json(),
    Grammar.regex("(ab)*|a{3,9}"),
    Grammar.choice(["true", "tru", '{"name": "a"}', '{"name": "ab"}']),
]


def row(matcher: Matcher) -> bytes:
    rows = mask_rows(1, VOCAB.size)
    matcher.fill(rows, 0)
    return bytes(memoryview(rows))


def legal(mask: bytes) -> list[int]:
    return [t for t in range(VOCAB.size) if mask[t // 8] >> (t % 8) & 1]


def random_tree(
    rng: random.Random, root: Matcher, count: int
) -> tuple[list[int], list[int], list[int], list[bytes]]:
    """A draft of mostly legal tokens, numbered at random, and the mask of each node."""
    names = [0, *rng.sample(range(1, count), count - 1)]
    child, sibling, tokens = [-1] * count, [-1] * count, [0] * count
    masks = [bytes(WORDS * 4)] * count
    masks[0] = row(root)
    places: list[tuple[int, Matcher | None]] = [(0, root)]
    last: dict[int, int] = {}
    for name in names[1:]:
        parent, matcher = rng.choice(places)
        if parent in last:
            sibling[last[parent]] = name
        else:
            child[parent] = name
        last[parent] = name
        options = legal(masks[parent]) if rng.random() < 0.8 else []
        tokens[name] = rng.choice(options or [STOP, 0, 5, -7, VOCAB.size + 3])
        twin = None if matcher is None else matcher.fork()
        if twin is not None and twin.accept(tokens[name]):
            masks[name] = row(twin)
            places.append((name, twin))
        else:
            places.append((name, None))
    return child, sibling, tokens, masks


def test_a_tree_is_a_walk_along_each_branch() -> None:
    rng = random.Random(2)
    for number in range(60):
        matcher = COMPILER.compile(rng.choice(GRAMMARS)).matcher()
        for _ in range(rng.randrange(4)):
            options = legal(row(matcher))
            if options:
                matcher.accept(rng.choice(options))
        count = rng.randrange(1, 14)
        child, sibling, tokens, masks = random_tree(rng, matcher, count)
        before, steps = row(matcher), matcher.steps
        rows = mask_rows(count + 1, VOCAB.size)
        rows.array()[:] = -1
        links = [np.array(part) if number % 2 else part for part in (child, sibling, tokens)]
        assert matcher.fill_tree(*links, rows)
        data = bytes(memoryview(rows))
        for node, mask in enumerate(masks):
            assert data[node * WORDS * 4 : (node + 1) * WORDS * 4] == mask
        assert data[count * WORDS * 4 :] == b"\xff" * (WORDS * 4)
        assert (row(matcher), matcher.steps) == (before, steps)


def test_a_draft_may_get_stuck_but_not_the_text() -> None:
    stuck = Vocab(vocabularies.table([b"a", b"bc"], byte_tokens=False))
    matcher = Compiler(stuck).compile(Grammar.choice(["ab", "aa"])).matcher()
    rows = mask_rows(3, stuck.size)
    one = Compiler(stuck).compile(Grammar.literal("aab")).matcher()
    assert one.fill_tree([1, 2, -1], [-1, -1, -1], [0, 0, 0], rows)
    assert rows.array()[:, 0].tolist() == [1, 1, 0]
    assert one.error is None
    assert matcher.accept(0)
    lost = Compiler(stuck).compile(Grammar.literal("ab")).matcher()
    assert lost.accept(0)
    with pytest.raises(GrammarError, match="no token"):
        lost.fill_tree([-1], [-1], [0], rows)


def test_a_deadline_ends_the_walk() -> None:
    matcher = COMPILER.compile(Grammar.json()).matcher()
    rows = mask_rows(2, VOCAB.size)
    rows.array()[:] = -1
    assert not matcher.fill_tree([1, -1], [-1, -1], [0, TABLE.data.index(b"1")], rows, 0.0)
    assert not rows.array().any()
    assert matcher.fill_tree([1, -1], [-1, -1], [0, TABLE.data.index(b"1")], rows, 60.0)


@pytest.mark.parametrize(
    ("child", "sibling", "ids", "place"),
    [
        ([], [], [], "tree"),
        ([-1], [-1, -1], [0], "tree"),
        ([1, -1], [-1, 1], [0, 0], r"sibling\[1\]"),
        ([1, 0], [-1, -1], [0, 0], r"child\[1\]"),
        ([2, -1], [-1, -1], [0, 0], r"child\[0\]"),
        ([-2], [-1], [0], r"child\[0\]"),
        ([1, -1], [1, -1], [0, 0], r"sibling\[0\]"),
        ([1, 2, -1], [-1, 2, -1], [0, 0, 0], r"sibling\[1\]"),
        ([-1, -1, -1], [-1, -1, -1], [0, 0, 0], "rows"),
    ],
)
def test_what_is_no_tree(child: list[int], sibling: list[int], ids: list[int], place: str) -> None:
    matcher = COMPILER.compile(Grammar.json()).matcher()
    with pytest.raises(InvalidRequest, match=place):
        matcher.fill_tree(child, sibling, ids, mask_rows(2, VOCAB.size))
    with pytest.raises(TypeError, match="draft tree"):
        matcher.fill_tree(7, [-1], [0], mask_rows(2, VOCAB.size))


def munch(text: bytes) -> list[int]:
    """Tokens by longest match, as the tests' tokenizer."""
    index = {data: i for i, data in reversed(list(enumerate(TABLE.data))) if data and i != STOP}
    out: list[int] = []
    while text:
        size = max(n for n in range(1, len(text) + 1) if text[:n] in index)
        out.append(index[text[:size]])
        text = text[size:]
    return out


def completions(matcher: Matcher, text: bytes, rng: random.Random) -> bytes:
    """`text` and a random legal continuation of a few bytes."""
    twin = matcher.fork()
    assert twin.accept_bytes(text)
    for _ in range(8):
        options = [b for b in range(256) if twin.fork().accept_bytes(bytes([b]))]
        if not options:
            break
        byte = bytes([rng.choice(options)])
        twin.accept_bytes(byte)
        text += byte
    return text


def test_forced_tokens_are_the_tokenizers_own() -> None:
    """Whatever follows, the tokens of the whole text begin with those that were taken."""
    rng = random.Random(4)
    patterns = [
        "ab(ab)?c?",
        "aaa?a?x{290,310}",
        'true|tru"a"',
        "(ab){3}(12|1)é",
        "tr(ue)?",
        "x{299}",
    ]
    patterns += ['\\{"name": "[a-b]', "ab{1,2}", "12(e\\+)?0\\.", "日本(語|誤)"]
    taken = 0
    for pattern in patterns:
        matcher = COMPILER.compile(Grammar.regex(pattern)).matcher()
        forced = matcher.forced()
        ids = matcher.ff_tokens(munch)
        text = b"".join(TABLE.data[i] for i in ids)
        assert forced.startswith(text)
        assert matcher.validate_tokens(ids) == len(ids)
        taken += len(ids)
        for _ in range(6):
            whole = completions(matcher, forced, rng)
            assert munch(whole)[: len(ids)] == ids
    assert taken > 12


def test_forced_tokens_go_on_from_recent_ones() -> None:
    compiled = COMPILER.compile(Grammar.literal("abab12"))
    index = {data: i for i, data in enumerate(TABLE.data)}
    ab, abab, twelve = index[b"ab"], index[b"abab"], index[b"12"]
    matcher = compiled.matcher()
    assert matcher.ff_tokens(munch) == [abab, twelve]
    assert matcher.accept(ab)
    assert matcher.ff_tokens(munch) == [ab, twelve]
    assert matcher.ff_tokens(munch, recent=[ab]) == []  # the tokenizer joins them to abab
    assert matcher.canonical(b"ab12", [ab, abab]) == 1
    assert matcher.canonical(b"ab12", [STOP]) == 0
    assert matcher.canonical(b"", [ab]) == 0
    done = compiled.matcher()
    assert done.accept_bytes(b"abab12")
    assert done.ff_tokens(munch) == []


def test_a_cut_is_where_a_longer_token_is_legal() -> None:
    index = {data: i for i, data in enumerate(TABLE.data)}
    one = COMPILER.compile(Grammar.regex("aba(b|c)")).matcher()
    assert one.forced() == b"aba"
    assert one.ff_tokens(munch) == []  # abab is legal: not even the first token is sure
    two = COMPILER.compile(Grammar.regex("aba(c|d)")).matcher()
    assert two.ff_tokens(munch) == [index[b"ab"], index[b"a"]]
