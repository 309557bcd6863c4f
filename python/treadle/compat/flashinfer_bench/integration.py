"""`flashinfer_bench.integration`: FlashInfer's API with a table behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from treadle.compat import flashinfer
from treadle.kernels.apply import Resolver, enabled
from treadle.kernels.store import Dataset

__all__ = ["flashinfer_integrations"]


@contextlib.contextmanager
def flashinfer_integrations(table: Resolver, dataset_path: str | Path) -> Generator[None]:
    """FlashInfer's functions go through `table` inside; outside they are its own again. There,
    installing patches lasts for the rest of the process, which this does not offer."""
    definitions = Dataset(dataset_path, readonly=True).definitions().values()
    with enabled(table, flashinfer.sites(definitions)):
        yield
