"""The table: from a dataset and a device to callables that choose measured kernels."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Protocol

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.apply.calling import capturable, value_returning, warm, zeros
from treadle.kernels.apply.core import Core, Decision
from treadle.kernels.apply.dispatch import Unfit, handle
from treadle.kernels.apply.entry import FAILED, WAITING, Entry
from treadle.kernels.apply.evidence import gather
from treadle.kernels.apply.guards import Device
from treadle.kernels.apply.keys import space
from treadle.kernels.apply.policy import Policy
from treadle.kernels.apply.prepared import Prepared
from treadle.kernels.schema import Definition, Solution, preparation, sig, solution_id, written
from treadle.kernels.store import Dataset

Build = Callable[[Solution, Definition], Callable[..., Any]]
"""Builds and loads: the callable takes positional operands as the solution's spec says. It may
raise anything; the entry then counts as failed and the fallback stays."""


class Resolver(Protocol):
    """What call sites ask for a callable: a table, or a recorder of calls."""

    def find(self, definition: Definition) -> str | None:
        """The name under which a definition of the same signature is known here."""
        ...

    def resolve(
        self,
        name: str,
        fallback: Callable[..., Any],
        *,
        bound: Mapping[str, Any] | None = None,
        host: Mapping[str, list[int]] | None = None,
        trusted: frozenset[str] = frozenset(),
        oracle: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
        """A callable that stands for `fallback`; the fallback itself if nothing could replace it.

        It takes the definition's inputs without those in `bound`, which are fixed now. host: axis →
        a cell [size] that the caller keeps current. trusted: inputs whose type, device and rank
        the caller vouches for. oracle: what checked calls are compared with, for a fallback that
        does not return the outputs itself.
        """
        ...


class Table:
    """Winners of a dataset on one device.

    device: the model, as traces name it (`cpu:…`, `cuda:…`). kind: cpu or cuda, for a name that
    does not begin with it. ordinal: which CUDA device. Without `build` it only explains. Solutions
    are built on a background thread once somebody resolves a definition that they win; each is
    warmed with one call, then published in one step. One that prepares weights does so for every
    handle whose weights are bound, before it is published or when the handle is made.
    """

    def __init__(
        self,
        device: str,
        policy: Policy,
        build: Build | None = None,
        ordinal: int = 0,
        kind: str | None = None,
    ) -> None:
        kind = kind or device.partition(":")[0]
        if kind not in ("cpu", "cuda"):
            raise InvalidRequest(f"{device!r}", at="device", hint="cpu:MODEL or cuda:MODEL")
        self.device, self.policy = device, policy
        self._place = Device(kind, ordinal)
        self._build = build
        self._cores: dict[str, Core] = {}
        self._definitions: dict[str, Definition] = {}
        self._names: dict[str, str] = {}
        self._unfit: list[tuple[str, str]] = []
        self.handles: dict[tuple[str, Callable[..., Any]], Callable[..., Any]] = {}
        self._todo: queue.Queue[tuple[Core, Entry] | None] = queue.Queue()
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_store(
        cls,
        store: Dataset,
        device: str,
        policy: Policy | None = None,
        *,
        build: Build | None = None,
        ordinal: int = 0,
        kind: str | None = None,
    ) -> Table:
        """Reads every definition that has traces. Raises InvalidRequest for what is no device."""
        table = cls(device, policy or Policy(), build, ordinal, kind)
        table.refresh(store)
        return table

    def refresh(self, store: Dataset) -> None:
        """Reads the dataset anew; handles that exist follow it. Entries keep what they went
        through: an open breaker stays open for the same solution."""
        store.index.refresh()
        counts = store.index.counts()
        solutions: dict[str, dict[str, Solution]] = {}
        for one in store.solutions():
            solutions.setdefault(one.definition, {})[one.name] = one
        self._definitions = store.definitions()
        for name, definition in self._definitions.items():
            if name not in self._cores and set(counts.get(name, ())) <= {"workload"}:
                continue
            self._read(store, definition, solutions.get(name, {}))
        self._names = {sig(self._cores[n].definition): n for n in reversed([*self._cores])}

    def _read(self, store: Dataset, d: Definition, solutions: Mapping[str, Solution]) -> None:
        where = space(d)
        evidence = gather(store.traces(d.name), solutions, where, self.device, self.policy)
        core = self._cores.get(d.name)
        if core is None or core.definition != d:
            core = self._cores[d.name] = Core(d, where, evidence)
            core.counters.miss["no winner"] = count()
        else:
            core.learn(evidence)
        signature = sig(d)
        for winner in sorted({w for w in core.choices if w is not None}):
            one = solutions[winner]
            known = core.entries.get(winner)
            own = solution_id(signature, one)
            if known is None or known.id != own:
                core.entries[winner] = Entry(d, one, own, bool(written(d)))
                if core.handles:
                    self._start(core)
        core.swap()

    def find(self, definition: Definition) -> str | None:
        """The dataset's name of a definition with this signature, if it is measured here."""
        return self._names.get(sig(definition))

    @property
    def epoch(self) -> int:
        """Rises with every swap of a definition that somebody resolved: a CUDA graph captured
        before holds what was chosen then, and is stale."""
        return sum(core.swaps for core in self._cores.values() if core.handles)

    def definition(self, name: str) -> Definition:
        """A definition. Raises NotFound."""
        found = self._definitions.get(name)
        if found is None:
            raise NotFound(f"no definition {name!r}", hint="see treadle kernels stat")
        return found

    def names(self) -> Iterator[str]:
        """Definitions with traces."""
        yield from sorted(self._cores)

    def core(self, name: str) -> Core | None:
        """What is known of a definition, None without traces."""
        return self._cores.get(name)

    def resolve(
        self,
        name: str,
        fallback: Callable[..., Any],
        *,
        bound: Mapping[str, Any] | None = None,
        host: Mapping[str, list[int]] | None = None,
        trusted: frozenset[str] = frozenset(),
        oracle: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
        """As `Resolver.resolve`. Raises NotFound for an unknown definition, InvalidRequest for an
        operand or axis that it does not have."""
        d = self.definition(name)
        for given, known in ((bound or {}, d.inputs), (host or {}, d.axes)):
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise InvalidRequest(f"{name} has no {unknown[0]!r}", hint=f"it has {[*known]}")
        core = self._cores.get(name)
        if core is None or not core.entries:
            return fallback
        try:
            made = handle(
                core, fallback, self._place, bound=bound or {}, host=host or {},
                trusted=trusted, oracle=oracle, shadow=self.policy.shadow,
            )  # fmt: skip
        except Unfit as reason:
            self._unfit.append((name, str(reason)))
            return fallback
        core.handles += 1
        self._start(core)
        return made

    def decide(self, name: str, axes: Mapping[str, int]) -> Decision:
        """What a call of these sizes gets now, and why. Raises NotFound."""
        self.definition(name)
        core = self._cores.get(name)
        if core is None:
            return Decision(None, "no traces", (), None)
        missing = sorted({c.size.axis for c in core.space.coordinates} - set(axes))
        if missing:
            raise InvalidRequest(f"{name} needs axis {missing[0]!r}", hint=core.space.label)
        return core.decide(axes)

    def counters(self) -> dict[str, dict[str, Any]]:
        """Per definition that somebody resolved: hit, miss by reason, and each entry's state."""
        found: dict[str, dict[str, Any]] = {}
        for name, core in self._cores.items():
            if not core.handles:
                continue
            entries = {
                n: {"state": e.state, "note": e.note, "error": e.errors, "shadow": e.shadows,
                    "mismatch": e.mismatches}
                for n, e in core.entries.items()
            }  # fmt: skip
            found[name] = {**core.counters.read(), "entries": entries}
        for name, reason in self._unfit:
            found.setdefault(name, {}).setdefault("unfit", []).append(reason)
        return found

    def wait(self, timeout: float = 60.0) -> bool:
        """Waits until what was asked for so far is built; whether it is."""
        done = threading.Event()

        def watch() -> None:
            self._todo.join()
            done.set()

        threading.Thread(target=watch, daemon=True).start()
        return done.wait(timeout)

    def close(self) -> None:
        """Stops the background thread after the build in hand."""
        if self._worker is not None:
            self._todo.put(None)
            self._worker = None

    def _start(self, core: Core) -> None:
        if self._build is None:
            return
        with self._lock:
            for entry in core.entries.values():
                if entry.state == WAITING and entry.note != "queued":
                    entry.note = "queued"
                    self._todo.put((core, entry))
            if self._worker is None:
                self._worker = threading.Thread(
                    target=self._work, name="treadle apply builder", daemon=True
                )
                self._worker.start()

    def _work(self) -> None:
        while True:
            job = self._todo.get()
            try:
                if job is None:
                    return
                self._make(*job)
            finally:
                self._todo.task_done()

    def _make(self, core: Core, entry: Entry) -> None:
        """Builds, warms and publishes one entry. Nothing it raises reaches a call."""
        assert self._build is not None
        d, one = core.definition, entry.solution
        where = "cpu" if self._place.kind == "cpu" else f"cuda:{self._place.ordinal}"
        try:
            raw = self._build(one, d)
            passing = one.spec.destination_passing_style
            split = preparation(one) is not None
            call: Any = Prepared(raw, d, passing) if split else value_returning(raw, d, passing)
            axes = core.smallest(one.name)
            note = warm(call.once if split else call, d, axes, where)
            if where != "cpu":
                operands = zeros(d, axes, where)
                if split and operands is not None:
                    call.add_of(operands)
                problem = "too large to try" if operands is None else capturable(call, operands)
                entry.capturable = not problem
                note = note or (f"not captured: {problem}" if problem else "")
        except Exception as error:
            entry.state, entry.note = FAILED, f"{type(error).__name__}: {error}"[:400]
            return
        core.admit(entry, call, note)
