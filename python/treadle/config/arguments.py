"""Command lines that argparse has to look at: help, mistakes, unusual spellings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from treadle.config.option import Option
from treadle.config.sources import nearest
from treadle.errors import InvalidRequest


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are InvalidRequest and name the nearest flag."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing usage and exiting."""
        raise InvalidRequest(message, hint=f"see {self.prog} --help")


def parsed(
    options: Sequence[Option], arguments: Sequence[str], prog: str, text: str
) -> dict[str, Any]:
    """Every option's text or switch by name, None where it is absent, and `config` and
    `print_config`. Prints help and exits, or raises InvalidRequest."""
    formatter = partial(argparse.HelpFormatter, width=_columns() - 2)
    parser = Parser(prog=prog, description=text, allow_abbrev=False, formatter_class=formatter)
    parser.add_argument("--config", metavar="FILE", help="YAML or TOML file with these options")
    parser.add_argument(
        "--print-config", action="store_true", help="show every value with its origin, and stop"
    )
    for item in options:
        _add(parser, item)
    space, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        _refuse_unknown(unknown[0], options, prog)
    return vars(space)


def _columns() -> int:
    """Width of the terminal as `shutil` finds it, which imports the libraries of all archives."""
    with suppress(ValueError):
        if (asked := int(os.environ.get("COLUMNS", "0"))) > 0:
            return asked
    with suppress(OSError):
        return os.get_terminal_size().columns or 80
    return 80


def _add(parser: argparse.ArgumentParser, item: Option) -> None:
    if item.secret:
        return
    if item.positional:
        nargs = None if item.required else "?"
        parser.add_argument(item.name, nargs=nargs, metavar=item.metavar, help=item.help)
        return
    text = _describe(item)
    if item.kind is bool:
        # absent must differ from false, so that a file's true is not overruled
        parser.add_argument(
            item.flag, action=argparse.BooleanOptionalAction, default=None, help=text
        )
        return
    metavar = item.metavar or (item.kind.__name__.upper() if item.kind is not str else "NAME")
    parser.add_argument(item.flag, metavar=metavar, help=text)


def _describe(item: Option) -> str:
    text = item.help + (f", in {item.unit}" if item.unit else "")
    if item.choices:
        text += f" ({', '.join(item.choices)})"
    if item.default not in (None, "") and item.kind is not bool and not item.required:
        text += f" [{item.default}]"
    return text.replace("%", "%%")


def _refuse_unknown(word: str, options: Sequence[Option], prog: str) -> NoReturn:
    if not word.startswith("-"):
        raise InvalidRequest(f'one argument too many: "{word}"', hint=f"see {prog} --help")
    flag = word.partition("=")[0]
    for item in options:
        if item.secret and item.flag == flag:
            raise InvalidRequest(
                "is not taken from the command line, where others could read it",
                at=flag,
                hint=f"set {item.variable}, or put it into a file",
            )
    raise InvalidRequest("unknown option", at=flag, hint=nearest(flag, [o.flag for o in options]))
