"""Weights of safetensors files as mapped views, one file or many with an index.

The header is checked here first (size, duplicate keys, shapes, offsets), then by the library.
Views are made over our own mapping because the library copies each tensor that numpy asks for
and numpy has no bfloat16.
"""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from treadle.errors import LimitExceeded, ModelFormatError, NotFound
from treadle.limits import Limits
from treadle.models.json_file import parse_json, read_json
from treadle.models.mapping import map_file
from treadle.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

_INDEX = "model.safetensors.index.json"
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_PLAIN = {"F32": ("f32", "<f4"), "F16": ("f16", "<f2"), "BF16": ("bf16", "<u2")}


def open_directory(directory: Path, limits: Limits) -> dict[str, Tensor]:
    """All tensors of a model directory: through its index, or of its single file.

    Raises NotFound when there are no weights, ModelFormatError when the index and the files
    disagree or a file is malformed, LimitExceeded for an oversized header.
    """
    index = directory / _INDEX
    if index.exists():
        return _open_sharded(index, limits)
    files = sorted(directory.glob("*.safetensors"))
    preferred = directory / "model.safetensors"
    if preferred in files:
        files = [preferred]
    if len(files) == 1:
        return open_file(files[0], limits)
    if files:
        raise ModelFormatError(
            f"{len(files)} safetensors files and no {_INDEX}",
            at=str(directory),
            hint="fetch the index, or name one file model.safetensors",
        )
    raise NotFound(
        "no safetensors files", at=str(directory), hint="pickled weights (.bin, .pt) are never read"
    )


def _open_sharded(index: Path, limits: Limits) -> dict[str, Tensor]:
    weight_map: Any = read_json(index, limits.safetensors_header_bytes).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFormatError("weight_map is missing or empty", at=str(index))
    owners = cast("dict[str, Any]", weight_map)
    shards: dict[str, dict[str, Tensor]] = {}
    tensors: dict[str, Tensor] = {}
    for name, file in owners.items():
        # An index is untrusted text: it must not reach outside its own folder.
        if not isinstance(file, str) or Path(file).name != file or "\\" in file:
            raise ModelFormatError(
                f"{name!r} is said to lie in {file!r}, no file name", at=str(index)
            )
        if file not in shards:
            shards[file] = open_file(index.parent / file, limits)
        if name not in shards[file]:
            raise ModelFormatError(f"{name!r} is not in {file}", at=str(index))
        tensors[name] = shards[file][name]
    for file, shard in shards.items():
        extra = next((name for name in shard if owners.get(name) != file), None)
        if extra is not None:
            raise ModelFormatError(
                f"{file} holds {extra!r}, which the index does not", at=str(index)
            )
    return tensors


def open_file(path: Path, limits: Limits) -> dict[str, Tensor]:
    """Maps one file. Tensors of integer and other types keep their raw bytes, `format` = type."""
    data = map_file(path)
    header, base = _header(path, data, limits)
    tensors = {name: _view(path, name, entry, data, base) for name, entry in header.items()}
    try:
        with cast("AbstractContextManager[Any]", safe_open(str(path), framework="np")) as opened:
            listed = set(cast("list[str]", opened.keys()))
    except (SafetensorError, OSError) as error:
        raise ModelFormatError(str(error), at=str(path)) from None
    if listed != set(tensors):
        raise ModelFormatError("two readings of the header disagree", at=str(path))
    return tensors


def _header(path: Path, data: mmap.mmap, limits: Limits) -> tuple[Mapping[str, Any], int]:
    if len(data) < 8:
        raise ModelFormatError(f"{len(data)} bytes, expected 8 or more", at=f"{path}, offset 0")
    length = int.from_bytes(data[:8], "little")
    if length > limits.safetensors_header_bytes:
        maximum = limits.safetensors_header_bytes
        raise LimitExceeded("safetensors_header_bytes", length, maximum, at=str(path), exit_code=3)
    if length > len(data) - 8:
        raise ModelFormatError(
            f"header of {length} bytes in a file of {len(data)}", at=f"{path}, offset 0"
        )
    header = parse_json(data[8 : 8 + length], f"{path}, header")
    header.pop("__metadata__", None)
    return header, 8 + length


def _view(path: Path, name: str, entry: Any, data: mmap.mmap, base: int) -> Tensor:
    at = f"{path}, tensor {name!r}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        item = _ITEM_BYTES[dtype]
    except (KeyError, TypeError, ValueError):
        raise ModelFormatError(
            "expected {dtype, shape, data_offsets} with a known dtype", at=at
        ) from None
    # `type(…) is int` keeps out booleans, which Python counts as integers.
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ModelFormatError(f"shape {shape} or offsets {begin, end} are no sizes", at=at)
    if end > len(data) - base or end - begin != prod(shape) * item:
        raise ModelFormatError(
            f"{dtype} {shape} needs {prod(shape) * item} bytes, offsets {begin}…{end} give "
            f"{end - begin} of {len(data) - base}",
            at=at,
        )
    if dtype not in _PLAIN:
        raw = np.ndarray((end - begin,), "u1", buffer=data, offset=base + begin)
        return Tensor(name, shape, dtype.lower(), raw)
    format, kind = _PLAIN[dtype]
    return Tensor(name, shape, format, np.ndarray(shape, kind, buffer=data, offset=base + begin))
