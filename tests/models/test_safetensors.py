"""safetensors: agreement with the library, shards, and headers that lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import save_file

from treadle.errors import LimitExceeded, ModelFormatError, NotFound, TreadleError
from treadle.limits import Limits
from treadle.models import dequantise
from treadle.models.safetensors import open_directory, open_file

LIMITS = Limits()


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_what_the_library_writes(tmp_path: Path) -> None:
    wide = torch.randn(3, 4)
    tensors = {"a": wide, "b": wide.half(), "c": wide.bfloat16(), "n": torch.arange(5)}
    tensors["s"] = torch.tensor(2.5)
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found = open_file(tmp_path / "m.safetensors", LIMITS)
    assert {k: t.format for k, t in found.items()} == {
        "a": "f32", "b": "f16", "c": "bf16", "n": "i64", "s": "f32",
    }  # fmt: skip
    for name in "abcs":
        np.testing.assert_array_equal(dequantise(found[name]), tensors[name].float().numpy())
        assert not found[name].data.flags.writeable


def test_shards(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "z": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"

    def indexed(weight_map: Any) -> dict[str, Any]:
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return open_directory(tmp_path, LIMITS)

    one, two = "one.safetensors", "two.safetensors"
    assert set(indexed({"a": one, "z": one, "b": two})) == {"a", "b", "z"}
    bad: dict[str, Any] = {
        r"'c' is not in one\.safetensors": {"a": one, "z": one, "c": one},
        "one.safetensors holds 'z', which the index does not": {"a": one, "b": two},
        "no file name": {"a": "../one.safetensors"},
        "is said to lie in 7": {"a": 7},
        "missing or empty": {},
    }
    for message, weight_map in bad.items():
        with pytest.raises(ModelFormatError, match=message):
            indexed(weight_map)
    with pytest.raises(NotFound, match=r"three\.safetensors"):
        indexed({"a": "three.safetensors"})
    index.unlink()
    with pytest.raises(ModelFormatError, match="2 safetensors files and no model"):
        open_directory(tmp_path, LIMITS)
    with pytest.raises(NotFound, match="pickled weights"):
        open_directory(tmp_path / "none", LIMITS)


LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be mapped"),
    "short": (b"\0" * 5, "5 bytes, expected 8"),
    "long header": (raw({}, length=99), "header of 99 bytes in a file of 10"),
    "no JSON": (raw(b"{,}"), "not JSON"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "utf-8"),
    "no object": (raw([1]), "holds a list"),
    "deep": (raw(b"[" * 200_000), "nested too deeply"),
    "huge number": (raw(b'{"a": ' + b"9" * 10_000 + b"}"), "digits"),
    "duplicate": (raw(b'{"a": {}, "a": {}}'), "key 'a' appears twice"),
    "no entry": (raw({"a": 3}), "tensor 'a'"),
    "no dtype": (raw({"a": {"shape": [2], "data_offsets": [0, 8]}}), "expected {dtype"),
    "dtype": (raw({"a": entry("F13")}, b"\0" * 8), "known dtype"),
    "dtype list": (raw({"a": entry(["F32"])}, b"\0" * 8), "known dtype"),
    "negative": (raw({"a": entry(shape=(-2,))}, b"\0" * 8), "are no sizes"),
    "boolean": (raw({"a": entry(shape=(True, 2))}, b"\0" * 8), "are no sizes"),
    "fraction": (raw({"a": entry(shape=(2.0,))}, b"\0" * 8), "are no sizes"),
    "too small": (raw({"a": entry(offsets=(0, 4))}, b"\0" * 8), "needs 8 bytes"),
    "reversed": (raw({"a": entry(offsets=(8, 0))}, b"\0" * 8), "needs 8 bytes"),
    "outside": (raw({"a": entry(offsets=(8, 16))}, b"\0" * 8), "of 8"),
    "overflow": (raw({"a": entry(shape=(1 << 62, 4))}, b"\0" * 8), "needs"),
    "overlap": (raw({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), "safetensors"),
    "hole": (raw({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), "safetensors"),
    "rest": (raw({"a": entry()}, b"\0" * 12), "safetensors"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_lie_is_named(case: str, tmp_path: Path) -> None:
    data, message = LIES[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError) as caught:
        open_file(path, LIMITS)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_header_limit(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw({"a": entry()}, b"\0" * 8))
    open_file(path, LIMITS)
    with pytest.raises(LimitExceeded, match="safetensors_header_bytes"):
        open_file(path, replace(LIMITS, safetensors_header_bytes=20))


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    data = raw({"a": entry(), "b": entry("BF16", (1, 3), (8, 14))}, b"\0" * 14)
    path = tmp_path / "m.safetensors"
    for size in range(len(data)):
        path.unlink(missing_ok=True)
        path.write_bytes(data[:size])
        with pytest.raises(TreadleError):
            open_file(path, LIMITS)
