"""`treadle chat`: a dialogue in the terminal, streamed, with history and constraints."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle import _core
from treadle.cli.options import (
    constraint_options,
    engine_options,
    note,
    read_schema,
    sampling_of,
)
from treadle.config import ChatConfig, parse
from treadle.errors import InvalidRequest, TreadleError
from treadle.types import Message

if TYPE_CHECKING:
    from treadle.engine import LLM

HELP = """/schema FILE   answer as JSON by this schema; /schema alone ends it
/system TEXT   set the system message and start again
/reset         forget the dialogue
/quit          leave (as does the end of input)"""


def main(arguments: Sequence[str]) -> int:
    """Reads turns from standard input until it ends."""
    _core.keep_heap_small()
    config = parse(ChatConfig, arguments, prog="treadle chat")
    dialogue = Dialogue(config)
    from treadle.engine import LLM

    with LLM(config.model, **engine_options(config)) as llm:
        if llm.loaded.template is None:
            raise InvalidRequest(
                f"{llm.loaded.name} has no chat template", at="--model", hint="use treadle run"
            )
        if sys.stdin.isatty():
            note(f"{llm.loaded.name}; /help lists commands")
        while (line := _ask()) is not None:
            try:
                if not dialogue.take(line, llm):
                    break
            except TreadleError as error:
                note(f"{type(error).__name__}: {error}")
    return 0


class Dialogue:
    """The turns so far and the constraint in force."""

    def __init__(self, config: ChatConfig) -> None:
        self._config = config
        self._sampling = sampling_of(config, seed=secrets.randbits(31))
        self._constraint = constraint_options(config)
        self._system = config.system
        self._turns: list[Message] = []

    def take(self, line: str, llm: LLM) -> bool:
        """Handles one line of input; False ends the dialogue."""
        text = line.strip()
        if not text:
            return True
        if not text.startswith("/"):
            self._answer(text, llm)
            return True
        command, _, rest = text[1:].partition(" ")
        if command == "schema":
            self._constraint = {"schema": read_schema(rest, "/schema")} if rest else {}
        elif command == "system":
            self._system, self._turns = rest or None, []
        elif command == "reset":
            self._turns = []
        elif command != "quit":
            note(HELP)
        return command != "quit"

    def _answer(self, text: str, llm: LLM) -> None:
        self._turns.append(Message("user", text))
        head = [Message("system", self._system)] if self._system else []
        options: dict[str, Any] = {**self._constraint, "sampling": self._sampling}
        try:
            with llm.stream_chat([*head, *self._turns], **options) as stream:
                for delta in stream:
                    sys.stdout.write(delta.text)
                    sys.stdout.flush()
        except (TreadleError, KeyboardInterrupt) as error:
            self._turns.pop()  # the turn did not happen
            print()
            if isinstance(error, KeyboardInterrupt):
                note("interrupted")
                return
            raise
        print()
        self._turns.append(Message("assistant", stream.output.text))


def _ask() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        print()
        return None
