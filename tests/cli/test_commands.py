"""The commands as a newcomer types them: real processes, real model, mistakes included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "examples" / "person.schema.json"


def treadle(
    *arguments: str, stdin: str = "", timeout: int = 240
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "treadle", *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=timeout,
        cwd=ROOT,
    )


def test_run_with_a_schema_prints_json_on_stdout_only() -> None:
    done = treadle("run", "Invent a sailor.", "--schema", str(SCHEMA), "--seed", "7")
    assert done.returncode == 0, done.stderr
    jsonschema.validate(json.loads(done.stdout), json.loads(SCHEMA.read_text()))
    assert "tokens/s" in done.stderr


def test_run_json_record_and_seed_are_reproducible() -> None:
    arguments = ("run", "Pick a colour.", "--regex", "(red|green|blue)!", "--seed", "3", "--json")
    first, second = treadle(*arguments), treadle(*arguments)
    assert first.returncode == 0, first.stderr
    record = json.loads(first.stdout.splitlines()[-1])
    assert record["text"] in ("red!", "green!", "blue!")
    assert record["usage"]["completion_tokens"] >= 1
    assert json.loads(second.stdout.splitlines()[-1])["text"] == record["text"]


def test_run_with_a_grammar_file(tmp_path: Path) -> None:
    grammar = tmp_path / "answer.ebnf"
    grammar.write_text('root ::= "yes" | "no"\n')
    done = treadle("run", "Is water wet?", "--grammar", str(grammar), "--temperature", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("yes", "no")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("run", "Hi", "--schema", "nowhere.json"), 2, "nowhere.json"),
        (("run", "Hi", "--temperature", "9"), 2, "temperature"),
        (("run", "Hi", "--regex", "(a"), 2, "regex"),
        (("run", "Hi", "--temprature", "1"), 2, "--temperature"),
        (("run", "Hi", "--model", "no-such-model"), 2, "no-such-model"),
        (("run", "Hi", "--backend", "abacus"), 2, "abacus"),
        (("frobnicate",), 2, "frobnicate"),
        (("run", "Hi", "--schema", str(SCHEMA), "--regex", "a"), 2, "one"),
    ],
)
def test_mistakes_end_in_one_clear_line(arguments: tuple[str, ...], status: int, text: str) -> None:
    done = treadle(*arguments)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_model_file_is_exit_3(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
    done = treadle("run", "Hi", "--model", str(broken))
    assert done.returncode == 3, done.stderr
    assert "broken.gguf" in done.stderr


def test_pull_prints_the_path() -> None:
    done = treadle("pull", "smollm2-135m", "--print-path")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.is_file()
    assert path.read_bytes()[:4] == b"GGUF"


def test_bench_decode_ends_in_one_json_object() -> None:
    done = treadle("bench", "decode", "--prompt-tokens", "32", "--tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["decode_tok_s"] > 0
    expected = {"prefill_tok_s", "decode_tok_s", "ttft_ms", "peak_rss_mib", "model", "backend"}
    assert expected | {"device", "threads"} <= set(figures)


def test_doctor_names_a_backend() -> None:
    done = treadle("doctor")
    assert done.returncode == 0, done.stderr
    topics = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"cores", "ISA", "GPU", "Vulkan", "browsers", "backend"} <= topics


def test_chat_keeps_history_and_takes_a_schema(tmp_path: Path) -> None:
    script = f"My name is Ada.\n/schema {SCHEMA}\nDescribe me.\n/quit\n"
    done = treadle("chat", "--seed", "1", "--max-tokens", "160", stdin=script)
    assert done.returncode == 0, done.stderr
    assert any(line.lstrip("> ").startswith("{") for line in done.stdout.splitlines())


def test_version_and_help() -> None:
    assert treadle("--version").stdout.startswith("treadle 0.")
    text = treadle("--help").stdout
    assert all(command in text for command in ("run", "chat", "serve", "pull", "bench", "doctor"))
