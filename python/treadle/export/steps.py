"""A plan as it grows: kernels under names, buffers, and the dispatches of each list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from treadle.errors import KernelError
from treadle.export.kernels import WG
from treadle.export.wgsl import Kernel

STORAGE = 8
"""Storage buffers of one kernel on every device."""

BATCH = "4 * (3 * T + 2 * S + 1 + R + S * L)"
"""In this order: ids pos slots [T], starts [S+1], lens [S], rows [R], table [S, L]."""

Step: TypeAlias = "dict[str, Any]"


@dataclass(slots=True)
class Plan:
    """What `record` becomes the tier's part of plan.json."""

    buffers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    lists: dict[str, list[Step]] = field(default_factory=dict[str, "list[Step]"])
    kernels: dict[str, Kernel] = field(default_factory=dict[str, Kernel])
    states: dict[str, str] = field(default_factory=dict[str, str])
    """Where a list leaves the state that the head's norm takes, a row a token."""
    norm: dict[str, Any] = field(default_factory=dict[str, Any])
    """That norm: its vector's buffer, its eps, and the state's width."""
    _names: dict[str, str] = field(default_factory=dict[str, str])

    def step(
        self, to: str, kernel: Kernel, buffers: Mapping[str, str], grid: Sequence[int | str]
    ) -> None:
        """Adds a dispatch to list `to`. buffers: the kernel's binding -> a buffer of the plan."""
        if len(kernel.bindings) > STORAGE:
            raise KernelError(
                f"{kernel.name} binds {len(kernel.bindings)} buffers, devices promise {STORAGE}",
                hint="pack small operands into one",
            )
        bind = [buffers[b.name] for b in kernel.bindings]
        writes = {buffers[b.name] for b in kernel.bindings if b.write}
        reads = {buffers[b.name] for b in kernel.bindings if not b.write}
        if both := sorted(writes & reads):
            raise KernelError(f"{kernel.name} reads and writes {both[0]}", hint="use another slot")
        shown = [str(size) for size in grid]
        self.lists.setdefault(to, []).append(
            {
                "kernel": self._name(kernel),
                "bind": bind,
                "grid": shown + ["1"] * (3 - len(shown)),
                "reads": sorted(reads),
                "writes": sorted(writes),
            }
        )

    def text(self) -> bytes:
        """All modules, each after a line `//# kernel NAME`."""
        parts = [f"//# kernel {name}\n{kernel.text}\n" for name, kernel in self.kernels.items()]
        return "".join(parts).encode()

    def record(self) -> dict[str, Any]:
        """The tier's part of plan.json."""
        return {
            "buffers": self.buffers,
            "kernels": {
                name: {
                    "bindings": [[b.name, "write" if b.write else "read"] for b in kernel.bindings],
                    "uniform": "var<uniform>" in kernel.text,
                }
                for name, kernel in self.kernels.items()
            },
            "steps": self.lists,
            "hidden": {"states": self.states, **self.norm},
        }

    def _name(self, kernel: Kernel) -> str:
        """Kernels of equal text share a name and a pipeline."""
        if kernel.text not in self._names:
            same = sum(k.name == kernel.name for k in self.kernels.values())
            self._names[kernel.text] = name = f"{kernel.name}.{same}"
            self.kernels[name] = kernel
        return self._names[kernel.text]


def threads(items: str) -> str:
    """Workgroups of WG threads for so many items."""
    return f"ceil({items}, {WG})"
