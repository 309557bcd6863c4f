"""The dataset on disk: JSON Lines as the truth, an index in SQLite that can be rebuilt."""

from treadle.kernels.store.dataset import Dataset, Problem
from treadle.kernels.store.index import Best
from treadle.kernels.store.lines import append, lines

__all__ = ["Best", "Dataset", "Problem", "append", "lines"]
