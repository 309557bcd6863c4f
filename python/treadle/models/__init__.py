"""Model families: files in, graph and mapped weights out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.models.gguf import GgufFile
from treadle.models.load import FAMILIES, Family, Model, TokenizerSource, load
from treadle.models.sources import pull
from treadle.models.wheel import aliases, cache_dir, cached

if TYPE_CHECKING:
    from treadle.models.quant import FORMATS, dequantise

__all__ = [
    "FAMILIES",
    "FORMATS",
    "Family",
    "GgufFile",
    "Model",
    "TokenizerSource",
    "aliases",
    "cache_dir",
    "cached",
    "dequantise",
    "load",
    "pull",
]


def __getattr__(name: str) -> object:
    """What widens weights needs numpy, and a start that packs them as they are does not."""
    if name not in ("FORMATS", "dequantise"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from treadle.models import quant

    return getattr(quant, name)
