"""The worker thread: order, errors, and an end that leaves nobody waiting."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from treadle.backends.queue import CallQueue
from treadle.errors import EngineDead


@pytest.fixture
def queue():
    made = CallQueue("test")
    yield made
    made.close(0.0)


def test_calls_run_in_order_on_one_thread_and_errors_go_to_the_waiter(queue):
    seen = []
    calls = [queue.submit(lambda i=i: seen.append((i, threading.get_ident()))) for i in range(50)]
    failing = queue.submit(lambda: 1 // 0)
    last = queue.submit(lambda: "after")
    assert last.wait() == "after"
    assert [i for i, _ in seen] == list(range(50))
    assert {ident for _, ident in seen} - {threading.get_ident()} == {seen[0][1]}
    assert all(call.done() for call in calls)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.wait()


def test_closing_behind_a_call_that_hangs_answers_every_waiter():
    queue, gate, started = CallQueue("test"), threading.Event(), threading.Event()
    hung = queue.submit(lambda: (started.set(), gate.wait())[1])
    queued = queue.submit(lambda: 1)
    started.wait()
    answers = []

    def wait(call):
        with pytest.raises(EngineDead):
            call.wait()
        answers.append(call)

    waiters = [threading.Thread(target=wait, args=(call,)) for call in (hung, queued)]
    for waiter in waiters:
        waiter.start()
    queue.close(0.01)
    for waiter in waiters:
        waiter.join(10)
    assert set(answers) == {hung, queued}
    with pytest.raises(EngineDead, match="closed"):
        queue.submit(lambda: 1)
    gate.set()


def test_the_running_call_may_finish_and_the_thread_ends():
    queue, started = CallQueue("one that ends"), threading.Event()
    running = queue.submit(lambda: (started.set(), "done")[1])
    started.wait()
    queue.close()
    queue.close()
    assert running.wait() == "done"
    assert "one that ends" not in [thread.name for thread in threading.enumerate()]


def test_results_nobody_keeps_are_freed(queue):
    class Large:
        pass

    kept = []
    queue.submit(lambda: kept.append(weakref.ref(made := Large())) or made).wait()
    queue.submit(lambda: None).wait()
    gc.collect()
    assert kept[0]() is None
