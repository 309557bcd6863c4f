"""The GGUF reader: agreement with package gguf, and every way a file can lie."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_bytes import ARRAY, document, key, tensor, text
from msgspec.structs import replace

from treadle.errors import LimitExceeded, ModelFormatError, NotFound, TreadleError, Unsupported
from treadle.limits import Limits
from treadle.models import GgufFile, dequantise

KEYS = [key("general.architecture", "str", "llama"), key("llama.block_count", "u32", 2)]
F32, Q4_0 = 0, 2


def read(path: Path, data: bytes, limits: Limits | None = None) -> GgufFile:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return GgufFile.open(path, limits)


def test_a_file_of_package_gguf_reads_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "all.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    values: dict[str, Any] = {
        "a.text": "naïve ☃",
        "a.flag": True,
        "a.int": -5,
        "a.real": 0.5,
        "a.texts": ["", "x", "ﬁ"],
        "a.ints": [1, -2, 3],
        "a.reals": [0.25, -8.0],
        "a.flags": [True, False],
        "a.none": [],
    }
    writer.add_string("a.text", values["a.text"])
    writer.add_bool("a.flag", True)
    writer.add_int64("a.int", -5)
    writer.add_float64("a.real", 0.5)
    for name in ("a.texts", "a.ints", "a.reals", "a.flags"):
        writer.add_array(name, values[name])
    del values["a.none"]  # the package writes no empty arrays; see test_empty_things
    weights: dict[str, np.ndarray] = {}
    for name in ("f32", "f16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "bf16"):
        kind = gguf.GGMLQuantizationType[name.upper()]
        value = rng.standard_normal((3, 2, 64)).astype(np.float32)
        packed = gguf.quants.quantize(value, kind)
        weights[name] = gguf.quants.dequantize(packed, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile.open(path)
    assert {k: file.metadata[k] for k in values} == values
    assert all(type(file.metadata[k]) is type(v) for k, v in values.items())
    for name, wanted in weights.items():
        assert (file.tensors[name].format, file.tensors[name].shape) == (name, (3, 2, 64))
        np.testing.assert_array_equal(dequantise(file.tensors[name]), wanted)
        assert not file.tensors[name].data.flags.writeable


def test_empty_things(tmp_path: Path) -> None:
    """No keys, no tensors, empty strings and arrays are well-formed."""
    path = tmp_path / "m.gguf"
    assert read(path, document([], [])).tensors == {}
    keys = [key("", "str", ""), key("a", "[u8]", []), key("b", "[str]", [])]
    assert read(path, document(keys, [])).metadata == {"": "", "a": [], "b": []}


def test_own_alignment(tmp_path: Path) -> None:
    one, two = tensor("a", (1,), F32, 0), tensor("b", (1,), F32, 64)
    data = struct.pack("<f", 1.5) + b"\0" * 60 + struct.pack("<f", 2.5)
    keys = [key("general.alignment", "u32", 64)]
    file = read(tmp_path / "m.gguf", document(keys, [one, two], data, alignment=64))
    assert [file.tensors[n].data.tolist() for n in "ab"] == [[1.5], [2.5]]


BIG = 1 << 62
LIES: dict[str, tuple[bytes, type[TreadleError], str]] = {
    "empty file": (b"", ModelFormatError, "cannot be mapped"),
    "magic": (document([], [], magic=b"GGML"), ModelFormatError, "offset 0: magic number is b'GGM"),
    "cut magic": (b"GG", ModelFormatError, "magic number needs 4 bytes, the file has 2 left"),
    "version": (document([], [], version=1), Unsupported, "GGUF version 1"),
    "big-endian": (document([], [], version=3 << 24), Unsupported, "big-endian version 3"),
    "keys": (document(KEYS, [], key_count=3, alignment=1), ModelFormatError, "length of key 2"),
    "many keys": (document(KEYS, [], key_count=BIG), LimitExceeded, "gguf_keys"),
    "many tensors": (document(KEYS, [], tensor_count=1 << 17), LimitExceeded, "gguf_tensors"),
    "key twice": (document([*KEYS, KEYS[0]], []), ModelFormatError, "cture' appears twice"),
    "key not UTF-8": (document([key(b"\xff", "u8", 0)], []), ModelFormatError, "0 is not UTF-8"),
    "text not UTF-8": (document([key("k", "str", b"\xc3")], []), ModelFormatError, "'k' is not"),
    "long text": (
        document([text("k") + struct.pack("<IQ", 8, BIG)], []), LimitExceeded, "gguf_string_bytes"),
    "cut text": (
        document([text("k") + struct.pack("<IQ", 8, 9) + b"12"], [], alignment=1), ModelFormatError,
        "value of 'k' needs 9 bytes, the file has 2 left"),
    "value type": (
        document([text("k") + struct.pack("<I", 13)], []), ModelFormatError, "value type 13"),
    "bool": (document([key("k", "bool", 2)], []), ModelFormatError, "byte 2, expected 0 or 1"),
    "bools": (document([key("k", "[bool]", [1, 2])], []), ModelFormatError, "other than 0 and 1"),
    "array of arrays": (
        document([text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 0)], []), ModelFormatError,
        "unsupported element type 9"),
    "long array": (
        document([text("k") + struct.pack("<IIQ", ARRAY, 0, BIG)], []), LimitExceeded,
        "gguf_array_items"),
    "cut array": (
        document([text("k") + struct.pack("<IIQ", ARRAY, 10, 1000)], []), ModelFormatError,
        "needs 8000 bytes"),
    "strings claimed": (
        document([text("k") + struct.pack("<IIQ", ARRAY, 8, 3_999_999)], []), ModelFormatError,
        "3999999 strings"),
    "cut string in array": (
        document([text("k") + struct.pack("<IIQQ", ARRAY, 8, 1, 99)], []), ModelFormatError,
        "value of 'k' needs 99 bytes"),
    "alignment 0": (
        document([key("general.alignment", "u32", 0)], []), ModelFormatError, "alignment is 0"),
    "alignment 24": (
        document([key("general.alignment", "u32", 24)], []), ModelFormatError, "power of two"),
    "alignment text": (
        document([key("general.alignment", "str", "32")], []), ModelFormatError, "is '32'"),
    "tensor twice": (
        document(KEYS, [tensor("a", (8,), F32, 0), tensor("a", (8,), F32, 32)], b"\0" * 64),
        ModelFormatError, "tensor 'a' appears twice"),
    "no axes": (document(KEYS, [tensor("a", (), F32, 0)]), ModelFormatError, "'a' has the axes []"),
    "axis 0": (document(KEYS, [tensor("a", (8, 0), F32, 0)]), ModelFormatError, "none of them 0"),
    "five axes": (document(KEYS, [tensor("a", (1,) * 5, F32, 0)]), LimitExceeded, "gguf_dims is 5"),
    "overflow": (
        document(KEYS, [tensor("a", (1 << 32, 1 << 32), F32, 0)], b"\0" * 64),
        ModelFormatError, "'a' ends at"),
    "wraps to 0": (
        document(KEYS, [tensor("a", (1 << 62, 4), F32, 0)]), ModelFormatError, "'a' ends at"),
    "format": (document(KEYS, [tensor("a", (256,), 16, 0)]), Unsupported, "format number 16"),
    "row of no blocks": (
        document(KEYS, [tensor("a", (33,), Q4_0, 0)]), ModelFormatError, "not a multiple of 32"),
    "odd offset": (
        document(KEYS, [tensor("a", (1,), F32, 4)], b"\0" * 64), ModelFormatError,
        "lies at 4, not a multiple of 32"),
    "past the end": (
        document(KEYS, [tensor("a", (9,), F32, 0)], b"\0" * 32), ModelFormatError,
        "'a' ends at"),
    "far offset": (
        document(KEYS, [tensor("a", (1,), F32, BIG)], b"\0" * 32), ModelFormatError, "ends at"),
    "overlap": (
        document(KEYS, [tensor("a", (9,), F32, 0), tensor("b", (8,), F32, 32)], b"\0" * 64),
        ModelFormatError, "tensor 'b' at 32 overlaps 'a', which ends at 36"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_a_lie_is_named(case: str, tmp_path: Path) -> None:
    data, error, message = LIES[case]
    path = tmp_path / "m.gguf"
    with pytest.raises(error) as caught:
        read(path, data)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        GgufFile.open(tmp_path / "none.gguf")
    with pytest.raises(ModelFormatError):
        GgufFile.open(tmp_path)  # a folder


def test_limits_are_those_given(tmp_path: Path) -> None:
    path, data = tmp_path / "m.gguf", document([key("a", "[str]", ["xx", "yyy"])], [])
    for change in ({"gguf_string_bytes": 2}, {"gguf_array_items": 1}, {"gguf_keys": 0}):
        with pytest.raises(LimitExceeded, match=next(iter(change))):
            read(path, data, replace(Limits(), **change))
    assert read(path, data, replace(Limits(), gguf_string_bytes=3)).metadata["a"][1] == "yyy"


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    tensors = [tensor("a", (8,), F32, 0), tensor("b", (32, 2), Q4_0, 32)]
    keys = [*KEYS, key("k", "[str]", ["x", "y"]), key("n", "[i32]", [1, 2, 3])]
    data = document(keys, tensors, b"\1" * (32 + 36))
    path = tmp_path / "m.gguf"
    assert set(read(path, data).tensors) == {"a", "b"}
    for size in range(len(data)):
        with pytest.raises(ModelFormatError):
            read(path, data[:size])
