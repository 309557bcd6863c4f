"""A tiny deterministic device for the engine's tests.

Its KV is the token itself, and the logits of a position are a hash of the history read back
through the page table: a wrong page, slot, position or id changes the tokens, and a page that was
never written, or that an unfinished step still reads, stops the test. Calls run on a thread of
their own, as on a real device.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import fields, replace

from treadle.engine.channel import Channel
from treadle.engine.inbox import Inbox
from treadle.engine.loop import InFlight, Loop, LoopOptions
from treadle.engine.request import Event, Submit, choice_key
from treadle.errors import TreadleError
from treadle.types import (
    Batch,
    Delta,
    Mask,
    SampleBatch,
    Sampled,
    Sampling,
    TokenKind,
    TokenTable,
    Usage,
)

EOS, BOS = 256, 257
_WORDS = [b"ab", "é".encode()[:1], "é".encode()[1:], "日".encode()[:2], "日".encode()[2:], b" the"]
_WORDS += [b'{"', b'":', b'"}', b"},", b"true", b"null", b"12", b'", "']
TABLE = TokenTable(
    data=(*(bytes([i]) for i in range(256)), b"<eos>", b"<bos>", *_WORDS),
    kinds=(*[TokenKind.NORMAL] * 256, *[TokenKind.CONTROL] * 2, *[TokenKind.NORMAL] * len(_WORDS)),
    stop_ids=(EOS,),
)
VOCAB = 300  # wider than the table, as padded heads are


def logits_of(history: np.ndarray, eos: float = 0.0) -> np.ndarray:
    """Logits [V] of the token after `history`."""
    key = hashlib.blake2b(np.asarray(history, np.int32).tobytes(), digest_size=8).digest()
    rng = np.random.Generator(np.random.SFC64(int.from_bytes(key, "little")))
    x = rng.standard_normal(VOCAB, dtype=np.float32) * 3
    x[EOS] += eos
    return x


def noise(key: int, step: int) -> np.ndarray:
    """Gumbel noise [V] of one token: a function of the key and the token's index alone."""
    seed = hashlib.blake2b(f"{key} {step}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(seed, "little"))).gumbel(size=VOCAB)


def pick(x: np.ndarray, legal: np.ndarray | None, p: SampleBatch, r: int) -> int:
    """A plain sampler of one row: every parameter counts, -1 when no token is legal."""
    x = x.astype(np.float64)
    bias = slice(p.bias_ptr[r], p.bias_ptr[r + 1])
    x[p.bias_ids[bias]] += p.bias_values[bias]
    pen = slice(p.pen_ptr[r], p.pen_ptr[r + 1])
    ids, out = p.pen_ids[pen], p.pen_out[pen]
    x[ids] -= p.presence[r] * (out > 0) + p.frequency[r] * out + np.log(p.repetition[r])
    if legal is not None:
        x[~legal] = -np.inf
    if x.max() == -np.inf:
        return -1
    if p.temperature[r] == 0:
        return int(x.argmax())
    x /= p.temperature[r]
    order = np.argsort(-x, kind="stable")
    share = np.exp(x[order] - x[order[0]])
    keep = share >= p.min_p[r]
    keep &= np.cumsum(share) - share < p.top_p[r] * share.sum()
    keep[p.top_k[r] or VOCAB :] = False
    chosen = order[keep]
    return int(chosen[(x[chosen] + noise(int(p.key[r]), int(p.step[r]))[chosen]).argmax()])


def draw(logits: np.ndarray, mask: Mask | None, p: SampleBatch) -> Sampled:
    """One token a row, with log-probabilities of the raw logits."""
    n, most = len(logits), max(0, int(p.logprobs.max()))
    got = Sampled(
        np.full(n, -1, np.int32), np.zeros(n, np.uint8), np.full(n, np.nan, np.float32),
        np.full((n, most), -1, np.int32), np.full((n, most), np.nan, np.float32),
    )  # fmt: skip
    masked = (
        {} if mask is None else {int(r): bits for r, bits in zip(mask.rows, mask.bits, strict=True)}
    )
    for r, x in enumerate(logits):
        legal = None
        if r in masked:
            legal = np.unpackbits(masked[r].view(np.uint8), bitorder="little")[:VOCAB].astype(bool)
        if not np.isfinite(x).all():
            got.status[r] = 2
            continue
        got.ids[r] = pick(x, legal, p, r)
        got.status[r] = got.ids[r] < 0
        if p.logprobs[r] >= 0:
            values = x - x.max() - np.log(np.exp(x - x.max()).sum())
            top = np.argsort(-values, kind="stable")[: p.logprobs[r]]
            got.logprobs[r] = values[got.ids[r]]
            got.top_ids[r, : len(top)], got.top_logprobs[r, : len(top)] = top, values[top]
    return got


@dataclass
class Logits:
    rows: int
    work: Future[np.ndarray]


@dataclass
class Tokens:
    device: Fake
    batch: Batch
    work: Future[Sampled]

    def wait(self) -> Sampled:
        self.device.in_flight.remove(self.batch)
        return self.work.result()


def arrays(record: Any) -> Any:
    """A Batch, Mask or SampleBatch as numpy arrays over the same memory."""
    named = {f.name: np.asarray(getattr(record, f.name)) for f in fields(record)}
    return replace(record, **named)


class Fake:
    """The device. `nan_at`: histories of these lengths give NaN; `fail_at`: that forward raises."""

    def __init__(self, pages=64, page_size=4, *, eos=0.0, fail_at=None, nan_token=None) -> None:
        self.pages, self.page_size, self.vocab = pages, page_size, VOCAB
        self.eos, self.fail_at, self.nan_token = eos, fail_at, nan_token
        self.kv = np.full((pages, page_size), -1, np.int32)
        self.in_flight: list[Batch] = []
        self.forwards = self.tokens = 0
        self.closed = False
        self.previous: Future[Sampled] | None = None
        self.unread: Logits | None = None
        self.thread = ThreadPoolExecutor(1)

    def forward(self, batch: Batch) -> Logits:
        batch = arrays(batch)
        self.check(batch)
        self.in_flight.append(batch)
        self.forwards += 1
        self.tokens += len(batch.ids)
        number, previous = self.forwards, self.previous
        self.unread = Logits(len(batch.rows), self.thread.submit(self.run, batch, previous, number))
        return self.unread

    def sample(self, logits: Logits, mask: Mask | None, params: SampleBatch) -> Tokens:
        assert logits is self.unread, "one sample a forward, in order"
        mask, params = None if mask is None else arrays(mask), arrays(params)
        self.previous = self.thread.submit(lambda: draw(logits.work.result(), mask, params))
        return Tokens(self, self.in_flight[-1], self.previous)

    def close(self) -> None:
        self.thread.shutdown()
        self.closed = True

    def run(self, batch: Batch, previous: Future[Sampled] | None, number: int) -> np.ndarray:
        if number == self.fail_at:
            raise RuntimeError("device lost")
        ids = batch.ids.copy()
        for t in np.flatnonzero(ids < 0):
            assert previous is not None
            ids[t] = max(previous.result().ids[-1 - ids[t]], 0)  # a failed row drew nothing
        self.kv.reshape(-1)[batch.slots] = ids
        out = np.zeros((len(batch.rows), VOCAB), np.float32)
        for r, t in enumerate(batch.rows):
            s = int(np.searchsorted(batch.starts, t, side="right")) - 1
            history = self.kv[batch.table[s]].reshape(-1)[: batch.pos[t] + 1]
            assert (history >= 0).all(), "read a slot that was never written"
            out[r] = logits_of(history, self.eos)
            if self.nan_token is not None and self.nan_token in history:
                out[r] = np.nan
        return out

    def check(self, batch: Batch) -> None:
        """What the protocol promises of a batch, and that it disturbs no unfinished step."""
        B = self.page_size
        assert (np.diff(batch.starts) > 0).all()
        assert (np.diff(batch.rows) > 0).all()
        assert len(batch.rows) > 0
        assert batch.starts[-1] == len(batch.ids) == len(batch.pos) == len(batch.slots)
        assert len(set(batch.slots.tolist())) == len(batch.slots), "two tokens in one slot"
        for s in range(len(batch.lens)):
            a, b = batch.starts[s], batch.starts[s + 1]
            pos = np.arange(batch.lens[s] - (b - a), batch.lens[s])
            assert (batch.pos[a:b] == pos).all()
            assert (batch.slots[a:b] == batch.table[s, pos // B] * B + pos % B).all()
        for other in self.in_flight:
            busy = np.zeros(self.pages * B, bool)
            for s in range(len(other.lens)):
                at = np.arange(other.lens[s])
                busy[other.table[s, at // B] * B + at % B] = True
            assert not busy[batch.slots].any(), "wrote where an unfinished step reads"


def solo(submit: Submit, index: int = 0, eos: float = 0.0, most: int = 1 << 30) -> list[int]:
    """The tokens a choice must have, drawn one by one with no engine: the oracle."""
    p = submit.sampling
    ids, out = list(submit.ids), []
    bias = p.logit_bias
    while len(out) < min(p.max_tokens or 0, most):
        pens = dict.fromkeys(submit.ids, 0) if p.repetition_penalty != 1.0 else {}
        for t in out:
            pens[t] = pens.get(t, 0) + 1
        params = SampleBatch(
            *(np.array([v], np.float32) for v in [p.temperature]),
            np.array([p.top_k], np.int32),
            *(np.array([v], np.float32) for v in (p.top_p, p.min_p)),
            *(
                np.array([v], np.float32)
                for v in (p.presence_penalty, p.frequency_penalty, p.repetition_penalty)
            ),
            np.array([choice_key(p.seed or 0, index)], np.uint64),
            np.array([len(out)], np.int32),
            np.array([-1], np.int32),
            np.array([0, len(bias)], np.int32),
            np.array(list(bias), np.int32),
            np.array(list(bias.values()), np.float32),
            np.array([0, len(pens)], np.int32),
            np.array(list(pens), np.int32),
            np.array(list(pens.values()), np.int32),
        )
        token = int(draw(logits_of(np.array(ids), eos)[None], None, params).ids[0])
        out.append(token)
        ids.append(token)
        if token == EOS or token in p.stop_token_ids:
            break
    return out


class Bench:
    """A loop driven step by step, without a thread, that keeps what it delivers."""

    def __init__(
        self, device: Fake, *, overlap=True, sequences=8, batch_tokens=32, encode=None
    ) -> None:
        self.device, self.overlap = device, overlap
        self.inbox = Inbox(10_000, 10_000_000)
        self.events: list[Event] = []
        self.of: dict[int, list[Event]] = {}
        options = LoopOptions(sequences=sequences, batch_tokens=batch_tokens, encode=encode)
        self.loop = Loop(device, TABLE, self.inbox, self.keep, options)
        self.prev: InFlight | None = None
        self.steps = 0

    def keep(self, frame: list[Event]) -> None:
        self.events.extend(frame)
        for event in frame:
            self.of.setdefault(event.id, []).append(event)

    def step(self) -> bool:
        """One step; False when there was nothing to do."""
        self.steps += 1
        assert self.steps < 20_000, "no end in sight"
        if not self.overlap:
            return self.loop.step_plain()
        before, self.prev = self.prev, self.loop.step(self.prev)
        return before is not None or self.prev is not None

    def finish(self) -> None:
        """Steps until nothing is left, then checks the books."""
        while self.step() or self.loop.requests:
            pass
        self.loop.check_integrity()
        assert not self.device.in_flight

    def deltas(self, number: int, index: int = 0) -> list[Delta]:
        """What a choice was given."""
        found = [event.delta for event in self.of.get(number, ())]
        return [delta for delta in found if delta is not None and delta.index == index]

    def tokens(self, number: int, index: int = 0) -> list[int]:
        """The token ids a choice was given."""
        return [token for delta in self.deltas(number, index) for token in delta.token_ids]

    def usage(self, number: int) -> Usage:
        """The usage of a request's only choice."""
        return self.deltas(number)[-1].usage

    def ends(self, number: int) -> list[Event]:
        """The terminal events of a request; there must be exactly one."""
        return [event for event in self.of.get(number, ()) if event.end]


def submit(number: int, ids, *, grammar=None, priority=0, salt=b"", **sampling) -> Submit:
    """A request with defaults that make results depend on everything."""
    given = {"max_tokens": 12, "seed": number, **sampling}
    return Submit(number, tuple(ids), Sampling(**given), grammar, priority, salt)


class Tap(Channel):
    """A channel that counts terminal events."""

    def __init__(self) -> None:
        super().__init__(100_000)
        self.ends = 0

    def put(self, event: Event) -> bool:
        self.ends += event.end
        return super().put(event)


def drain(channel: Channel) -> tuple[list[int], TreadleError | None]:
    """All tokens of a channel and how it ended."""
    tokens: list[int] = []
    while True:
        assert channel.wait(20), "no event in 20 s"
        try:
            delta = channel.take()
        except StopIteration:
            return tokens, None
        except TreadleError as error:
            return tokens, error
        if delta is not None:
            tokens.extend(delta.token_ids)
