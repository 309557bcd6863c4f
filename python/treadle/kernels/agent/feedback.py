"""What a model is told of its attempt: enough to do better, nothing that helps to cheat.

Hidden sizes, seeds and tolerances stay here. A candidate sees the sizes of hidden trials and could
put them into its own error message, so numbers in what it said at run time are masked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from treadle.kernels.agent.attempts import Attempt
from treadle.kernels.agent.profile import digest, facts, profile, rounded
from treadle.kernels.schema import Trace, Workload

HEAD, TAIL = 3000, 1500
_SIZES = re.compile(r"\(((?:\w+=\d+ ?)+)(\w*)\)\s*$")
_PLACE = re.compile(r"^(\w+)(?:: (row \d+|element \([\d, ]*\)|\d+ of \d+ (?:elements|integers))|"
                    r"( was never written))")  # fmt: skip
_NUMBER = re.compile(r"(?<![A-Za-z_])\d[\d_.]*(?:e[+-]?\d+)?")
_LINE = re.compile(r"\bline \d+|:\d+(?::\d+)?:")
_BUILD = re.compile(r"(?:/[\w.+@-]+)+/(?=[\w.+-]+(?:[:\s,)']|$))")


def feedback(attempt: Attempt, searched: Sequence[Workload]) -> dict[str, Any]:
    """As JSON: a status, and what belongs to it."""
    if attempt.malformed:
        return {"status": "MALFORMED", "reason": attempt.malformed}
    if not attempt.traces:
        return {"status": "NOT_MEASURED"}
    for trace in attempt.traces.values():
        run = trace.evaluation
        if run is not None and run.status != "PASSED":
            return _failure(trace)
    shown = {one.uuid for one in searched}
    rows = [t for uuid, t in sorted(attempt.traces.items()) if uuid in shown]
    return {"status": "PASSED", "score": rounded(attempt.score),
            "workloads": [_speed(t) for t in rows], "profile": digest(rows)}  # fmt: skip


def _failure(trace: Trace) -> dict[str, Any]:
    run = trace.evaluation
    assert run is not None
    code = run.environment.libs.get("treadle.refused", "")
    told: dict[str, Any] = {"status": run.status}
    if code:
        told["refused"] = code
    if run.status == "COMPILE_ERROR":
        told["log"] = ends(_BUILD.sub("", run.log))
    elif run.correctness is not None:
        told |= _wrong(trace, str(facts(trace).get("reason", "")))
    else:
        told["said"] = masked(ends(run.log))
    return told


def _wrong(trace: Trace, reason: str) -> dict[str, Any]:
    """Where an output is wrong; of hidden trials only which output."""
    sizes = _SIZES.search(reason)
    place = _PLACE.search(reason)
    said = dict(pair.split("=") for pair in sizes[1].split()) if sizes else {}
    known = {k: str(v) for k, v in trace.workload.axes.items()}
    listed = bool(sizes) and not sizes[2] and said == known if sizes else False
    told: dict[str, Any] = {"output": place[1] if place else "?"}
    if place and place[3]:
        told["what"] = "never written"
    if not listed:
        return told | {"where": "at sizes or values that are not told; think of the edges"}
    run = trace.evaluation
    assert run is not None
    assert run.correctness is not None
    told |= {"axes": trace.workload.axes, "max_absolute_error": run.correctness.max_absolute_error,
             "max_relative_error": run.correctness.max_relative_error}  # fmt: skip
    if place and place[2]:
        told["first_wrong"] = place[2]
    return told


def _speed(trace: Trace) -> dict[str, Any]:
    run, ours = trace.evaluation, facts(trace)
    assert run is not None
    assert run.performance is not None
    p = run.performance
    return {
        "axes": trace.workload.axes,
        "microseconds": rounded(p.latency_ms * 1e3),
        "baseline_microseconds": rounded(p.reference_latency_ms * 1e3),
        "speedup": rounded(p.speedup_factor),
        "interval": [rounded(v) for v in ours.get("ci", ())],
        "verdict": ours.get("verdict"),
        **profile(trace),
    }


def ends(text: str) -> str:
    """Head and tail of a log."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n... {len(text) - HEAD - TAIL} characters left out ...\n{text[-TAIL:]}"


def masked(text: str) -> str:
    """Text of a candidate with its numbers hidden, those of source lines excepted."""
    out, at = "", 0
    for match in _LINE.finditer(text):
        out += _NUMBER.sub("#", text[at : match.start()]) + match[0]
        at = match.end()
    return out + _NUMBER.sub("#", text[at:])
