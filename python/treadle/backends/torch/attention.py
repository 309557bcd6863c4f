"""Attention over pages: one plan a step, shared by all layers.

The plan cuts the step into groups. A sequence whose pages lie one after the other is read in
place; others are gathered. Decoding sequences of like length are gathered together and attended in
one call. Masks are made once a step and window, on the device.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from treadle.backends.torch import own

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.types import Batch

_READ_IN_PLACE = 256  # keys from which one call a sequence beats gathering several


class Pool:
    """KV of one layer: keys and values [P · B, K, d] each, so that a token's row is contiguous."""

    __slots__ = ("_paged", "d", "heads", "keys", "size", "values")

    def __init__(self, size: int, heads: int, d: int) -> None:
        self.size, self.heads, self.d = size, heads, d
        self.keys: Any = None
        self.values: Any = None
        self._paged: tuple[Any, Any] | None = None

    def fill(self, pages: int, dtype: Any, device: Any) -> None:
        """Allocates the pool, all zero."""
        shape = (pages * self.size, self.heads, self.d)

        def zeros() -> Any:
            if device.type != "cpu":
                return torch.zeros(shape, dtype=dtype, device=device)
            # numpy takes memory only when a page is first used, torch at once.
            raw = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
            return torch.from_numpy(raw).view(dtype).view(shape)

        self.keys, self.values = zeros(), zeros()

    def paged(self) -> tuple[Any, Any]:
        """Keys and values by page [P, B, K, d]; the same two tensors at every call."""
        if self._paged is None:
            shape = (-1, self.size, self.heads, self.d)
            self._paged = self.keys.view(shape), self.values.view(shape)
        return self._paged

    def write(self, slots: Any, k: Any, v: Any) -> None:
        """Stores k, v [T, K, d] at slots [T]."""
        self.keys.index_copy_(0, slots, k)
        self.values.index_copy_(0, slots, v)

    def gather(self, rows: Any, pages: Any) -> Any:
        """`rows` (keys or values) of pages [N] → [N · B, K, d]."""
        flat = rows.view(-1, self.size * self.heads * self.d)
        return flat.index_select(0, pages).view(-1, self.heads, self.d)


class Alone:
    """Queries first:last, all of one sequence, against its keys lo … length - 1."""

    __slots__ = ("causal", "first", "last", "mask", "pages", "span")

    def __init__(
        self, first: int, last: int, span: tuple[int, int], pages: Any, causal: bool, mask: Any
    ) -> None:
        self.first, self.last, self.span, self.pages = first, last, span, pages
        self.causal, self.mask = causal, mask

    def attend(self, q: Any, pool: Pool, scale: float, cap: float) -> Any:
        """q [n, H, d] → [n, H, d]."""
        keys, values = pool.keys, pool.values
        if self.pages is not None:
            keys, values = pool.gather(keys, self.pages), pool.gather(values, self.pages)
        low, high = self.span
        n, H, d = q.shape
        K = pool.heads
        if n == 1:  # the heads of a group are the queries of one call: [K, 1, G, d]
            # One strided view instead of three: at one token a call's overhead is what it costs.
            size, stride, at = (K, 1, high - low, d), (d, d, K * d, 1), low * K * d
            k, v = keys.as_strided(size, stride, at), values.as_strided(size, stride, at)
            o = _softmax(q.view(K, 1, H // K, d), k, v, False, None, scale, cap)
            return o.reshape(1, H, d)
        k, v = (
            rows[low:high].transpose(0, 1)[:, None].expand(-1, H // K, -1, -1)
            for rows in (keys, values)
        )  # [K, G, length, d]
        grouped = q.view(n, K, H // K, d).permute(1, 2, 0, 3)  # [K, G, n, d]
        o = _softmax(grouped, k, v, self.causal, self.mask, scale, cap)
        return o.permute(2, 0, 1, 3).reshape(n, H, d)


class Together:
    """One query each of several sequences, gathered to the longest; `tokens` [N]."""

    __slots__ = ("mask", "pages", "tokens")

    def __init__(self, tokens: Any, pages: Any, mask: Any) -> None:
        self.tokens, self.pages, self.mask = tokens, pages, mask

    def attend(self, q: Any, pool: Pool, scale: float, cap: float) -> Any:
        """q [N, H, d] → [N, H, d]."""
        N, H, d = q.shape
        k, v = (
            pool.gather(rows, self.pages).view(N, -1, pool.heads, d).transpose(1, 2)
            for rows in (pool.keys, pool.values)
        )  # [N, K, length, d]
        grouped = q.view(N, pool.heads, H // pool.heads, d)
        return _softmax(grouped, k, v, False, self.mask, scale, cap).reshape(N, H, d)


class Decoding(NamedTuple):
    """Index arrays of a step in which every sequence has one query, int32 on the device.

    indptr [S+1]: the entries of indices [pages] that are a sequence's. last [S]: tokens in its last
    page. pages: how many there are, for who may not ask the device.
    """

    indptr: Any
    indices: Any
    last: Any
    pages: int


class Plan:
    """Index tensors of one step, and its attention groups by window."""

    def __init__(self, batch: Batch, size: int, dtype: Any, device: Any) -> None:
        self._batch, self._size = batch, size
        self._dtype, self._device = dtype, device
        self._groups: dict[int, list[Alone | Together]] = {}
        self.slots = self.put(batch.slots)
        R, T = len(batch.rows), len(batch.ids)
        self.rows = None if R == T else self.put(batch.rows)  # None: all tokens

    def attend(self, q: Any, pool: Pool, scale: float, window: int, cap: float) -> Any:
        """q [T, H, d] against the pool → [T, H, d]."""
        if self._paged is not None:
            from treadle.backends.torch.attend_triton import attend

            return attend(q, pool, *self._paged, scale, window, cap)
        groups = self._groups.get(window)
        if groups is None:
            groups = self._groups[window] = self._cut(window)
        if len(groups) == 1 and isinstance(groups[0], Alone):
            return groups[0].attend(q, pool, scale, cap)
        out = torch.empty_like(q)
        for group in groups:
            if isinstance(group, Alone):
                rows = slice(group.first, group.last)
                out[rows] = group.attend(q[rows], pool, scale, cap)
            else:
                found = group.attend(q.index_select(0, group.tokens), pool, scale, cap)
                out.index_copy_(0, group.tokens, found)
        return out

    @cached_property
    def _paged(self) -> tuple[Any, Any] | None:
        """Page tables and lengths of a step of single queries, int32, where a kernel of our own
        takes them."""
        batch = self._batch
        if len(batch.ids) != len(batch.lens) or not own.fits(self._device):
            return None
        pair = (np.ascontiguousarray(a, np.int32) for a in (batch.table, batch.lens))
        table, lens = (torch.from_numpy(a).to(self._device, non_blocking=True) for a in pair)
        return table, lens

    @cached_property
    def decoding(self) -> Decoding | None:
        """The step as kernels over page lists want it; None unless each sequence has one query."""
        batch, size = self._batch, self._size
        lens = batch.lens
        if not len(lens) or len(batch.ids) != len(lens) or (np.diff(batch.starts) != 1).any():
            return None
        counts = -(-lens // size)
        indptr = np.zeros(len(lens) + 1, np.int32)
        np.cumsum(counts, out=indptr[1:])
        rows = [row[:count] for row, count in zip(batch.table, counts, strict=True)]
        arrays = (indptr, np.concatenate(rows), lens - (counts - 1) * size)
        pointers, pages, last = (
            torch.from_numpy(np.ascontiguousarray(a, np.int32)).to(self._device, non_blocking=True)
            for a in arrays
        )
        return Decoding(pointers, pages, last, int(indptr[-1]))

    def _cut(self, window: int) -> list[Alone | Together]:
        starts, lens = self._batch.starts.tolist(), self._batch.lens.tolist()
        groups: list[Alone | Together] = []
        short: dict[int, list[tuple[int, int, NDArray[np.int32], int]]] = {}
        for s, length in enumerate(lens):
            first, last = starts[s], starts[s + 1]
            n = last - first
            low = max(0, length - n - window + 1) if window else 0
            page = low // self._size
            pages = self._batch.table[s, page : -(-length // self._size)]
            low -= page * self._size  # from here on, tokens count from the first page needed
            high = length - page * self._size
            in_place = len(pages) < 2 or bool((np.diff(pages) == 1).all())
            on_host = self._device.type == "cpu"
            if n == 1 and not (on_host and in_place and high - low >= _READ_IN_PLACE):
                short.setdefault(len(pages).bit_length(), []).append((first, high, pages, low))
                continue
            groups.append(self._alone(first, last, (low, high), pages, in_place, window))
        for members in short.values():
            if len(members) == 1 and self._device.type == "cpu":
                first, high, pages, low = members[0]
                in_place = bool((np.diff(pages) == 1).all())
                groups.append(self._alone(first, first + 1, (low, high), pages, in_place, window))
            else:
                groups.append(self._together(members))
        return groups

    def _alone(
        self,
        first: int,
        last: int,
        span: tuple[int, int],
        pages: NDArray[np.int32],
        in_place: bool,
        window: int,
    ) -> Alone:
        low, high = span
        n, keys = last - first, high - low
        causal = n == keys and (window == 0 or window >= n)
        mask = None
        if n > 1 and not causal:
            query = torch.arange(keys - n, keys, device=self._device)[:, None]
            key = torch.arange(keys, device=self._device)[None, :]
            seen = key <= query
            if window:
                seen &= key > query - window
            mask = self._additive(seen)
        if in_place:
            base = int(pages[0]) * self._size
            return Alone(first, last, (base + low, base + high), None, causal, mask)
        return Alone(first, last, span, self.put(pages), causal, mask)

    def _together(self, members: list[tuple[int, int, NDArray[np.int32], int]]) -> Together:
        width = max(len(pages) for _, _, pages, _ in members)
        table = np.zeros((len(members), width), np.int64)
        for row, (_, _, pages, _) in zip(table, members, strict=True):
            row[: len(pages)] = pages
        low = self.put(np.array([low for *_, low in members]))[:, None]
        high = self.put(np.array([high for _, high, _, _ in members]))[:, None]
        key = torch.arange(width * self._size, device=self._device)[None, :]
        mask = self._additive((key >= low) & (key < high))  # [N, length]
        tokens = self.put(np.array([first for first, *_ in members]))
        return Together(tokens, self.put(table.reshape(-1)), mask[:, None, None, :])

    def _additive(self, seen: Any) -> Any:
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=self._device)
        return mask.masked_fill_(~seen, -torch.inf)

    def put(self, indices: NDArray[Any]) -> Any:
        """Indices on the device as int64."""
        return torch.from_numpy(indices.astype(np.int64)).to(self._device, non_blocking=True)


def _softmax(q: Any, k: Any, v: Any, causal: bool, mask: Any, scale: float, cap: float) -> Any:
    """Scaled dot-product attention of [..., n, d] on [..., length, d], with a soft cap if > 0."""
    if not cap:
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=scale
        )
    scores = torch.matmul(q, k.transpose(-1, -2)).float() * scale
    scores = torch.tanh(scores / cap) * cap
    if causal:
        n = scores.shape[-1]
        later = torch.ones((n, n), dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    return torch.matmul(torch.softmax(scores, -1).to(v.dtype), v)
