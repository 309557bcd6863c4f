"""Weights are prepared once an epoch: what is kept elsewhere belongs to other weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arena import HONEST, LINEAR, Entered, entered, solution
from msgspec import structs

from treadle.errors import InvalidRequest
from treadle.kernels.build import BuildFailure, build
from treadle.kernels.definitions import define
from treadle.kernels.families import PACKED, family_of
from treadle.kernels.packing import pack
from treadle.kernels.run.refusal import Refused
from treadle.kernels.schema import Definition, Solution

pytestmark = pytest.mark.alone

SPLIT = {"entry": "main.py::prepare", "run": "main.py::run_prepared"}
SOURCES = Path(__file__).parents[3] / "kernels" / "sources"
START = """\
import numpy as np

kept = {}


def run(A, B, C):
    np.matmul(A, B.T, out=C)


"""
HONESTLY = """\
def prepare(B):
    return np.ascontiguousarray(B.T)


def run_prepared(A, B, made, C):
    np.matmul(A, made, out=C)
"""
CHEATS = {
    "the first result for ever": """
def prepare(B):
    return kept.setdefault("w", np.ascontiguousarray(B.T))

def run_prepared(A, B, made, C):
    np.matmul(A, made, out=C)
""",
    "weights kept by the call": """
def prepare(B):
    return None

def run_prepared(A, B, made, C):
    np.matmul(A, kept.setdefault("w", np.ascontiguousarray(B.T)), out=C)
""",
    "told apart by address": """
def prepare(B):
    return None

def run_prepared(A, B, made, C):
    w = kept.setdefault(B.ctypes.data, np.ascontiguousarray(B.T))
    np.matmul(A, w, out=C)
""",
    "told apart by their first row": """
def prepare(B):
    w = kept.setdefault(B[:1].tobytes(), np.ascontiguousarray(B.T))
    return w

def run_prepared(A, B, made, C):
    np.matmul(A, made, out=C)
""",
    "a result kept beside": """
def prepare(B):
    kept["fresh"] = True
    return np.ascontiguousarray(B.T)

def run_prepared(A, B, made, C):
    if A.shape not in kept:
        kept[A.shape] = A @ made
    C[...] = kept[A.shape]
""",
}


def split(name: str, body: str) -> Solution:
    one = solution(name, START + body)
    return structs.replace(one, spec=structs.replace(one.spec, treadle={
        **(one.spec.treadle or {}), "prepare": SPLIT}))  # fmt: skip


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entered]:
    with entered(tmp_path_factory.mktemp("cache"), held=True) as match:
        yield match


def test_an_honest_preparation_passes_and_its_time_stands_apart(held: Entered) -> None:
    outcome = held.measure(split("honest", HONESTLY))
    assert outcome.audits > 0
    assert outcome.setups >= 2  # epochs
    assert outcome.setup is not None
    assert 0 < outcome.setup < 0.1


def test_who_prepares_nothing_has_no_setup(held: Entered) -> None:
    outcome = held(HONEST)
    assert outcome.setup is None


@pytest.mark.parametrize("body", CHEATS.values(), ids=CHEATS)
def test_weights_of_another_epoch_are_wrong(held: Entered, body: str) -> None:
    with pytest.raises(Refused) as caught:
        held.measure(split("cheat", body))
    assert caught.value.status == "INCORRECT_NUMERICAL"


def test_a_match_without_epochs_takes_nobody_who_prepares(tmp_path: Path) -> None:
    with entered(tmp_path) as match, pytest.raises(InvalidRequest, match="prepares weights"):
        match.measure(split("honest", HONESTLY))


def test_there_must_be_weights_to_prepare(tmp_path: Path) -> None:
    without = structs.replace(LINEAR, treadle={"op": "linear"})
    with pytest.raises(BuildFailure, match="no weights"):
        build(split("honest", HONESTLY), without, device="cpu:test", cache=tmp_path)


def test_panels_of_a_c_kernel_are_freed_and_made_again(tmp_path: Path) -> None:
    d: Definition = define("linear", "gemm_n40_k300_f32", {"O": 40, "I": 300}, act="f32",
                           op_type="gemm", names={"T": "M", "O": "N", "I": "K", "x": "A",
                                                  "w": "B", "y": "C"})  # fmt: skip
    family = family_of(d, PACKED)
    assert family is not None
    one = pack(d, "cpp_packed", family, SOURCES)
    with entered(tmp_path, d, HONEST, held=True) as match:
        outcome = match.measure(one)
    assert outcome.setups >= 2
    assert outcome.audits > 0
