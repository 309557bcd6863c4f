"""`treadle kernels apply explain | table` and `treadle kernels capture`."""

from __future__ import annotations

import argparse
import importlib
import json
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.apply import Policy, Site, Table, enabled
from treadle.kernels.apply.core import Core, Decision
from treadle.kernels.capture import Limits, Recorder
from treadle.kernels.schema import AxisVar, sig
from treadle.kernels.store import Dataset

Adder = Callable[..., argparse.ArgumentParser]


def register(verbs: Any) -> None:
    """Adds the verbs to the subparsers of `treadle kernels`."""
    apply = verbs.add_parser("apply", help="why each call or node gets its kernel")
    inner = apply.add_subparsers(required=True, metavar="VERB")
    for name, text, run in (
        ("explain", "the decision for calls, or for the nodes of a graph", _explain),
        ("table", "what is chosen where, and what to measure next", _table),
    ):
        made = inner.add_parser(name, help=text, description=text)
        made.add_argument("root", type=Path)
        made.add_argument("--device", help="as traces name it; may be left out if there is one")
        made.add_argument("--isolation", type=int, default=2, help="least level that counts (2)")
        made.add_argument("--gain", type=float, default=0.02, help="least gain that counts (0.02)")
        made.add_argument("--unproven", action="store_true", help="take traces without interval")
        made.add_argument("--json", action="store_true", help="print one line of JSON")
        made.set_defaults(run=run)
        if name == "table":
            made.add_argument("definition", nargs="?")
            continue
        made.add_argument("calls", nargs="*", metavar="DEFINITION[:AXIS=SIZE,...]")
        made.add_argument("--graph", type=Path, help="a graph as JSON: explain its nodes")
        made.add_argument("--act", default="bf16", choices=("f32", "bf16", "f16"))
        made.add_argument("--tokens", type=int, default=1, help="rows of a step (1)")
    capture = verbs.add_parser("capture", help="run a script and keep its calls as workloads")
    capture.add_argument("root", type=Path)
    capture.add_argument("--source", default="capture", help="name of this capture in its rows")
    capture.add_argument("--sites", action="append", default=[], metavar="MODULE:FUNCTION",
                         help="gives the call sites to watch for definitions")  # fmt: skip
    capture.add_argument("--keep", type=int, default=4, help="calls a cell of sizes (4)")
    capture.add_argument("--megabytes", type=int, default=256, help="of blobs altogether (256)")
    capture.add_argument("--values", action="store_true", help="keep float values")
    capture.add_argument("--tokens", action="store_true", help="keep token ids")
    capture.add_argument("--json", action="store_true", help="print one line of JSON")
    capture.add_argument("script", type=Path)
    capture.add_argument("arguments", nargs=argparse.REMAINDER)
    capture.set_defaults(run=_capture)


def _open(options: argparse.Namespace) -> tuple[Dataset, Table]:
    data = Dataset(options.root, readonly=True)
    device: str | None = options.device
    if device is None:
        seen = sorted(_devices(data))
        if len(seen) != 1:
            raise InvalidRequest(
                f"{len(seen)} devices have traces", at="--device",
                hint=f"name one of {', '.join(seen)}" if seen else "bench something first",
            )  # fmt: skip
        device = seen[0]
    policy = Policy(isolation=options.isolation, gain=options.gain, unproven=options.unproven)
    return data, Table.from_store(data, device, policy)


def _devices(data: Dataset) -> set[str]:
    found: set[str] = set()
    for name in data.index.counts():
        for trace in data.traces(name):
            if trace.evaluation is not None:
                found.add(trace.evaluation.environment.hardware)
    return found


def _explain(options: argparse.Namespace) -> int:
    data, table = _open(options)
    rows: list[dict[str, Any]] = []
    if options.graph is not None:
        rows += _nodes(data, table, options)
    for text in options.calls:
        name, axes = _call(text)
        core = table.core(name)
        if not axes and core is not None and core.evidence.points:
            given: list[Mapping[str, int]] = [point.axes for point in core.evidence.points]
        else:
            given = [axes]
        rows += [{"call": text, **_decision(table, name, one)} for one in given]
    if not rows:
        raise InvalidRequest("nothing to explain", at="DEFINITION", hint="name one, or --graph")
    if options.json:
        print(json.dumps({"device": table.device, "decisions": rows}))
        return 0
    print(f"on {table.device}, isolation >= {options.isolation}, gain >= {options.gain:.1%}")
    for row in rows:
        sizes = ", ".join(f"{k}={v}" for k, v in row["axes"].items())
        what = f"{row['node']}  {row['definition'] or '-'}" if "node" in row else row["definition"]
        print(f"{what}  {sizes}\n    {row['solution'] or 'fallback'}: {row['reason']}")
    return 0


def _call(text: str) -> tuple[str, dict[str, int]]:
    name, _, rest = text.partition(":")
    axes: dict[str, int] = {}
    for pair in rest.split(",") if rest else ():
        axis, equals, size = pair.partition("=")
        if not equals or not size.isdecimal():
            raise InvalidRequest(f"{pair!r}", at=text, hint="write DEFINITION:M=8,N=4")
        axes[axis] = int(size)
    return name, axes


def _decision(table: Table, name: str, axes: Mapping[str, int]) -> dict[str, Any]:
    core = table.core(name)
    found = _as_if_built(core, table.decide(name, axes))
    coordinates = core.space.coordinates if core is not None else ()
    shown = {coordinate.size.axis for coordinate in coordinates}
    return {
        "definition": name,
        "axes": {k: v for k, v in axes.items() if k in shown},
        "solution": found.solution,
        "reason": found.reason,
    }


def _as_if_built(core: Core | None, found: Decision) -> Decision:
    """A table that only explains builds nothing: who would be used once it is built."""
    if core is None or found.solution is not None or found.point is None:
        return found
    marker = " won, but is not built yet"
    if not found.reason.endswith(marker):
        return found
    name = found.reason.removesuffix(marker)
    won = found.point.ratios.get(name)
    proof = f"{won.low:.3f} to {won.high:.3f} times as fast" if won else "won at a neighbour"
    return found._replace(solution=name, reason=proof)


def _nodes(data: Dataset, table: Table, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from treadle.graph import loads
    from treadle.kernels.definitions.nodes import node_view

    graph = loads(options.graph.read_text())
    known = {sig(d): name for name, d in data.definitions().items()}
    for i, node in enumerate(graph.nodes):
        view = node_view(graph, node, options.act)
        name = known.get(sig(view)) if view is not None else None
        row: dict[str, Any] = {"node": f"{i} {node.op} {node.outputs[0] if node.outputs else ''}"}
        if view is None or name is None:
            why = "no definition fits this op" if view is None else "the dataset has no definition"
            yield {**row, "definition": None, "axes": {}, "solution": None, "reason": why}
            continue
        sizes = {n: options.tokens for n, a in view.axes.items() if isinstance(a, AxisVar)}
        yield {**row, **_decision(table, name, sizes)}


def _table(options: argparse.Namespace) -> int:
    _, table = _open(options)
    names = [options.definition] if options.definition else list(table.names())
    rows: list[dict[str, Any]] = []
    for name in names:
        table.definition(name)
        core = table.core(name)
        if core is None:
            raise NotFound(f"{name} has no traces", hint="bench it first")
        for point, choice in zip(core.evidence.points, core.choices, strict=True):
            ratios = {
                n: {"ci": [r.low, r.high], "refused": r.reason} for n, r in point.ratios.items()
            }
            rows.append({"definition": name, "key": list(point.key), "choice": choice,
                         "ratios": ratios})  # fmt: skip
        for key in core.midpoints():
            rows.append({"definition": name, "key": list(key), "measure": True})
    if options.json:
        print(json.dumps({"device": table.device, "rows": rows}))
        return 0
    print(f"on {table.device}")
    last = ""
    for row in rows:
        core = table.core(row["definition"])
        if row["definition"] != last and core is not None:
            last = row["definition"]
            print(f"{last} by {core.space.label}")
        key = ", ".join(f"{v:g}" for v in row["key"])
        if "measure" in row:
            print(f"    {key}: measure here next, the winner changes around it")
            continue
        tried = "; ".join(
            f"{n} {r['ci'][0]:.3f}..{r['ci'][1]:.3f}{' ' + r['refused'] if r['refused'] else ''}"
            for n, r in row["ratios"].items()
        )
        print(f"    {key}: {row['choice'] or 'fallback'}  ({tried})")
    return 0


def _capture(options: argparse.Namespace) -> int:
    data = Dataset(options.root)
    limits = Limits(keep=options.keep, bytes=options.megabytes << 20, values=options.values,
                    tokens=options.tokens)  # fmt: skip
    if not options.script.is_file():
        raise NotFound(f"no script {options.script}", at="SCRIPT", hint="check the path")
    sites: list[Site] = []
    for text in options.sites:
        sites += _sites(text, data)
    recorder = Recorder(data, options.source, limits=limits)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    before = sys.argv
    try:
        sys.argv = [str(options.script), *arguments]
        with enabled(recorder, sites):
            runpy.run_path(str(options.script), run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            print(f"the script ended with {end.code}", file=sys.stderr)
    finally:
        sys.argv = before
        path = recorder.close()
    found = json.loads(path.read_text())
    if options.json:
        print(json.dumps(found))
        return 0
    for name, row in found["definitions"].items():
        print(f"{name}  {row['calls']} calls, {row['cells']} cells, {row['samples']} kept")
    print(f"{path}: {found['blob_bytes']} bytes of blobs, dropped {found['dropped'] or 'nothing'}")
    return 0


def _sites(text: str, data: Dataset) -> list[Site]:
    module, colon, name = text.partition(":")
    try:
        make = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise NotFound(str(error), at="--sites", hint="write MODULE:FUNCTION") from None
    if make is None:
        raise InvalidRequest(f"{text!r}", at="--sites", hint="write MODULE:FUNCTION")
    return list(cast("list[Site]", make(data.definitions().values())))
