"""Backends by name."""

from __future__ import annotations

import pytest
import torch

from treadle.backends import table
from treadle.errors import InvalidRequest, Unsupported


def test_names_lead_to_backends_and_unknown_ones_to_a_list():
    for name in table.BACKENDS:
        assert callable(table.backend(name).compile)
    with pytest.raises(Unsupported, match=r"backend: unknown backend 'tpu'; one of \['reference'"):
        table.backend("tpu")


def test_the_choice_follows_the_machine_and_the_options(monkeypatch):
    def chosen(**options):
        return table.choose(**options)[0]

    for gpu, default in ((False, "mega"), (True, "torch")):
        monkeypatch.setattr(table.Path, "exists", lambda _, gpu=gpu: gpu)
        assert table.choose("reference") == ("reference", "asked for")
        assert chosen() == default
        assert chosen(device="cpu") == "mega"
        assert chosen(device="cuda:1") == chosen(dtype="bf16") == chosen(page=4) == "torch"
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    assert table.choose() == ("mega", "pip install 'treadle[cuda]' for the GPU")


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"pip install 'treadle\[torch\]'"):
        table.backend("torch")


def test_options_are_checked():
    with pytest.raises(InvalidRequest, match="device"):
        table.backend("torch", device="nowhere")
    with pytest.raises(Unsupported, match="cpu or cuda"):
        table.backend("torch", device="meta")
    with pytest.raises(InvalidRequest, match="dtype"):
        table.backend("torch", device="cpu", dtype="q4_0")
    if not torch.cuda.is_available():
        with pytest.raises(Unsupported, match="CUDA"):
            table.backend("torch", device="cuda")
