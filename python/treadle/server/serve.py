"""Runs the application under uvicorn, from loading the model to a drained end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn

from treadle.engine import AsyncEngine
from treadle.errors import InvalidRequest
from treadle.limits import Limits
from treadle.server.app import build_app
from treadle.server.context import ServerContext


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens, who may talk to it, and how long it drains (seconds)."""

    host: str
    port: int
    keys: tuple[str, ...]
    drain: float
    served_name: str | None


def serve(model: str, listen: Listen, limits: Limits, options: Mapping[str, Any]) -> int:
    """Blocks until a signal. The first one drains, a second one ends at once."""
    return asyncio.run(_serve(model, listen, limits, options))


async def _serve(model: str, listen: Listen, limits: Limits, options: Mapping[str, Any]) -> int:
    with _bind(listen) as bound:
        engine = AsyncEngine(model, limits=limits, **options)
        await engine.start()
        try:
            aliases = tuple({model, listen.served_name or model} - {engine.name})
            context = ServerContext(engine, limits, engine.name, aliases, int(time.time()))
            server = _Server(
                uvicorn.Config(
                    build_app(context, listen.keys),
                    log_level="warning",
                    access_log=False,
                    lifespan="off",
                    timeout_keep_alive=30,
                    # what still streams then is ended by the engine with an error event
                    timeout_graceful_shutdown=max(1, round(listen.drain) + 5),
                    h11_max_incomplete_event_size=max(limits.header_bytes * 4, 1 << 16),
                    server_header=False,
                )
            )
            host, port = bound.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"serving {engine.name} on http://{shown}:{port}/v1", file=sys.stderr, flush=True)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.handle_exit, number, None)
            watcher = asyncio.ensure_future(_drain_on_exit(server, engine, listen.drain))
            await server.serve(sockets=[bound])
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        finally:
            await engine.close()
    return 0


class _Server(uvicorn.Server):
    """uvicorn ends by raising the signal that stopped it again; a drained server ends with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves signals to the handlers that `_serve` has set."""
        yield


async def _drain_on_exit(server: uvicorn.Server, engine: AsyncEngine, seconds: float) -> None:
    """Once a signal came: no new requests, running ones finish, and the sockets close."""
    while not server.should_exit:
        await asyncio.sleep(0.05)
    await engine.close(drain=seconds)


@contextlib.contextmanager
def _bind(listen: Listen) -> Any:
    """The listening socket, bound before the model loads: a taken port fails at once."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((listen.host, listen.port))
        except OSError as error:
            raise InvalidRequest(
                f"cannot listen on {listen.host}:{listen.port}: {error.strerror}",
                at="--port",
                hint="choose another port, or 0 for any free one",
            ) from None
        yield bound
