"""The numbers the metrics page shows, and the prediction that cuts prompts."""

from __future__ import annotations

import random

import pytest
from fake import EOS, Bench, Fake, solo, submit

from treadle.engine.pace import Pace
from treadle.engine.stats import Histogram


def test_counters_say_what_happened() -> None:
    bench = Bench(Fake(pages=64))
    wanted = [submit(i, range(i, i + 9), n=1 + i % 2, max_tokens=7) for i in range(1, 7)]
    for item in wanted:
        bench.inbox.put(item)
    bench.inbox.put(submit(9, [1], max_tokens=50, logit_bias={EOS: -100}))
    while not bench.tokens(9):
        bench.step()
    bench.inbox.abort(9)
    bench.finish()
    stats = bench.loop.stats
    drawn = [solo(item, i) for item in wanted for i in range(item.sampling.n)]
    assert stats.prompt_tokens == 6 * 9 + 1
    assert stats.generation_tokens == sum(map(len, drawn)) + len(bench.tokens(9))
    ended = sum(tokens[-1] == EOS for tokens in drawn)
    assert stats.finished["stop"] == ended
    assert stats.finished["length"] == len(drawn) - ended
    assert stats.finished["abort"] == 1
    assert stats.request_latency.total == 7
    assert stats.time_to_first_token.total == 7
    assert stats.queue_time.total == 7
    assert stats.iteration_tokens.total == bench.device.forwards
    assert stats.iteration_tokens.sum == bench.device.tokens
    assert (stats.running, stats.waiting, stats.pages_held, stats.kv_usage) == (0, 0, 0, 0.0)
    assert {phase for phase, value in stats.step_seconds.items() if value.total == 0} == set()


def test_histograms_count_up_to_each_bound() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 9.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2), ("2.0", 3), ("4.0", 4), ("+Inf", 5)]
    assert (histogram.sum, histogram.total) == (16.0, 5)


def test_the_pace_fills_a_step_up_to_its_target() -> None:
    rng, pace = random.Random(1), Pace(target=0.05)
    assert pace.room(3, 100, 400) == 400, "nothing is known yet"
    for _ in range(200):
        tokens, kv = rng.randint(1, 300), rng.randint(0, 5_000)
        pace.observe(tokens, kv, 0.004 + 1e-4 * tokens + 2e-6 * kv)
    assert pace.room(0, 0, 400) == 400, "nobody waits"
    left = 0.05 - 0.004 - 1e-4 * 20 - 2e-6 * 3_000
    assert pace.room(20, 3_000, 10_000) == pytest.approx(left / 1e-4, rel=0.02)
    for _ in range(400):  # the machine got ten times slower: decode alone misses the target
        tokens = rng.randint(1, 300)
        pace.observe(tokens, 0, 0.04 + 1e-3 * tokens)
    assert pace.room(20, 0, 10_000) == pytest.approx(60, rel=0.1), "prefill doubles the step"
