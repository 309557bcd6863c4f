"""Options from flags, environment and file: one description, one order, every mistake named."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.config import (
    BenchDecodeConfig,
    ChatConfig,
    DoctorConfig,
    PullConfig,
    RunConfig,
    ServeConfig,
    debug_switches,
    json_schema,
    markdown,
    options_of,
    parse,
)
from treadle.config.arguments import parsed
from treadle.config.sources import plain_words
from treadle.errors import InvalidRequest

COMMANDS = [RunConfig, ChatConfig, ServeConfig, BenchDecodeConfig, PullConfig, DoctorConfig]


def serve(*arguments: str, environment: dict[str, str] | None = None) -> ServeConfig:
    return parse(ServeConfig, arguments, prog="treadle serve", environment=environment or {})


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("port = 1\nhost = '127.0.0.2'\nmax_queue = 3\n")
    variables = {"TREADLE_PORT": "2", "TREADLE_HOST": "127.0.0.3"}
    config = serve("--config", str(file), "--port", "4", environment=variables)
    assert (config.port, config.host, config.max_queue, config.threads) == (4, "127.0.0.3", 3, 0)


def test_yaml_equals_toml(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("port: 9\nno_overlap: true\n")
    (tmp_path / "a.toml").write_text("port = 9\nno_overlap = true\n")
    first, second = (serve("--config", str(tmp_path / f"a.{kind}")) for kind in ("yaml", "toml"))
    assert first == second
    assert first.no_overlap


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--prot", "1"], {}, ["--prot", "--port"]),
        (["--port", "70000"], {}, ["--port", "65535"]),
        (["--port", "x"], {}, ["--port", "whole number"]),
        (["--backend", "abacus"], {}, ["--backend", "abacus", "torch"]),
        (["--api-key", "s3cret"], {}, ["--api-key", "TREADLE_API_KEY"]),
        ([], {"TREADLE_THREADS": "many"}, ["TREADLE_THREADS"]),
        ([], {"TREADLE_PORTT": "1"}, ["TREADLE_PORTT", "mean TREADLE_PORT?"]),
        ([], {"TREADLE_NO_AUTH": "perhaps"}, ["TREADLE_NO_AUTH"]),
        ([], {"TREADLE_DEBUG": "graph,everything"}, ["TREADLE_DEBUG", "everything"]),
        (["--config", "absent.toml"], {}, ["absent.toml"]),
        (["model", "another"], {}, ["another"]),
    ],
)
def test_mistakes_name_their_place(
    arguments: list[str], variables: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        serve(*arguments, environment=variables)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.toml", "prot = 1", "did you mean port"),
        ("a.toml", "port = ", "malformed"),
        ("a.yaml", "port: [1", "malformed"),
        ("a.yaml", "- 1", "mapping"),
        ("a.toml", "port = 'high'", "whole number"),
        ("a.toml", "port = 80.7", "whole number"),
        ("a.toml", "port = inf", "whole number"),
        ("a.toml", "port = nan", "whole number"),
        ("a.toml", "target_step_ms = nan", "out of range"),
        ("a.yaml", "port: 1\nport: 2", "set twice"),
        ("a.toml", "host = 5", "text"),
    ],
)
def test_bad_files_name_file_and_key(tmp_path: Path, name: str, text: str, word: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRequest, match=word) as caught:
        serve("--config", str(tmp_path / name))
    assert name in str(caught.value)


def test_variables_of_other_commands_may_stand_beside() -> None:
    assert serve(environment={"TREADLE_MAX_TOKENS": "5", "TREADLE_CACHE": "/x"}).port == 8000


def test_required_positional_is_asked_for() -> None:
    with pytest.raises(InvalidRequest, match="PROMPT"):
        parse(RunConfig, [], prog="treadle run", environment={})


def test_print_config_tells_origins_and_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        serve("--port", "5", "--print-config", environment={"TREADLE_API_KEY": "s3cret"})
    assert stopped.value.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["port"] == ["5", "--port"]
    assert rows["api_key"] == ["***", "TREADLE_API_KEY"]
    assert rows["host"][-1] == "default"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_and_bounded(command: type) -> None:
    for item in options_of(command):
        assert item.help
        if item.kind in (int, float):
            assert item.low is not None, item.name
            assert item.high is not None, item.name
    assert len(markdown(command).splitlines()) == 2 + len(command.__struct_fields__)


@pytest.mark.parametrize("command", COMMANDS)
def test_schema_accepts_the_defaults_and_refuses_others(command: type) -> None:
    schema = json_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {o.name: o.default for o in options_of(command) if not o.required}
    jsonschema.validate(json.loads(json.dumps(defaults)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"no_such_option": 1}, schema)


WORDS = [
    "run",
    "",
    "5",
    "0.5",
    "-5",
    "-",
    "--",
    "a b",
    "-x",
    "--threads=2",
    "--max-tokens",
    "--raw",
]
WORDS += ["--no-raw", "--config", "--print-config", "--seed", "--api-key", "--port", "--thread"]


@given(st.sampled_from([RunConfig, ChatConfig, ServeConfig]), st.lists(st.sampled_from(WORDS)))
def test_plain_words_are_what_argparse_reads(command: type, arguments: list[str]) -> None:
    options = options_of(command)
    found = plain_words(options, arguments)
    if found is not None:
        whole = parsed(options, arguments, "treadle", "")
        given = {name: value for name, value in whole.items() if value is not None}
        assert {"print_config": False, **found} == given


def test_an_ordinary_command_line_is_plain() -> None:
    words = ["Say hi.", "--model", "m.gguf", "--max-tokens", "5", "--no-raw", "--json"]
    assert plain_words(options_of(RunConfig), words) == {
        "prompt": "Say hi.", "model": "m.gguf", "max_tokens": "5", "raw": False, "json": True
    }  # fmt: skip


@given(port=st.integers(-100_000, 100_000))
def test_ranges_hold_whatever_the_source(port: int) -> None:
    try:
        config = serve(f"--port={port}", environment={})
    except InvalidRequest:
        assert not 0 <= port <= 65_535
    else:
        assert config.port == port
        assert serve(environment={"TREADLE_PORT": str(port)}) == config


def test_debug_switches() -> None:
    assert debug_switches({"TREADLE_DEBUG": "graph, plan"}) == {"graph", "plan"}
    assert debug_switches({}) == frozenset()
