"""Model families: files in, graph and mapped weights out."""

from treadle.models.gguf import GgufFile
from treadle.models.load import FAMILIES, Family, Model, TokenizerSource, load
from treadle.models.quant import FORMATS, dequantise
from treadle.models.sources import pull
from treadle.models.wheel import aliases, cache_dir, cached

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
