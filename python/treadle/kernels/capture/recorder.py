"""The recorder: a resolver that watches calls and passes them on."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import datetime
import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from treadle.errors import InvalidRequest, TreadleError
from treadle.kernels.apply import Resolver
from treadle.kernels.apply.keys import Space, space
from treadle.kernels.capture import fit
from treadle.kernels.capture.cells import Sketch, cell
from treadle.kernels.capture.writer import Sample, Writer
from treadle.kernels.schema import AxisConst, AxisVar, Definition, Trace, sig
from treadle.kernels.store import Dataset

PRIVATE = frozenset({"ids", "input_ids", "token_ids", "tokens", "prompt"})
"""Inputs whose numbers are text: their range is kept, never they themselves."""

Filter = Callable[[str, Mapping[str, int]], bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a capture may keep.

    keep: calls a cell of sizes. cells: cells a definition. waiting: samples before the writer drops
    new ones. bytes: of blobs altogether. values: floats as they are, not as distributions. tokens:
    token ids too. Weights are never kept.
    """

    keep: int = 4
    cells: int = 4096
    waiting: int = 256
    bytes: int = 256 << 20
    values: bool = False
    tokens: bool = False

    def __post_init__(self) -> None:
        for name in ("keep", "cells", "waiting", "bytes"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{getattr(self, name)} is too few", at=name, hint="1 or more")


class Recorder:
    """Records the calls of a dataset's definitions. `close` writes the rows and the manifest.

    source: names this capture in every row. inner: a table that calls go on to. wanted: definition
    and axes → whether to look closer; it is asked before anything is copied.
    """

    def __init__(
        self,
        store: Dataset,
        source: str,
        *,
        inner: Resolver | None = None,
        wanted: Filter | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        if not source or any(c in source for c in "/\\\0") or source.startswith("."):
            raise InvalidRequest(f"{source!r} cannot be a file name", at="source", hint="a word")
        self.handles: dict[tuple[str, Callable[..., Any]], Callable[..., Any]] = {}
        self.limits = limits or Limits()
        self._store, self._source, self._inner, self._wanted = store, source, inner, wanted
        self._definitions = store.definitions()
        self._names = {sig(d): name for name, d in self._definitions.items()}
        self._sketches: dict[str, Sketch] = {}
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._faults = 0
        self._started = _now()
        self._writer = Writer(store.root, self.limits.waiting, self.limits.bytes, seed)
        self._open = True

    def find(self, definition: Definition) -> str | None:
        """The dataset's name of a definition with this signature."""
        return self._names.get(sig(definition))

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
        """As `Resolver.resolve`; the callable records and goes on to `inner` or the fallback."""
        definition = self._store.definition(name)
        go_on = fallback
        if self._inner is not None:
            known = self._inner.find(definition)
            if known is not None:
                go_on = self._inner.resolve(
                    known, fallback, bound=bound, host=host, trusted=trusted, oracle=oracle
                )
        look = _Look(definition, dict(bound or {}), dict(host or {}))

        def recorded(*operands: Any) -> Any:
            if self._open:
                try:
                    self._record(look, look.axes(operands), operands)
                except Exception:  # a capture never harms what it watches
                    self._faults += 1
            return go_on(*operands)

        recorded.__name__ = recorded.__qualname__ = name
        return recorded

    def observe(self, name: str, axes: Mapping[str, int], given: Mapping[str, Any]) -> None:
        """Records a call that no hook sees, such as a replayed graph, from the engine's host batch.

        given: index arrays (numpy, or anything torch takes) and scalars. Raises NotFound for an
        unknown name, InvalidRequest if one of those or an axis is missing.
        """
        import torch

        look = _Look(self._store.definition(name), {}, {})
        d = look.definition
        wanted = {n for n, t in d.inputs.items() if t.shape is None or "int" in t.dtype}
        missing = sorted(wanted - set(given))
        missing += sorted(n for n, a in d.axes.items() if isinstance(a, AxisVar) and n not in axes)
        if missing:
            raise InvalidRequest(f"{missing[0]!r} is missing", at=name, hint="give all of them")
        made = {
            key: value if d.inputs[key].shape is None else torch.as_tensor(value)
            for key, value in given.items()
        }
        self._record(look, dict(axes), tuple(made.get(key) for key in d.inputs))

    def close(self) -> Path:
        """Ends the capture: appends the workload rows, writes the manifest and returns its path.

        A row's `count` is its share of its cell's calls, so that counts add up to all of them.
        """
        if not self._open:
            raise InvalidRequest("the capture is closed", at=self._source)
        self._open = False
        self._writer.close()
        summary: dict[str, Any] = {}
        for name, sketch in sorted(self._sketches.items()):
            samples = 0
            for where, calls in sketch.counts.items():
                slots = self._writer.rows.get((name, where), {})
                samples += len(slots)
                for i, (slot, row) in enumerate(sorted(slots.items())):
                    share = calls // len(slots) + (i < calls % len(slots))
                    identity = json.dumps([self._source, self._started, name, where, slot])
                    workload = self._writer.workload(row, identity, share, self._source)
                    try:
                        self._store.append(Trace(definition=name, workload=workload), flush=False)
                    except TreadleError as error:  # one odd row must not cost the others
                        self._writer.dropped[f"refused: {error.message}"] += 1
            summary[name] = {
                "calls": sum(sketch.counts.values()) + sketch.beyond,
                "cells": len(sketch.counts),
                "samples": samples,
                "calls_beyond_the_cells": sketch.beyond,
            }
        return self._manifest(summary)

    def _record(self, look: _Look, axes: dict[str, int], operands: tuple[Any, ...]) -> None:
        name = look.definition.name
        if self._wanted is not None and not self._wanted(name, axes):
            return
        where = cell(look.space.key(axes))
        with self._lock:
            sketch = self._sketches.get(name)
            if sketch is None:
                sketch = Sketch(self.limits.keep, self.limits.cells, self._rng)
                self._sketches[name] = sketch
            slot = sketch.offer(where)
        if slot is not None:
            given = look.kept(operands, axes, self.limits)
            self._writer.put(Sample(look.definition, where, slot, axes, given))

    def _manifest(self, summary: dict[str, Any]) -> Path:
        held = ["sizes and call counts", "numbers passed as scalars", "index arrays"]
        held.append("float values" if self.limits.values else "moments of floats")
        withheld = ["weights"] + ([] if self.limits.values else ["float values"])
        (held if self.limits.tokens else withheld).append("token ids")
        path = self._store.root / "capture" / f"{self._source}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {
            "source": self._source,
            "started": self._started,
            "finished": _now(),
            "limits": asdict(self.limits),
            "holds": held,
            "leaves_out": withheld,
            "definitions": summary,
            "blob_bytes": self._writer.bytes,
            "dropped": dict(self._writer.dropped),
            "faults": self._faults,
        }
        path.write_text(json.dumps(found, indent=2) + "\n")
        return path


class _Look:
    """How to see sizes and operands of one definition at one call site."""

    def __init__(
        self, definition: Definition, bound: dict[str, Any], host: dict[str, list[int]]
    ) -> None:
        self.definition, self.space = definition, space(definition)
        self._bound, self._host = bound, host
        self._free = [name for name in definition.inputs if name not in bound]
        self._weights = {*bound, *(definition.treadle or {}).get("weights", ())}
        self._vocabulary = max(
            (a.value for a in definition.axes.values() if isinstance(a, AxisConst)), default=1
        )
        self._places: list[tuple[str, int, int]] = []
        self._fixed: dict[str, int] = {}
        seen: set[str] = set()
        for name, tensor in definition.inputs.items():
            for dim, axis in enumerate(tensor.shape or ()):
                if axis in seen or not isinstance(definition.axes[axis], AxisVar):
                    continue
                if name in bound:
                    self._fixed[axis] = int(bound[name].shape[dim])
                elif not tensor.optional:
                    self._places.append((axis, self._free.index(name), dim))
                else:
                    continue
                seen.add(axis)

    space: Space

    def axes(self, operands: tuple[Any, ...]) -> dict[str, int]:
        """Sizes of a call's variable axes."""
        found = dict(self._fixed)
        for axis, i, dim in self._places:
            found[axis] = operands[i].shape[dim]
        for axis, current in self._host.items():
            found[axis] = current[0]
        return found

    def kept(
        self, operands: tuple[Any, ...], axes: Mapping[str, int], limits: Limits
    ) -> dict[str, Any]:
        """What is kept of each operand; a buffer is cut to the part that the host says is used."""
        found: dict[str, Any] = {}
        whole = len(operands) == len(self.definition.inputs)
        names = self.definition.inputs if whole else self._free
        given = {**dict(zip(names, operands, strict=True)), **self._bound}
        for name, tensor in self.definition.inputs.items():
            value = given[name]
            if tensor.shape is None:
                if isinstance(value, int | float):
                    found[name] = value
                continue
            if value is None:
                if not tensor.optional:
                    found[name] = {"kind": "normal", "mean": 0.0, "std": 1.0, "seed": 0}
                continue
            if value.is_floating_point():
                keep = limits.values and name not in self._weights
                found[name] = fit.copy(value) if keep else _moments(value)
            elif name in PRIVATE and not limits.tokens:
                found[name] = {"kind": "integers", "low": 0, "high": self._vocabulary, "seed": 0}
            elif name in self._weights:  # packed weights are bytes, and weights stay
                found[name] = {"kind": "bytes", "seed": 0}
            else:
                for dim, axis in enumerate(tensor.shape):
                    if axis in self._host and value.shape[dim] > axes[axis]:
                        value = value.narrow(dim, 0, axes[axis])
                found[name] = fit.copy(value)
        return found


def _moments(value: Any) -> Any:
    if value.numel() == 0:
        return {"kind": "normal", "mean": 0.0, "std": 1.0, "seed": 0}
    return fit.moments(value)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
