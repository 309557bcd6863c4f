"""The fault-injecting backend does to a caller what a failing device would."""

from __future__ import annotations

import threading
import time

import pytest
import toy
from faulty import Faults, Faulty

from treadle.errors import EngineDead, KernelError
from treadle.limits import Limits

GRAPH = toy.build(toy.Spec(layers=1))
WEIGHTS = toy.weights(GRAPH)


def started(faults):
    return Faulty(faults).compile(GRAPH, WEIGHTS, Limits(), pages=8)


def step(executable, pages, token=3):
    handle = executable.forward(pages.batch({"a": [token]}))
    return executable.sample(handle, None, toy.params(1))


def test_a_raised_error_reaches_its_waiter_and_the_steps_that_need_it():
    executable = started(Faults(raises={1: KernelError("lost")}, sample_raises={2: OSError("bus")}))
    pages = toy.ascending(8)
    good, bad = step(executable, pages), step(executable, pages)
    needs_bad = step(executable, pages, token=-1)
    after = step(executable, pages)
    assert good.wait().status.tolist() == [0]
    for future in (bad, needs_bad):
        with pytest.raises(KernelError, match="lost"):
            future.wait()
    assert after.wait().status.tolist() == [0]
    executable.close()


def test_nan_logits_become_a_status():
    executable = started(Faults(nan={0: [0]}, seconds=0.01))
    began = time.monotonic()
    assert step(executable, toy.ascending(8)).wait().status.tolist() == [2]
    assert time.monotonic() - began >= 0.01
    executable.close()


def test_a_hang_ends_with_the_executable():
    faults = Faults(hangs={0})
    executable = started(faults)
    futures = [step(executable, toy.ascending(8)), step(executable, toy.ascending(8))]
    faults.hanging.wait(10)
    closing = threading.Thread(target=executable.close)
    closing.start()
    with pytest.raises(EngineDead):
        futures[1].wait()
    faults.release.set()
    closing.join(10)
    assert not closing.is_alive()
