"""Rings: sealed against whoever they are shared with, slots that never overlap, honest timing."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import time

import numpy as np
import pytest

from treadle import _core
from treadle.kernels.check.inputs import Profile, make
from treadle.kernels.definitions import define
from treadle.kernels.run import ring, work
from treadle.kernels.run.feed import Call, Feed
from treadle.kernels.schema import RandomInput, Workload

pytestmark = pytest.mark.alone


def test_inputs_cannot_be_written_or_cut_by_whom_they_are_shared_with() -> None:
    memory = ring.Memory(10_000, "test", read_only=True)
    memory.bytes[:] = 7
    shared = memory.share()
    again = os.open(f"/proc/self/fd/{shared}", os.O_RDONLY)
    for attempt in (
        lambda: mmap.mmap(shared, memory.size),
        lambda: mmap.mmap(os.open(f"/proc/self/fd/{shared}", os.O_RDWR), memory.size),
        lambda: os.ftruncate(shared, 0),
        lambda: os.write(shared, b"x"),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's choice
            attempt()
    view = np.frombuffer(mmap.mmap(again, memory.size, prot=mmap.PROT_READ), np.uint8)
    assert (view == 7).all()
    memory.bytes[3] = 9  # the referee's own mapping still writes
    assert view[3] == 9


def test_slots_never_overlap_and_come_back_with_other_contents() -> None:
    rng = np.random.default_rng(1)
    arena = ring.Arena(ring.Memory(1 << 18, "test", read_only=False), rng)
    seen: set[int] = set()
    returned = 0
    for _ in range(200):
        spans = [512, 512, 100, 7000]
        places = arena.place(spans, after=4096)
        ends = sorted(
            (at, at + -(-size // 256) * 256) for at, size in zip(places, spans, strict=True)
        )
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))
        assert ends[0][0] >= 4096
        assert ends[-1][1] <= 1 << 18
        assert all(at % 256 == 0 for at in places)
        returned += bool(seen & set(places))
        seen |= set(places)
    assert len(seen) > 100
    assert returned > 60
    with pytest.raises(ValueError, match="bytes in"):
        arena.place([1 << 19])


def test_every_batch_has_contents_of_its_own_and_twins_differ() -> None:
    definition = define("glu", "glu_f32", {"F": 32}, act="f32", attrs={"act": "silu"})
    inputs = dict.fromkeys("gu", RandomInput())
    workload = Workload(uuid="w", axes={"T": 5}, inputs=inputs)

    def feed(key: bytes) -> Feed:
        allocate = lambda size: ring.Memory(size, "test", read_only=True)  # noqa: E731
        return Feed(definition, workload, key, allocate=allocate, batches=[], calls=8)

    contents: list[bytes] = []
    twins = 0
    one = feed(b"a" * 32)
    for _ in range(20):
        batch = [Call({"T": 5}) for _ in range(8)]
        one.place(batch)
        one.fill(batch)
        contents += [b"".join(v.tobytes() for v in c.values.values()) for c in batch]
        for call in batch:
            if call.twin is not None:
                twins += 1
                other = batch[call.twin].values
                changed = sum(int((call.values[n] != other[n]).sum()) for n in "gu")
                assert 1 <= changed <= 3
    assert len(set(contents)) == len(contents)
    assert twins >= 5
    other = feed(b"b" * 32)
    batch = [Call({"T": 5})]
    other.place(batch)
    other.fill(batch)
    assert batch[0].values["g"].tobytes() not in b"".join(contents)
    assert (
        make(definition, workload, {"T": 0}, np.random.default_rng(0), Profile.TIES)["g"].size == 0
    )


def test_work_counts_bytes_and_operations() -> None:
    names = {"T": "M", "O": "N", "I": "K", "x": "A", "w": "B", "y": "C"}
    definition = define("linear", "l", {"O": 24, "I": 32}, act="f32", names=names)
    known = {"M": 5, "N": 24, "K": 32}
    assert work.moved(definition, known) == 4 * (5 * 32 + 24 * 32 + 5 * 24)
    assert work.flops(definition, known) == 2 * 5 * 24 * 32


def test_a_word_is_seen_when_it_moves_and_time_is_up_when_it_does_not() -> None:
    page = ring.control()
    words = _core.Words(page.bytes[:4096])
    start = time.monotonic()
    assert words.wait(0, 0, 1000, 20_000_000)[0] == -1
    assert time.monotonic() - start >= 0.019
    thread = threading.Timer(0.02, lambda: words.post(1, 1 << 40))
    thread.start()
    begin, end, value = words.call(0, 5, 1, 0, 1000, 60_000_000_000)
    thread.join()
    assert (words.load(0), value) == (5, 1 << 40)
    assert 0 < end - begin < 60_000_000_000
    with pytest.raises(_core.CoreError):
        words.load(64)


def test_bytes_are_compared_and_hashed() -> None:
    a = np.random.default_rng(0).integers(0, 256, 10_007, np.uint8)
    b = a.copy()
    assert _core.differing(a, b) == 0
    assert _core.digest(a) == _core.digest(b)
    for at in (0, 31, 32, 4095, 10_006):
        b[at] ^= 1
        assert _core.digest(a) != _core.digest(b)
    assert _core.differing(a, b) == 5
    _core.copy_bytes(b, a)
    assert _core.differing(a, b) == 0
    _core.flush_lines(a)
    assert _core.digest(a) == _core.digest(b)
