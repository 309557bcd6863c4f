"""Where values come from: flags over environment over file over defaults."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from treadle.config.option import Option
from treadle.errors import InvalidRequest

# variables of the same prefix that are no option of a command
OTHER_VARIABLES = frozenset({"TREADLE_DEBUG", "TREADLE_CACHE", "TREADLE_CONFIG"})


class Given(Struct, frozen=True):
    """One value and where it came from."""

    value: Any
    origin: str


def from_flags(
    options: Sequence[Option], arguments: Sequence[str], prog: str, text: str
) -> tuple[dict[str, Given], Mapping[str, Any]]:
    """Values given on the command line, and beside them `config` and `print_config`."""
    words = plain_words(options, arguments)
    if words is None:
        from treadle.config.arguments import parsed

        words = parsed(options, arguments, prog, text)
    given: dict[str, Given] = {}
    for item in options:
        if words.get(item.name) is not None:
            place = item.name if item.positional else item.flag
            given[item.name] = Given(item.read(words[item.name], place), place)
    return given, words


def plain_words(options: Sequence[Option], arguments: Sequence[str]) -> dict[str, Any] | None:
    """What argparse would read from arguments that are plain: known flags, values that begin with
    no dash and have a word of their own. None for any others, help and mistakes among them; most
    starts need none of argparse's half megabyte."""
    takes, sets = {"--config": "config"}, {"--print-config": ("print_config", True)}
    places: list[str] = []
    for item in options:
        if item.positional:
            places.append(item.name)
        elif item.kind is bool and not item.secret:
            sets |= {item.flag: (item.name, True), f"--no-{item.flag[2:]}": (item.name, False)}
        elif not item.secret:
            takes[item.flag] = item.name
    found: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        name, value = takes.get(word), word
        if name is not None:
            value = next(words, "-")
        elif word in sets:
            name, value = sets[word]
        elif places:
            name = places.pop(0)
        if name is None or (isinstance(value, str) and value.startswith("-")):
            return None
        found[name] = value
    missing = any(item.required and item.name not in found for item in options if item.positional)
    return None if missing else found


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
        raise InvalidRequest("unknown option", at=name, hint=nearest(name, accepted))


def from_file(options: Sequence[Option], path: str) -> dict[str, Given]:
    """Values of a YAML or TOML file. Raises InvalidRequest for unknown keys and bad files."""
    data = _read(Path(path))
    names = {item.name: item for item in options}
    given: dict[str, Given] = {}
    for key, value in data.items():
        place = f"{path}: {key}"
        if key not in names:
            raise InvalidRequest("unknown option", at=place, hint=nearest(key, names))
        given[key] = Given(names[key].read(value, place), place)
    return given


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint for a word that is not known."""
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
