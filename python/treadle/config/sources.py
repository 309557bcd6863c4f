"""Where values come from: flags over environment over file over defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from msgspec import Struct

from treadle.config.option import Option
from treadle.errors import InvalidRequest

# variables of the same prefix that are no option of a command
OTHER_VARIABLES = frozenset({"TREADLE_DEBUG", "TREADLE_CACHE", "TREADLE_CONFIG"})


class Given(Struct, frozen=True):
    """One value and where it came from."""

    value: Any
    origin: str


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are InvalidRequest and name the nearest flag."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing usage and exiting."""
        raise InvalidRequest(message, hint=f"see {self.prog} --help")


def from_flags(
    options: Sequence[Option], arguments: Sequence[str], prog: str, text: str
) -> tuple[dict[str, Given], argparse.Namespace]:
    """Values given on the command line, and the namespace with --config and --print-config."""
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
    given = {
        item.name: Given(
            item.read(
                getattr(space, item.name), place := item.name if item.positional else item.flag
            ),
            place,
        )
        for item in options
        if getattr(space, item.name, None) is not None
    }
    return given, space


def from_environment(
    options: Sequence[Option], environment: Mapping[str, str] | None = None
) -> dict[str, Given]:
    """Values of `TREADLE_*` variables that belong to the options."""
    variables = os.environ if environment is None else environment
    return {
        item.name: Given(item.read(variables[item.variable], item.variable), item.variable)
        for item in options
        if item.variable in variables
    }


def strangers(environment: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """`TREADLE_*` variables beside the known ones."""
    accepted = OTHER_VARIABLES.union(known)
    return sorted(
        name for name in environment if name.startswith("TREADLE_") and name not in accepted
    )


def check_environment(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises InvalidRequest for a `TREADLE_*` variable that no command has: a spelling mistake
    there would otherwise go unnoticed."""
    for name in strangers(environment, known := {*known}):
        accepted = sorted(OTHER_VARIABLES | known)
        raise InvalidRequest("unknown option", at=name, hint=_nearest(name, accepted))


def from_file(options: Sequence[Option], path: str) -> dict[str, Given]:
    """Values of a YAML or TOML file. Raises InvalidRequest for unknown keys and bad files."""
    data = _read(Path(path))
    names = {item.name: item for item in options}
    given: dict[str, Given] = {}
    for key, value in data.items():
        place = f"{path}: {key}"
        if key not in names:
            raise InvalidRequest("unknown option", at=place, hint=_nearest(key, names))
        given[key] = Given(names[key].read(value, place), place)
    return given


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
    raise InvalidRequest("unknown option", at=flag, hint=_nearest(flag, [o.flag for o in options]))


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean {near[0]}?" if near else "see --help"


def _refuse_twice(root: Any, path: Path) -> None:
    """YAML lets a later key replace an earlier one; TOML, and we, do not."""
    seen: set[str] = set()
    pairs: list[tuple[Any, Any]] = root.value if root is not None else []
    for key, _ in pairs if getattr(root, "id", "") == "mapping" else ():
        if key.value in seen:
            place = f"{path}:{key.start_mark.line + 1}: {key.value}"
            raise InvalidRequest("is set twice", at=place, hint="keep one of them")
        seen.add(key.value)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot be read: {error}", at=str(path)) from None
    try:
        if path.suffix == ".toml":
            import tomllib

            return tomllib.loads(text)
        import yaml

        data: object = yaml.safe_load(text)
        tree = cast(Any, yaml).compose(text, yaml.SafeLoader)
        _refuse_twice(tree, path)
    except ImportError:
        raise InvalidRequest(
            "YAML files need PyYAML", at=str(path), hint="use a .toml file"
        ) from None
    except InvalidRequest:
        raise
    except ValueError as error:  # TOMLDecodeError is one
        raise InvalidRequest(f"is malformed: {error}", at=str(path)) from None
    except Exception as error:  # yaml.YAMLError, which cannot be named without importing yaml
        raise InvalidRequest(f"is malformed: {error}", at=str(path)) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidRequest("holds no mapping of options", at=str(path))
    return {str(key): value for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
