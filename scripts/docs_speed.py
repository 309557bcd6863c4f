"""docs/grammar-speed.md, from benchmarks/results/grammar*.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
TITLES = {
    "schemas": "JSON Schemas with labelled instances",
    "tools": "Tool calls in free text",
    "repetition": "Bounded repetition",
}
HEAD = """# How fast masks are

Written by `scripts/write_docs.py` from `benchmarks/results/grammar*.json`; run
`benchmarks/bench_grammar.py` for other figures. {turns}
({cpu}, {cores}, load {load} at the start; {size:,} tokens; seed {seed}; commit {commit}). One
thread, thread CPU time, the clock's own {floor} us a reading left in; ratios are net of it. Time to
first mask (TTFM) is compile, matcher and first mask; what ran into the limit of {limit:g} s counts
as the limit. Of the tools, {distinct} are distinct and {renamed} are renamed copies of those.

![quantiles of the time of a mask](../benchmarks/results/grammar_masks.svg)
"""
TURNS = "Every job ran in each engine before the next began"
BESIDE = "All engines ran at once, each on cores of its own"
COLUMNS = (
    ("ttfm_ms", "p50"),
    ("ttfm_ms", "p99"),
    ("ttfm_ms", "max"),
    ("ttfm_ms", "mean"),
    ("mask_us", "p50"),
    ("mask_us", "p90"),
    ("mask_us", "p99"),
    ("mask_us", "p99.9"),
    ("mask_us", "mean"),
)


def document() -> str | None:
    """The whole page; None while nothing was measured."""
    stored = _read("grammar")
    if stored is None:
        return None
    machine, tools = stored["machine"], stored["data"]["tools"]
    beside = isinstance(stored.get("processes"), dict)
    parts = [
        HEAD.format(
            turns=BESIDE if beside else TURNS,
            cpu=machine["cpu"],
            cores="1 core" if machine["cores"] == 1 else f"{machine['cores']} cores",
            load=stored["load_at_start"],
            size=stored["tokenizer"]["size"],
            seed=stored["seed"],
            commit=stored["versions"]["commit"],
            floor=stored["clock_floor_us"]["treadle"],
            limit=stored["time_limit_s"],
            **tools,
        )
    ]
    for name in TITLES:
        work = stored["workloads"][name]
        parts += [f"## {TITLES[name]}\n", _speed(work, stored["versions"])]
        parts.append(_judged(work) if name == "schemas" else "")
        parts.append(_ratios(work))
        if name == "tools":
            parts.append(_counts(work))
    parts += [_memory(stored, _read("grammar_memory")), _instructions(_read("grammar_counts"))]
    return "\n".join(part for part in parts if part)


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if value >= 1e4 else f"{value:,.4g}"


def _speed(work: dict[str, Any], versions: dict[str, str]) -> str:
    head = ["engine", *(f"{'TTFM' if a == 'ttfm_ms' else 'mask'} {b}" for a, b in COLUMNS)]
    head = [f"{name} ms" if "TTFM" in name else name for name in head]
    head = [f"{name} us" if "mask" in name else name for name in head]
    rows = [
        [f"{engine} {versions[engine]}", *(_number(found[a].get(b)) for a, b in COLUMNS)]
        for engine, found in work["engines"].items()
    ]
    return _table(head, rows)


def _judged(work: dict[str, Any]) -> str:
    head = ["engine", "compiled", "refused", "over time", "valid rejected", "invalid accepted"]
    rows = [
        [
            engine,
            f"{found['compiled']} of {found['jobs']}",
            str(found["refused"]),
            str(sum(found["timeouts"].values())),
            f"{found['valid_rejected']} of {found['valid']}",
            f"{found['invalid_accepted']} of {found['invalid']}",
        ]
        for engine, found in work["engines"].items()
    ]
    return _table(head, rows)


def _ratios(work: dict[str, Any]) -> str:
    """One line a peer: how many times our time it takes, on what both compiled."""
    lines = [
        f"- {peer} takes {_number(found['ttfm_ratio_of_medians'])} times as long to the first mask "
        f"by medians, {_number(found['ttfm_ratio_of_means'])} by means "
        f"({found['jobs']} jobs that neither refuses); a mask takes "
        f"{_number(found['mask_ratio_of_medians'])} times by medians, "
        f"{_number(found['mask_ratio_of_means'])} by means."
        for peer, found in work["peer_over_treadle"].items()
        if "mask_ratio_of_means" in found and "ttfm_ratio_of_means" in found
    ]
    return "\n".join(lines) + "\n" if lines else ""


def _counts(work: dict[str, Any]) -> str:
    head = ["tools", *(f"{e}: TTFM p50 ms / mask mean, p99 us" for e in work["groups"])]
    counts = list(next(iter(work["groups"].values())))
    rows = [
        [
            count,
            *(
                f"{_number(groups[count]['ttfm_ms'].get('p50'))} / "
                f"{_number(groups[count]['mask_us'].get('mean'))}, "
                f"{_number(groups[count]['mask_us'].get('p99'))}"
                for groups in work["groups"].values()
            ),
        ]
        for count in counts
    ]
    picture = "![tool calls](../benchmarks/results/grammar_tools.svg)\n"
    return f"{_table(head, rows)}\n{picture}"


def _memory(stored: dict[str, Any], kept: dict[str, Any] | None) -> str:
    head = ["workload", "engine", "resident MiB before", "after", "most", "restarts"]
    rows = [
        [name, engine, *(str(found[key]) for key in ("start", "end", "most", "restarts"))]
        for name, engines in stored["resident_mib"].items()
        for engine, found in engines.items()
    ]
    text = f"## Memory\n\n{_table(head, rows)}"
    if kept is None:
        return text
    found, imported = kept["resident_mib"], kept["import_ms"]
    return (
        f"{text}\nAfter {kept['schemas']:,} different schemas at the default cache bound of "
        f"{kept['cache_bytes'] >> 20} MiB: {found['after']} MiB resident ({found['before']} "
        f"before, {found['most']} at most). `import treadle.grammar`: "
        f"{imported['wall']['median']} ms, {imported['cpu']['median']} of CPU time.\n"
    )


def _instructions(stored: dict[str, Any] | None) -> str:
    if stored is None:
        return ""
    rows = [[name, f"{count:,}"] for name, count in stored["instructions"].items()]
    said = f"Counted by {stored['versions']['valgrind']} through the Python API.\n"
    return f"## Instructions of one call\n\n{said}\n{_table(['call', 'instructions'], rows)}"
