"""The async face: streams, leaving them, bounds, the event loop."""

from __future__ import annotations

import asyncio
import gc

import pytest
from fake import EOS, Fake, solo, submit
from fake_model import fake_model
from msgspec.structs import replace

from treadle.engine import AsyncEngine
from treadle.errors import (
    ContextOverflow,
    EngineDead,
    InvalidRequest,
    NotReady,
    Overloaded,
    Timeout,
)
from treadle.limits import Limits
from treadle.types import Generate, Message, Sampling

LONG = Sampling(max_tokens=400, logit_bias={EOS: -100.0}, seed=1)


def ask(text: str, **sampling: object) -> Generate:
    return Generate(prompt=text, sampling=Sampling(**{"max_tokens": 12, "seed": 3, **sampling}))


async def tokens_of(engine: AsyncEngine, request: Generate) -> dict[int, list[int]]:
    out: dict[int, list[int]] = {}
    async with await engine.submit(request) as stream:
        async for delta in stream:
            out.setdefault(delta.index, []).extend(delta.token_ids)
    return out


async def idle(engine: AsyncEngine) -> None:
    for _ in range(400):
        if not engine._running.engine.busy and engine.stats.pages_held == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("something still runs")


def test_many_streams_have_their_own_tokens() -> None:
    async def main() -> None:
        async with AsyncEngine(fake_model()) as engine:
            texts = [f"prompt {i % 7}" for i in range(40)]
            wanted = [ask(text, n=1 + i % 2, seed=i) for i, text in enumerate(texts)]
            got = await asyncio.gather(*(tokens_of(engine, item) for item in wanted))
            for item, out in zip(wanted, got, strict=True):
                ids = [257, *item.prompt.encode()]
                alone = submit(1, ids, n=item.sampling.n, seed=item.sampling.seed)
                assert out == {i: solo(alone, i) for i in range(item.sampling.n)}
            await idle(engine)
            assert engine.healthy
            assert engine.ready

    asyncio.run(main())


def test_leaving_a_stream_in_any_way_aborts_it() -> None:
    async def main() -> None:
        async with AsyncEngine(fake_model()) as engine:
            request = Generate(prompt="x", sampling=LONG)
            async for _ in engine.stream(request):
                break
            async with await engine.submit(request):
                pass
            dropped = await engine.submit(request)
            await dropped.__anext__()
            del dropped
            gc.collect()
            reader = asyncio.ensure_future(tokens_of(engine, request))
            await asyncio.sleep(0.03)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            submitting = asyncio.ensure_future(engine.submit(request))
            await asyncio.sleep(0)
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
            await idle(engine)
            assert engine.stats.finished["abort"] >= 4

    asyncio.run(main())


def test_a_slow_reader_is_aborted_and_others_go_on() -> None:
    async def main() -> None:
        limits = replace(Limits(), undelivered_deltas=4, slow_reader_seconds=0.1)
        model = fake_model(Fake(pages=2_400), context=9_000)
        async with AsyncEngine(model, limits=limits) as engine:
            endless = Sampling(max_tokens=8_000, logit_bias={EOS: -100.0})
            slow = await engine.submit(Generate(prompt="x", sampling=endless))
            deltas = [await slow.__anext__()]
            while engine._running.engine.busy:
                await asyncio.sleep(0.02)
                await tokens_of(engine, ask("other"))

            async def read_on() -> None:
                async for delta in slow:
                    deltas.append(delta)

            with pytest.raises(Timeout, match="nothing was read"):
                await read_on()
            assert len(deltas) <= 7
            await idle(engine)

    asyncio.run(main())


def test_bad_requests_are_refused_before_anything_is_queued() -> None:
    async def main() -> None:
        async with AsyncEngine(fake_model(context=64)) as engine:
            for request, kind, at in (
                (ask("x" * 64), ContextOverflow, "prompt"),
                (ask("x" * 50, max_tokens=14), ContextOverflow, "prompt"),
                (Generate(), InvalidRequest, "prompt"),
                (Generate(prompt="a", messages=(Message("user", "b"),)), InvalidRequest, "prompt"),
                (Generate(prompt=(1, 999)), InvalidRequest, "prompt/1"),
                (Generate(prompt=()), InvalidRequest, "prompt"),
                (ask("x", logit_bias={5_000: 1.0}), InvalidRequest, "logit_bias"),
                (ask("x", stop_token_ids=(300,)), InvalidRequest, "stop_token_ids"),
                (ask("x", min_tokens=13), InvalidRequest, "min_tokens"),
                (
                    Generate(messages=(Message("user", "b"),), template_options={"messages": "x"}),
                    InvalidRequest,
                    "template_options/messages",
                ),
            ):
                with pytest.raises(kind) as caught:
                    await engine.submit(request)
                assert caught.value.at == at
            out = await tokens_of(engine, Generate(prompt="x", sampling=Sampling(seed=1)))
            assert len(out[0]) <= 62
            assert await engine.tokenize("ab") == [257, 97, 98]
            ids = await engine.tokenize_messages([Message("user", "hi")])
            assert bytes(ids) == b"[user]hi[assistant]"
            await idle(engine)

    asyncio.run(main())


def test_overload_closing_and_death() -> None:
    async def main() -> None:
        limits = replace(Limits(), queue_requests=3, sequences=1)
        engine = AsyncEngine(fake_model(), limits=limits)
        with pytest.raises(NotReady):
            await engine.submit(ask("x"))
        await engine.start()
        streams = []
        while len(streams) < 9:
            try:
                streams.append(await engine.submit(Generate(prompt="x", sampling=LONG)))
            except Overloaded:
                break
        assert 3 <= len(streams) <= 5
        assert not engine.ready
        await engine.close()
        for stream in streams:
            with pytest.raises(NotReady):
                async for _ in stream:
                    pass
        with pytest.raises(NotReady):
            await engine.submit(ask("x"))
        assert not engine.healthy

        async with AsyncEngine(fake_model(Fake(pages=400, fail_at=3))) as broken:
            with pytest.raises(EngineDead, match="device lost"):
                await tokens_of(broken, Generate(prompt="x", sampling=LONG))
            with pytest.raises(EngineDead):
                await broken.submit(ask("x"))
            assert not broken.healthy
            assert not broken.ready

    asyncio.run(main())
