"""The executable over the generated kernel on fibers, with torch on the CPU for prefill."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
import pytest
from cuda_host import PAGE, Machine, compiler, program
from msgspec.structs import replace
from test_mega_cuda_draw import bits, params
from test_mega_cuda_host import CONTEXT, POOL, assembled, machine
from tiny_models import weights

from treadle.backends.mega import cuda_build, cuda_executable, cuda_model, cuda_pack
from treadle.backends.mega.cuda_args import NEVER, NO_MORE
from treadle.backends.mega.cuda_executable import CudaExecutable
from treadle.backends.mega.cuda_pages import SharedPages
from treadle.backends.sampler import sample
from treadle.engine.channel import Channel
from treadle.engine.request import Submit
from treadle.engine.runner import Engine
from treadle.grammar import Compiler, Grammar, Vocab
from treadle.graph import Graph
from treadle.limits import Limits
from treadle.mega.codegen_program import Knobs, Program
from treadle.types import Batch, Mask, Sampling, Tensor, TokenKind, TokenTable

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")

VOCAB, SPARE = 96, POOL - 1


class HostKernel:
    """`cuda.Decoder` of a machine of fibers, which runs in a thread."""

    context = CONTEXT

    def __init__(self, machine: Machine) -> None:
        self.machine, self.boxes, self.launches = machine, machine.boxes, 0
        self.rows = machine.made.plan.shape.rows
        self._thread: threading.Thread | None = None
        self._whole, self._logits = True, np.zeros(0, np.float32)

    def start(
        self, begin: Sequence[tuple[int, int]], table: np.ndarray, steps: int, *, rules: str,
        allowed: int | None,
    ) -> None:  # fmt: skip
        self.wait()
        assert allowed is not None
        m = self.machine
        m.pages[:] = table[:, : m.pages.shape[1]]
        m.allowed[0], self._steps, self._first = allowed, steps, m.epoch
        m.boxes.clear()
        m.seats.clear()
        m.tokens = np.zeros((0, self.rows, 4), np.uint32)
        self.launches += 1

        def run() -> None:
            self._whole, _, self._logits = m.run(list(begin), steps, self.launches, rules=rules)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def seat(
        self, steps: int, pages: Mapping[int, tuple[int, Sequence[int]]],
        taken: Mapping[int, tuple[int, int]],
    ) -> None:  # fmt: skip
        self.machine.seats.post(steps, pages, taken)

    def allow(self, steps: int, *, last: bool = False) -> None:
        self.machine.allowed[0] = steps | (NO_MORE if last else 0)

    def told(self, step: int) -> np.ndarray | None:
        m = self.machine
        mark = (self._first + (step + 1) * m.made.phases_a_step) & NEVER
        whole = len(m.tokens) == self._steps
        rows = m.tokens[step] if whole else np.zeros((self.rows, 4), np.uint32)
        return rows[:, :3].copy() if (rows[:, 3] == mark).all() else None

    def over(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
        assert self._whole, self.machine.error

    def logits(self) -> np.ndarray:
        return self.machine.logits


@pytest.fixture(scope="module")
def made() -> tuple[Graph, dict[str, Any], Machine]:
    return machine("qwen2-rows")


def tensors(parameters: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: Tensor(name, x.shape, "f32", x.astype(np.float32)) for name, x in parameters.items()
    }


def executable(made: tuple[Graph, dict[str, Any], Machine], *more: Machine) -> Any:
    """The executable of machines with the same pages, and their kernels."""
    from treadle.backends.table import backend

    graph, parameters, m = made
    m.kv[:] = 0
    kernels: list[HostKernel] = []
    for each in (m, *more):
        each.kv = m.kv
        each.pages = np.zeros((each.made.plan.shape.rows, CONTEXT // PAGE), np.int32)
        kernels.append(HostKernel(each))
    inner: Any = backend("torch", device="cpu", dtype="f32").compile(
        graph, tensors(parameters), Limits(), pages=POOL
    )
    kv = torch.from_numpy(m.kv.view(np.int16)).view(torch.bfloat16)
    shared = SharedPages([kv], inner.kv())
    found = CudaExecutable(inner, kernels, shared, pages=SPARE, spare=SPARE, limits=Limits())
    return found, kernels


@pytest.fixture
def exe(made: tuple[Graph, dict[str, Any], Machine]) -> Iterator[tuple[CudaExecutable, HostKernel]]:
    found, kernels = executable(made)
    yield found, kernels[0]
    found.close()


TABLE = np.array([[4, 9], [7, 2], [3, 5]], np.int32)


def step(ids: list[list[int]], at: list[int], first: int = 0) -> Batch:
    """New tokens of each sequence from position `at` on; the first one has row `first` of TABLE."""
    i32 = lambda x: np.array(x, np.int32)  # noqa: E731
    counts = [len(x) for x in ids]
    pos = [p + j for p, n in zip(at, counts, strict=True) for j in range(n)]
    seqs = [s for s, n in enumerate(counts, first) for _ in range(n)]
    slots = [TABLE[s, p // PAGE] * PAGE + p % PAGE for s, p in zip(seqs, pos, strict=True)]
    ends = np.cumsum([0, *counts])
    used = (
        np.arange(2) * PAGE
        <= np.array([p + n - 1 for p, n in zip(at, counts, strict=True)])[:, None]
    )
    return Batch(
        i32([t for x in ids for t in x]), i32(pos), i32(slots), i32(ends),
        i32([p + n for p, n in zip(at, counts, strict=True)]),
        np.where(used, TABLE[first:][: len(ids)], 0),
        i32(ends[1:] - 1),
    )  # fmt: skip


def test_prefill_then_steps_of_one_launch(
    exe: tuple[CudaExecutable, HostKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlapped steps as the engine makes them join one launch, over the end of a page and when a
    sequence leaves; masks hold; and what the kernel appended is what torch goes on from."""
    run, kernel = exe
    monkeypatch.setattr(cuda_executable, "IDLE", 60.0)  # however slow this machine is
    rng = np.random.default_rng(2)
    prompts = [rng.integers(0, VOCAB, 59).tolist(), rng.integers(0, VOCAB, 58).tolist()]
    at = [59, 58]  # pages end in steps that follow each other
    handle = run.forward(step(prompts, [0, 0]))
    tokens = run.sample(handle, None, params(2))
    texts = [list(p) for p in prompts]
    legal = np.full((2, VOCAB), True)

    def take() -> None:
        drawn = tokens.wait()
        assert all(legal[r, drawn.ids[r]] for r in range(2))
        assert not drawn.status.any()
        for text, token in zip(texts, drawn.ids.tolist(), strict=True):
            text.append(token)

    for number in range(9):
        handle = run.forward(step([[-1], [-2]], at))
        take()  # while the next step is under way
        legal = rng.random((2, VOCAB)) < 0.2
        tokens = run.sample(
            handle, Mask(bits(legal), np.arange(2, dtype=np.int32)),
            params(2, temperature=0.9, key=3, step=number),
        )  # fmt: skip
        at = [p + 1 for p in at]
    take()
    for name in (-2, -1, -1):  # the first one leaves
        tokens = run.sample(run.forward(step([[name]], at[1:], 1)), None, params(1))
        texts[1].append(int(tokens.wait().ids[0]))
        at[1] += 1
    assert kernel.launches == 1
    # Two more tokens at once: torch, on pages that the kernel wrote.
    for i in range(2):
        handle = run.forward(step([[texts[i][-1], 5]], at[i : i + 1], i))
        mixed = cast("Any", handle).call.wait().numpy()
        handle = run.forward(step([[*texts[i], 5]], [0], i))
        whole = cast("Any", handle).call.wait().numpy()
        error = np.linalg.norm(mixed - whole) / np.linalg.norm(whole)
        assert error < 0.04, (i, error)
    assert run.stats()["launches"] == 1


def test_sequences_go_to_the_smallest_kernel_that_has_rows_for_them(
    made: tuple[Graph, dict[str, Any], Machine],
) -> None:
    """Three on a kernel of five rows, which come in chunks; when one leaves, the others go on in a
    launch of the kernel of two, from pages that the first has written. The first is as racecheck
    wants it: all lanes say that they have read a tile, a chunk or the scratch memory."""
    graph, parameters, _ = made
    wide = assembled(graph, parameters, program(graph, 4, 5, CONTEXT, Knobs(strict=True)), {})
    assert wide.made.fed
    run, (two, five) = executable(made, wide)
    texts = np.random.default_rng(4).integers(0, VOCAB, (3, 62)).tolist()
    at = 62
    tokens = run.sample(run.forward(step(texts, [0] * 3)), None, params(3))

    def take() -> None:
        for text, token in zip(texts, tokens.wait().ids.tolist(), strict=True):
            text.append(token)

    for rows in (3, 3, 3, 2):  # pages end in the third step
        handle = run.forward(step([[-1 - i] for i in range(rows)], [at] * rows))
        take()
        texts = texts[:rows]
        tokens = run.sample(handle, None, params(rows))
        at += 1
    take()
    assert (five.launches, two.launches) == (1, 1)
    for i in range(2):
        mixed = run.forward(step([[texts[i][-1], 5]], [at], i)).call.wait().numpy()
        whole = run.forward(step([[*texts[i], 5]], [0], i)).call.wait().numpy()
        error = np.linalg.norm(mixed - whole) / np.linalg.norm(whole)
        assert error < 0.04, (i, error)
    run.close()


def test_a_kernel_of_sixteen_rows_where_memory_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets up to the sequences that may run together, less those whose weights leave no room.
    Kernels of one and of four rows read the same stream, those of chunks have their own."""
    graph, _, _ = machine("qwen2-rows")
    monkeypatch.setattr(cuda_build, "build", lambda text: (b"", text))

    def programs(most: int, kernels: int) -> list[Program]:
        limits = replace(Limits(), sequences=most)
        return cuda_model._programs(graph, limits, 4, Knobs(), lambda some: kernels - len(some) + 1)

    def rows(most: int, kernels: int) -> list[int]:
        return [made.plan.shape.rows for made in programs(most, kernels)]

    assert rows(4, 9) == [1, 4]
    assert rows(64, 2) == [1, 4]
    found = programs(64, 9)
    assert [made.plan.shape.rows for made in found] == [1, 4, 16]
    assert [cuda_pack.alike(found[0], other) for other in found] == [True, True, False]
    sizes = [int(np.prod(p.shape)) * 2 for p in weights(graph).values()]
    free = 5 * sum(sizes) + max(sizes) + cuda_model._SPARE
    left = [cuda_model._room(graph, found, gpus, free) for gpus in (1, 2, 4)]
    assert left == [sum(sizes), 2 * sum(sizes), 3 * sum(sizes)]


def test_one_sequence_on_a_kernel_of_two_and_draws_on_the_host(
    exe: tuple[CudaExecutable, HostKernel],
) -> None:
    """A row without a sequence, a launch that is left alone, log-probabilities from the host."""
    run, kernel = exe
    tokens = run.sample(run.forward(step([[5, 6, 7]], [0])), None, params(1))
    first = run.forward(step([[-1]], [3]))
    tokens = run.sample(first, None, params(1))
    plain = int(tokens.wait().ids[0])
    while not kernel.over():  # nobody asks for more
        pass
    again = run.forward(step([[5, 6, 7]], [0]))
    tokens = run.sample(again, None, params(1))
    handle = run.forward(step([[-1]], [3]))
    told = run.sample(handle, None, params(1, logprobs=3)).wait()
    wanted = sample(kernel.logits()[:1], None, params(1, logprobs=3))
    assert told.ids.tolist() == [plain] == wanted.ids.tolist()
    assert told.top_ids.tolist() == wanted.top_ids.tolist()
    assert run.stats()["host_draws"] == 1
    follow = run.forward(step([[-1]], [4]))
    assert run.sample(follow, None, params(1)).wait().status.tolist() == [0]
    assert kernel.launches == 3


def test_the_engine_runs_on_it(exe: tuple[CudaExecutable, HostKernel]) -> None:
    """Requests that join and leave, one of them by a grammar, one that asks for more than the
    kernel draws: all end, the grammar holds, and a seed gives the same text again."""
    run, kernel = exe
    table = TokenTable(
        (*(bytes([32 + i]) for i in range(95)), b"<end>"),
        (TokenKind.NORMAL,) * 95 + (TokenKind.CONTROL,), (95,),
    )  # fmt: skip
    shape = r"[a-f]{3,9}(-[0-9]{2}){2}"
    grammar = Compiler(Vocab(table, VOCAB)).compile(Grammar.regex(shape))
    engine = Engine(cast("Any", run), table, limits=Limits())
    engine.start()
    plain = Sampling(max_tokens=12, temperature=0.8, top_p=0.9, seed=5, ignore_eos=True)
    ruled = Sampling(max_tokens=40, temperature=1.0, seed=6)
    more = Sampling(max_tokens=4, temperature=0.0, seed=1, logprobs=2, ignore_eos=True)
    try:
        texts = [read(engine, [(tuple(range(5, 20)), plain, None), ((9, 8, 7), ruled, grammar)])]
        texts.append(read(engine, [((9, 8, 7), ruled, grammar)]))
        read(engine, [((1, 2, 3), more, None)])
    finally:
        engine.close()
    assert len(texts[0][0]) == 12
    for text in (texts[0][1], texts[1][0]):
        assert re.fullmatch(shape, text), text
    assert kernel.launches >= 3


def read(engine: Engine, asked: list[tuple[tuple[int, ...], Sampling, Any]]) -> list[str]:
    """The answers to requests that run together."""
    channels: list[Channel] = []
    for ids, sampling, grammar in asked:
        channels.append(Channel(100))
        engine.submit(Submit(engine.next_id(), ids, sampling, grammar), channels[-1])
    texts = [""] * len(asked)
    for i, channel in enumerate(channels):
        with suppress(StopIteration):
            while True:
                channel.wait(60)
                if (delta := channel.take()) is not None:
                    texts[i] += delta.text
    return texts
