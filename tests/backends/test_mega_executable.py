"""Steps of mega that nobody samples, samples twice or waits for late."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from treadle.backends import sampler
from treadle.backends.mega import Mega
from treadle.errors import InvalidRequest
from treadle.limits import Limits

RULES = toy.Rules(page=16, head=16)
PROMPTS = {"a": [1, 2, 3, 4], "b": [9, 8], "c": [30]}


@pytest.fixture
def executable():
    graph = toy.build(toy.SPECS["llama"], RULES)
    made = Mega(threads=2).compile(graph, toy.weights(graph), Limits(), pages=20)
    yield made
    made.close()


def hot(step):
    return toy.params(3, temperature=1.0, key=[1, 2, 3], step=step, logprobs=2)


def test_a_step_sampled_twice_or_late_is_drawn_as_the_definition_says(executable):
    pages = toy.scattered(20, 16)
    handle = executable.forward(pages.batch(PROMPTS, rows="last"))
    first = executable.sample(handle, None, hot(0)).wait()
    again = executable.sample(handle, None, hot(0)).wait()  # on the host, from the same logits
    wanted = sampler.sample(handle.array, None, hot(0))
    for found in (first, again):
        np.testing.assert_array_equal(found.ids, wanted.ids)
        np.testing.assert_array_equal(found.top_ids, wanted.top_ids)
        np.testing.assert_allclose(found.logprobs, wanted.logprobs, rtol=1e-5)
    passed = executable.forward(pages.batch({"a": [5], "b": [6]}))
    kept = executable.forward(pages.batch({"c": [7]}))  # nobody has sampled the one before
    late = executable.sample(passed, None, toy.params(2)).wait()
    np.testing.assert_array_equal(late.ids, passed.array.argmax(axis=-1))
    assert executable.sample(kept, None, toy.params(1)).wait().status.tolist() == [0]


def test_logits_that_were_overwritten_are_refused(executable):
    pages = toy.scattered(20, 16)
    old = executable.forward(pages.batch(PROMPTS, rows="last"))
    executable.sample(old, None, hot(0))
    executable.forward(pages.batch({"a": [-1]}))
    with pytest.raises(InvalidRequest, match="overwritten"):
        old.wait()


def test_tokens_keep_their_place_whatever_lies_between(executable):
    drawn = []
    for between in (False, True):
        pages = toy.ascending(20, 16)
        batch = pages.batch(PROMPTS, rows="last")
        futures = [executable.sample(executable.forward(batch), None, hot(0))]
        for step in range(1, 5):
            if between:  # a step that nobody samples changes nothing of what ids below 0 name
                spare = toy.Pages([19], 16)
                executable.forward(spare.batch({"spare": [1, 2]}))
            work = {key: [-1 - row] for row, key in enumerate(PROMPTS)}
            handle = executable.forward(pages.batch(work))
            futures.append(executable.sample(handle, None, hot(step)))
        drawn.append([future.wait().ids.tolist() for future in futures])  # all at the end
    assert drawn[0] == drawn[1]
