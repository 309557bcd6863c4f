"""One server for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from served import MODEL, Server, start, stop


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = start("--model", MODEL)
    yield running
    status = stop(running)
    assert status == 0, "".join(running.log[-50:])


@pytest.fixture(scope="session")
def client(server: Server) -> openai.OpenAI:
    return server.client()


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client
