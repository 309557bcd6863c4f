"""Pages from facts: HTML through minijinja with everything escaped, and the same facts as JSON.

A page is a function of the facts alone: no date, no host, no order that could change, so that the
same dataset gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import minijinja

from treadle.kernels.board import plots, svg
from treadle.kernels.board.engine import TEMPLATES, engine, path, percent
from treadle.kernels.board.facts import Facts, Run, ceilings
from treadle.kernels.board.standings import Standing, of_authors, of_definition
from treadle.kernels.schema import Definition


class Pages:
    """All files of a site: `files()` gives path and contents."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._devices = facts.devices()
        self._tables: dict[str, dict[str, list[Standing]]] = {}
        for device in self._devices:
            names = sorted({r.definition for r in facts.latest if r.device == device})
            self._tables[device] = {n: of_definition(facts, n, device) for n in names}
        self._authors = {d: of_authors(facts, t, d) for d, t in self._tables.items()}
        self._engine = engine()

    def files(self) -> Iterable[tuple[str, str]]:
        """Relative path and text of each file."""
        yield "style.css", (TEMPLATES / "style.css").read_text(encoding="utf-8")
        yield from self._overview()
        yield "method.html", self._page(
            "method.html", "method.html", "Method", "api/board.json",
            harnesses=sorted({r.libraries.get("treadle.harness", "") for r in self._facts.runs}),
        )  # fmt: skip
        for device in self._devices:
            yield from self._device(device)
        for one in self._facts.definitions.values():
            yield from self._definition(one)
        missing = {r.solution for r in self._facts.runs} - set(self._facts.solutions)
        for name in sorted({*self._facts.solutions, *missing}):
            yield from self._solution(name)
        latest = {run.key for run in self._facts.latest}
        seen: set[str] = set()
        for run in self._facts.runs:
            if run.key not in seen:  # a line that stands twice has one page
                seen.add(run.key)
                yield from self._trace(run, run.key in latest)

    def _overview(self) -> Iterable[tuple[str, str]]:
        facts = self._facts
        parts = [
            {
                "device": device,
                "authors": self._authors[device],
                "workloads": sum(len(facts.workloads[n]) for n in table),
                "best": [rows[0] for rows in table.values()],
                "fast_p": _svg(plots.fast_p(self._authors[device], f"fast_p on {device}")),
            }
            for device, table in self._tables.items()
        ]
        kinds: dict[str, list[str]] = {}
        for one in sorted(facts.definitions.values(), key=lambda d: (d.op_type, d.name)):
            kinds.setdefault(one.op_type, []).append(one.name)
        totals = {
            "Definitions": len(facts.definitions),
            "Solutions": len(facts.solutions),
            "Workloads": sum(len(rows) for rows in facts.workloads.values()),
            "Traces": len(facts.runs),
            "Devices": len(self._devices),
        }
        yield "index.html", self._page(
            "overview.html", "index.html", "Overview", "api/board.json",
            parts_by_device=parts, kinds=kinds, totals=totals, unread=facts.unread,
        )  # fmt: skip
        yield "api/board.json", _json({
            "totals": {name.lower(): count for name, count in totals.items()},
            "unread_lines": facts.unread,
            "devices": {d: f"api/{path('device', d, 'json')}" for d in self._devices},
            "definitions": {n: f"api/{path('definition', n, 'json')}" for n in facts.definitions},
        })  # fmt: skip

    def _device(self, device: str) -> Iterable[tuple[str, str]]:
        table, authors = self._tables[device], self._authors[device]
        runs = [r for r in self._facts.latest if r.device == device]
        roof, left_out = plots.roofline(self._facts, device, _link)
        bandwidth, peak = ceilings(self._facts, device)
        noise = sorted(r.noise for r in runs if r.noise)
        shown = {
            "Definitions": str(len(table)),
            "Newest traces": str(len(runs)),
            "Memory ceiling": f"{bandwidth / 1e9:.4g} GB/s" if bandwidth else "",
            "Operations ceiling": f"{peak / 1e12:.3g} Top/s" if peak else "",
            "Noise of the device with itself": percent(noise[len(noise) // 2]) if noise else "",
        }
        yield self._both(
            "device", device, "device.html", device=device, authors=authors, table=table,
            facts={k: v for k, v in shown.items() if v},
            fast_p=_svg(plots.fast_p(authors, f"fast_p on {device}")),
            roofline=_svg(roof), left_out=left_out,
        )  # fmt: skip
        yield _api("device", device, {
            "device": device, "ceilings": {"bytes_per_second": bandwidth, "flops": peak},
            "authors": [_row(row) for row in authors],
            "definitions": {name: [_row(r) for r in rows] for name, rows in table.items()},
        })  # fmt: skip

    def _definition(self, one: Definition) -> Iterable[tuple[str, str]]:
        measured: list[dict[str, Any]] = []
        for device, table in self._tables.items():
            rows = table.get(one.name)
            if not rows:
                continue
            figure, found = plots.over_size(
                self._facts, one.name, device, [r.name for r in rows], _link
            )
            runs = [
                r for r in self._facts.latest if r.definition == one.name and r.device == device
            ]
            runs.sort(key=lambda r: (list(r.axes.values()), -(r.ratio or 0.0), r.solution))
            measured.append({
                "device": device, "rows": rows, "runs": runs, "crossovers": found,
                "fast_p": _svg(plots.fast_p(rows, f"fast_p of {one.name} on {device}")),
                "over_size": _svg(figure),
            })  # fmt: skip
        solutions = [s for s in self._facts.solutions.values() if s.definition == one.name]
        yield self._both(
            "definition", one.name, "definition.html", definition=one, measured=measured,
            operands=_operands(one), workloads=len(self._facts.workloads[one.name]),
            tolerance=(one.treadle or {}).get("tolerance"),
            solutions=sorted(solutions, key=lambda s: s.name),
        )  # fmt: skip
        yield _api("definition", one.name, {
            "definition": one.name, "op_type": one.op_type,
            "workloads": {u: dict(w.axes) for u, w in self._facts.workloads[one.name].items()},
            "devices": {m["device"]: [_row(r) for r in m["rows"]] for m in measured},
            "traces": [r.key for m in measured for r in m["runs"]],
        })  # fmt: skip

    def _solution(self, name: str) -> Iterable[tuple[str, str]]:
        solution = self._facts.solutions.get(name)
        runs = [r for r in self._facts.runs if r.solution == name]
        definition = solution.definition if solution is not None else runs[0].definition
        latest = [r for r in self._facts.latest if r.solution == name]
        measured: list[dict[str, Any]] = []
        for device, table in self._tables.items():
            rows = [row for part in table.values() for row in part if row.name == name]
            for row in rows[:1]:
                ours = [r for r in latest if r.device == device]
                ours.sort(key=lambda r: list(r.axes.values()))
                keys = {r.key for r in ours}
                earlier = [r for r in runs if r.device == device and r.key not in keys]
                measured.append({"device": device, "row": row, "runs": ours, "earlier": earlier})
        yield self._both(
            "solution", name, "solution.html", name=name, solution=solution,
            definition=definition, measured=measured,
        )  # fmt: skip
        yield _api("solution", name, {
            "solution": name, "definition": definition,
            "author": solution.author if solution is not None else None,
            "devices": {m["device"]: _row(m["row"]) for m in measured},
            "traces": [r.key for r in runs],
        })  # fmt: skip

    def _trace(self, run: Run, latest: bool) -> Iterable[tuple[str, str]]:
        document = json.loads(run.line)
        level = "not recorded" if run.isolation is None else str(run.isolation)
        rows = {
            "Status": run.status,
            "Refused for": run.refused,
            "Reason": run.reason if run.ratio is None else "",
            "Workload": run.uuid,
            "Sizes": ", ".join(f"{k} = {v}" for k, v in run.axes.items()),
            "Baseline": run.baseline if run.ratio is not None else "",
            "Rounds": str(run.rounds) if run.rounds else "",
            "Timer": run.timer,
            "Isolation": level,
            "Largest relative error": run.errors[0],
            "Largest absolute error": run.errors[1],
            "Measured at": run.when,
            **{f"Version of {k}": v for k, v in sorted(run.libraries.items())},
        }
        yield self._both(
            "trace", run.key, "trace.html", run=run, latest=latest,
            rows={k: v for k, v in rows.items() if v},
            text=json.dumps(document, indent=2, ensure_ascii=False),
        )  # fmt: skip
        yield _api("trace", run.key, {"place": run.place, "trace": document})

    def _both(self, kind: str, name: str, template: str, /, **given: Any) -> tuple[str, str]:
        where = path(kind, name)
        return where, self._page(template, where, name, f"api/{path(kind, name, 'json')}", **given)

    def _page(self, template: str, where: str, title: str, api: str, /, **given: Any) -> str:
        return self._engine.render_template(
            template, up="../" * where.count("/"), title=title, api=api, devices=self._devices,
            **given,
        )  # fmt: skip


def _link(run: Run) -> str:
    return f"../{path('trace', run.key)}"


def _svg(figure: svg.Figure | None) -> Any:
    return minijinja.safe(figure.text()) if figure is not None else None


def _operands(one: Definition) -> list[dict[str, str]]:
    def shape(axes: Sequence[str] | None) -> str:
        if axes is None:
            return "a number"
        sizes = {a: getattr(one.axes.get(a), "value", None) for a in axes}
        return "[" + ", ".join(a if s is None else f"{a} {s}" for a, s in sizes.items()) + "]"

    return [
        {"name": name, "side": side, "dtype": t.dtype, "shape": shape(t.shape)}
        for side, group in (("input", one.inputs), ("output", one.outputs))
        for name, t in group.items()
    ]


def _row(row: Standing) -> dict[str, Any]:
    return {
        "name": row.name, "author": row.author, "language": row.language,
        "geometric_mean": row.mean, "interval": [row.low, row.high],
        "deployable": row.deployable, "verdicts": row.counts, "workloads": row.total,
        "roofline": row.roof, "setup_ms": row.setup,
        "isolation": row.isolation, "timers": row.timers,
        "baselines": row.baselines, "refused": row.refused, "labels": row.labels,
    }  # fmt: skip


def _api(kind: str, name: str, document: Mapping[str, Any]) -> tuple[str, str]:
    return f"api/{path(kind, name, 'json')}", _json(document)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
