"""A server and its clients: several streams at once, free and by a JSON Schema.

    python benchmarks/mega_serve.py MODEL [--backend mega] [--device cuda] [--tokens 128]
        [--rounds 3] [--name mega-serve-h200]

Starts `treadle serve` as a process, then clients over HTTP in waves: of 1, 4 and 16 streams (as
many as the persistent kernel has rows), all free, all by a schema, and half of each. Of each
wave: tokens a second of all streams together, the first token, and how many answers by schema that
ended parse and hold what the schema asks for. Writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import httpx
from machine import machine, versions, write

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        "kind": {"enum": ["sailor", "cook", "smith"]},
    },
    "required": ["name", "age", "tags", "kind"],
    "additionalProperties": False,
}
PROMPTS = (
    "Describe a sailor whom you met in a harbour.",
    "Who is the smith of the village?",
    "Tell me about a cook on a ship.",
    "Introduce yourself as a sailor.",
)


@dataclass(slots=True)
class Answer:
    """One stream. seconds: to the first piece and to the end; tokens: as the server counts."""

    text: str
    finish: str
    first: float
    seconds: float
    tokens: int

    def valid(self) -> bool:
        """Whether it is what the schema says."""
        value = json.loads(self.text)
        return (
            set(value) == set(SCHEMA["required"])
            and isinstance(value["age"], int)
            and len(value["name"]) <= 40
            and len(value["tags"]) <= 4
            and value["kind"] in SCHEMA["properties"]["kind"]["enum"]
        )


async def ask(client: httpx.AsyncClient, turn: int, most: int, *, schema: bool) -> Answer:
    """Streams one answer."""
    body: dict[str, Any] = {
        "model": "m", "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": PROMPTS[turn % len(PROMPTS)]}],
        "max_tokens": most, "temperature": 0.7, "seed": turn,
    }  # fmt: skip
    if schema:
        form = {"name": "person", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    else:
        body["ignore_eos"] = True
    begun, first, text, finish, tokens = time.perf_counter(), 0.0, "", "", 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{response.status_code}: {(await response.aread()).decode()[:400]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
            for choice in event["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece and not first:
                    first = time.perf_counter() - begun
                text, finish = text + piece, choice.get("finish_reason") or finish
    return Answer(text, finish, first, time.perf_counter() - begun, tokens)


async def wave(client: httpx.AsyncClient, count: int, kind: str, most: int, turn: int) -> Any:
    """Streams at once; (seconds, answers, which are by schema)."""
    schemas = [kind == "schema" or (kind == "mixed" and i % 2 == 1) for i in range(count)]
    begun = time.perf_counter()
    asked = (ask(client, turn * count + i, most, schema=s) for i, s in enumerate(schemas))
    answers = await asyncio.gather(*asked)
    return time.perf_counter() - begun, answers, schemas


async def waves(url: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All waves in turns, the first round for warming."""
    found: dict[tuple[int, str], list[Any]] = {}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for turn in range(args.rounds + 1):
            for count in args.streams:
                for kind in ("free", "schema") if count == 1 else ("free", "schema", "mixed"):
                    done = await wave(client, count, kind, args.tokens, turn)
                    if turn:
                        found.setdefault((count, kind), []).append(done)
    rows: list[dict[str, Any]] = []
    for (count, kind), runs in found.items():
        answers = [answer for _, some, _ in runs for answer in some]
        by_schema = [
            answer
            for _, some, schemas in runs
            for answer, schema in zip(some, schemas, strict=True)
            if schema
        ]
        ended = [answer for answer in by_schema if answer.finish == "stop"]
        rates = [sum(a.tokens for a in some) / seconds for seconds, some, _ in runs]
        rows.append({
            "streams": count, "kind": kind, "tokens_per_second": round(statistics.median(rates), 1),
            "spread": [round(min(rates), 1), round(max(rates), 1)],
            "first_ms": round(statistics.median(a.first for a in answers) * 1e3, 1),
            "tokens": sum(a.tokens for a in answers), "by_schema": len(by_schema),
            "ended": len(ended), "valid": sum(answer.valid() for answer in ended),
        })  # fmt: skip
        print(rows[-1], answers[-1].text[:80].replace("\n", " "), flush=True)
    return rows


def main() -> None:
    """Starts the server, runs the waves, writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--backend", default="mega")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--name", default="mega-serve-h200")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "treadle", "serve", args.model, "--backend", args.backend,
             "--device", args.device, "--port", str(port), "--served-name", "m"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            while server.poll() is None and time.perf_counter() - begun < 120:
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            ready = time.perf_counter() - begun
            print(f"ready in {ready:.1f} s", flush=True)
            rows = asyncio.run(waves(url, args))
        finally:
            server.terminate()
            server.wait(timeout=30)
            log.seek(0)
            said = log.read()
            print(said[-1500:], flush=True)
    write(args.name, {
        "machine": machine(), "versions": versions("numpy", "httpx"), "backend": args.backend,
        "device": args.device, "seconds_to_ready": round(ready, 1), "rows": rows,
        "said": [line for line in said.splitlines() if "persistent" in line or "torch" in line],
    })  # fmt: skip


if __name__ == "__main__":
    main()
