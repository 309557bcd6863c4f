"""The engine over the reference backend on a toy decoder, well and with faults injected."""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

import pytest
from fake import Tap, drain, submit
from msgspec.structs import replace

from treadle.engine.loop import LoopOptions
from treadle.engine.runner import Engine
from treadle.errors import EngineDead, KernelError
from treadle.limits import Limits
from treadle.types import TokenKind, TokenTable

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
import toy
from faulty import Faults, Faulty

END = 36
TABLE = TokenTable(
    data=tuple(bytes([65 + i]) for i in range(toy.V)),
    kinds=(TokenKind.NORMAL,) * toy.V,
    stop_ids=(END,),
)
LIMITS = replace(Limits(), sequences=4, batch_tokens=16)
GRAPH = toy.build(toy.SPECS["llama"])
WEIGHTS = toy.weights(GRAPH)


def started(faults: Faults | None = None, *, overlap: bool = True, **options) -> Engine:
    exe = Faulty(faults).compile(GRAPH, WEIGHTS, LIMITS, pages=24)
    engine = Engine(exe, TABLE, options=LoopOptions(4, 16, overlap=overlap), **options)
    engine.start()
    return engine


def requests(count: int) -> list:
    rng = random.Random(5)
    stem = [rng.randrange(END) for _ in range(12)]
    return [
        submit(
            number,
            stem[: rng.choice([0, 8, 12])] + [rng.randrange(END) for _ in range(rng.randint(1, 9))],
            temperature=rng.choice([0.0, 0.8, 1.5]),
            max_tokens=rng.randint(1, 16),
            repetition_penalty=rng.choice([1.0, 1.2]),
            logprobs=rng.choice([None, 2]),
        )
        for number in range(1, count + 1)
    ]


def answers(engine: Engine, wanted: list, together: bool) -> list:
    taps = [Tap() for _ in wanted]
    found = []
    for item, tap in zip(wanted, taps, strict=True):
        engine.submit(item, tap)
        if not together:
            found.append(drain(tap))
    found = found or [drain(tap) for tap in taps]
    engine.close()
    assert all(tap.ends == 1 for tap in taps)
    return found


def test_overlapped_plain_and_alone_agree_on_a_real_model() -> None:
    wanted = requests(14)
    alone = answers(started(overlap=False), wanted, together=False)
    assert all(error is None for _, error in alone)
    assert answers(started(), wanted, together=True) == alone
    assert answers(started(overlap=False), wanted, together=True) == alone


@pytest.mark.parametrize("overlap", [True, False], ids=["overlapped", "plain"])
@pytest.mark.parametrize(
    "faults",
    [
        {"raises": {0: RuntimeError("lost")}},
        {"raises": {5: RuntimeError("lost")}},
        {"sample_raises": {3: RuntimeError("lost")}},
    ],
    ids=["first forward", "later forward", "sample"],
)
def test_a_device_error_ends_everything_once(faults: dict, overlap: bool) -> None:
    engine = started(Faults(**faults), overlap=overlap)
    taps: list[Tap] = []
    for item in requests(10):
        tap = Tap()
        try:
            engine.submit(item, tap)
        except EngineDead:
            continue
        taps.append(tap)
    ends = [drain(tap)[1] for tap in taps]
    assert isinstance(ends[-1], EngineDead)
    assert all(error is None or isinstance(error, EngineDead) for error in ends)
    assert all(tap.ends == 1 for tap in taps)
    with pytest.raises(EngineDead, match="lost"):
        engine.submit(submit(99, [1]), Tap())
    engine.close()


def test_nan_rows_end_their_requests_and_no_other() -> None:
    wanted = requests(8)
    fine = answers(started(), wanted, together=True)
    faults = Faults(nan={2: [0], 4: [1]})
    broken = answers(started(faults), wanted, together=True)
    sick = [error for _, error in broken if error is not None]
    assert 1 <= len(sick) <= 2
    assert all(isinstance(error, KernelError) for error in sick)
    for got, want in zip(broken, fine, strict=True):
        assert got[1] is not None or got == want


def test_a_hanging_device_is_given_up() -> None:
    faults = Faults(hangs={3})
    engine = started(faults, watchdog=0.5)
    taps = [Tap() for _ in range(3)]
    for item, tap in zip(requests(3), taps, strict=True):
        engine.submit(replace(item, sampling=submit(1, [1], max_tokens=16).sampling), tap)
    assert faults.hanging.wait(20)
    errors = [drain(tap)[1] for tap in taps]
    assert any(isinstance(error, EngineDead) for error in errors)
    threading.Timer(0.1, faults.release.set).start()
    engine.close()
    assert all(tap.ends == 1 for tap in taps)
