"""Kernel measurements over a Ray cluster: one actor a device, retried where a node is lost.

An actor holds no state: each job goes through the coordinator, which starts a fresh referee and
fresh harnesses below it, under the lease of the machine's device. Messages are bytes of JSON.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from treadle.errors import InvalidRequest, KernelError, NotFound, TreadleError, Unsupported
from treadle.kernels.run import coordinator
from treadle.kernels.run.coordinator import Task
from treadle.kernels.run.pool import Answer
from treadle.kernels.run.referee import open_device
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import Trace, read, write

RETRIES = 2
START = 60.0
"""Seconds for a worker's first answer."""
LEASE = 3600.0
"""Seconds that a job waits for a device which somebody else holds."""


class Worker:
    """What an actor runs. device: kind, or kind:model; cache: folder of built solutions there."""

    def __init__(self, device: str, cache: str, root: str | None, share: bool) -> None:
        self._device, self._cache, self._share = device, Path(cache), share
        self._root = Path(root) if root is not None and Path(root).is_dir() else None

    def name(self) -> str:
        """The device as traces name it."""
        return open_device(self._device, share=self._share).name

    def measure(self, task: bytes, settings: bytes) -> tuple[bytes, str]:
        """A trace as a line, or nothing and the fault."""
        try:
            report = coordinator.bench(
                [msgspec.json.decode(task, type=Task)],
                self._device,
                msgspec.json.decode(settings, type=Settings),
                cache=self._cache,
                root=self._root,
                share=self._share,
                wait=LEASE,
            )
        except TreadleError as wrong:
            return b"", str(wrong)
        return (write(report.done[0]), "") if report.done else (b"", report.faults[0])


@dataclass(slots=True)
class _Job:
    task: Task
    tries: int = 0


@dataclass(slots=True)
class EvalPool:
    """The devices of a cluster; a context manager.

    address: of the cluster, `auto` for the one this machine belongs to; left alone if Ray is
    already connected. root: dataset folder that workers can read, for inputs kept as files. lost:
    actors that died. Raises Unsupported without Ray, NotFound for a cluster without devices,
    InvalidRequest for one of several models.
    """

    device: str
    cache: Path
    address: str = "auto"
    root: Path | None = None
    share: bool = False
    name: str = ""
    lost: int = 0
    _ray: Any = None
    _mine: bool = False
    _actors: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    def __enter__(self) -> EvalPool:
        try:
            self._ray = importlib.import_module("ray")
        except ImportError:
            raise Unsupported(
                "a pool needs Ray", at="--ray", hint="pip install 'treadle[ray]'"
            ) from None
        if not self._ray.is_initialized():
            try:
                self._ray.init(address=self.address, logging_level="ERROR", log_to_driver=False)
            except ConnectionError as wrong:
                raise NotFound(
                    f"no Ray cluster at {self.address}: {wrong}", at="--ray", hint="ray start"
                ) from None
            self._mine = True
        try:
            self._recruit()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the actors, and the connection if it was made here."""
        for actors in self._actors.values():
            for actor in actors:
                self._ray.kill(actor)
        self._actors.clear()
        if self._mine:
            self._ray.shutdown()

    def measure(self, tasks: Sequence[Task], settings: Settings) -> Iterator[Answer]:
        """One answer a task. A job whose node is lost goes to another, `RETRIES` times."""
        how = msgspec.json.encode(settings)
        waiting = deque(_Job(task) for task in tasks)
        idle: deque[Any] = deque(actor for actors in self._actors.values() for actor in actors)
        running: dict[Any, tuple[Any, _Job]] = {}

        def deal() -> None:
            while waiting and idle:
                actor, job = idle.popleft(), waiting.popleft()
                ref = actor.measure.remote(msgspec.json.encode(job.task), how)
                running[ref] = (actor, job)

        while waiting or running:
            deal()
            if not running:  # nobody is left: has a node come, or come back?
                idle += self._recruit(again=True)
                if not idle:
                    for job in waiting:
                        yield Answer(job.task, None, "every device of the cluster is lost")
                    return
                continue
            (ref,), _ = self._ray.wait(list(running), num_returns=1)
            actor, job = running.pop(ref)
            try:
                line, fault = self._ray.get(ref)
            except self._ray.exceptions.RayError as wrong:
                self._drop(actor)
                job.tries += 1
                if job.tries > RETRIES:
                    yield Answer(job.task, None, f"lost {job.tries} times: {_first(wrong)}")
                else:
                    waiting.appendleft(job)
                continue
            idle.append(actor)
            deal()  # the device works on while the answer is looked at
            yield Answer(job.task, read(Trace, line, "a worker") if line else None, fault)

    def _drop(self, actor: Any) -> None:
        self.lost += 1
        for actors in self._actors.values():
            if actor in actors:
                actors.remove(actor)

    def _recruit(self, *, again: bool = False) -> list[Any]:
        """Actors on nodes that have too few. Raises for none at all, unless `again`."""
        kind = self.device.partition(":")[0]
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        made: list[Any] = []
        failed = ""
        for node in self._ray.nodes():
            have = node["Resources"]
            wanted = int(have.get("GPU", 0)) if kind == "cuda" else int(have.get("CPU", 0) > 0)
            actors = self._actors.setdefault(str(node["NodeID"]), [])
            if not node["Alive"]:
                continue
            for _ in range(wanted - len(actors)):
                options: dict[str, Any] = {
                    "num_gpus": 1 if kind == "cuda" else 0,
                    "num_cpus": 0 if kind == "cuda" else 1,
                    "max_restarts": 0,
                    "scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(
                        node["NodeID"], soft=False
                    ),
                }
                root = str(self.root.resolve()) if self.root is not None else None
                actor = self._ray.remote(**options)(Worker).remote(
                    self.device, str(self.cache), root, self.share
                )
                try:
                    self._same(str(self._ray.get(actor.name.remote(), timeout=START)))
                except self._ray.exceptions.RayError as wrong:
                    self._ray.kill(actor)  # a node that has just died is listed for a while
                    failed = f"{node['NodeManagerAddress']}: {_first(wrong)}"
                    break
                actors.append(actor)
                made.append(actor)
        if not made and not again and failed:
            raise KernelError(
                f"no worker on {failed}", at="--ray", hint="install treadle on every node"
            )
        if not made and not again:
            raise NotFound(f"the cluster has no {kind} device", at="--ray", hint="add a node")
        return made

    def _same(self, name: str) -> None:
        if self.name and name != self.name:
            raise InvalidRequest(
                f"devices differ: {self.name} and {name}", at="--ray",
                hint="bench each model with its own cluster, or name the other with --device",
            )  # fmt: skip
        self.name = name


def _first(wrong: BaseException) -> str:
    return str(wrong).strip().partition("\n")[0]
