"""Answers read as streams, one or many at once, and how fast their tokens came."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from treadle import LLM, Sampling

Marks = list[float]  # when each token of an answer came, `time.perf_counter()` seconds


def answer(llm: LLM, prompt: str, sampling: Sampling, options: Mapping[str, Any]) -> Marks:
    """Reads one answer."""
    marks: Marks = []
    for delta in llm.stream_chat(prompt, sampling=sampling, **options):
        marks += [time.perf_counter()] * len(delta.token_ids)
    return marks


def answers(
    llm: LLM, prompt: str, samplings: Sequence[Sampling], options: Mapping[str, Any]
) -> list[Marks]:
    """Reads one answer for each sampling, all at once."""
    with ThreadPoolExecutor(len(samplings)) as pool:
        return list(pool.map(lambda sampling: answer(llm, prompt, sampling, options), samplings))


def rate(read: Sequence[Marks]) -> float:
    """Tokens a second of all answers together, while all of them were under way."""
    start, end = max(marks[0] for marks in read), min(marks[-1] for marks in read)
    return sum(start < mark <= end for marks in read for mark in marks) / (end - start)
