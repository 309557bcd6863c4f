"""What ops and fused compositions have in common, and the lookup by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from treadle.errors import GraphError
from treadle.graph.dims import Dims
from treadle.graph.fusion import FUSED
from treadle.graph.op import OPS, Attr, Attrs, AttrSpec
from treadle.graph.signature import Kind


class Declared(Protocol):
    """The face of `Op` and `Fused` that passes, verifier and interpreter use."""

    @property
    def name(self) -> str: ...
    @property
    def in_names(self) -> tuple[str, ...]: ...
    @property
    def out_names(self) -> tuple[str, ...]: ...
    @property
    def attrs(self) -> Mapping[str, AttrSpec]: ...
    @property
    def writes(self) -> Mapping[str, str]: ...
    def infer(
        self, kinds: Sequence[Kind], attrs: Attrs, dims: Dims, at: str = ""
    ) -> tuple[Kind, ...]: ...
    def check_attrs(
        self, given: Mapping[str, object], dims: Dims, at: str = ""
    ) -> dict[str, Attr]: ...
    def compute(self, xp: Any, *arrays: Any, **attrs: Any) -> Any: ...


def lookup(name: str, at: str = "") -> Declared:
    """The declaration of an op or fused composition. Raises GraphError (G01)."""
    found = OPS.get(name) or FUSED.get(name)
    if found is None:
        raise GraphError(
            f"G01 ops: {name!r} is no op",
            at=at or None,
            hint=f"use one of {', '.join(OPS)}",
        )
    return found


def reference(name: str) -> Any:
    """`reference("rmsnorm")(xp, x, w, eps=1e-5)`: the oracle of an op or fused composition.

    xp is numpy or torch (or a namespace of `treadle.graph.xp`). Dim attrs (`view`'s shape,
    `split`'s sizes, `route`'s A) are numbers here. Low-precision floats are widened to float32
    inside and the result has the type of the operand; float64 stays float64. bf16 held as uint16
    must be widened by the caller. Raises GraphError for an unknown name.
    """
    return lookup(name).compute
