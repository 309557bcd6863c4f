"""Which outputs of a definition a call writes over its inputs, and which are its own; which inputs
are weights, and what a solution makes of them before it is called."""

from __future__ import annotations

from msgspec import Struct, ValidationError, convert

from treadle.errors import InvalidRequest
from treadle.kernels.schema.types import Definition, Solution


class Preparation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`spec.treadle.prepare` of a solution that transforms its weights once, when they are loaded.

    entry: `file::symbol` of a function of the weights alone, in call order, that returns what it
    made of them, whatever that is. run: `file::symbol` of a function that is called as the
    solution's entry point is, with that result after the inputs. release: in compiled code, the
    symbol that frees it. The entry point itself stays complete without any of this, so that readers
    that do not know `prepare` can call it.
    """

    entry: str
    run: str
    release: str = ""


def preparation(s: Solution) -> Preparation | None:
    """How a solution prepares weights, None if it does not. Raises InvalidRequest for what says
    neither."""
    raw = (s.spec.treadle or {}).get("prepare")
    if raw is None:
        return None
    try:
        return convert(raw, Preparation)
    except ValidationError as problem:
        raise InvalidRequest(
            str(problem), at=f"solution {s.name!r} prepare",
            hint="give entry and run as file::symbol",
        ) from None  # fmt: skip


def weights(d: Definition) -> list[int]:
    """Places of the inputs that stay the same from call to call."""
    names = (d.treadle or {}).get("weights", ())
    return [i for i, name in enumerate(d.inputs) if name in names]


def written(d: Definition) -> dict[str, str]:
    """Output → the input that it is written into: outputs named like an input."""
    return {name: name for name in d.outputs if name in d.inputs}


def returned(d: Definition) -> list[str]:
    """Outputs that a call returns or takes as last arguments, in order."""
    into = written(d)
    return [name for name in d.outputs if name not in into]


def places_written(d: Definition) -> list[int]:
    """Of each output, the input that it is written into; -1 for one of its own."""
    names, into = list(d.inputs), written(d)
    return [names.index(into[name]) if name in into else -1 for name in d.outputs]
