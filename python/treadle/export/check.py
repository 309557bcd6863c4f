"""Checks a bundle without a device: structure, hashes, plans, and the weights against a source."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from treadle.errors import ModelFormatError
from treadle.export.bundle import FORMAT
from treadle.export.cpu import ALIGN
from treadle.export.shards import ALIGNMENT, flat
from treadle.mega import CPU, verify
from treadle.mega.plan import VERSION, from_bytes
from treadle.models.json_file import read_json
from treadle.models.quant import FORMATS

if TYPE_CHECKING:
    from treadle.models.load import Model

_JSON_BYTES = 64 << 20
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NEEDED = ("plan.json", "tokenizer.json", "vocab.bin")


def check(folder: Path, model: Model | None = None) -> dict[str, Any]:
    """The manifest of a bundle that is whole. With `model`, weights are its own bit for bit.

    Raises NotFound, ModelFormatError naming file and field, GraphError for a plan that breaks a
    rule of docs/mega-plan.md.
    """
    manifest = _Reader(folder / "manifest.json")
    if manifest.number("format", 1) != FORMAT:
        raise manifest.fail("format", f"is not {FORMAT}", "export the model again")
    files = _files(folder, manifest)
    plan = _Reader(folder / "plan.json")
    weights = _weights(plan, files)
    _tiers(folder, manifest, plan, files, weights)
    if model is not None:
        _equal(folder, plan, weights, model)
    return manifest.value


class _Reader:
    """A JSON file whose fields are read with their types checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value: dict[str, Any] = read_json(path, _JSON_BYTES)

    def fail(self, field: str, text: str, hint: str = "fetch the bundle again") -> ModelFormatError:
        return ModelFormatError(text, at=f"{self.path.name}, {field}", hint=hint)

    def get(self, field: str, kind: type) -> Any:
        """The value at a path of keys and indices, `a.b.0`."""
        found: Any = self.value
        for key in field.split("/"):
            if isinstance(found, dict) and key in found:
                found = cast("dict[str, Any]", found)[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(cast("Any", found)):
                found = cast("list[Any]", found)[int(key)]
            else:
                raise self.fail(field, "is missing")
        if type(found) is not kind:
            raise self.fail(field, f"is {type(found).__name__}, expected {kind.__name__}")
        return found

    def number(self, field: str, low: int = 0, high: int = 1 << 48) -> int:
        found: int = self.get(field, int)
        if not low <= found <= high:
            raise self.fail(field, f"is {found}, expected {low} to {high}")
        return found


def _files(folder: Path, manifest: _Reader) -> dict[str, int]:
    """Sizes of the files by path, after checking that they are what the manifest says."""
    sizes: dict[str, int] = {}
    for i in range(len(manifest.get("files", list))):
        path: str = manifest.get(f"files/{i}/path", str)
        if not _PATH.fullmatch(path) or path in sizes or path == "manifest.json":
            raise manifest.fail(f"files/{i}/path", f"{path[:80]!r} is no name of a file of its own")
        size, wanted = manifest.number(f"files/{i}/bytes"), manifest.get(f"files/{i}/sha256", str)
        try:
            with (folder / path).open("rb") as file:
                found = file.seek(0, 2)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise manifest.fail(f"files/{i}/path", f"{path}: {error.strerror}") from None
        if found != size:
            raise manifest.fail(f"files/{i}/bytes", f"is {size}, {path} has {found}")
        if digest != wanted:
            raise manifest.fail(f"files/{i}/sha256", f"is not that of {path}, {digest}")
        sizes[path] = size
    for path in _NEEDED:
        if path not in sizes:
            raise manifest.fail("files", f"{path} is missing")
    return sizes


Pieces = list[tuple[int, int, int]]


def _weights(plan: _Reader, files: dict[str, int]) -> dict[str, Pieces]:
    """Pieces by name: shapes, sizes and places agree, and no two tensors share a byte."""
    limits: list[int] = []
    for i, path in enumerate(plan.get("shards", list)):
        if path not in files:
            raise plan.fail(f"shards/{i}", f"{path!r} is not in the manifest")
        limits.append(files[path])
    found: dict[str, Pieces] = {}
    spans: list[tuple[int, int, int, str]] = []
    for name in plan.get("weights", dict):
        at = f"weights/{name}"
        kind = FORMATS.get(plan.get(f"{at}/format", str))
        if kind is None:
            raise plan.fail(f"{at}/format", "is not known", f"known: {', '.join(FORMATS)}")
        rows, cols = plan.number(f"{at}/rows", 1), plan.number(f"{at}/cols", 1)
        row = kind.row_bytes(cols)
        pieces: Pieces = []
        for i in range(len(plan.get(f"{at}/pieces", list))):
            shard, offset, length = (plan.number(f"{at}/pieces/{i}/{k}") for k in range(3))
            if shard >= len(limits) or offset + length > limits[shard] or not length:
                raise plan.fail(f"{at}/pieces/{i}", "lies outside its shard")
            if i == 0 and offset % ALIGNMENT:
                raise plan.fail(f"{at}/pieces/{i}", f"is no multiple of {ALIGNMENT}")
            spans.append((shard, offset, offset + length, name))
            pieces.append((shard, offset, length))
        if row is None or sum(p[2] for p in pieces) != rows * row:
            raise plan.fail(f"{at}/pieces", f"do not hold [{rows}, {cols}] weights")
        found[name] = pieces
    spans.sort()
    for one, other in pairwise(spans):
        if one[0] == other[0] and one[2] > other[1]:
            raise plan.fail(f"weights/{other[3]}/pieces", f"overlap those of {one[3]}")
    return found


def _tiers(
    folder: Path,
    manifest: _Reader,
    plan: _Reader,
    files: dict[str, int],
    weights: dict[str, Pieces],
) -> None:
    tiers = manifest.get("tiers", dict)
    if not tiers or tiers.keys() != plan.get("tiers", dict).keys():
        raise manifest.fail("tiers", "are none, or others than those of plan.json")
    for name in tiers:
        for i, path in enumerate(manifest.get(f"tiers/{name}/files", list)):
            if path not in files:
                raise manifest.fail(f"tiers/{name}/files/{i}", f"{path!r} is not in the list")
    if "cpu" in tiers:
        _cpu(folder, plan, files, weights)


def _cpu(folder: Path, plan: _Reader, files: dict[str, int], weights: dict[str, Pieces]) -> None:
    at = "tiers/cpu"
    path: str = plan.get(f"{at}/file", str)
    if path not in files:
        raise plan.fail(f"{at}/file", f"{path[:80]!r} is not in the manifest")
    data = (folder / path).read_bytes()
    names: list[str] = []
    for i, param in enumerate(plan.get(f"{at}/params", list)):
        if param is None:
            names.append(f"unused {i}")
            continue
        name, use = plan.get(f"{at}/params/{i}/0", str), plan.get(f"{at}/params/{i}/1", str)
        if name not in weights or use not in ("matrix", "vector"):
            raise plan.fail(f"{at}/params/{i}", "names no weight, or no use of it")
        names.append(name)
    states = [f"state {i}" for i in range(len(plan.get(f"{at}/states", list)))]
    for i in range(len(plan.get(f"{at}/plans", list))):
        offset, length = (plan.number(f"{at}/plans/{i}/{k}") for k in ("offset", "length"))
        if offset % ALIGN or offset + length > len(data):
            raise plan.fail(f"{at}/plans/{i}", f"lies outside {path}")
        one = data[offset : offset + length]
        about = {
            "treadle_plan": VERSION, "graph": "", "target": CPU.name, "params": names,
            "states": states, "buffers": plan.get(f"{at}/plans/{i}/buffers", list),
            "sha256": hashlib.sha256(one).hexdigest(),
        }  # fmt: skip
        made = from_bytes(one, about, at=f"{path}, plan {i}")
        verify([made])


def _equal(folder: Path, plan: _Reader, weights: dict[str, Pieces], model: Model) -> None:
    paths: list[str] = plan.get("shards", list)
    if weights.keys() != set(model.graph.params):
        raise plan.fail("weights", "are others than the model's", "export the model again")
    held: tuple[int, bytes] = (-1, b"")
    for name, pieces in weights.items():
        source = memoryview(cast("Any", flat(model.weights[name])))
        for shard, offset, length in pieces:
            if held[0] != shard:
                held = (shard, (folder / paths[shard]).read_bytes())
            if source[:length] != memoryview(held[1])[offset : offset + length]:
                raise plan.fail(f"weights/{name}", "differs from the source", "export it again")
            source = source[length:]
        if len(source):
            raise plan.fail(f"weights/{name}", "is shorter than the source's", "export it again")
