"""KV pages with reference counts and content keys: the page pool is the prefix cache.

A full page whose tokens are known gets a key that depends on its tokens, on all tokens before it
and on the root (graph, KV dtype, tenant). One dict from key to page is the whole cache; there is
no second structure that could disagree with it. Keys are BLAKE2b-128 under a random key of the
process, so nobody outside can build two prompts that collide.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from treadle.digest import blake2b


class PagePool:
    """Hands out pages 0..count-1 of `size` tokens each.

    A page is *free* (no content worth keeping), *held* (count > 0) or *idle* (count 0, content
    findable by key, least recently used first). Within one sequence the tail is released first,
    so a page always leaves the cache before the page it continues.
    """

    def __init__(self, count: int, size: int, *, secret: bytes | None = None) -> None:
        self.count = count
        self.size = size
        self._secret = os.urandom(32) if secret is None else secret
        self._free = array("i", range(count - 1, -1, -1))  # a list takes ten times as much
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._refs = array("i", bytes(4 * count))
        self._key_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """Pages that `take` could hand out now."""
        return len(self._free) + len(self._idle)

    @property
    def held(self) -> int:
        """Pages some sequence holds."""
        return self.count - self.available

    def root(self, *parts: bytes) -> bytes:
        """The key that first pages continue: all that content depends on besides the tokens."""
        digest = blake2b(digest_size=16, key=self._secret)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    def extend_keys(self, keys: list[bytes], root: bytes, ids: Sequence[int], upto: int) -> None:
        """Appends the keys of full pages of `ids` until `keys` covers its first `upto` tokens."""
        size = self.size
        parent = keys[-1] if keys else root
        for page in range(len(keys), upto // size):
            block = array("i", ids[page * size : (page + 1) * size]).tobytes()
            parent = blake2b(parent + block, digest_size=16, key=self._secret).digest()
            keys.append(parent)

    def lookup(self, keys: Iterable[bytes]) -> list[int]:
        """Holds and returns the pages of the longest cached run of `keys`."""
        found: list[int] = []
        for key in keys:
            page = self._page_of.get(key)
            if page is None:
                break
            if self._refs[page] == 0:
                del self._idle[page]
            self._refs[page] += 1
            found.append(page)
        return found

    def take(self, n: int) -> list[int]:
        """Holds n pages of undefined content. The caller has checked `available`."""
        if n > self.available:
            raise RuntimeError(f"{n} pages wanted, {self.available} available; check before taking")
        taken: list[int] = []
        for _ in range(n):
            if self._free:
                page = self._free.pop()
            else:
                page, _ = self._idle.popitem(last=False)
                self._drop_key(page)
            self._refs[page] = 1
            taken.append(page)
        return taken

    def publish(self, page: int, key: bytes) -> None:
        """Makes a held page findable. The first page with a key stays; a second one has none."""
        if page not in self._key_of and key not in self._page_of:
            self._key_of[page] = key
            self._page_of[key] = page

    def forget(self, keys: Iterable[bytes]) -> None:
        """Makes the pages of these keys unfindable, for content that turned out to be unusable."""
        for key in keys:
            page = self._page_of.get(key)
            if page is None:
                continue
            self._drop_key(page)
            if self._refs[page] == 0:
                del self._idle[page]
                self._free.append(page)

    def release(self, pages: Sequence[int]) -> None:
        """Gives back one hold of each page of a sequence, given in sequence order."""
        for page in reversed(pages):
            refs = self._refs[page] - 1
            if refs < 0:
                raise RuntimeError(f"page {page} released more often than held")
            self._refs[page] = refs
            if refs == 0:
                if page not in self._key_of:
                    self._free.append(page)
                else:
                    self._idle[page] = None

    def sole(self, pages: Iterable[int]) -> int:
        """How many of these held pages would become available if their holder let go."""
        refs = self._refs
        return sum(refs[page] == 1 for page in pages)

    def clear(self) -> None:
        """Drops every cached page that nobody holds."""
        for page in self._idle:
            self._drop_key(page)
        self._free.extend(self._idle)
        self._idle.clear()

    def check(self, holds: Iterable[Sequence[int]] = ()) -> None:
        """Raises RuntimeError unless counts, lists and keys agree with each other and `holds`."""
        want = array("i", bytes(4 * self.count))
        for pages in holds:
            for page in pages:
                want[page] += 1
        if want != self._refs:
            wrong = [p for p in range(self.count) if want[p] != self._refs[p]]
            raise RuntimeError(f"page counts differ from their holders at pages {wrong[:8]}")
        zero = {page for page in range(self.count) if self._refs[page] == 0}
        if set(self._free) | set(self._idle) != zero or len(self._free) + len(self._idle) != len(
            zero
        ):
            raise RuntimeError("a page is neither held nor free nor idle, or is two of them")
        named = {key: page for page, key in self._key_of.items()}
        if named != self._page_of or any(page in self._key_of for page in self._free):
            raise RuntimeError("keys and pages of the prefix cache disagree")

    def _drop_key(self, page: int) -> None:
        key = self._key_of.pop(page, None)
        if key is not None:
            del self._page_of[key]
