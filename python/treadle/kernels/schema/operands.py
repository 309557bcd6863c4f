"""Which outputs of a definition a call writes over its inputs, and which are its own."""

from __future__ import annotations

from treadle.kernels.schema.types import Definition


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
