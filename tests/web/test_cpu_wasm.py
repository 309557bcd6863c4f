"""SmolLM2-135M by the CPU module in node: the native runtime's tokens."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_bundle import greedy

from treadle.cli.main import main
from treadle.models import load
from treadle.text import Tokenizer

ROOT = Path(__file__).parents[2]
WASM = ROOT / "build" / "wasm" / "cpu-simd.wasm"
TOKENS = 32


@pytest.mark.skipif(not WASM.exists(), reason="needs build/wasm/cpu-simd.wasm: make wasm")
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_tokens_equal_the_native_runtime(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert main(["export", "web", "smollm2-135m", "-o", str(bundle)]) == 0
    tokenizer = Tokenizer.from_gguf(load("smollm2-135m").tokenizer_source.metadata)
    story = "The history of bread begins long before the first towns. " * 6  # more than a chunk
    for text in ("The capital of France is", story):
        ids = tokenizer.encode(text)
        command = ["node", str(Path(__file__).with_name("run_cpu.mjs")), str(bundle), str(WASM)]
        done = subprocess.run(
            [*command, str(TOKENS), json.dumps(ids)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == greedy("smollm2-135m", ids, TOKENS)["tokens"]
