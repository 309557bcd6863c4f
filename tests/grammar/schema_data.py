"""Shared by the schema tests: the stored cases, spellings of a document, an exact validator."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema

DATA = Path(__file__).parent / "data"
SUITE = DATA / "json_schema_test_suite"
# The documents that the suite serves, by URI.
REMOTES = {
    f"http://localhost:1234/draft2020-12/{path.relative_to(SUITE / 'remotes').as_posix()}": (
        path.read_text(encoding="utf-8")
    )
    for path in (SUITE / "remotes").rglob("*.json")
}


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same document with the keys of every object in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        rng.shuffle(items)
        return {key: shuffled(item, rng) for key, item in items}
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    return value


def escaped(text: str, rng: random.Random) -> str:
    """A JSON text with about a third of the plain letters inside strings as \\uXXXX."""
    out: list[str] = []
    inside = skip = False
    for char in text:
        if inside and not skip and char not in '"\\' and char.isalpha() and rng.random() < 0.3:
            code = f"{ord(char):04x}" if ord(char) < 0x10000 else ""
            out.append("\\u" + (code.upper() if rng.random() < 0.5 else code) if code else char)
            continue
        if char == '"' and not skip:
            inside = not inside
        # A \uXXXX that is already there must not be taken apart.
        skip = not skip and char == "\\"
        out.append(char)
    return "".join(out)


def spellings(value: Any, seed: int) -> Iterator[str]:
    """JSON texts of one document: compact, indented, raw Unicode, escapes, another key order."""
    rng = random.Random(seed)
    yield json.dumps(value)
    yield json.dumps(value, separators=(",", ":"))
    yield json.dumps(value, indent=2, ensure_ascii=False)
    yield json.dumps(shuffled(value, rng))
    plain = json.dumps(value, ensure_ascii=False)
    if "\\" not in plain:
        yield escaped(plain, rng)


def exact_loads(text: str) -> Any:
    """JSON with decimals instead of floats, so that bounds are compared exactly."""

    def number(digits: str) -> Decimal | int:
        value = Decimal(digits)
        return int(value) if value == value.to_integral_value() else value

    return json.loads(text, parse_float=number)


def validator(schema: Any) -> jsonschema.protocols.Validator:
    """The independent oracle: jsonschema over exact numbers."""
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    checker = kind.TYPE_CHECKER.redefine_many(
        {
            "number": lambda _, v: isinstance(v, (int, float, Decimal)) and not isinstance(v, bool),
            "integer": lambda _, v: isinstance(v, int) and not isinstance(v, bool),
        }
    )

    def multiple_of(_: Any, step: Any, value: Any, schema: Any) -> Iterator[Any]:
        number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
        if number and Fraction(str(value)) % Fraction(str(step)) != 0:
            yield jsonschema.ValidationError(f"{value} is not a multiple of {step}")

    extended = jsonschema.validators.extend(kind, {"multipleOf": multiple_of}, type_checker=checker)
    return extended(schema)
