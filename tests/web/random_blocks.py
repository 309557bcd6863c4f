"""Random weights in every format that a WGSL kernel reads, as a weight buffer holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from treadle.export import wgsl
from treadle.export.wgsl import FORMATS, Segment, row_bytes
from treadle.graph import Graph
from treadle.types import Tensor

F32 = np.float32
HALVES = {"q4_0": (0,), "q4_1": (0, 2), "q8_0": (0,), "q4_k": (0, 2), "q6_k": (208,)}


def packed(rng: np.random.Generator, format: str, rows: int, columns: int) -> Tensor:
    """A random matrix in a file's own blocks, of values around 1 / sqrt(columns)."""
    if format in ("f32", "f16"):
        values = rng.standard_normal((rows, columns)) * columns**-0.5
        return Tensor("w", (rows, columns), format, values.astype(format.replace("f", "float")))
    if format == "bf16":
        values = (rng.standard_normal((rows, columns)) * columns**-0.5).astype(F32)
        return Tensor(
            "w", (rows, columns), format, (values.view(np.uint32) >> 16).astype(np.uint16)
        )
    weights, size = FORMATS[format]
    data = rng.integers(0, 256, (rows * columns // weights, size), np.uint8)
    for at in HALVES[format]:
        scale = (
            rng.uniform(-1, 1, len(data))
            * columns**-0.5
            * {"q8_0": 0.02, "q6_k": 3e-4}.get(format, 0.2 if format != "q4_k" else 4e-3)
        )
        data[:, at : at + 2] = scale.astype(np.float16)[:, None].view(np.uint8)
    return Tensor("w", (rows, columns), format, data.reshape(rows, row_bytes(format, columns)))


def raw(*tensors: Tensor) -> tuple[np.ndarray, list[Segment]]:
    """Matrices one after another as a weight buffer holds them."""
    out = b""
    segments: list[Segment] = []
    for tensor in tensors:
        out += bytes(-len(out) % wgsl.ALIGN)
        segments.append(Segment(tensor.shape[0], tensor.format, len(out)))
        out += np.ascontiguousarray(tensor.data).tobytes()
    return np.frombuffer(out + bytes(4), np.uint8), segments


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(F32)


@dataclass(frozen=True)
class Entry:
    format: str
    rows: int
    cols: int


def weights_of(graph: Graph, format: str) -> dict[str, Tensor]:
    """Random weights; vectors are floats, the value projections of another format than the rest."""
    rng = np.random.default_rng(1)
    found: dict[str, Tensor] = {}
    for name, param in graph.params.items():
        sizes = tuple(int(n or 0) for n in graph.dims.sizes(param.shape))
        if len(sizes) == 1:
            values = rng.standard_normal(sizes) * 0.2 + ("norm" in name)
            if name.startswith("inv_freq"):
                values = 10.0 ** -np.linspace(0, 2, sizes[0])
            wide = values.astype(F32)
            if format == "f16" and "norm" in name:  # as files of float16 models have it
                found[name] = Tensor(name, sizes, "f16", wide.astype(np.float16))
            elif format == "f32" and "norm" in name:
                upper = (wide.view(np.uint32) >> 16).astype(np.uint16)
                found[name] = Tensor(name, sizes, "bf16", upper)
            else:
                found[name] = Tensor(name, sizes, "f32", wide)
        else:
            found[name] = packed(
                rng, "q8_0" if format == "q4_1" and name.endswith(".v") else format, *sizes
            )
    return found


def table_of(weights: dict[str, Tensor]) -> dict[str, Entry]:
    return {
        name: Entry(t.format, 1 if len(t.shape) == 1 else t.shape[0], t.shape[-1])
        for name, t in weights.items()
    }
