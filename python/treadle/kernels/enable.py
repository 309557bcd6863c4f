"""A table ready for use: `apply` chooses, `build` builds. Either works without the other.

    from treadle.kernels.enable import open_table
    Torch(kernels=open_table("kernels", "cuda:H200", cache=Path("~/.cache/treadle").expanduser()))

Winners run in the process that opens the table. What the dataset's traces say of isolation is how
they were measured; whoever opens a table decides to run these authors' code (`Policy.authors`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.kernels.apply import Build, Policy, Table
from treadle.kernels.schema import Definition, Solution
from treadle.kernels.store import Dataset


def builder(device: str, cache: Path) -> Build:
    """Builds solutions for a device into `cache` and loads them here."""

    def make(solution: Solution, definition: Definition) -> Callable[..., Any]:
        from treadle.kernels.build import build, load

        return load(build(solution, definition, device=device, cache=cache))

    return make


def open_table(
    root: Path | str,
    device: str,
    *,
    cache: Path,
    policy: Policy | None = None,
    ordinal: int = 0,
) -> Table:
    """The table of a dataset. device: `kind:model`, as its traces name it. cache: where builds are
    kept. ordinal: which CUDA device. Raises NotFound without a dataset, InvalidRequest for what is
    no device."""
    data = Dataset(root, readonly=True)
    return Table.from_store(data, device, policy, build=builder(device, cache), ordinal=ordinal)
