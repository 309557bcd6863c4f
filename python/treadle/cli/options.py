"""From config objects to the engine's arguments; shared by the commands that run a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from treadle.config import ModelConfig, SamplingConfig
from treadle.errors import InvalidRequest
from treadle.types import Message, Sampling


def engine_options(config: ModelConfig) -> dict[str, Any]:
    """Keyword arguments of `LLM` and `AsyncEngine`; "auto" and 0 become None, theirs to decide."""
    return {
        "backend": None if config.backend == "auto" else config.backend,
        "device": None if config.device == "auto" else config.device,
        "act": None if config.act == "auto" else config.act,
        "threads": config.threads or None,
        "tp": config.tp,
        "context": config.context,
        "pages": config.pages,
    }


def sampling_of(config: SamplingConfig, seed: int | None = None) -> Sampling:
    """The sampling parameters of a command; `seed` stands in where none is configured."""
    return Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        seed=config.seed if config.seed is not None else seed,
    )


def constraint_options(config: SamplingConfig) -> dict[str, Any]:
    """The one constraint of a command, as keyword argument of `LLM.generate`.

    Raises InvalidRequest for two constraints or a file that cannot be read.
    """
    given = {
        "--schema": ("schema", config.schema),
        "--regex": ("regex", config.regex),
        "--grammar": ("grammar", config.grammar),
    }
    used = [flag for flag, (_, value) in given.items() if value is not None]
    if len(used) > 1:
        raise InvalidRequest(f"{' and '.join(used)} are given", at=used[1], hint="give one")
    if not used:
        return {}
    name, value = given[used[0]]
    assert value is not None
    if name == "schema":
        return {name: read_schema(value, "--schema")}
    return {name: value if name == "regex" else read_text(value, "--grammar")}


def read_schema(path: str, flag: str) -> Any:
    """A JSON Schema file, parsed. Raises InvalidRequest with line and column of a mistake."""
    import json

    text = read_text(path, flag)
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise InvalidRequest(f"is not JSON: {error.msg}", at=place) from None
    except RecursionError:
        raise InvalidRequest("is nested too deeply", at=path) from None
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("a schema is an object, true or false", at=path)
    return schema  # pyright: ignore[reportUnknownVariableType]


def read_text(path: str, flag: str) -> str:
    """A file as text. Raises InvalidRequest naming flag and file."""
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}", at=flag) from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text", at=flag) from None


def conversation(prompt: str, system: str | None) -> tuple[Message, ...]:
    """One user turn, after a system message if there is one."""
    turns = (Message("user", prompt),)
    return (Message("system", system), *turns) if system else turns


def note(text: str) -> None:
    """One line on standard error, where everything goes that is not the answer."""
    print(text, file=sys.stderr, flush=True)
