"""The page pool against a plain model of it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.engine.pages import PagePool

SIZE, COUNT = 2, 9


class Pool(RuleBasedStateMachine):
    """Sequences of few different tokens come and go; the model remembers what each page holds."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(COUNT, SIZE, secret=b"s")
        self.root = self.pool.root(b"graph", b"tenant")
        self.content: dict[int, tuple[int, ...]] = {}  # page -> all tokens up to its end
        self.live: list[tuple[list[int], list[int]]] = []  # (tokens, pages)

    @rule(ids=st.lists(st.integers(0, 1), min_size=1, max_size=10))
    def start(self, ids: list[int]) -> None:
        pool = self.pool
        keys: list[bytes] = []
        pool.extend_keys(keys, self.root, ids, (len(ids) - 1) // SIZE * SIZE)
        hit = pool.lookup(keys)
        for i, page in enumerate(hit):
            assert self.content[page] == tuple(ids[: (i + 1) * SIZE]), "a hit on other tokens"
        need = -(-len(ids) // SIZE) - len(hit)
        if need > pool.available:
            pool.release(hit)
            return
        taken = pool.take(need)
        assert not set(taken) & {p for _, pages in self.live for p in pages}
        assert len(set(taken + hit)) == need + len(hit)
        pages = hit + taken
        pool.extend_keys(keys, self.root, ids, len(ids) // SIZE * SIZE)
        for i, key in enumerate(keys):
            if i >= len(hit):
                self.content[pages[i]] = tuple(ids[: (i + 1) * SIZE])
                pool.publish(pages[i], key)
        self.live.append((ids, pages))

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def end(self, pick: int) -> None:
        _, pages = self.live.pop(pick % len(self.live))
        self.pool.release(pages)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def spoil(self, pick: int) -> None:
        ids, _ = self.live[pick % len(self.live)]
        keys: list[bytes] = []
        self.pool.extend_keys(keys, self.root, ids, len(ids))
        self.pool.forget(keys)
        assert self.pool.lookup(keys) == []

    @rule()
    def clear(self) -> None:
        self.pool.clear()

    @invariant()
    def books_balance(self) -> None:
        self.pool.check(pages for _, pages in self.live)
        held = {p for _, pages in self.live for p in pages}
        assert self.pool.held == len(held)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40)


def _fill(pool: PagePool, ids: list[int], salt: bytes = b"") -> list[int]:
    keys: list[bytes] = []
    pool.extend_keys(keys, pool.root(salt), ids, len(ids))
    pages = pool.take(len(keys))
    for page, key in zip(pages, keys, strict=True):
        pool.publish(page, key)
    return pages


def _found(pool: PagePool, ids: list[int], salt: bytes = b"") -> list[int]:
    keys: list[bytes] = []
    pool.extend_keys(keys, pool.root(salt), ids, len(ids))
    pages = pool.lookup(keys)
    pool.release(pages)
    return pages


def test_least_recently_used_goes_first_and_leaves_before_parents() -> None:
    pool = PagePool(4, 2, secret=b"s")
    old, new = _fill(pool, [1, 2, 3, 4]), _fill(pool, [5, 6, 7, 8])
    pool.release(old)
    pool.release(new)
    assert pool.take(1) == [old[1]]  # the leaf of the older sequence
    assert _found(pool, [1, 2, 3, 4]) == [old[0]]  # and now it is the younger one
    assert pool.take(2) == [new[1], new[0]]
    assert _found(pool, [5, 6, 7, 8]) == []


def test_other_tenants_find_nothing() -> None:
    pool = PagePool(8, 2)
    pool.release(_fill(pool, [1, 2, 3, 4], b"a"))
    assert len(_found(pool, [1, 2, 3, 4], b"a")) == 2
    assert _found(pool, [1, 2, 3, 4], b"b") == []
    other = PagePool(8, 2)
    assert other.root(b"a") != pool.root(b"a"), "keys are the process's own"
    assert pool.root(b"a", b"bc") != pool.root(b"ab", b"c")


def test_double_release_is_an_error() -> None:
    pool = PagePool(2, 2)
    pages = pool.take(1)
    pool.release(pages)
    with pytest.raises(RuntimeError, match="released more often"):
        pool.release(pages)
    with pytest.raises(RuntimeError, match="3 pages wanted"):
        pool.take(3)
