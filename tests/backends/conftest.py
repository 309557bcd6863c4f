"""The backends that the conformance suite runs over."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toy

from treadle.backends.table import backend

torch.set_num_threads(1)

BACKENDS = {
    "reference": ("reference", {}),
    "torch-cpu": ("torch", {"device": "cpu"}),
    "torch-cuda": ("torch", {"device": "cuda", "dtype": "f32"}),
    "mega-cpu": ("mega", {"threads": 3}),
}
RULES = {
    "mega-cpu": toy.Rules(page=16, head=16, close=2e-3),  # KV is float16
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.gpu if "cuda" in name else ()) for name in BACKENDS
    ]
)
def kind(request):
    """Name of a backend and device; one whose device is absent is skipped with the reason."""
    if request.param == "torch-cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return request.param


@pytest.fixture
def make(kind):
    """compile(graph, weights, limits, pages=…) of the backend under test; closed afterwards."""
    name, options = BACKENDS[kind]
    made = []

    def compile_(*args, **kwargs):
        made.append(backend(name, **options).compile(*args, **kwargs))
        return made[-1]

    yield compile_
    for executable in made:
        executable.close()


class Toys:
    """The toys in sizes that the backend under test takes, `llama` and its weights ready made."""

    def __init__(self, rules):
        self.rules, self.page = rules, rules.page
        self.llama = self.build("llama")
        self.weights = toy.weights(self.llama)

    def build(self, name):
        return toy.build(toy.SPECS[name], self.rules)

    def scattered(self, count, seed=1):
        return toy.scattered(count, self.page, seed)

    def ascending(self, count):
        return toy.ascending(count, self.page)

    def close(self, got, want):
        assert np.abs(got - want).max() <= self.rules.close * np.abs(want).max()


@pytest.fixture
def toys(kind):
    """The models of the suite."""
    return Toys(RULES.get(kind, toy.Rules()))
