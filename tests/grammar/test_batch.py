"""Batches against single calls: any thread count, any mixture, failures alone; mask ids."""

from __future__ import annotations

import array
import random
import threading

import pytest
import torch
import vocabularies

from treadle.backends.torch.mask import STAGED, MaskTable, apply_mask_ids
from treadle.errors import InvalidRequest
from treadle.grammar import Batch, Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.limits import GrammarLimits

TABLE = vocabularies.medium(800)
VOCAB = Vocab(TABLE)
STOP = TABLE.stop_ids[0]
WORDS = (VOCAB.size + 31) // 32
GRAMMARS = [
    Grammar.json(),
    Grammar.regex("[a-z]{2,9}(, [a-z]+)*"),
    Grammar.choice(["true", "null", "name"]),
    Grammar.json_schema({"type": "object", "properties": {"id": {"type": "integer"}}}),
]


def row(matcher: Matcher) -> bytes:
    rows = mask_rows(1, VOCAB.size)
    matcher.fill(rows, 0)
    return bytes(memoryview(rows))


def legal(mask: bytes) -> list[int]:
    return [t for t in range(VOCAB.size) if mask[t // 8] >> (t % 8) & 1]


def walk(matcher: Matcher, rng: random.Random, steps: int) -> None:
    for _ in range(steps):
        if matcher.finished:
            return
        assert matcher.accept(rng.choice(legal(row(matcher))))


def matchers(compiler: Compiler, rng: random.Random, count: int) -> list[Matcher]:
    out = [compiler.compile(rng.choice(GRAMMARS)).matcher() for _ in range(count)]
    for matcher in out:
        walk(matcher, rng, rng.randrange(6))
    return out


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batch_is_one_fill_each(threads: int) -> None:
    rng = random.Random(threads)
    batch = Batch(threads)
    some = matchers(Compiler(VOCAB), rng, 40)
    expected = [row(matcher) for matcher in some]
    cold = Compiler(VOCAB)  # nothing is known: every row is a miss
    rng = random.Random(threads)
    same = matchers(cold, rng, 40)
    cold.clear()
    index = rng.sample(range(60), 40)
    rows = mask_rows(60, VOCAB.size)
    assert batch.fill(same, rows, index) == []
    data = bytes(memoryview(rows))
    for place, mask in zip(index, expected, strict=True):
        assert data[place * WORDS * 4 : (place + 1) * WORDS * 4] == mask
    ids = [rng.choice([*legal(mask), STOP, -1, 10**9]) for mask in expected]
    assert batch.accept(same, ids) == [m.accept(t) for m, t in zip(some, ids, strict=True)]


def test_a_failure_stays_alone() -> None:
    stuck = Vocab(vocabularies.table([b"a", b"bc"], byte_tokens=False))
    compiler = Compiler(stuck, GrammarLimits())
    good, bad = (compiler.compile(Grammar.literal(t)).matcher() for t in ("aa", "ab"))
    assert bad.accept(0)
    rows = mask_rows(3, stuck.size)
    memoryview(rows).cast("B")[:] = b"\xff" * (3 * 4)
    ids = array.array("i", [7, 7])
    assert Batch(2).mask_ids([good, bad], ids) == [0, 1]
    assert Batch(2).fill([good, bad], rows, [2, 0]) == [1]
    assert bytes(memoryview(rows)) == bytes([0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0])
    assert good.error is None
    assert bad.error is not None
    assert bad.error.code == "grammar_error"
    assert Batch(2).mask_ids([good, bad], ids) == [1]


def test_wrong_arguments() -> None:
    matcher = Compiler(VOCAB).compile(GRAMMARS[0]).matcher()
    batch = Batch()
    with pytest.raises(InvalidRequest, match="threads"):
        Batch(0)
    with pytest.raises(ValueError, match="one row index"):
        batch.fill([matcher], mask_rows(1, VOCAB.size), [0, 1])
    with pytest.raises(IndexError):
        batch.fill([matcher], mask_rows(1, VOCAB.size), [1])
    with pytest.raises(ValueError, match="one token id"):
        batch.accept([matcher], [])
    with pytest.raises(TypeError, match="int32"):
        batch.mask_ids([matcher], array.array("q", [0]))
    with pytest.raises(TypeError, match="int32"):
        batch.mask_ids([matcher] * 2, array.array("i", [0]))


def test_many_threads_fill_one_matcher_and_many() -> None:
    compiler = Compiler(VOCAB, GrammarLimits(cache_bytes=1 << 16))  # masks are dropped all the time
    rng = random.Random(11)
    some = matchers(compiler, rng, 12)
    expected = [row(matcher) for matcher in some]
    batch = Batch(3)
    wrong: list[int] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(30):
            picked = [order.randrange(12) for _ in range(8)]  # a matcher may come twice
            rows = mask_rows(8, VOCAB.size)
            failed = batch.fill([some[i] for i in picked], rows)
            data = bytes(memoryview(rows))
            parts = [data[i * WORDS * 4 : (i + 1) * WORDS * 4] for i in range(8)]
            wrong.extend(failed)
            wrong.extend(i for i, part in zip(picked, parts, strict=True) if part != expected[i])
            if order.random() < 0.1:
                compiler.clear()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("cache_bytes", [1 << 15, 128 << 20])
def test_equal_ids_are_equal_rows(cache_bytes: int) -> None:
    """Through evictions, different stop tokens, texts that ended, and texts without a mask."""
    compiler = Compiler(VOCAB, GrammarLimits(cache_bytes=cache_bytes))
    rng = random.Random(5)
    batch = Batch(1)
    known: dict[int, bytes] = {}
    reused = 0
    every = bytearray(WORDS * 4)
    for token in range(VOCAB.size):
        every[token // 8] |= 1 << (token % 8)
    for _ in range(60):
        grammar = rng.choice(GRAMMARS)
        stops = rng.choice([None, [], [STOP, 3], [5]])
        matcher = compiler.compile(grammar).matcher(stops)
        for _ in range(rng.randrange(8)):
            mask = row(matcher)
            ids = array.array("i", [99])
            staged = batch.mask_ids([matcher], ids)
            assert (ids[0] == -2) == (staged == [0])
            if ids[0] == -1:
                assert mask == bytes(every)
            elif ids[0] >= 0:
                reused += ids[0] in known
                assert known.setdefault(ids[0], mask) == mask
            if matcher.finished or not legal(mask):
                break
            matcher.accept(rng.choice(legal(mask)))
    assert reused > 20


def test_ids_before_and_after_a_fill() -> None:
    matcher = Compiler(VOCAB).compile(Grammar.json()).matcher()
    ids = array.array("i", [0])
    assert Batch().mask_ids([matcher], ids) == [0]  # nobody asked yet
    assert Batch().fill([matcher], mask_rows(1, VOCAB.size)) == []
    assert Batch().mask_ids([matcher], ids) == []
    first = ids[0]
    assert matcher.accept(TABLE.data.index(b"[") if b"[" in TABLE.data else 0)
    matcher.rollback(1)
    Batch().mask_ids([matcher], ids)
    assert ids[0] == first


def test_equal_masks_of_two_grammars_share_an_id() -> None:
    compiler = Compiler(VOCAB)
    texts = [compiler.compile(Grammar.regex(f"[0-9]*{end}")).matcher() for end in ("a", "a+", "b")]
    Batch().fill(texts, mask_rows(3, VOCAB.size))
    ids = array.array("i", [0, 0, 0])
    assert Batch().mask_ids(texts, ids) == []
    first, same, other = (row(text) for text in texts)
    assert (ids[0] == ids[1]) == (first == same)
    assert first != other
    assert ids[0] != ids[2]
    again = compiler.compile(Grammar.regex("[0-9]*a|a")).matcher()  # another state, the same text
    Batch().fill([again], mask_rows(1, VOCAB.size))
    one = array.array("i", [0])
    assert Batch().mask_ids([again], one) == []
    assert one[0] == ids[0]


def test_no_mask_has_its_own_id() -> None:
    every = Vocab(
        vocabularies.TokenTable((*(bytes([i]) for i in range(256)), b""), (2,) * 256 + (1,), (256,))
    )
    matcher = Compiler(every).compile(Grammar.regex("[^]*")).matcher()
    text = Compiler(every).compile(Grammar.literal("a")).matcher()
    rows = mask_rows(2, every.size)
    Batch().fill([matcher, text], rows)
    ids = array.array("i", [0, 0])
    Batch().mask_ids([matcher, text], ids)
    masked = matcher.fill(rows, 0)
    assert (ids[0] == -1) == (not masked)
    assert ids[1] > 0
    assert text.accept_bytes(b"a")
    assert text.accept(256)
    Batch().mask_ids([text], ids)
    assert ids[0] == 0


def test_a_step_by_ids_masks_like_a_step_by_rows() -> None:
    """A table so small that rows are evicted, staged and sent again."""
    rng = random.Random(8)
    batch = Batch(2)
    some = matchers(Compiler(VOCAB), rng, 6)
    table = MaskTable(4, VOCAB.size, "cpu")
    staging = mask_rows(6, VOCAB.size)
    dense = mask_rows(6, VOCAB.size)
    sent = 0
    for _ in range(25):
        ids = torch.zeros(6, dtype=torch.int32)
        staged = batch.mask_ids(some, ids.numpy())
        known = [i for i in range(6) if i not in staged]

        def fetch(key: int, ids: torch.Tensor = ids) -> torch.Tensor:
            nonlocal sent
            sent += 1
            some[ids.tolist().index(key)].fill(staging, 0)
            return torch.from_numpy(staging.array()[0].copy())

        rows = table.ids([None if ids[i] < 0 else int(ids[i]) for i in known], fetch)
        final = [STAGED] * 6
        for i, place in zip(known, rows, strict=True):
            final[i] = place
        rest = [i for i in range(6) if final[i] == STAGED]
        assert batch.fill([some[i] for i in rest], staging, rest) == []
        logits = torch.zeros(6, VOCAB.size)
        apply_mask_ids(logits, table.rows, final, staging=torch.from_numpy(staging.array()))
        assert batch.fill(some, dense) == []
        masks = [bytes(dense.array()[i]) for i in range(6)]
        for i, mask in enumerate(masks):
            assert (logits[i] == 0).nonzero().flatten().tolist() == legal(mask)
        for i in range(6):
            if some[i].finished:
                some[i].reset()
            else:
                some[i].accept(rng.choice(legal(masks[i])))
    assert 4 < sent < 100
