"""A real HTTP server that answers chat completions from a script, and the kernels it tells."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """What it was asked, and where. answers: text, or what makes it of the request's number."""

    answers: Sequence[str | Callable[[int], str]]
    plain: bool = False  # an endpoint that knows no response_format
    delay: float = 0.0
    usage: int | None = 100
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    url: str = ""

    def user(self, number: int) -> dict[str, Any]:
        """The document of a request."""
        return json.loads(self.requests[number]["messages"][1]["content"])


def proposal(
    body: str, plan: str = "a plan", path: str = "main.cc", prepare: tuple[str, ...] = ()
) -> str:
    """An answer of one file. prepare: symbols of prepare, run_prepared and, in C, release."""
    split = dict.fromkeys(("prepare", "run_prepared", "release"), "")
    for key, symbol in zip(split, prepare, strict=False):
        split[key] = symbol if key == "release" else f"{path}::{symbol}"
    files = [{"path": path, "content": body}]
    return json.dumps({"plan": plan, "files": files, "entry_point": f"{path}::run", **split})


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serves until the block is left; beyond its end the script repeats its last answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if server.plain and "response_format" in body:
                server.refused += 1
                self._send(400, {"error": {"message": "response_format is unknown"}})
                return
            number = len(server.requests)
            server.requests.append(body)
            server.headers.append(dict(self.headers.items()))
            given = server.answers[min(number, len(server.answers) - 1)]
            text = given if isinstance(given, str) else given(number)
            time.sleep(server.delay)
            choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
            found: dict[str, Any] = {"choices": [choice]}
            if server.usage is not None:
                found["usage"] = {"total_tokens": server.usage}
            self._send(200, found)

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # whoever asked was killed, or has stopped waiting

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{web.server_address[1]}/v1"
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
