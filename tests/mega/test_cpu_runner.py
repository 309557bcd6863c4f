"""Plans run by the native workers: equal to the reference, and the same bits for any number of
workers, bucket, chunk and instruction set."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from treadle import _core
from treadle.graph import Graph, run
from treadle.models import gemma2, gemma3, llama, qwen2, qwen3, qwen3_moe
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch

mega = pytest.importorskip("treadle.mega", reason="needs the plan compiler")

PAGE, POOL, CONTEXT, SEGMENT, SLOTS = 16, 24, 96, 32, 4
BUCKETS = (1, 4, 16, 64)
Array = NDArray[Any]


def _shape(**changes: Any) -> Shape:
    sizes: dict[str, Any] = {
        "layers": 2, "D": 64, "H": 6, "K": 2, "d": 16, "F": 96, "V": 150, "eps": 1e-5,
        "context": CONTEXT, "tied": False,
    }  # fmt: skip
    return Shape(**(sizes | changes))


def _rope() -> Rope:
    return Rope(16, 100.0)


FAMILIES: dict[str, Graph] = {
    "llama": llama.build(llama.Config(_shape(layers=3, tied=True), _rope()), page=PAGE),
    "qwen2": qwen2.build(qwen2.Config(_shape(), _rope(), (0, 37)), page=PAGE),
    "qwen3": qwen3.build(qwen3.Config(_shape(), _rope(), (0, 0)), page=PAGE),
    "gemma2": gemma2.build(
        gemma2.Config(_shape(tied=True, layers=4), _rope(), (20, 0, 20, 0), 0.3, 20.0, 15.0),
        page=PAGE),
    "gemma3": gemma3.build(
        gemma3.Config(_shape(tied=True), _rope(), Rope(16, 10.0), (20, 0), 0.3, 0.0), page=PAGE),
    "moe": qwen3_moe.build(
        qwen3_moe.Config(shape=_shape(F=32), rope=_rope(), window=0, E=6, A=2, renorm=True,
                         sparse=(True, False), dense_width=96), page=PAGE),
}  # fmt: skip


def weights(graph: Graph) -> dict[str, Array]:
    """Random params, of a size that keeps activations moderate."""
    rng = np.random.default_rng(3)
    found: dict[str, Array] = {}
    for name, param in graph.params.items():
        shape = graph.dims.sizes(param.shape)
        scale = 0.3 if len(shape) == 1 else 1.5 * shape[-1] ** -0.5
        values = rng.standard_normal(shape) * scale + ("norm" in name)
        if name.startswith("inv_freq"):
            values = 10.0 ** -np.linspace(0, 2, shape[0])
        found[name] = values.astype(np.float32)
    return found


def q8_0(values: Array) -> tuple[Array, Array]:
    """Rows as a GGUF file holds them, and what they stand for."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    quants = np.rint(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
    data = np.concatenate((scale.view(np.uint8), quants.view(np.uint8)), axis=1)
    wide = (quants * scale.astype(np.float32)).astype(np.float32)
    return data.reshape(-1), wide.reshape(values.shape)


@dataclass
class Sequences:
    """Makes batches of growing sequences whose tokens do not depend on how they are cut."""

    pages: dict[int, list[int]] = field(default_factory=dict)
    lens: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = [int(p) for p in np.random.default_rng(1).permutation(POOL)]

    def batch(self, grow: dict[int, int], rows: bool = True) -> Batch:
        """The next grow[s] tokens of each sequence; logits of all rows or of none."""
        ids, pos, slots, lens, starts = [], [], [], [], [0]
        for s, new in grow.items():
            for _ in range(new):
                at = self.lens.get(s, 0)
                pages = self.pages.setdefault(s, [])
                if at % PAGE == 0:
                    pages.append(self.free.pop())
                ids.append((37 * at + 11 * s + 5) % 150)
                pos.append(at)
                slots.append(pages[-1] * PAGE + at % PAGE)
                self.lens[s] = at + 1
            starts.append(len(ids))
            lens.append(self.lens[s])
        table = np.zeros((len(grow), max(len(self.pages[s]) for s in grow)), np.int32)
        for row, s in enumerate(grow):
            table[row, : len(self.pages[s])] = self.pages[s]
        wanted = np.arange(len(ids) if rows else 0)
        i32 = [np.array(x, np.int32) for x in (ids, pos, slots, starts, lens)]
        return Batch(*i32, table, wanted.astype(np.int32))


@lru_cache(maxsize=8)
def plans_of(family: str, workers: int) -> tuple[Any, ...]:
    """One plan a bucket."""
    target = replace(mega.CPU, workers=workers)
    return tuple(
        mega.compile(
            FAMILIES[family], target, rows=n, slots=SLOTS, context=CONTEXT, segment=SEGMENT
        )
        for n in BUCKETS
    )


class Native:
    """A model bound to the native runner: one plan a bucket."""

    def __init__(
        self, family: str, params: dict[str, Array], workers: int, isa: str, *, quantised: bool
    ) -> None:
        plans = plans_of(family, workers)
        # Layer by layer, or all layers of a page side by side: a stride tells.
        shape = (POOL, len(plans[0].states), 2, 2 * PAGE * 16)
        pages = np.full(shape if quantised else (shape[1], shape[0], *shape[2:]), 0x7E00, np.uint16)
        self.states = [pages[:, i] if quantised else pages[i] for i in range(shape[1])]
        bound = [self._bound(params[name], quantised=quantised) for name in plans[0].params]
        data = [mega.plan.to_bytes(plan) for plan in plans]
        self.runner = _core.CpuRunner(data, bound, self.states, isa)
        self.threads = workers > 1
        if self.threads:
            self.runner.start()

    def _bound(self, values: Array, *, quantised: bool) -> Any:
        if values.ndim == 1:
            return np.ascontiguousarray(values)
        experts = values.shape[0] if values.ndim == 3 else 1
        rows, columns = values.shape[-2:]
        kind = "q8_0" if quantised else "f32"
        packed: list[Array] = []
        for one in values.reshape(experts, rows, columns):
            data = q8_0(one)[0] if quantised else np.ascontiguousarray(one).view(np.uint8)
            out = np.empty(_core.cpu_packed_bytes(kind, rows, columns), np.uint8)
            _core.cpu_pack(kind, rows, columns, data.reshape(-1), out)
            packed.append(out)
        return (kind, rows, columns, np.concatenate(packed), experts)

    def step(self, batch: Batch) -> tuple[Array, list[int]]:
        plan = next(i for i, rows in enumerate(BUCKETS) if rows >= len(batch.ids))
        number = self.runner.post(plan, *(getattr(batch, n) for n in Batch.__struct_fields__))
        for bind in (True, False):
            if not self.threads:
                self.runner.advance()
            if bind and len(batch.rows):
                assert self.runner.wait_logits(number)
                logits = np.array(self.runner.logits(number))
                self.runner.bind()
        assert self.runner.wait_done(number)
        return (logits if len(batch.rows) else np.zeros((0, 150))), self.runner.tokens(number)


STEPS = (
    {0: 1},
    {0: 1, 1: 1},
    {2: 3, 0: 1},
    {3: 13},
    {1: 30, 2: 2},
    {0: 1, 1: 1, 2: 1, 3: 1},
    {1: 50},
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantised", [False, True])
def test_steps_equal_the_reference(family: str, quantised: bool) -> None:
    graph, params = FAMILIES[family], weights(FAMILIES[family])
    if quantised:
        params = {n: q8_0(v)[1] if v.ndim > 1 else v for n, v in params.items()}
    native = Native(family, params, 1, _core.cpu_isas()[-1], quantised=quantised)
    kv = {n: np.full((POOL, 2, PAGE, 2, 16), np.nan, np.float16) for n in graph.state}
    sequences = Sequences()
    for grow in STEPS:
        batch = sequences.batch(grow)
        inputs = {n: getattr(batch, n) for n in Batch.__struct_fields__}
        out, kv = run(graph, inputs, params, kv)
        wanted = out[graph.outputs[0]]
        logits, tokens = native.step(batch)
        if quantised:  # int8 activations: close as a whole, not in every logit
            error = np.linalg.norm(logits - wanted) / np.linalg.norm(wanted)
            assert error < (0.2 if family == "moe" else 0.06)  # a router may choose otherwise
        else:
            np.testing.assert_allclose(logits, wanted, rtol=3e-3, atol=3e-3)
        np.testing.assert_array_equal(tokens, logits.argmax(axis=-1))


@pytest.mark.parametrize("family", ["gemma2", "moe"])
def test_bits_do_not_depend_on_workers_chunks_or_instructions(family: str) -> None:
    params = weights(FAMILIES[family])
    chunks = ((60,), (1,) * 20 + (40,), (17, 2, 31, 1, 4, 5))
    found: list[Array] = []
    for isa, workers in itertools.product((_core.cpu_isas()[0], _core.cpu_isas()[-1]), (1, 3)):
        for cut in chunks:
            native, sequences = Native(family, params, workers, isa, quantised=True), Sequences()
            found.append(np.concatenate([native.step(sequences.batch({0: n}))[0] for n in cut]))
            native.runner.close()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_ids_drawn_before_and_steps_without_rows() -> None:
    family, params = "llama", weights(FAMILIES["llama"])
    native, twin = (Native(family, params, 3, _core.cpu_isas()[-1], quantised=False) for _ in "ab")
    one, other = Sequences(), Sequences()
    native.step(one.batch({0: 4}, rows=False))
    first = one.batch({0: 1})
    number = native.runner.post(0, *(getattr(first, n) for n in Batch.__struct_fields__))
    second = one.batch({0: 1})
    second.ids[0] = -1  # what the step before draws, posted before it is drawn
    ahead = native.runner.post(0, *(getattr(second, n) for n in Batch.__struct_fields__))
    native.runner.bind(given=np.array([77], np.int32))
    native.runner.bind()
    assert native.runner.wait_done(number)
    assert native.runner.tokens(number) == [77]
    assert native.runner.wait_done(ahead)
    twin.step(other.batch({0: 4}))
    twin.step(other.batch({0: 1}))
    last = other.batch({0: 1})
    last.ids[0] = 77
    assert twin.step(last)[1] == native.runner.tokens(ahead)


def test_what_does_not_fit_is_refused() -> None:
    family, params = "llama", weights(FAMILIES["llama"])
    native = Native(family, params, 1, "scalar", quantised=False)
    batch = Sequences().batch({0: 2})
    arrays = {n: getattr(batch, n) for n in Batch.__struct_fields__}

    def post(**changes: Array) -> None:
        native.runner.post(1, *({**arrays, **changes}.values()))

    for changes, text in (
        ({"ids": np.array([0, 150], np.int32)}, "outside the vocabulary"),
        ({"table": np.array([[POOL]], np.int32)}, "names a page"),
        ({"lens": np.array([1], np.int32)}, "shorter than its new tokens"),
        ({"slots": np.array([0, PAGE * POOL], np.int32)}, "writes to a page"),
        ({"rows": np.array([2], np.int32)}, "wants a row"),
    ):
        with pytest.raises(_core.CoreError, match=text):
            post(**changes)
    with pytest.raises(_core.CoreError, match="no step waits"):
        native.runner.bind()
    data = mega.plan.to_bytes(plans_of(family, 1)[0])
    with pytest.raises(_core.CoreError, match="not bound"):
        _core.CpuRunner([data], [], native.states, "scalar")
    with pytest.raises(_core.CoreError, match="compile the plan again"):
        _core.CpuRunner([data[:-1]], [], native.states, "scalar")
    with pytest.raises(_core.CoreError, match="each page in one piece"):
        _core.CpuRunner([data], [], [native.states[0][:, ::-1]], "scalar")
