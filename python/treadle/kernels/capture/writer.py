"""The background half of a capture: samples become blobs and workload rows, under a byte cap."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.kernels.capture.cells import Cell
from treadle.kernels.capture.fit import Copy, Moments, distribution, on_host
from treadle.kernels.schema import BlobInput, Definition, RandomInput, ScalarInput, Workload
from treadle.kernels.schema.types import AnyInput


@dataclass(frozen=True, slots=True)
class Sample:
    """One kept call. given: input → a number, moments, a copy, or a dict that is its `dist`."""

    definition: Definition
    cell: Cell
    slot: int
    axes: dict[str, int]
    given: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A finished sample, and the blob it points to."""

    axes: dict[str, int]
    inputs: dict[str, AnyInput]
    blob: str | None


class Writer:
    """One daemon thread. A full queue drops what it cannot take; nobody waits for the disk."""

    def __init__(self, root: Path, waiting: int, cap: int, seed: int) -> None:
        self.rows: dict[tuple[str, Cell], dict[int, Row]] = {}
        self.bytes = 0
        self.dropped: Counter[str] = Counter()
        self._root, self._cap, self._seed = root, cap, seed
        self._users: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}
        self._queue: queue.Queue[Sample | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="treadle capture", daemon=True)
        self._thread.start()

    def put(self, sample: Sample) -> None:
        """Hands a sample over, or drops it and counts that."""
        try:
            self._queue.put_nowait(sample)
        except queue.Full:
            self.dropped["queue full"] += 1

    def close(self) -> None:
        """Writes what is waiting and ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def workload(self, row: Row, identity: str, count: int, source: str) -> Workload:
        """A row as a dataset has it."""
        return Workload(
            uuid=hashlib.sha256(identity.encode()).hexdigest()[:32],
            axes=row.axes,
            inputs=row.inputs,
            treadle={"count": count, "source": source},
        )

    def _work(self) -> None:
        while True:
            sample = self._queue.get()
            if sample is None:
                return
            try:
                self._write(sample)
            except Exception as error:  # a capture never harms what it watches
                self.dropped[f"error: {type(error).__name__}"] += 1

    def _write(self, sample: Sample) -> None:
        inputs: dict[str, AnyInput] = {}
        tensors: dict[str, Any] = {}
        for i, (name, given) in enumerate(sample.given.items()):
            if isinstance(given, Copy):
                tensors[name] = on_host(given)
            elif isinstance(given, Moments):
                inputs[name] = RandomInput(treadle={"dist": distribution(given, self._seed + i)})
            elif isinstance(given, dict):
                inputs[name] = RandomInput(treadle={"dist": given})
            else:
                inputs[name] = ScalarInput(value=given)
        blob = self._store(sample.definition, tensors) if tensors else None
        if tensors and blob is None:
            self.dropped["byte cap"] += 1
            return
        for name in tensors:
            assert blob is not None
            inputs[name] = BlobInput(path=blob, tensor_key=name)
        ordered = {name: inputs[name] for name in sample.definition.inputs if name in inputs}
        slots = self.rows.setdefault((sample.definition.name, sample.cell), {})
        old = slots.get(sample.slot)
        slots[sample.slot] = Row(sample.axes, ordered, blob)
        if old is not None and old.blob is not None:
            self._release(old.blob)

    def _store(self, definition: Definition, tensors: dict[str, Any]) -> str | None:
        """Path of the blob below the root, None if it would pass the cap."""
        from safetensors.torch import save

        data = save(tensors)
        digest = hashlib.sha256(data).hexdigest()
        path = f"blob/workloads/{definition.op_type}/{definition.name}/{digest}.safetensors"
        place = self._root / path
        if not place.exists():
            if self.bytes + len(data) > self._cap:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f".{place.name}.tmp")
            partial.write_bytes(data)
            partial.replace(place)
            self.bytes += len(data)
            self._sizes[path] = len(data)
        self._users[path] += 1
        return path

    def _release(self, path: str) -> None:
        """Deletes a blob of this capture that no kept row points to any more."""
        self._users[path] -= 1
        if self._users[path] <= 0 and path in self._sizes:
            self.bytes -= self._sizes.pop(path)
            (self._root / path).unlink(missing_ok=True)
