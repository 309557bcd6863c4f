"""A real server in its own process, on a free port of the loopback interface."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import openai

MODEL = "smollm2-135m"
START_SECONDS = 240  # the first run fetches the model


@dataclass
class Server:
    """A running `treadle serve`."""

    url: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def client(self, **options: object) -> openai.OpenAI:
        """The official client, pointed at this server."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            timeout=120,
            **options,  # type: ignore[arg-type]
        )


def start(*flags: str, environment: dict[str, str] | None = None) -> Server:
    """Starts `treadle serve` and waits for the line that tells its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", "serve", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    server = Server("", process)
    found = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.log.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                server.url = match.group()
                found.set()
        found.set()

    threading.Thread(target=read, daemon=True).start()
    if not found.wait(START_SECONDS) or not server.url:
        process.kill()
        raise RuntimeError("the server did not start:\n" + "".join(server.log))
    return server


def stop(server: Server) -> int:
    """Asks the server to end as an operator would, and returns its exit status."""
    server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(60)
    finally:
        server.process.kill()
