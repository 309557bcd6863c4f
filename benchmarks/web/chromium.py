"""Decode steps of tier T2 in headless Chromium, on the GPU that its WebGPU takes.

    python benchmarks/web/chromium.py [--chromium PROGRAM] [--shapes 8b,1b] [--tiny]
        [--seconds 60] [--flags "--a --b"] [--bundle FOLDER --tier t0s] [--log FILE] [--out FILE]

The plans, weights and measures of share.py, with kernels as Tint compiles them; a page runs them
(chromium_page.js) and sends what it measured. Ways to start Chromium are tried until one of them
has an adapter that is no software; --flags is tried first. With --bundle the built page's engine
(web/dist) also answers on that tier: tokens a second of its streams at every context. Needs what
share.py needs but torch.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plans import DRAW, batch_of, fill_of, model, modules, sizes_of, steps_of
from share import CONTEXTS, SHAPES, TINY

from treadle.export.expr import evaluate
from treadle.export.lower import tier_gpu
from treadle.export.wgsl import RUN

COMMON = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--enable-unsafe-webgpu", "--ignore-gpu-blocklist", "--enable-webgpu-developer-features",
    "--disable-gpu-watchdog", "--enable-logging=stderr",
)  # fmt: skip
VULKAN = ("--enable-features=Vulkan", "--disable-vulkan-surface")
WAYS = (
    ("--headless", "--enable-gpu", "--use-angle=vulkan", *VULKAN),
    ("--headless", "--enable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    ("--headless", "--use-angle=vulkan", *VULKAN, "--in-process-gpu"),
    ("--headless", "--enable-gpu", "--use-gl=disabled", *VULKAN),
    ("--headless", *VULKAN),
)  # fmt: skip
"""Flags for a GPU without a display, the usual ones first."""


def plan(sizes: dict[str, int], contexts: tuple[int, ...]) -> dict[str, Any]:
    """A plan with every size and grid a number, for the page."""
    graph, entries = model(sizes)
    tier = tier_gpu("t2", graph, entries)
    record, most = tier.record, sizes_of(max(contexts))
    buffers = {
        name: {"bytes": evaluate(spec["size"], most), "fill": fill_of(spec, entries)}
        for name, spec in record["buffers"].items()
    }
    places: dict[str, Any] = {}
    for context in contexts:
        words, parts = batch_of(context)
        now = most | {"L": sizes_of(context)["L"] - 2}
        run = now | parts
        grids = [[evaluate(t, now) for t in step["grid"]] for step in steps_of(record)]
        places[str(context)] = {"batch": words, "run": [run.get(n, 0) for n in RUN], "grids": grids}
    listed = [
        {"kernel": (name := step["kernel"]), "bind": step["bind"],
         "uniform": record["kernels"][name]["uniform"]}
        for step in steps_of(record)
    ]  # fmt: skip
    texts = modules(next(iter(tier.files.values())).decode())
    used = {step["kernel"] for step in listed}
    return {
        "buffers": buffers, "steps": listed, "places": places, "draw": DRAW,
        "kernels": {name: text for name, text in texts.items() if name in used},
    }  # fmt: skip


class Pages(BaseHTTPRequestHandler):
    """The page, its script and the plans; what it sends goes to `said`."""

    plans: dict[str, bytes]
    folders: dict[str, Path]
    said: queue.Queue[dict[str, Any]]

    def do_GET(self) -> None:
        """Any of the files."""
        name = self.path.split("?")[0].strip("/")
        script = Path(__file__).with_name("chromium_page.js").read_bytes()
        page = b'<!doctype html><script type="module" src="/page.js"></script>'
        found = {"": page, "page.js": script, **self.plans}.get(name)
        kinds = {"": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"}
        place, _, inner = name.partition("/")
        if found is None and place in self.folders and ".." not in inner:
            file = self.folders[place] / inner
            found = file.read_bytes() if file.is_file() else None
        self._send(found, kinds.get(Path(name).suffix if name else "", "application/json"))

    def do_POST(self) -> None:
        """Something that the page has measured."""
        self.said.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._send(b"{}", "application/json")

    def _send(self, body: bytes | None, kind: str) -> None:
        self.send_response(404 if body is None else 200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def measure(
    program: list[str], shapes: dict[str, dict[str, int]], contexts: tuple[int, ...],
    seconds: float, log: Path, software: bool, bundle: tuple[Path, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the page found, of all shapes that `seconds` were enough for. bundle: and a tier."""
    plans = {f"{name}.json": json.dumps(plan(s, contexts)).encode() for name, s in shapes.items()}
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    folders = {"dist": Path(__file__).resolve().parents[2] / "web" / "dist"}
    engine: list[str] = []
    if bundle:
        folders["bundle"] = bundle[0]
        engine = [f"engine:{bundle[1]}:{max(contexts)}:{4 if software else 96}"]
    handler = type("Handler", (Pages,), {"plans": plans, "said": said, "folders": folders})
    server = ThreadingHTTPServer(("127.0.0.1", 0), cast(Any, handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_port}/?{','.join([*shapes, *engine])}"
    result: dict[str, Any] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as profile, log.open("wb") as errors:
        child = subprocess.Popen(
            [*program, f"--user-data-dir={profile}", url],
            stdout=errors, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            while "done" not in result and "failed" not in result:
                left = begun + (seconds if "adapter" in result else 20) - time.monotonic()
                if child.poll() is not None or left <= 0:
                    result["failed"] = "no further word" if left <= 0 else "the browser ended"
                    break
                try:
                    one = said.get(timeout=min(left, 1.0))
                except queue.Empty:
                    continue
                print(one, flush=True)
                result |= one
                if "adapter" in one and one["adapter"]["software"] and not software:
                    result["failed"] = "a software adapter"
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            server.shutdown()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--shapes", default="8b,1b")
    parser.add_argument("--tiny", action="store_true", help="on any adapter, small")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--flags", default="")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--tier", default="t0s")
    parser.add_argument("--log", type=Path, default=Path("chromium.log"))
    parser.add_argument("--out", type=Path, default=Path("web_chromium.json"))
    given = parser.parse_args()
    shapes = {"tiny": TINY} if given.tiny else {n: SHAPES[n] for n in given.shapes.split(",")}
    contexts = (20, 300) if given.tiny else CONTEXTS
    ways = [tuple(shlex.split(given.flags))] if given.flags else list[tuple[str, ...]]()
    tried: list[dict[str, Any]] = []
    for number, way in enumerate((*ways, *WAYS)):
        program = [given.chromium, *COMMON, *way]
        log = given.log.with_suffix(f".{number}{given.log.suffix}")
        bundle = (given.bundle, given.tier) if given.bundle else None
        found = measure(program, shapes, contexts, given.seconds, log, given.tiny, bundle)
        tried.append({"flags": way, **found})
        given.out.write_text(json.dumps({"contexts": contexts, "tried": tried}, indent=1) + "\n")
        if "failed" not in found or any(name in found for name in shapes):
            break
    print([one.get("failed", "measured") for one in tried])


if __name__ == "__main__":
    main()
