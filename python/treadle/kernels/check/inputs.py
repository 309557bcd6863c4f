"""Inputs of one trial: floats from a seed, integers that form a legal batch, files of the dataset.

Which integers are legal follows from an operand's name, as the op table and the public dataset use
them (`ids`, `slots`, `starts`, `kv_indptr`, ...). Everything else integral is small and random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.check import constraints, dtypes, sizes
from treadle.kernels.schema import BlobInput, Definition, ScalarInput, Tensor, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE = 1 << 16


class Profile(StrEnum):
    """What the floats of a trial look like."""

    NORMAL = "normal"
    ZERO = "zero"
    LARGE = "large"
    TINY = "tiny"
    ONE_HOT = "one_hot"
    TIES = "ties"


def make(
    definition: Definition,
    workload: Workload,
    axes: Mapping[str, int],
    rng: np.random.Generator,
    profile: Profile = Profile.NORMAL,
    root: Path | None = None,
    kept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Stored arrays by input name, Python numbers for scalars; their order is the call order.

    axes: the variable axes of this trial, which need not be the workload's. kept: operands that are
    made already. Raises InvalidRequest where no legal inputs exist at these sizes or a constraint
    does not hold, NotFound for a file.
    """
    known = sizes.all_axes(definition, axes)
    maker = _Maker(definition, known, rng, profile)
    same = dict(axes) == dict(workload.axes)
    made: dict[str, Any] = {}
    for name, tensor in definition.inputs.items():
        given = workload.inputs.get(name)
        if kept is not None and name in kept:
            made[name] = kept[name]
        elif isinstance(given, ScalarInput):
            made[name] = given.value
        elif isinstance(given, BlobInput) and same:
            made[name] = _blob(root, given, tensor, sizes.shape(tensor, known))
        else:
            made[name] = maker.one(name, tensor)
    check(definition, known, made)
    return made


def check(definition: Definition, known: Mapping[str, int], made: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for the first constraint that inputs break."""
    for text in definition.constraints:
        if not constraints.holds(text, {**known, **made}, definition.name):
            raise InvalidRequest(
                f"constraint {text!r} does not hold", at=definition.name, hint="change the workload"
            )


def normal(rng: np.random.Generator, count: int, dtype: str) -> NDArray[Any]:
    """Normal numbers in stored form, at about 3 ns each."""
    picks = rng.integers(0, TABLE, count, dtype=np.uint16)
    return _normals(dtype)[picks]


@cache
def _normals(dtype: str) -> NDArray[Any]:
    values = np.sort(np.random.default_rng(0).standard_normal(TABLE))
    return dtypes.narrow(values, dtype)


class _Maker:
    """The operands of one trial; later ones may depend on earlier ones."""

    def __init__(
        self,
        definition: Definition,
        known: Mapping[str, int],
        rng: np.random.Generator,
        profile: Profile,
    ) -> None:
        self._definition, self._known, self._rng, self._profile = definition, known, rng, profile
        self._ours = definition.treadle or {}
        self._lengths: NDArray[np.int64] | None = None  # queries of each sequence

    def one(self, name: str, tensor: Tensor) -> Any:
        shape = sizes.shape(tensor, self._known)
        if tensor.shape is None:
            return self._scalar(name, tensor)
        if dtypes.is_float(tensor.dtype):
            return self._float(name, tensor, shape)
        if tensor.dtype == "bool":
            return self._rng.integers(0, 2, shape).astype(bool)
        if self._ours.get("format") == "w4g32" and name in self._ours.get("weights", ()):
            return self._packed(shape)
        return self._integers(name, tensor, shape).astype(dtypes.stored(tensor.dtype))

    def _scalar(self, name: str, tensor: Tensor) -> float | int | bool:
        if name == "sm_scale":
            return 1.0 / math.sqrt(self._known.get("head_dim", self._known.get("d", 64)))
        if tensor.dtype == "bool":
            return bool(self._rng.integers(0, 2))
        return 1.0 if dtypes.is_float(tensor.dtype) else 1

    def _float(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
        count = math.prod(shape)
        if name == "probs":
            return dtypes.narrow(self._probabilities(shape), tensor.dtype)
        if name == "top_p":
            return dtypes.narrow(self._rng.uniform(0.1, 0.98, shape), tensor.dtype)
        if name in ("inv_freq", "freq"):
            powers = np.arange(count) / max(count, 1)
            return dtypes.narrow(10000.0**-powers, tensor.dtype).reshape(shape)
        if name == "cos_sin_cache":
            angle = self._rng.uniform(0, 2 * math.pi, (shape[0], shape[1] // 2))
            both = np.concatenate([np.cos(angle), np.sin(angle)], -1)
            return dtypes.narrow(both, tensor.dtype)
        plain = normal(self._rng, count, tensor.dtype).reshape(shape)
        if self._profile is Profile.NORMAL:
            return plain
        return self._shaped(plain, tensor.dtype)

    def _shaped(self, plain: NDArray[Any], dtype: str) -> NDArray[Any]:
        match self._profile:
            case Profile.ZERO:
                return np.zeros_like(plain)
            case Profile.LARGE:
                return dtypes.narrow(dtypes.widen(plain, dtype) * 16.0, dtype)
            case Profile.TINY:
                small = max(dtypes.smallest(dtype), 1e-30) * 2
                return dtypes.narrow(dtypes.widen(plain, dtype) * small, dtype)
            case Profile.ONE_HOT:
                hot = np.zeros_like(plain)
                if plain.size:
                    rows = hot.reshape(-1, plain.shape[-1])
                    at = self._rng.integers(0, plain.shape[-1], len(rows))
                    rows[np.arange(len(rows)), at] = dtypes.narrow(np.ones(1), dtype)[0]
                return hot
            case _:  # ties: few distinct values
                return dtypes.narrow(np.round(dtypes.widen(plain, dtype)), dtype)

    def _probabilities(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        heat = self._rng.uniform(0.3, 1.5, (*shape[:-1], 1))
        logits = self._rng.standard_normal(shape) * 3 / heat
        weights = np.exp(logits - logits.max(-1, keepdims=True, initial=0))
        return weights / weights.sum(-1, keepdims=True)

    def _packed(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        rows, size = shape
        codes = self._rng.integers(0, 256, (rows, size * 8 // 9), dtype=np.uint8)
        scales = self._rng.uniform(0.01, 0.1, (rows, size // 18)).astype(np.float16)
        return np.concatenate([codes, scales.view(np.uint8)], -1).view(np.int8)

    def _integers(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> NDArray[np.int64]:
        rng, known = self._rng, self._known
        if name == "starts" or name.endswith("indptr"):
            return self._bounds(name, shape[0] - 1)
        match name:
            case "ids":
                return rng.integers(0, self._first_axis("table"), shape)
            case "rows":
                if not self._first_axis("x") and math.prod(shape):
                    raise self._wrong(name, "no rows to take")
                return rng.integers(0, max(self._first_axis("x"), 1), shape)
            case "pos" | "positions":
                return rng.integers(0, known.get("max_seq_len", 4096), shape)
            case "slots":
                room = known["P"] * known["B"]
                if room < shape[0]:
                    raise self._wrong(name, f"{shape[0]} slots in {room} places")
                return rng.choice(room, shape[0], replace=False)
            case "table" | "kv_indices" if "num_pages" in known or "P" in known:
                pages = known.get("num_pages", known.get("P", 0))
                if pages < 1 and math.prod(shape):
                    raise self._wrong(name, "no pages")
                return rng.integers(0, max(pages, 1), shape)
            case "lens":
                if self._lengths is not None and len(self._lengths) != shape[0]:
                    raise self._wrong(name, f"{len(self._lengths)} sequences, {shape[0]} lengths")
                lengths = self._queries(shape[0])
                room = known["L"] * known["B"]
                if (lengths > room).any():
                    raise self._wrong(name, f"sequences longer than {room}")
                return lengths + (rng.random(shape[0]) * (room - lengths + 1)).astype(np.int64)
            case "kv_last_page_len":
                size = known["page_size"]
                ends = np.array([1, size])
                return np.where(
                    rng.random(shape) < 0.4,
                    rng.choice(ends, shape),
                    rng.integers(1, size + 1, shape),
                )
            case "top_k":
                return rng.integers(1, min(known.get("vocab_size", 64), 100) + 1, shape)
            case "i" if "E" in known and len(shape) == 2:
                order = rng.random((shape[0], known["E"])).argsort(-1)
                return order[:, : shape[1]]
            case _:
                return rng.integers(0, 100, shape)

    def _bounds(self, name: str, count: int) -> NDArray[np.int64]:
        if count < 0:
            raise self._wrong(name, "bounds of fewer than no sequences")
        total = self._total(name)
        if name in ("starts", "qo_indptr"):
            self._lengths = _partition(self._rng, total, count)
            lengths = self._lengths
        elif self._lengths is not None:  # keys: at least those of a sequence's own queries
            size = self._known.get("page_size", 1)
            least = -(-self._lengths // size)
            if least.sum() <= total:
                lengths = least + _partition(self._rng, total - int(least.sum()), count)
            else:
                raise self._wrong(name, f"{total} is fewer than the queries")
        else:
            lengths = _partition(self._rng, total, count)
        if total and not count:
            raise self._wrong(name, f"{total} of no sequence")
        return np.concatenate([[0], np.cumsum(lengths)])

    def _queries(self, count: int) -> NDArray[np.int64]:
        if self._lengths is None:
            return np.ones(count, np.int64)
        return self._lengths

    def _total(self, name: str) -> int:
        for text in self._definition.constraints:
            pair = constraints.assigned(text)
            if pair is not None and pair[1].startswith(f"{name}[-1]") and pair[0] in self._known:
                return self._known[pair[0]]
        if name == "starts":
            return self._known["T"]
        indices = self._definition.inputs.get(name.replace("indptr", "indices"))
        if indices is not None:
            return math.prod(sizes.shape(indices, self._known))
        raise self._wrong(name, "nothing says where it ends")

    def _first_axis(self, name: str) -> int:
        tensor = self._definition.inputs.get(name)
        if tensor is None or not tensor.shape:
            return 100
        return self._known[tensor.shape[0]]

    def _wrong(self, name: str, text: str) -> InvalidRequest:
        return InvalidRequest(
            f"no legal inputs: {text}", at=f"{self._definition.name} {name}", hint="change the axes"
        )


def _partition(rng: np.random.Generator, total: int, count: int) -> NDArray[np.int64]:
    """`count` lengths of sum `total`, some empty, some much longer than others."""
    if count <= 0:
        return np.zeros(0, np.int64)
    weights = rng.exponential(1.0, count) * (rng.random(count) > 0.1)
    if weights.sum() == 0:
        weights[rng.integers(0, count)] = 1.0
    cuts = np.floor(np.cumsum(weights) / weights.sum() * total + 1e-9).astype(np.int64)
    cuts[-1] = total
    return np.diff(np.concatenate([[0], cuts]))


def _blob(root: Path | None, given: BlobInput, tensor: Tensor, shape: tuple[int, ...]) -> Any:
    """A tensor of a safetensors file below the root."""
    if root is None:
        raise NotFound("no dataset root for a blob", at=given.path, hint="give the root")
    path = (root / given.path).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise NotFound("no such blob below the dataset", at=given.path, hint="fetch it first")
    from safetensors import safe_open

    name = {"bfloat16": "BF16"}.get(tensor.dtype)
    if name is not None:
        raise InvalidRequest("bfloat16 blobs are not read yet", at=given.path, hint="use float32")
    opened: Any = safe_open(str(path), framework="numpy")
    with opened as file:
        found = file.get_tensor(given.tensor_key)
    if found.dtype != dtypes.stored(tensor.dtype) or found.shape != shape:
        raise InvalidRequest(
            f"{found.dtype} {found.shape}, not {tensor.dtype} {shape}",
            at=f"{given.path} {given.tensor_key}",
            hint="correct the workload",
        )
    return np.ascontiguousarray(found)
