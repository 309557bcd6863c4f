"""Properties of the GGUF reader: what is written is read back, what is damaged is an error."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from gguf_bytes import document, key, tensor

from treadle.errors import TreadleError
from treadle.models import GgufFile

QUICK = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
RANGES = {"u8": (0, 8), "i8": (1, 8), "u16": (0, 16), "i16": (1, 16), "u32": (0, 32),
          "i32": (1, 32), "u64": (0, 64), "i64": (1, 64)}  # fmt: skip
NAMES = st.text(max_size=12).filter(lambda t: t != "general.alignment")
SAFE = st.characters(exclude_categories=("Cs",))


def scalars(kind: str) -> st.SearchStrategy[Any]:
    if kind in RANGES:
        signed, bits = RANGES[kind]
        low = -(1 << (bits - 1)) if signed else 0
        return st.integers(low, low + (1 << bits) - 1)
    if kind == "bool":
        return st.booleans()
    if kind == "str":
        return st.text(SAFE, max_size=20)
    return st.floats(width=32 if kind == "f32" else 64, allow_nan=False)


KINDS = [*RANGES, "f32", "f64", "bool", "str"]
VALUES = st.sampled_from(KINDS).flatmap(
    lambda kind: st.one_of(
        st.tuples(st.just(kind), scalars(kind)),
        st.tuples(st.just(f"[{kind}]"), st.lists(scalars(kind), max_size=6)),
    )
)
BLOCKS = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q4_1": (3, 32, 20), "q6_k": (14, 256, 210)}
SHAPES = st.tuples(
    st.sampled_from(list(BLOCKS)), st.integers(1, 3), st.lists(st.integers(1, 3), max_size=3)
)


def laid_out(metadata: dict[str, tuple[str, Any]], shapes: list[tuple[str, int, list[int]]]) -> Any:
    """The bytes of a file, and each tensor's (format, shape, raw bytes)."""
    keys = [key(name, kind, value) for name, (kind, value) in metadata.items()]
    entries, data, wanted = [], b"", {}
    for i, (format, blocks, outer) in enumerate(shapes):
        code, weights, size = BLOCKS[format]
        axes = (blocks * weights, *outer)
        count = blocks * size * int(np.prod(outer, dtype=np.int64))
        raw = bytes((i + j) % 251 for j in range(count))
        entries.append(tensor(f"t{i}", axes, code, len(data)))
        wanted[f"t{i}"] = (format, axes[::-1], raw)
        data += raw + b"\0" * (-count % 32)
    return document(keys, entries, data), wanted


@QUICK
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.lists(SHAPES, max_size=4))
def test_what_is_written_is_read(tmp_path: Path, metadata: Any, shapes: Any) -> None:
    data, wanted = laid_out(metadata, shapes)
    path = tmp_path / "m.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    file = GgufFile.open(path)
    assert file.metadata == {name: value for name, (_, value) in metadata.items()}
    assert list(file.tensors) == list(wanted)
    for name, (format, shape, raw) in wanted.items():
        found = file.tensors[name]
        assert (found.format, found.shape, found.data.tobytes()) == (format, shape, raw)


@QUICK
@given(st.data())
def test_a_lying_number_never_reads_outside(tmp_path: Path, data: st.DataObject) -> None:
    """Any 8 bytes of the head replaced: a typed error, or tensors that lie inside the file."""
    shapes = [("f32", 2, [3]), ("q4_1", 1, [2]), ("q6_k", 1, [])]
    metadata = {"k": ("[str]", ["ab", ""]), "n": ("[u32]", [1, 2]), "b": ("bool", True)}
    good, _ = laid_out(metadata, shapes)
    at = data.draw(st.integers(0, len(good) - 8))
    value = data.draw(st.one_of(st.integers(0, 300), st.integers(0, (1 << 64) - 1)))
    path = tmp_path / "m.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(good[:at] + struct.pack("<Q", value) + good[at + 8 :])
    try:
        tensors = GgufFile.open(path).tensors
    except TreadleError as error:
        refusal, tensors = str(error), {}
        assert str(path) in refusal
    assert sum(t.data.nbytes for t in tensors.values()) <= len(good)


@pytest.fixture(scope="module")
def target() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "fuzz_target_gguf", Path(__file__).parent / "targets" / "gguf.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_and_its_mutants(target: ModuleType, tmp_path: Path) -> None:
    tried, good = target.replay(3_000, tmp_path / "case.gguf")
    print(f"{tried} files, {good} of them well-formed")
    assert tried == 3_000
    assert 30 < good < tried - 300  # neither all refused at the magic number nor all let through
