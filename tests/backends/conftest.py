"""The backends that the conformance suite runs over."""

from __future__ import annotations

import pytest
import torch

from treadle.backends.table import backend

torch.set_num_threads(1)

BACKENDS = {
    "reference": ("reference", {}),
    "torch-cpu": ("torch", {"device": "cpu"}),
    "torch-cuda": ("torch", {"device": "cuda", "dtype": "f32"}),
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
