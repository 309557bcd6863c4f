"""A dataset's lines as one Parquet file, for tools that read tables; and back.

Derived like the index: columns are typed for queries, and `line` holds the row itself, so that the
file alone gives every row again. Needs pyarrow, extra `[bench]`.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from treadle.errors import InvalidRequest, NotFound, TreadleError, Unsupported
from treadle.kernels.schema import Trace, number, read, write
from treadle.kernels.store.dataset import Dataset
from treadle.kernels.store.lines import lines
from treadle.kernels.store.transfer import Moved, source_lines

FORMAT = "treadle.kernels/1"
GROUP = 4096
"""Rows of a row group, and what is held in memory at once."""

_TEXTS = ("file", "definition", "op_type", "solution", "workload", "device", "status", "verdict",
          "timer", "baseline", "refused", "harness", "log")  # fmt: skip
_FLOATS = ("latency_ms", "reference_latency_ms", "speedup", "ci_low", "ci_high",
           "max_relative_error", "max_absolute_error")  # fmt: skip
_SMALL = ("rounds", "isolation")


def export(data: Dataset, file: Path) -> Moved:
    """Writes workload rows and traces; lines that are none are counted as left out.

    A file of that name is replaced once the new one is whole. Raises Unsupported without pyarrow.
    """
    arrow, parquet = _arrow()
    schema = _schema(arrow)
    partial = file.with_name(f".{file.name}.tmp")
    written = left_out = 0
    batch: list[dict[str, Any]] = []
    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:

            def flush() -> None:
                nonlocal written
                writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
                written += len(batch)
                batch.clear()

            for path in source_lines(data.root):
                place = path.relative_to(data.root).as_posix()
                for _, line in lines(path):
                    try:
                        batch.append(_row(data, place, read(Trace, line, place)))
                    except TreadleError:
                        left_out += 1
                    if len(batch) == GROUP:
                        flush()
            if batch:
                flush()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return Moved(0, 0, written, left_out)


def rows(file: Path) -> Iterator[tuple[str, Trace]]:
    """Place in the dataset and row, a row group at a time.

    Raises NotFound, Unsupported without pyarrow, InvalidRequest for a file of another kind.
    """
    arrow, parquet = _arrow()
    if not file.is_file():
        raise NotFound(f"no file {file}", hint="write it with export --parquet")
    try:
        with parquet.ParquetFile(file) as opened:
            metadata: dict[bytes, bytes] = opened.schema_arrow.metadata or {}
            found = metadata.get(b"format", b"").decode("utf-8", "replace")
            if found != FORMAT:
                raise InvalidRequest(f"format {found or 'unknown'!r}", at=str(file),
                                     hint=f"only {FORMAT} can be read")  # fmt: skip
            for batch in opened.iter_batches(batch_size=GROUP, columns=["file", "line"]):
                pairs = zip(*(batch.column(i).to_pylist() for i in range(2)), strict=True)
                for place, line in pairs:
                    yield str(place), read(Trace, str(line).encode(), f"{file}, {place}")
    except arrow.ArrowException as problem:
        raise InvalidRequest(f"no Parquet file: {problem}", at=str(file),
                             hint="write it anew with export --parquet") from None  # fmt: skip


def _row(data: Dataset, place: str, trace: Trace) -> dict[str, Any]:
    known = data.definitions().get(trace.definition)
    row: dict[str, Any] = {
        "file": place, "definition": trace.definition, "solution": trace.solution,
        "op_type": known.op_type if known is not None else None,
        "workload": trace.workload.uuid, "axes": _axes(trace),
        "line": write(trace).decode(),
    }  # fmt: skip
    run = trace.evaluation
    if run is None:
        return row
    libs = run.environment.libs
    row |= {
        "device": run.environment.hardware, "status": run.status, "log": run.log,
        "libs": list(libs.items()), "measured_at": _instant(run.timestamp),
        "refused": libs.get("treadle.refused"), "harness": libs.get("treadle.harness"),
    }  # fmt: skip
    if run.performance is not None:
        row |= {
            "latency_ms": run.performance.latency_ms,
            "reference_latency_ms": run.performance.reference_latency_ms,
            "speedup": run.performance.speedup_factor,
        }
    if run.correctness is not None:
        row |= {
            "max_relative_error": number(run.correctness.max_relative_error),
            "max_absolute_error": number(run.correctness.max_absolute_error),
            **_ours((run.correctness.extra or {}).get("treadle")),
        }
    return row


def _axes(trace: Trace) -> list[tuple[str, int]] | None:
    """Sizes; none where one is beyond a column's 64 bits."""
    pairs = list(trace.workload.axes.items())
    return pairs if all(size < 1 << 63 for _, size in pairs) else None


def _ours(extra: object) -> dict[str, Any]:
    """Our facts as far as they have the type of their column: the object is free-form."""
    if not isinstance(extra, dict):
        return {}
    given = cast("dict[str, object]", extra)
    out: dict[str, Any] = {}
    match given.get("ci"):
        case [int() | float() as low, int() | float() as high]:
            out |= {"ci_low": float(low), "ci_high": float(high)}
        case _:
            pass
    for column, key in (("rounds", "n"), ("isolation", "isolation")):
        value = given.get(key)
        if isinstance(value, int) and abs(value) < 1 << 31:
            out[column] = int(value)
    out |= {
        key: v for key in ("verdict", "timer", "baseline") if isinstance(v := given.get(key), str)
    }
    return out


def _instant(text: str) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _schema(arrow: Any) -> Any:
    fields = [(name, arrow.string()) for name in _TEXTS]
    fields += [(name, arrow.float64()) for name in _FLOATS]
    fields += [(name, arrow.int32()) for name in _SMALL]
    fields += [
        ("axes", arrow.map_(arrow.string(), arrow.int64())),
        ("libs", arrow.map_(arrow.string(), arrow.string())),
        ("measured_at", arrow.timestamp("us", tz="UTC")),
        ("line", arrow.large_string()),
    ]
    return arrow.schema(fields, metadata={"format": FORMAT})


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise Unsupported(
            "Parquet needs pyarrow", at="--parquet", hint="pip install 'treadle[bench]'"
        ) from None
