"""`treadle mega`: looks into the task graphs that the mega backend runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct

from treadle.cli.options import note
from treadle.config import parse
from treadle.config.commands import DEFAULT_MODEL
from treadle.config.option import option
from treadle.errors import InvalidRequest

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.mega import Plan

USAGE = """usage: treadle mega trace|show [MODEL] [options]

  trace    run a model and write what each worker did when (Perfetto, one-page picture)
  show     draw the tasks of one layer

`treadle mega trace --help` lists options."""


class ShowConfig(Struct, frozen=True, kw_only=True):
    """treadle mega show: the tasks of one layer."""

    source: Annotated[
        str, option("alias, repository, .gguf file or folder", positional=True, metavar="MODEL")
    ] = DEFAULT_MODEL
    output: Annotated[
        str | None, option("file to write, .svg or .dot; without it a text", metavar="FILE")
    ] = None
    rows: Annotated[int, option("tokens a step", low=1, high=512)] = 1
    target: Annotated[str, option("device that is planned for", choices=("cpu", "h200"))] = "cpu"
    workers: Annotated[
        int, option("workers; 0 = this machine's, or all of the target's", low=0, high=1024)
    ] = 0


def main(arguments: Sequence[str]) -> int:
    """Runs one verb."""
    verb, rest = (arguments[0], short(arguments[1:])) if arguments else ("", [])
    if verb == "trace":
        from treadle.cli.mega_trace import trace

        return trace(rest)
    if verb == "show":
        return show(rest)
    if verb in ("", "-h", "--help", "help"):
        print(USAGE)
        return 0
    raise InvalidRequest(f'no verb "{verb}"', at="mega", hint="trace or show")


def short(arguments: Sequence[str]) -> list[str]:
    """The arguments with -o written out."""
    return ["--output" if word == "-o" else word for word in arguments]


def show(arguments: Sequence[str]) -> int:
    """Draws one layer of a model's plan to a file, or lists its tasks on standard output."""
    config = parse(ShowConfig, arguments, prog="treadle mega show")
    kind = suffix(config.output, (".svg", ".dot")) if config.output else ".txt"
    from treadle.limits import Limits
    from treadle.mega import show as drawing
    from treadle.models import load

    page = 16 if config.target == "cpu" else 64
    act = "f32" if config.target == "cpu" else "bf16"
    model = load(config.source, act=act, page=page, limits=Limits(), progress=True)
    plan = planned(model.graph, config)
    draw = {".svg": drawing.svg, ".dot": drawing.dot, ".txt": drawing.text}[kind]
    if config.output is None:
        sys.stdout.write(draw(plan))
        return 0
    write(config.output, draw(plan))
    return 0


def planned(graph: Graph, config: ShowConfig) -> Plan:
    """The plan that is shown; its context is short, which changes no task."""
    from dataclasses import replace

    from treadle._core import cpu_processors
    from treadle.mega import TARGETS, compile

    target = TARGETS[config.target]
    workers = config.workers or (cpu_processors() if config.target == "cpu" else target.workers)
    return compile(
        graph, replace(target, workers=workers), rows=config.rows, slots=config.rows, context=4096
    )


def suffix(path: str, known: Sequence[str]) -> str:
    """The ending of a file's name. Raises InvalidRequest unless it is a known one."""
    found = re.search(r"\.\w+$", path)
    if found is None or found[0].lower() not in known:
        raise InvalidRequest(
            f"{path} has none of the endings {', '.join(known)}", at="--output", hint=known[0]
        )
    return found[0].lower()


def write(path: str, text: str) -> None:
    """A text to a file. Raises InvalidRequest naming the file."""
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}", at="--output") from None
    note(f"wrote {path}")
