"""Numbers against Python's Decimal: random ranges, steps and spellings."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from byte_matcher import Language

from treadle.grammar import Grammar


def bound(rng: random.Random) -> str:
    digits = str(rng.randrange(10 ** rng.choice((1, 2, 4, 12))))
    sign = rng.choice(("", "-"))
    shift = rng.choice(("", "", f"e{rng.randrange(-6, 7)}", f".{rng.randrange(100):02}"))
    return f"{sign}{digits}{shift}"


def near(rng: random.Random, anchors: list[Decimal], step: Decimal | None) -> Decimal:
    """A number at, beside or far from a bound, often a multiple of the step."""
    value = rng.choice(anchors) if anchors else Decimal(rng.randrange(-500, 500))
    value += rng.choice((Decimal(0), Decimal(1), Decimal(-1), Decimal("1e-7"), Decimal("-0.5")))
    if step and rng.random() < 0.6:
        value = (value // step) * step
    return value


def spelled(rng: random.Random, value: Decimal) -> str:
    """One of the JSON spellings of a number."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0") + "0" * rng.choice((0, 0, 1, 3)) or "0"
    exponent -= len(text) - len("".join(map(str, digits)).lstrip("0") or "0")
    point = rng.randrange(0, len(text) + 1)
    whole, fraction = text[: len(text) - point] or "0", text[len(text) - point :]
    power = exponent + point
    out = ("-" if sign else "") + whole.lstrip("0").rjust(1, "0")
    out += f".{fraction}" if fraction else ""
    if power or rng.random() < 0.2:
        out += rng.choice("eE") + (rng.choice(("", "+")) if power >= 0 else "-")
        out += rng.choice(("", "0")) * (abs(power) < 100) + str(abs(power))
    assert Decimal(out) == value, (out, value)
    return out


@pytest.mark.parametrize("seed", range(60))
def test_ranges_and_steps(seed: int) -> None:
    rng = random.Random(seed)
    low, high = sorted((bound(rng), bound(rng)), key=Decimal)
    step = rng.choice((None, None, "1", "0.01", "3", "2.5", "7e-3", "1e3"))
    low_open, high_open = rng.random() < 0.5, rng.random() < 0.5
    integer = rng.random() < 0.3
    use_low, use_high = rng.random() < 0.8, rng.random() < 0.8
    parts = [f'"type":"{"integer" if integer else "number"}"']
    if use_low:
        parts.append(f'"{"exclusiveMinimum" if low_open else "minimum"}":{low}')
    if use_high:
        parts.append(f'"{"exclusiveMaximum" if high_open else "maximum"}":{high}')
    if step:
        parts.append(f'"multipleOf":{step}')

    def belongs(value: Decimal) -> bool:
        if use_low and (value < Decimal(low) or (low_open and value == Decimal(low))):
            return False
        if use_high and (value > Decimal(high) or (high_open and value == Decimal(high))):
            return False
        if integer and value % 1:
            return False
        return not (step and value % Decimal(step))

    anchors = [Decimal(b) for b, used in ((low, use_low), (high, use_high)) if used]
    texts = [spelled(rng, near(rng, anchors, Decimal(step) if step else None)) for _ in range(120)]
    schema = "{" + ",".join(parts) + "}"
    # A wide margin makes the set non-empty; otherwise the schema itself must be refused.
    if not any(belongs(Decimal(text)) for text in texts):
        return
    language = Language(Grammar.json_schema(schema))
    for text in texts:
        assert (text in language) == belongs(Decimal(text)), (schema, text)


def test_draft_4_integers_have_no_point() -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 1}
    old = Language(Grammar.json_schema(schema))
    new = Language(Grammar.json_schema({"type": "integer", "minimum": 1}))
    assert "10" in old
    assert "10" in new
    for text in ("1.0", "1e0", "10e-1"):
        assert text not in old
        assert text in new
