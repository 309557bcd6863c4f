"""The process that runs a solution: nothing in here is trusted once the solution is loaded.

Forked from the nursery, it maps the rings, raises all walls, says how high they are, waits until
that is known, loads the artefact, and then answers batches: views are made when a batch is
described, calls run when `GO` moves, `DONE` moves when every output is written.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from treadle.kernels.run import compilers, layout, sandbox
from treadle.kernels.run.layout import State, What, Word


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a harness needs to know, and no more.

    inputs, outputs: (numpy type, dtype) of each operand in call order; "" for numbers. Descriptors:
    control, input and output memory. artefact: a folder below `readable`. scratch: a folder to
    compile in, for a solution that does so while it runs; "" for others. into: of each output of
    the definition, the input that it is written into, -1 for those among `outputs`. weights: places
    of the inputs that the solution prepares; none if it does not.
    """

    artefact: str
    scratch: str
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    into: list[int]
    weights: list[int]
    destination_passing: bool
    array: str
    device: str
    descriptors: tuple[int, int, int]
    sizes: tuple[int, int]
    readable: list[str]
    level: int
    memory: int
    seconds: int
    cpus: list[int]
    spin_ns: int
    threads: int


WAIT_NS = 60_000_000_000


def prepare() -> None:
    """Imports what every harness needs, before any is forked."""
    from treadle.kernels.build import load
    from treadle.kernels.run import tamper, views

    assert load
    assert tamper
    assert views


def begin(raw: bytes, descriptors: tuple[int, ...]) -> None:
    """Becomes the harness that a configuration describes."""
    control, source, target = descriptors
    config = msgspec.json.decode(raw, type=Config)
    main(msgspec.structs.replace(config, descriptors=(control, source, target)))


def main(config: Config) -> None:
    """Serves batches until told to leave. Never returns: it ends the process."""
    from treadle import _core
    from treadle.kernels.run.views import Views

    if config.cpus:
        os.sched_setaffinity(0, set(config.cpus))
    scratch = Path(config.scratch) if config.scratch else None
    if scratch is not None:
        os.environ.update(compilers.environment(config.scratch))
    level = sandbox.enter(
        config.level, [Path(p) for p in config.readable], config.memory, config.seconds,
        reserves=config.device == "cuda", scratch=scratch,
    )  # fmt: skip
    line = compilers.start(scratch) if scratch is not None else None
    control, source, target = config.descriptors
    shared = mmap.MAP_SHARED | mmap.MAP_POPULATE
    page = mmap.mmap(control, layout.CONTROL, shared)
    words = _core.Words(memoryview(page)[: layout.TEXT])  # pyright: ignore[reportArgumentType]
    torch: Any = None
    if config.array == "torch":
        import torch as torch

        torch.set_num_threads(config.threads)
    if config.device == "cuda":
        from treadle.kernels.run.cuda import CudaViews

        views: Any = CudaViews(source, target, config.sizes, torch)
    else:
        inputs = mmap.mmap(source, config.sizes[0], shared, mmap.PROT_READ)
        views = Views(inputs, mmap.mmap(target, config.sizes[1], shared), torch)
    for descriptor in config.descriptors:
        os.close(descriptor)
    words.guard(Word.FAULT, Word.DETAIL, views.inputs)
    words.post(Word.LEVEL, sandbox.lock(level, config.level) + 1)
    while not words.load(Word.OPEN):
        words.wait(Word.OPEN, 0, 0, WAIT_NS)
    server = _Server(config, words, memoryview(page), views, line)
    server.load()
    words.post(Word.READY, 1)
    server.serve()


class _Server:
    """The loop of one harness."""

    def __init__(
        self, config: Config, words: Any, page: memoryview, views: Any, line: Any = None
    ) -> None:
        self._config, self._words, self._page, self._views = config, words, page, views
        self._compilers = line  # closed when it leaves, which ends them
        self._call: Callable[..., Any] | None = None
        self._prepare: Callable[..., Any] | None = None
        self._made: dict[tuple[int, ...], Any] = {}  # places of weights → what was made of them
        self._before: dict[str, dict[str, Any]] = {}

    def load(self) -> None:
        """Loads the artefact; a failure is told and ends the process."""
        from treadle.kernels.build import Artefact, load
        from treadle.kernels.run import tamper

        self._before = tamper.snapshot()
        try:
            found: Any = load(Artefact.at(Path(self._config.artefact)))
            prepares = bool(self._config.weights)
            self._call, self._prepare = (found.run, found.prepare) if prepares else (found, None)
        except BaseException as problem:
            cause = problem.__cause__ or problem
            self._tell(State.DENIED if _denied(cause) else State.LOAD, problem)
            self._words.post(Word.READY, 1)
            os._exit(71)
        self._look()

    def serve(self) -> None:
        """Answers batches."""
        words, config, plan, done = self._words, self._config, 0, 0
        while True:
            at, value = words.wait(Word.PLAN, plan, 0, WAIT_NS)
            if at < 0:
                continue
            plan = value
            what, batch = layout.read_batch(self._page)
            if what is What.END:
                self._look()
                if self._compilers is not None:
                    self._compilers.close()
                    os.wait()
                words.post(Word.READY, plan + 1)
                os._exit(0)
            if what is What.PREPARE:
                run = self._views.finished(functools.partial(self._prepared, batch))
            else:
                calls = [self._views_of(call) for call in batch]
                run = self._views.planned(functools.partial(self._run, calls))
            words.post(Word.READY, plan + 1)
            while words.load(Word.WAKE) == done:
                words.wait(Word.WAKE, done, 0, WAIT_NS)
            self._views.wake()
            while words.load(Word.GO) == done:
                words.wait(Word.GO, done, config.spin_ns, WAIT_NS)
            try:
                run()
            except BaseException as problem:
                self._tell(self._kind(problem), problem)
            done += 1
            words.post(Word.DONE, done)

    def _run(self, calls: list[tuple[list[Any], list[Any]]]) -> None:
        function = self._call
        assert function is not None
        if self._config.destination_passing:
            for given, slots in calls:
                function(*given, *slots)
            return
        held: list[Any] = []
        for given, slots in calls:
            made, own = function(*given), iter(slots)
            if made is None and not slots:
                continue
            every = [given[i] if i >= 0 else next(own) for i in self._config.into]
            whole = isinstance(made, tuple | list) and len(cast("Any", made)) == len(every)
            self._views.take(made, every if whole or not slots else slots, held)
        self._views.disjoint(held)

    def _prepared(self, weights: list[list[layout.Operand]]) -> None:
        """Prepares the weights of an epoch, at every place where they lie."""
        function = self._prepare
        assert function is not None
        kinds = [self._config.inputs[i] for i in self._config.weights]
        self._made = {}
        for each in weights:
            given = [self._views.view(o, *kind) for o, kind in zip(each, kinds, strict=True)]
            self._made[tuple(o[1] for o in each)] = function(*given)

    def _views_of(self, call: list[layout.Operand]) -> tuple[list[Any], list[Any]]:
        kinds = [*self._config.inputs, *self._config.outputs]
        made = [self._views.view(o, *kind) for o, kind in zip(call, kinds, strict=True)]
        count = len(self._config.inputs)
        given = made[:count]
        if self._config.weights:
            given.append(self._made[tuple(call[i][1] for i in self._config.weights)])
        return given, made[count:]

    def _kind(self, problem: BaseException) -> State:
        from treadle.kernels.run.views import Wrong

        if isinstance(problem, Wrong):
            return problem.state
        if isinstance(problem, ValueError) and "read-only" in str(problem):
            return State.READ_ONLY
        if isinstance(problem, OSError) and problem.errno == errno.EFBIG:
            return State.FLOOD
        return State.DENIED if _denied(problem) else State.RAISED

    def _tell(self, state: State, problem: BaseException) -> None:
        layout.write_text(self._page, f"{type(problem).__name__}: {problem}")
        self._words.post(Word.STATE, int(state))

    def _look(self) -> None:
        """Names what the solution changed in its surroundings."""
        from treadle.kernels.run import tamper

        found = tamper.changed(self._before)
        if found is not None and not self._words.load(Word.STATE):
            layout.write_text(self._page, f"{found[0]}: {found[1]} was replaced")
            self._words.post(Word.STATE, int(State.TAMPERED))


def _denied(problem: BaseException) -> bool:
    walls = (errno.EACCES, errno.EPERM, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
    return isinstance(problem, OSError) and problem.errno in walls
