"""The environment variables of flashinfer-bench, read as it reads them."""

from __future__ import annotations

import os
from pathlib import Path


def get_fib_enable_apply() -> bool:
    """FIB_ENABLE_APPLY=1."""
    return os.environ.get("FIB_ENABLE_APPLY", "0") == "1"


def get_fib_enable_tracing() -> bool:
    """FIB_ENABLE_TRACING=1."""
    return os.environ.get("FIB_ENABLE_TRACING", "0") == "1"


def get_fib_dataset_path() -> Path:
    """FIB_DATASET_PATH, or the folder in the user's cache."""
    return _path("FIB_DATASET_PATH", "dataset")


def get_fib_cache_path() -> Path:
    """FIB_CACHE_PATH, or the folder in the user's cache."""
    return _path("FIB_CACHE_PATH", "cache")


def _path(variable: str, folder: str) -> Path:
    given = os.environ.get(variable)
    if given:
        return Path(given).expanduser()
    return Path.home() / ".cache" / "flashinfer_bench" / folder
