"""Every broken plan is caught: by the verifier, or else by the interpreter in some order."""

from __future__ import annotations

import os
import random
from functools import cache

import numpy as np
import pytest
from mutants import MUTATIONS
from test_mega_interp import FAMILIES, Case, Sequences, one_layer, plan_of, small

from treadle.errors import GraphError, TreadleError
from treadle.mega import CPU, H200, interp, verify
from treadle.mega.orders import ORDERS

MUTANTS = int(os.environ.get("TREADLE_MEGA_MUTANTS", "160"))

BASES = {
    "cpu": ("llama", 1, small(CPU, 3), 2, True),
    "split": ("qwen3", 1, small(H200, 4), 2, True),
    "grouped": ("qwen3", 1, small(H200, 4), 4, False),
    "ranks": ("llama", 2, small(CPU, 2), 2, True),
    "moe": ("qwen3-moe", 1, small(H200, 3), 2, True),
    "gemma": ("gemma2", 1, small(CPU, 2), 32, True),
}


@cache
def base(name: str):
    family, ranks, target, rows, single = BASES[name]
    graph = FAMILIES[family]
    case, sequences = Case(one_layer(graph) if single else graph, ranks), Sequences()
    plan = plan_of(case.ready, target, rows)
    first = min(rows, 20)
    batches = [sequences.batch(grow) for grow in ({0: first}, {0: 1, 1: 1})]
    return case, plan, batches, case.expected(batches)[0]


def caught(name: str, plan) -> str:
    """Who catches a plan run by rank 0, the others having the right one: a rule, or "run"."""
    case, right, batches, wanted = base(name)
    plans = [plan] + [right] * (case.ranks - 1)
    try:
        verify(plans)
    except GraphError as error:
        return str(error.message.split()[0])
    for seed, order in enumerate(ORDERS.values()):
        try:
            found = interp.run(plans, batches, case.params, case.states(), order(seed))
        except TreadleError:
            return "run"
        if len(found) != len(wanted):
            return "run"
        for one, logits in zip(found, wanted, strict=True):
            if not np.allclose(one.logits, logits, rtol=1e-7, atol=1e-8):
                return "run"
    return ""


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutants_are_caught(kind: str) -> None:
    made, by, each = 0, dict[str, int](), -(-MUTANTS // len(MUTATIONS))
    for seed in range(4 * each):
        rng = random.Random(f"{kind} {seed}")
        name = rng.choice(list(BASES))
        plan = MUTATIONS[kind](rng, base(name)[1])
        if plan is None:
            continue
        rule = caught(name, plan)
        assert rule, f"{kind}, seed {seed}: a mutant of {name} survives"
        by[rule] = by.get(rule, 0) + 1
        made += 1
        if made == each:
            break
    print(f"{kind}: {made} mutants, caught by {by}")
    assert made, f"{kind} applies to no base plan"
