"""What the answers of the grammar workers come to: quantiles, verdicts, ratios, pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plot
from grammar_workloads import Job

# Points of a quantile curve, by -log10(1 - q): dense where the tail is.
CURVE = tuple(step / 10 for step in range(1, 41))
MARKS = ((1 - 0.5, "p50"), (1 - 0.9, "p90"), (1 - 0.99, "p99"), (1 - 0.999, "p99.9"))


def quantiles(values: Sequence[float] | np.ndarray, scale: float) -> dict[str, Any]:
    """p50 to p99.9, maximum, mean and count of nanoseconds, divided by `scale`."""
    if not len(values):
        return {"count": 0}
    found = np.asarray(values, dtype=np.float64) / scale
    p50, p90, p99, p999 = np.quantile(found, (0.5, 0.9, 0.99, 0.999), method="higher")
    named = {"p50": p50, "p90": p90, "p99": p99, "p99.9": p999}
    named |= {"max": found.max(), "mean": found.mean()}
    return {**{key: float(f"{value:.4g}") for key, value in named.items()}, "count": len(found)}


def curve(values: np.ndarray) -> list[float]:
    """Microseconds at the quantiles of CURVE, as far as the sample reaches."""
    reach = [x for x in CURVE if len(values) * 10**-x >= 1]
    at = [1 - 10**-x for x in reach]
    return [float(f"{v:.4g}") for v in np.quantile(values / 1e3, at)] if reach else []


def first_ns(answer: dict[str, Any], seconds: float) -> float | None:
    """Time to first mask; the limit for what did not get there; None for what was refused."""
    if "timeout" in answer and answer["timeout"] != "masks":
        return seconds * 1e9
    if "first_ns" not in answer:
        return None
    return answer["compile_ns"] + answer["first_ns"]


def pooled(answers: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """All samples of `key`."""
    parts = [answer[key] for answer in answers if answer.get(key)]
    return np.concatenate([np.asarray(part) for part in parts]) if parts else np.zeros(0)


def verdicts(jobs: Sequence[Job], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What compiled, and how the labelled texts were judged where it did."""
    count = {"jobs": len(jobs), "compiled": 0, "refused": 0, "crashed": 0}
    count |= {"valid": 0, "valid_rejected": 0, "invalid": 0, "invalid_accepted": 0, "errors": 0}
    timeouts: dict[str, int] = {}
    wrong: list[str] = []
    for job, answer in zip(jobs, answers, strict=True):
        if "timeout" in answer:
            timeouts[answer["timeout"]] = timeouts.get(answer["timeout"], 0) + 1
        count["refused"] += "refused" in answer
        count["crashed"] += "crash" in answer
        count["compiled"] += "verdicts" in answer
        for (_, valid), verdict in zip(job.texts, answer.get("verdicts", ()), strict=False):
            failed = verdict.startswith("error")
            taken = verdict == "accept"
            count["valid" if valid else "invalid"] += 1
            count["errors"] += failed
            count["valid_rejected"] += valid and not taken
            count["invalid_accepted"] += taken and not valid
            if valid != taken:
                wrong.append(f"{job.name}: {verdict}")
    return {**count, "timeouts": timeouts, "wrong": wrong[:40]}


def engine_summary(
    jobs: Sequence[Job], answers: Sequence[dict[str, Any]], floor_ns: float, seconds: float
) -> dict[str, Any]:
    """Everything about one engine on one workload. Means are raw; `net_mean` lacks the clock."""
    fills = pooled(answers, "fills")
    masks = quantiles(fills, 1e3)
    if masks["count"]:
        masks["net_mean"] = round(masks["mean"] - floor_ns / 1e3, 3)
    firsts = [first for a in answers if (first := first_ns(a, seconds)) is not None]
    sizes = [a["size"] / 1024 for a in answers if a.get("size")]
    elsewhere = sum(a.get("elsewhere_ns", 0) for a in answers)
    return {
        **verdicts(jobs, answers),
        "ttfm_ms": quantiles(firsts, 1e6),
        "compile_ms": quantiles([a["compile_ns"] for a in answers if "compile_ns" in a], 1e6),
        "mask_us": masks,
        "accept_us": quantiles(pooled(answers, "accepts"), 1e3),
        "cpu_in_other_threads_ms": round(elsewhere / 1e6, 1),
        "grammar_kib": quantiles(sizes, 1),
        "mask_curve_us": curve(fills),
    }


def by_group(
    jobs: Sequence[Job], answers: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """Figures a group (tools of a request, bound of a repetition), in the order of numbers."""
    out: dict[str, Any] = {}
    for group in sorted({job.group for job in jobs}, key=int):
        mine = [a for job, a in zip(jobs, answers, strict=True) if job.group == group]
        firsts = [first for a in mine if (first := first_ns(a, seconds)) is not None]
        out[group] = {
            "ttfm_ms": quantiles(firsts, 1e6),
            "compile_ms": quantiles([a["compile_ns"] for a in mine if "compile_ns" in a], 1e6),
            "mask_us": quantiles(pooled(mine, "fills"), 1e3),
        }
    return out


def ratios(
    ours: Sequence[dict[str, Any]],
    peer: Sequence[dict[str, Any]],
    floors: tuple[float, float],
    seconds: float,
) -> dict[str, Any]:
    """The peer's time over ours, on jobs that both compiled; above 1 we are faster.

    A time limit counts as the limit. Means of masks are net of the clock.
    """
    pairs = [
        (a, b)
        for mine, theirs in zip(ours, peer, strict=True)
        if (a := first_ns(mine, seconds)) is not None
        and (b := first_ns(theirs, seconds)) is not None
    ]
    out: dict[str, Any] = {"jobs": len(pairs)}
    if pairs:
        each = np.asarray([b / a for a, b in pairs])
        mine, theirs = np.asarray(pairs).T
        out["ttfm_median_of_ratios"] = round(float(np.median(each)), 2)
        out["ttfm_ratio_of_medians"] = round(float(np.median(theirs) / np.median(mine)), 2)
        out["ttfm_ratio_of_means"] = round(float(theirs.mean() / mine.mean()), 2)
        out["ttfm_faster_on"] = round(float((each > 1).mean()), 3)
    both = [(a, b) for a, b in zip(ours, peer, strict=True) if a.get("fills") and b.get("fills")]
    if both:
        means = [pooled([pair[side] for pair in both], "fills") - floors[side] for side in (0, 1)]
        out["mask_ratio_of_medians"] = round(float(np.median(means[1]) / np.median(means[0])), 2)
        out["mask_ratio_of_means"] = round(float(means[1].mean() / means[0].mean()), 2)
    return out


def pictures(figures: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Draws `<name>_masks.svg` and `<name>_tools.svg` from the written result."""
    machine = figures["machine"]
    note = (
        f"{machine['cpu']}, one thread, thread CPU time, {figures['tokenizer']['size']:,} tokens, "
        f"commit {figures['versions']['commit']}"
    )
    ticks = [(-math.log10(left), label) for left, label in MARKS]
    panels = [
        plot.Panel(
            {"schemas": "JSON Schemas", "tools": "tool calls"}.get(kind, kind),
            "quantile of all masks",
            "time of a mask, us",
            {
                engine: list(zip(CURVE, values["mask_curve_us"], strict=False))
                for engine, values in work["engines"].items()
                if values["mask_curve_us"]
            },
            [(CURVE[0], ""), *ticks, (CURVE[-1], "p99.99")],
        )
        for kind, work in figures["workloads"].items()
    ]
    made = [folder / f"{name}_masks.svg"]
    plot.write(made[0], "How long one mask takes", note, panels)
    tools = figures["workloads"].get("tools")
    if tools is None:
        return made
    panels = [
        plot.Panel(
            title,
            "tools in a request",
            unit,
            {
                engine: [
                    (float(count), row[part][level])
                    for count, row in groups.items()
                    if level in row[part]
                ]
                for engine, groups in tools["groups"].items()
            },
            [(float(count), count) for count in next(iter(tools["groups"].values()))],
            x_log=True,
            marks=True,
        )
        for title, unit, part, level in (
            ("to the first mask, median", "ms", "ttfm_ms", "p50"),
            ("one mask, mean", "us", "mask_us", "mean"),
            ("one mask, p99", "us", "mask_us", "p99"),
        )
    ]
    made.append(folder / f"{name}_tools.svg")
    plot.write(made[1], "Tool calls in free text", note, panels)
    return made
