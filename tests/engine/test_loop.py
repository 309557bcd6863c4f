"""The loop against an oracle that draws each choice alone: whatever shares a step, same tokens."""

from __future__ import annotations

import random

import pytest
from fake import EOS, Bench, Fake, solo, submit
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.engine.request import Submit
from treadle.errors import Cancelled, KernelError


def mixed(rng: random.Random, count: int, *, most=40) -> list[Submit]:
    """Requests of all kinds; many share prefixes."""
    stem = [rng.randrange(256) for _ in range(20)]
    out: list[Submit] = []
    for number in range(1, count + 1):
        ids = stem[: rng.choice([0, 0, 5, 16, 20])] + [
            rng.randrange(256) for _ in range(rng.randint(1, most - 20))
        ]
        sampling: dict[str, object] = {
            "temperature": rng.choice([0.0, 0.7, 1.3]),
            "max_tokens": rng.randint(1, 24),
            "n": rng.choice([1, 1, 1, 3]),
            "seed": rng.randrange(-(1 << 63), 1 << 63),
        }
        sampling |= rng.choice(
            [
                {},
                {"top_k": 5, "top_p": 0.8},
                {"min_p": 0.05, "logit_bias": {7: 4.0, EOS: 2.0}},
                {"presence_penalty": 1.0, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
                {"logprobs": 2},
                {"stop_token_ids": (1, 2, 3, 4, 5)},
            ]
        )
        out.append(
            submit(
                number,
                ids,
                priority=rng.choice([0, 0, 1]),
                salt=rng.choice([b"", b"x"]),
                **sampling,
            )
        )
    return out


def check_all(bench: Bench, wanted: list[Submit], eos: float) -> None:
    for item in wanted:
        ends = bench.ends(item.id)
        assert len(ends) == 1
        assert ends[0].error is None
        for index in range(item.sampling.n):
            assert bench.tokens(item.id, index) == solo(item, index, eos), (item, index)


@pytest.mark.parametrize("overlap", [True, False], ids=["overlapped", "plain"])
@given(seed=st.integers(0, 10_000), pages=st.sampled_from([17, 24, 60]))
@settings(max_examples=15)
def test_every_choice_has_the_tokens_it_has_alone(overlap: bool, seed: int, pages: int) -> None:
    rng = random.Random(seed)
    wanted = mixed(rng, 10)
    bench = Bench(Fake(pages, eos=3.0), overlap=overlap, sequences=6, batch_tokens=12)
    queue = list(wanted)
    while queue:
        for _ in range(rng.randint(0, 3)):
            if queue:
                bench.inbox.put(queue.pop(0))
        bench.step()
    bench.finish()
    check_all(bench, wanted, 3.0)


def test_penalties_count_more_tokens_than_their_first_array_holds() -> None:
    item = submit(1, [3], max_tokens=150, temperature=1.0, presence_penalty=1.0, ignore_eos=True)
    bench = Bench(Fake(60))
    bench.inbox.put(item)
    bench.finish()
    tokens = bench.tokens(1)
    assert len(set(tokens)) > 64
    assert tokens[:20] == solo(item, most=20)[:20]


def test_preemption_changes_no_token_and_everyone_ends() -> None:
    wanted = [submit(i, [i] * 9, max_tokens=40, temperature=1.0) for i in range(1, 9)]
    bench = Bench(Fake(pages=26), sequences=8)
    for item in wanted:
        bench.inbox.put(item)
    bench.finish()
    assert bench.loop.stats.preemptions > 5
    check_all(bench, wanted, 0.0)


def test_a_thousand_cancellations_leave_nothing_behind() -> None:
    rng = random.Random(7)
    cancelled = midway = 0
    for overlap in (True, False):
        bench = Bench(Fake(pages=30, eos=2.0), overlap=overlap, sequences=6, batch_tokens=16)
        wanted = mixed(rng, 760, most=26)
        queue, alive = list(wanted), []
        while queue or bench.loop.requests:
            while queue and len(bench.loop.requests) < 12 and rng.random() < 0.8:
                alive.append(queue[0].id)
                bench.inbox.put(queue.pop(0))
                bench.loop.admit()
            for _ in range(rng.choice([0, 1, 2])):
                if alive:
                    bench.inbox.abort(alive.pop(rng.randrange(len(alive))))
            bench.step()
        bench.finish()
        assert bench.loop.pool.held == 0
        for item in wanted:
            (end,) = bench.ends(item.id)
            if end.error is None:
                continue
            assert isinstance(end.error, Cancelled)
            cancelled += 1
            for index in range(item.sampling.n):  # what came before the end was right
                got = bench.tokens(item.id, index)
                midway += bool(got)
                assert got == solo(item, index, 2.0, len(got))
    assert cancelled >= 1_000
    assert midway >= 300


@pytest.mark.parametrize("overlap", [True, False], ids=["overlapped", "plain"])
def test_the_prefix_cache_saves_work_and_changes_nothing(overlap: bool) -> None:
    stem = list(range(100, 132))
    bench = Bench(Fake(), overlap=overlap)
    first, second = submit(1, [*stem, 1]), submit(2, [*stem, 2])
    stranger = submit(3, [*stem, 3], salt=b"other")
    for item in (first, second, stranger):
        before = bench.device.tokens
        bench.inbox.put(item)
        bench.finish()
        cached = bench.usage(item.id).cached_tokens
        assert cached == (32 if item is second else 0)
        assert bench.device.tokens - before == 33 - cached + len(solo(item)) - 1
    check_all(bench, [first, second, stranger], 0.0)


def test_a_second_turn_finds_the_first_turns_answer() -> None:
    bench = Bench(Fake())
    first = submit(1, range(10), max_tokens=11)
    bench.inbox.put(first)
    bench.finish()
    turn = [*range(10), *bench.tokens(1), 77]
    bench.inbox.put(submit(2, turn))
    bench.finish()
    assert (
        bench.usage(2).cached_tokens == 20
    )  # 20 tokens have KV: the last drawn one was never computed


def test_choices_share_one_prefill() -> None:
    bench = Bench(Fake(pages=64), batch_tokens=64)
    item = submit(1, range(41), n=4, max_tokens=6)
    bench.inbox.put(item)
    bench.finish()
    check_all(bench, [item], 0.0)
    assert len({tuple(bench.tokens(1, i)) for i in range(4)}) == 4
    drawn = sum(len(solo(item, i)) - 1 for i in range(4))
    assert bench.device.tokens - drawn == 41 + 3  # 40 shared tokens, each recomputes one


def test_a_request_that_ended_at_the_end_of_its_budget_rides_no_further() -> None:
    bench = Bench(Fake())
    bench.inbox.put(submit(1, [1, 2, 3], max_tokens=5, logit_bias={EOS: -100}))
    bench.finish()
    assert bench.device.forwards == 5


def test_logits_that_are_not_finite_end_their_request_alone() -> None:
    device = Fake(nan_token=99)
    bench = Bench(device)
    sick, well = submit(1, [*range(90, 99), 99, *range(9)]), submit(2, range(90, 99))
    bench.inbox.put(sick)
    bench.inbox.put(well)
    bench.finish()
    (end,) = bench.ends(1)
    assert isinstance(end.error, KernelError)
    assert bench.tokens(2) == solo(well)
    device.nan_token = None
    again = submit(3, sick.ids)
    bench.inbox.put(again)
    bench.finish()
    check_all(bench, [again], 0.0)
    assert bench.usage(3).cached_tokens <= 8, "pages of unusable content were found again"


def test_everyone_ends_under_a_stream_of_better_requests() -> None:
    bench = Bench(Fake(pages=12), sequences=2, batch_tokens=8)
    meek = submit(1, [5] * 6, max_tokens=20, priority=-1)
    bench.inbox.put(meek)
    number, ended_after = 2, None
    for _ in range(2_000):
        while len(bench.loop.requests) < 5:
            bench.inbox.put(submit(number, [number % 250] * 5, max_tokens=12, priority=1))
            number += 1
            bench.loop.admit()
        bench.step()
        if bench.ends(1) and ended_after is None:
            ended_after = bench.steps
            break
    assert ended_after is not None
    assert bench.tokens(1) == solo(meek)
    bench.finish()


def test_tenants_take_turns() -> None:
    bench = Bench(Fake(), sequences=2)
    for number in range(1, 6):
        bench.inbox.put(submit(number, [number], salt=b"greedy", logit_bias={EOS: -100}))
    bench.inbox.put(submit(6, [6], salt=b"modest", logit_bias={EOS: -100}))
    bench.finish()
    order = [e.id for e in bench.events if e.end]
    assert order.index(6) <= 1, "the modest tenant waited behind all of the greedy one's"


def test_prefill_never_stops_decode() -> None:
    bench = Bench(Fake(pages=200), batch_tokens=8, sequences=4)
    bench.inbox.put(submit(1, [1], max_tokens=30, logit_bias={EOS: -100}))
    bench.step()
    bench.inbox.put(submit(2, range(200), max_tokens=2))
    before = 0
    for _ in range(20):
        bench.step()
        assert len(bench.tokens(1)) >= before + (before > 0)
        before = len(bench.tokens(1))
    bench.finish()
    assert bench.tokens(2) == solo(submit(2, range(200), max_tokens=2))


def test_decode_never_stops_prefill() -> None:
    bench = Bench(Fake(pages=200), batch_tokens=64)
    bench.loop.scheduler.pace.room = lambda *_: 0  # as if decode alone were too slow
    bench.inbox.put(submit(1, [1], max_tokens=60, logit_bias={EOS: -100}))
    bench.step()
    bench.inbox.put(submit(2, range(40), max_tokens=2))
    for _ in range(14):  # a page of four tokens a step
        bench.step()
    assert bench.tokens(2)
    bench.finish()
