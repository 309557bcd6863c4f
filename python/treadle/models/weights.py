"""From the tensors of a file to the params of a graph: names, transforms, checks.

A family says where each param comes from (`Source`); `bind` checks every name, shape and format
against the graph before anything is read. Plain tensors stay views of the mapped file; a
transform copies when the param is asked for, and backends ask once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from treadle import _core
from treadle.errors import ModelFormatError, Unsupported
from treadle.models.mapping import Elements
from treadle.types import Tensor
from treadle.types.formats import BLOCKS, PLAIN

# numpy is imported by what widens or stacks: a start from a GGUF file does neither.

if TYPE_CHECKING:
    from array import array

    import numpy as np
    from numpy.typing import NDArray

    from treadle.graph import Graph

Kind = Literal["hf", "gguf"]


class Checkpoint(Struct, frozen=True):
    """What lies on disk: `config` is config.json or GGUF metadata, `path` the file or folder."""

    kind: Kind
    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def tensor(self, name: str, param: str) -> Tensor:
        """A tensor by its name in the file. Raises ModelFormatError naming the param it is for."""
        try:
            return self.tensors[name]
        except KeyError:
            raise ModelFormatError(
                f"tensor {name!r} (param {param}) is missing", at=str(self.path)
            ) from None


class Source(Struct, frozen=True):
    """Where a param comes from: one tensor, several stacked on a new first axis, or `values`,
    then computed, with `tensors` those that went into it.

    `heads` > 0: the rows of each head lie interleaved (pairs side by side) and are put back to
    halves. `offset`: a number added in float32.
    """

    tensors: tuple[str, ...] = ()
    values: array[float] | NDArray[np.float32] | None = None
    heads: int = 0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values."""
        return memoryview(cast("Any", self.values)).shape or ()


class BoundWeights(Mapping[str, Tensor]):
    """Params by name, made from the mapped file when asked for."""

    def __init__(
        self, checkpoint: Checkpoint, sources: Mapping[str, Source], formats: Mapping[str, str]
    ) -> None:
        self._checkpoint = checkpoint
        self._sources = sources
        self.formats = formats

    def __iter__(self) -> Iterator[str]:
        return iter(self.formats)

    def __len__(self) -> int:
        return len(self.formats)

    def __getitem__(self, name: str) -> Tensor:
        source = self._sources[name]
        if source.values is not None:
            shape = source.shape
            raw = memoryview(cast("Any", source.values)).cast("B")
            return Tensor(name, shape, "f32", Elements.of("f32", shape, raw))
        parts = [self._checkpoint.tensor(file_name, name) for file_name in source.tensors]
        if self.formats[name] == "f32" and (source.offset or parts[0].format != "f32"):
            import numpy as np

            from treadle.models.quant import dequantise

            wide = dequantise(parts[0]) + np.float32(source.offset)
            return Tensor(name, wide.shape, "f32", wide)
        tensor = parts[0] if len(parts) == 1 else _stack(parts)
        return replace(_to_halves(tensor, source.heads) if source.heads else tensor, name=name)


def bind(
    graph: Graph, sources: Mapping[str, Source], checkpoint: Checkpoint, unneeded: Iterable[str]
) -> tuple[Graph, BoundWeights]:
    """The graph with the params' formats filled in, and its weights.

    `unneeded`: patterns of tensors that a file may hold and the graph does without. Any other
    tensor left over is an error: it would change the model's answers.
    Raises ModelFormatError, Unsupported naming the tensor.
    """
    formats = {name: _format(name, graph, sources, checkpoint) for name in graph.params}
    used = {name for param in graph.params for name in sources[param].tensors}
    known = re.compile("|".join([*unneeded, r"$^"]))
    left = next((n for n in checkpoint.tensors if n not in used and not known.search(n)), None)
    if left is not None:
        raise Unsupported(
            f"tensor {left!r} has no place in this model family",
            at=str(checkpoint.path),
            hint="the file extends the architecture in a way this build does not know",
        )
    return graph.with_formats(formats), BoundWeights(checkpoint, sources, formats)


def _format(name: str, graph: Graph, sources: Mapping[str, Source], checkpoint: Checkpoint) -> str:
    """The format a param will have, after checking that its tensors fit the graph's shape; before
    any data is touched."""
    at = str(checkpoint.path)
    source = sources.get(name)
    if source is None:
        raise ModelFormatError(f"no source for param {name}", at=at)
    wanted = graph.dims.sizes(graph.params[name].shape)
    if source.values is not None:
        _same_shape(name, "computed values", source.shape, wanted, at)
        return "f32"
    parts = [checkpoint.tensor(file_name, name) for file_name in source.tensors]
    formats = sorted({part.format for part in parts})
    if len(formats) > 1:
        raise Unsupported(f"experts of {name} differ in format: {', '.join(formats)}")
    for part in parts:
        shape = part.shape if len(parts) == 1 else (len(parts), *part.shape)
        _same_shape(name, f"tensor {part.name!r}", shape, wanted, at)
        if part.format not in BLOCKS:
            raise Unsupported(
                f"tensor {part.name!r} has the type {part.format}",
                at=at,
                hint=f"known formats: {', '.join(BLOCKS)}",
            )
    # Norms are float32 in the graph whatever the file holds; an offset is added in float32.
    keeps_file_format = len(wanted) > 1 and not source.offset
    return formats[0] if keeps_file_format else "f32"


def _same_shape(
    name: str, what: str, shape: tuple[int, ...], wanted: tuple[int | None, ...], at: str
) -> None:
    if shape != wanted:
        raise ModelFormatError(
            f"{what} is {list(shape)}, expected {list(wanted)} for {name}",
            at=at,
            hint="the file's hyperparameters and its tensors disagree",
        )


def _to_halves(tensor: Tensor, heads: int) -> Tensor:
    """Rows (x0 y0 x1 y1 …) of each head → (x0 x1 … y0 y1 …). Whole rows move, so blocks stay."""
    raw, rows = tensor.raw, tensor.shape[0]
    moved = memoryview(bytearray(len(raw)))
    by_rows = (rows, len(raw) // rows)
    _core.cpu_halves(raw.cast("B", by_rows), heads, moved.cast("B", by_rows))
    return replace(tensor, stored=Elements.of(tensor.format, tensor.shape, moved))


def _stack(parts: list[Tensor]) -> Tensor:
    """Equal tensors → one with a new first axis; block formats stay rows of bytes."""
    import numpy as np

    data: NDArray[Any] = np.stack([part.data for part in parts])
    if parts[0].format not in PLAIN:
        data = data.reshape(-1, data.shape[-1])
    return Tensor("", (len(parts), *parts[0].shape), parts[0].format, data)
