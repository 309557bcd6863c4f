"""Writes a bundle: format 1.

| file | content |
|---|---|
| manifest.json | `{format, runtime_min, model, limits, chat, tiers, files: [{path, bytes, sha256}]}` |
| plan.json | `{weights: {NAME: {format, rows, cols, pieces: [[shard, offset, length], …]}}, shards: [path, …], tiers: {…}}` |
| weights-NNNNN.bin | one run of all tensors, each at a multiple of 256, cut into shards |
| tokenizer.json, vocab.bin, chat_template.jinja | the model's own; token bytes as the core loads them |
| tasks.cpu.bin, kernels.TIER.wgsl | what the tiers add |

The same model gives the same bytes. The manifest names every other file; nothing else is read.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.errors import InvalidRequest, NotFound, Unsupported
from treadle.export.cpu import tier_cpu
from treadle.export.shards import Weight, layout, shards
from treadle.export.words import words
from treadle.limits import Limits
from treadle.version import __version__

if TYPE_CHECKING:
    from treadle.export.tier import Tier
    from treadle.graph import Graph
    from treadle.models.load import Model

FORMAT = 1
MIB = 1 << 20
CONTEXT = 8192
"""Positions of a sequence that plans are made for unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Options:
    """shard: bytes of a weight file. context: tokens of a sequence, at most the model's own."""

    shard: int = 32 * MIB
    context: int = CONTEXT


def _cpu(graph: Graph, table: Mapping[str, Weight], context: int) -> Tier:
    return tier_cpu(graph, table, context)


def _gpu(name: str) -> Callable[[Graph, Mapping[str, Weight], int], Tier]:
    def tier(graph: Graph, table: Mapping[str, Weight], context: int) -> Tier:
        made: Any = import_module("treadle.export.lower")
        return made.tier_gpu(name, graph, table)

    return tier


TIERS: dict[str, Callable[[Graph, Mapping[str, Weight], int], Tier]] = {
    "cpu": _cpu, **{name: _gpu(name) for name in ("t0", "t1", "t0s", "t2")}
}  # fmt: skip
"""Every tier: graph, weights and context to what it adds."""


def write(
    model: Model,
    folder: Path,
    tiers: Sequence[str] = ("cpu",),
    options: Options | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Writes the bundle whole or not at all; returns the manifest.

    An older bundle in `folder` is replaced. Raises InvalidRequest for a folder that holds anything
    else, Unsupported for a tier or model that cannot be exported, ModelFormatError.
    """
    options, limits = options or Options(), limits or Limits()
    _replaceable(folder)
    unknown = [name for name in tiers if name not in TIERS]
    if unknown or not tiers:
        raise Unsupported(
            f"no tier {unknown[0]!r}" if unknown else "no tier is given", at="--tiers",
            hint=f"one or more of {','.join(TIERS)}",
        )  # fmt: skip
    if options.shard < MIB or options.shard % 256:
        raise InvalidRequest(f"{options.shard} bytes", at="--shard-mib", hint="give 1 or more")
    context = min(options.context, model.context)
    graph = model.graph
    vocab = graph.dims.size(graph.values[graph.outputs[0]].shape[-1])
    assert vocab is not None
    table = layout(graph, model.weights)
    made = {name: TIERS[name](graph, table, context) for name in tiers}
    text = words(model, vocab, limits)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        out = _Files(part)
        paths: list[str] = []
        for shard in shards(table, model.weights, options.shard):
            paths.append(f"weights-{len(paths):05}.bin")
            out.add(paths[-1], shard)
        plan = {
            "weights": {name: weight.record(options.shard) for name, weight in table.items()},
            "shards": paths,
            "tiers": {name: tier.record for name, tier in made.items()},
        }
        out.add("plan.json", _json(plan))
        for files in (text.files, *(tier.files for tier in made.values())):
            for path, data in files.items():
                out.add(path, data)
        manifest = {
            "format": FORMAT,
            "runtime_min": __version__,
            "model": _about(model),
            "limits": {"vocab": vocab, "context": context, "page": graph.size("B")},
            "chat": text.chat,
            "tiers": {
                name: {**tier.needs, "files": sorted(tier.files)} for name, tier in made.items()
            },
            "files": out.list,
        }
        (part / "manifest.json").write_bytes(_json(manifest))
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


class _Files:
    """Files of the bundle as they are written, and the manifest's list of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.list: list[dict[str, Any]] = []

    def add(self, path: str, data: bytes) -> None:
        (self._folder / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.list.append({"path": path, "bytes": len(data), "sha256": digest})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _about(model: Model) -> dict[str, Any]:
    meta = model.tokenizer_source.metadata
    given: Any = meta.get("general.license") if model.tokenizer_source.kind == "gguf" else None
    return {
        "name": model.name,
        "family": model.graph.name,
        "license": given if isinstance(given, str) else "unknown",
        "source": {"name": model.path.name, "sha256": _source_hash(model.path)},
        "graph": model.graph.hash,
    }


def _source_hash(path: Path) -> str:
    """Of a file its own; of a folder, of the names and hashes of its tensor files."""
    if path.is_dir():
        lines = [f"{_source_hash(p)} {p.name}\n" for p in sorted(path.glob("*.safetensors"))]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotFound("is no folder", at=str(folder), hint="give another one with -o")
    if any(folder.iterdir()) and not (folder / "manifest.json").exists():
        raise InvalidRequest(
            "holds something other than a bundle", at=str(folder),
            hint="give an empty or a new folder with -o",
        )  # fmt: skip
