"""A dataset root: definitions and solutions as files, workloads and traces as indexed lines."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from treadle.errors import InvalidRequest, LimitExceeded, NotFound, TreadleError
from treadle.kernels.schema import (
    Definition,
    Solution,
    Trace,
    check_workload,
    pretty,
    read,
    refused_by_v1,
    sig,
    write,
)
from treadle.kernels.store.index import Best, Index
from treadle.kernels.store.lines import append, line_at, lines, torn

MAX_FILE = 64 << 20
_LINES = ("workloads", "traces", "ext/workloads", "ext/traces")

One = TypeVar("One", Definition, Solution)


class Problem(NamedTuple):
    """Something wrong with a dataset: where, and what."""

    at: str
    message: str


class Dataset:
    """`Dataset(root)` opens; nothing is read before it is asked for.

    readonly: the index is kept in memory and nothing is written. Raises NotFound if there is no
    such folder.
    """

    def __init__(self, root: Path | str, *, readonly: bool = False) -> None:
        self.root = Path(root)
        self.readonly = readonly
        if not self.root.is_dir():
            if readonly:
                raise NotFound(f"no dataset at {self.root}", hint="check the path")
            self.root.mkdir(parents=True)
        self._index: Index | None = None
        self._definitions: dict[str, Definition] | None = None

    @property
    def index(self) -> Index:
        """The index, brought up to date when first used; `refresh` follows later changes."""
        if self._index is None:
            path = None if self.readonly else self.root / ".treadle" / "index.sqlite"
            self._index = Index(self.root, path, _LINES)
            self._index.refresh()
        return self._index

    def close(self) -> None:
        """Closes the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def definitions(self) -> dict[str, Definition]:
        """All definitions by name. Raises InvalidRequest for a bad file or a name given twice."""
        if self._definitions is None:
            found: dict[str, Definition] = {}
            for path in self._files("definitions"):
                one = self._load(Definition, path)
                if one.name in found:
                    raise InvalidRequest(
                        f"definition {one.name!r} comes twice", at=str(path), hint="rename one"
                    )
                found[one.name] = one
            self._definitions = found
        return self._definitions

    def definition(self, name: str, signature: str | None = None) -> Definition:
        """One definition; `signature` must be its `sig`. Raises NotFound."""
        found = self.definitions().get(name)
        if found is None or (signature is not None and sig(found) != signature):
            what = "no definition" if found is None else "another signature stands behind"
            raise NotFound(f"{what} {name!r}", at=str(self.root), hint="see treadle kernels stat")
        return found

    def solutions(self, definition: str | None = None) -> Iterator[Solution]:
        """Solutions, of one definition or all."""
        for path in self._files("solutions"):
            if definition is None or path.parent.name == definition:
                yield self._load(Solution, path)

    def workloads(self, definition: str) -> Iterator[Trace]:
        """Workload rows of a definition."""
        return self._traces(definition, workloads=True)

    def traces(self, definition: str, solution: str | None = None) -> Iterator[Trace]:
        """Traces of a definition, of one solution or all."""
        return self._traces(definition, workloads=False, solution=solution)

    def best(self, definition: str, device: str, axes: Mapping[str, int]) -> Best | None:
        """The fastest passing run at exactly these axes, or None."""
        return self.index.best(definition, device, axes)

    def add(self, value: Definition | Solution, *, replace: bool = False) -> Path:
        """Writes a definition or solution. The same again changes nothing.

        Raises InvalidRequest if the name is taken by something else, unless `replace`: for files
        that are generated.
        """
        self._writable()
        base = self.root / "ext" if refused_by_v1(value) else self.root
        if isinstance(value, Definition):
            path = base / "definitions" / value.op_type / f"{_name(value.name)}.json"
        else:
            op_type = self.definition(value.definition).op_type
            folder = base / "solutions" / _name(value.author) / op_type / _name(value.definition)
            path = folder / f"{_name(value.name)}.json"
        data = pretty(write(value))
        if path.exists():
            if path.read_bytes() == data:
                return path
            if not replace:
                raise InvalidRequest(
                    f"{value.name!r} is there with other content", at=str(path), hint="rename one"
                )
        elif isinstance(value, Definition) and value.name in self.definitions():
            raise InvalidRequest(
                f"definition {value.name!r} is there", at=str(self.root), hint="rename one"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of its own for each writer: others may be adding the same.
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        partial.write_bytes(data)
        partial.replace(path)
        self._definitions = None
        return path

    def append(self, trace: Trace, author: str | None = None, *, flush: bool = True) -> None:
        """Appends a workload row (no solution) or a trace, whose `author` names its folder.

        Raises NotFound for an unknown definition, InvalidRequest for a row that does not fit it.
        """
        self._writable()
        definition = self.definition(trace.definition)
        check_workload(trace.workload, definition)
        parts = ["ext"] if refused_by_v1(trace) or refused_by_v1(definition) else []
        if trace.solution is None:
            parts += ["workloads", definition.op_type]
        else:
            parts += ["traces", _name(author or "unknown"), definition.op_type]
        path = self.root.joinpath(*parts) / f"{_name(definition.name)}.jsonl"
        append(path, write(trace), flush=flush)
        if self._index is not None:
            self._index.refresh()

    def problems(self) -> Iterator[Problem]:
        """Everything wrong with the dataset: files, lines, references between them."""
        names: dict[str, dict[str, Definition | Solution]] = {"definitions": {}, "solutions": {}}
        for folder in names:
            for path in self._files(folder):
                place = str(path.relative_to(self.root))
                try:
                    one: Definition | Solution = (
                        self._load(Definition, path)
                        if folder == "definitions"
                        else self._load(Solution, path)
                    )
                except TreadleError as error:
                    yield Problem(place, str(error))
                    continue
                if one.name in names[folder]:
                    yield Problem(place, f"{one.name!r} comes twice")
                names[folder][one.name] = one
                refused = refused_by_v1(one)
                if refused and not place.startswith("ext/"):
                    yield Problem(place, f"a v1 reader refuses it: {'; '.join(refused)}")
                if isinstance(one, Solution) and one.definition not in names["definitions"]:
                    yield Problem(place, f"no definition {one.definition!r}")
        for base in _LINES:
            for path in sorted((self.root / base).rglob("*.jsonl")):
                yield from self._line_problems(path, names)

    def _line_problems(
        self, path: Path, names: Mapping[str, Mapping[str, Definition | Solution]]
    ) -> Iterator[Problem]:
        place = str(path.relative_to(self.root))
        rows = place.removeprefix("ext/").startswith("workloads")
        for offset, data in lines(path):
            at = f"{place} byte {offset}"
            try:
                trace = read(Trace, data, at)
                definition = names["definitions"].get(trace.definition)
                if definition is None:
                    raise NotFound(f"no definition {trace.definition!r}")
                assert isinstance(definition, Definition)
                check_workload(trace.workload, definition)
                if (trace.solution is None) != rows:
                    raise InvalidRequest("a workload row among traces, or the reverse")
                if trace.solution is not None and trace.solution not in names["solutions"]:
                    raise NotFound(f"no solution {trace.solution!r}")
            except TreadleError as error:
                yield Problem(at, str(error))
        cut = torn(path)
        if cut:
            yield Problem(place, f"{cut} bytes of an unfinished last line")

    def _traces(
        self, definition: str, *, workloads: bool, solution: str | None = None
    ) -> Iterator[Trace]:
        for file, offset, length in self.index.places(
            definition, workloads=workloads, solution=solution
        ):
            yield read(Trace, line_at(self.root / file, offset, length), f"{file} byte {offset}")

    def _files(self, folder: str) -> Iterator[Path]:
        for base in (self.root / folder, self.root / "ext" / folder):
            if base.is_dir():
                yield from sorted(p for p in base.rglob("*.json") if p.is_file())

    def _load(self, kind: type[One], path: Path) -> One:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise LimitExceeded("bytes of a file", size, MAX_FILE, at=str(path))
        return read(kind, path.read_bytes(), str(path.relative_to(self.root)))

    def _writable(self) -> None:
        if self.readonly:
            raise InvalidRequest("the dataset was opened to read", hint="open it to write")


def _name(text: str) -> str:
    """A name as one path component. Raises InvalidRequest."""
    if not text or text.startswith(".") or any(c in text for c in "/\\\0"):
        raise InvalidRequest(f"{text!r} cannot be a file name", hint="use letters, digits, _ . -")
    return text
