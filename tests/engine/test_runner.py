"""The engine on its thread: faults, ends, bounds. Every accepted request ends exactly once."""

from __future__ import annotations

import threading
import time

import pytest
from fake import EOS, TABLE, Fake, Tap, drain, solo, submit
from msgspec.structs import replace

from treadle.engine.channel import Channel, merge
from treadle.engine.loop import LoopOptions
from treadle.engine.request import Event
from treadle.engine.runner import Engine
from treadle.errors import (
    Cancelled,
    EngineDead,
    KernelError,
    NotReady,
    Overloaded,
    Timeout,
    TreadleError,
)
from treadle.limits import Limits
from treadle.types import Delta

FOREVER = {EOS: -100.0}


def started(device: Fake, **options) -> Engine:
    loop = options.pop("loop", LoopOptions(sequences=8, batch_tokens=32))
    engine = Engine(device, TABLE, options=loop, **options)
    engine.start()
    return engine


@pytest.mark.parametrize("overlap", [True, False], ids=["overlapped", "plain"])
def test_many_threads_at_once(overlap: bool) -> None:
    engine = started(Fake(), loop=LoopOptions(sequences=8, batch_tokens=32, overlap=overlap))
    results: dict[int, tuple[list[int], TreadleError | None]] = {}

    def ask() -> None:
        number = engine.next_id()
        channel = Tap()
        engine.submit(submit(number, [number] * 5), channel)
        results[number] = drain(channel)
        assert channel.ends == 1

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 24
    for number, (tokens, error) in results.items():
        assert error is None
        assert tokens == solo(submit(number, [number] * 5))
    assert engine.healthy
    engine.close()
    assert engine._loop.exe.closed


def test_a_device_error_ends_the_engine_and_every_request() -> None:
    engine = started(Fake(fail_at=6))
    taps = [Tap() for _ in range(20)]
    dead = 0
    for tap in taps:
        try:
            engine.submit(submit(engine.next_id(), [1, 2], logit_bias=FOREVER), tap)
        except EngineDead:
            dead += 1
            tap.ends += 1
            continue
        _, error = drain(tap) if tap is taps[-1] else (None, EngineDead(""))
        assert isinstance(error, EngineDead)
    for tap in taps:
        if tap.ends == 0:
            drain(tap)
        assert tap.ends == 1
    with pytest.raises(EngineDead, match="device lost"):
        engine.submit(submit(99, [1]), Tap())
    assert not engine.healthy
    engine.close()


def test_unusable_logits_and_an_impossible_bias_end_one_request() -> None:
    engine = started(Fake(nan_token=77))
    sick, well = Tap(), Tap()
    engine.submit(submit(1, [77], logit_bias=FOREVER), sick)
    engine.submit(submit(2, [5]), well)
    assert isinstance(drain(sick)[1], KernelError)
    assert drain(well) == (solo(submit(2, [5])), None)
    engine.close()
    assert sick.ends == well.ends == 1


class Slow(Fake):
    """A device whose steps take a while, or never end."""

    def __init__(self, seconds: float) -> None:
        super().__init__(pages=2_000)
        self.gate = threading.Event()
        self.seconds = seconds

    def run(self, batch, previous, number):
        self.gate.wait(self.seconds)
        return super().run(batch, previous, number)


def test_a_hang_is_noticed_by_the_watchdog() -> None:
    device = Slow(30.0)
    engine = started(device, watchdog=0.4)
    tap = Tap()
    engine.submit(submit(1, [1]), tap)
    _, error = drain(tap)
    assert isinstance(error, EngineDead)
    assert "no step for" in str(error)
    with pytest.raises(EngineDead):
        engine.submit(submit(2, [1]), Tap())
    device.gate.set()
    engine.close()
    assert tap.ends == 1


def test_the_inbox_is_bounded_and_says_when_to_come_back() -> None:
    device = Slow(0.01)
    engine = started(
        device,
        limits=replace(Limits(), queue_requests=4),
        loop=LoopOptions(sequences=1, batch_tokens=32),
    )
    taps: list[Tap] = []
    refused: Overloaded | None = None
    while refused is None and len(taps) < 20:
        tap, number = Tap(), engine.next_id()
        try:
            engine.submit(submit(number, [number], logit_bias=FOREVER), tap)
            taps.append(tap)
        except Overloaded as error:
            refused = error
    assert 4 <= len(taps) <= 6
    assert refused is not None
    assert refused.retry_after > 0
    assert engine.stats.rejected["overloaded"] == 1
    for tap in taps:
        assert drain(tap)[1] is None
    engine.submit(submit(30, [1]), taps[0])
    engine.close(drain=10)


def test_abort_ends_within_a_step_or_two() -> None:
    device = Slow(0.005)
    engine = started(device)
    tap = Tap()
    engine.submit(submit(1, [1], max_tokens=4_000, logit_bias=FOREVER), tap)
    while device.forwards < 5:
        time.sleep(0.002)
    before = device.forwards
    engine.abort(1)
    assert isinstance(drain(tap)[1], Cancelled)
    assert device.forwards <= before + 4
    engine.abort(1)
    engine.abort(12345)
    engine.close()
    assert tap.ends == 1


def test_close_drains_then_ends_what_is_left() -> None:
    engine = started(Slow(0.005))
    short, long = Tap(), Tap()
    engine.submit(submit(1, [1], max_tokens=3, logit_bias=FOREVER), short)
    engine.submit(submit(2, [2], max_tokens=4_000, logit_bias=FOREVER), long)
    engine.close(drain=0.5)
    assert drain(short)[1] is None
    assert isinstance(drain(long)[1], NotReady)
    with pytest.raises(NotReady):
        engine.submit(submit(3, [3]), Tap())
    engine.close()


def test_deltas_coalesce_and_a_reader_that_left_is_given_up() -> None:
    channel = Channel(8, patience=0.05)
    for i in range(50):
        assert channel.put(Event(1, Delta(i % 2, chr(97 + i % 26), (i,))))
    time.sleep(0.06)
    assert not channel.put(Event(1, Delta(0, "!", (99,))))
    assert channel.put(Event(1, end=True))
    taken: list[Delta] = []
    end: TreadleError | None = None
    while end is None:
        try:
            delta = channel.take()
            assert delta is not None
            taken.append(delta)
        except Timeout as error:
            end = error
    assert len(taken) <= 9
    both = merge(taken)
    assert [list(d.token_ids) for d in both] == [[*range(0, 50, 2), 99], list(range(1, 50, 2))]
