"""Outlines of graphs on disk: a start that finds one builds no graph.

What is kept is named by a hash of everything that a graph and the formats of its params follow
from: hyperparameters, names, shapes and formats of the file's tensors, what the caller asked for,
and the text of the modules that build, check and bind.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import treadle
from treadle import kept
from treadle.digest import sha256
from treadle.models.gguf_array import GgufArray
from treadle.models.weights import Checkpoint
from treadle.models.wheel import cache_dir
from treadle.types.outline import Outline

if TYPE_CHECKING:
    from treadle.graph import Graph

_MOST = 64  # on disk, of some 10 kB


def key_of(checkpoint: Checkpoint, family: str, act: str, page: int) -> str:
    """Names the outline of a file's graph, built so."""
    found = sha256(_code().encode())
    found.update(repr((checkpoint.kind, family, act, page)).encode())
    for name, value in checkpoint.config.items():
        found.update(f"{name}: {_said(value)}\n".encode())
    for name, tensor in checkpoint.tensors.items():
        found.update(f"{name} {tensor.format} {tensor.shape}\n".encode())
    return found.hexdigest()[:32]


def read(key: str) -> Outline | None:
    """The outline that `keep` put there, or None."""
    try:
        body = kept.unseal((_folder() / key).read_bytes())
        return None if body is None else msgspec.msgpack.decode(body, type=Outline)
    except (OSError, msgspec.DecodeError):
        return None


def keep(key: str, graph: Graph) -> Outline:
    """The outline of a graph, which the next start finds."""
    from treadle.graph import outline

    made = outline(graph)
    kept.write(_folder(), key, kept.seal(msgspec.msgpack.encode(made)), _MOST)
    return made


def _folder() -> Path:
    return cache_dir() / "graphs"


def _said(value: Any) -> str:
    """Of the long arrays, which are the tokeniser's, only how many items they have."""
    return f"{len(value)} items" if isinstance(value, GgufArray) else repr(value)


@cache
def _code() -> str:
    """A hash of the modules whose other text might mean another graph."""
    found = sha256()
    package = Path(str(treadle.__file__)).parent
    for folder in ("graph", "models"):
        for path in sorted((package / folder).rglob("*.py")):
            found.update(path.read_bytes())
    for name in ("formats", "outline"):
        found.update((package / "types" / f"{name}.py").read_bytes())
    return found.hexdigest()
