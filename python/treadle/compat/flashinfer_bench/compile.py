"""`flashinfer_bench.compile` over treadle's builders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from treadle.compat.flashinfer_bench.env import get_fib_cache_path
from treadle.compat.flashinfer_bench.utils import hardware_from_device, is_cuda_available
from treadle.errors import InvalidRequest
from treadle.kernels.apply.calling import returned, value_returning
from treadle.kernels.build import BuildFailure as BuildError
from treadle.kernels.build import build, load
from treadle.kernels.schema import Definition, Solution, Source, Spec

__all__ = ["BuildError", "BuilderRegistry", "Runnable", "RunnableMetadata"]


@dataclass(frozen=True)
class RunnableMetadata:
    """Where a runnable comes from."""

    build_type: str
    definition_name: str
    solution_name: str
    destination_passing_style: bool
    definition: Definition


class Runnable:
    """A built solution, to be called in either style."""

    def __init__(self, callable: Callable[..., Any], metadata: RunnableMetadata) -> None:
        self.metadata = metadata
        self._callable = callable
        self._returning = value_returning(
            callable, metadata.definition, metadata.destination_passing_style
        )

    def __call__(self, *args: Any) -> Any:
        """Calls it as it was written."""
        return self._callable(*args)

    def call_value_returning(self, *args: Any) -> Any:
        """Takes inputs, returns outputs."""
        return self._returning(*args)

    def call_destination_passing(self, *args: Any) -> None:
        """Takes inputs and outputs, writes outputs."""
        if self.metadata.destination_passing_style:
            self._callable(*args)
            return
        n = len(self.metadata.definition.inputs)
        outs = returned(self.metadata.definition)
        if len(args) != n + len(outs):
            raise InvalidRequest(
                f"{len(args)} arguments", hint=f"{n} inputs and {len(outs)} outputs"
            )
        made = self._callable(*args[:n])
        for place, value in zip(args[n:], made if len(outs) > 1 else (made,), strict=True):
            place.copy_(value)


class BuilderRegistry:
    """Builds whatever treadle has a builder for; the same solution is built once."""

    _instance: ClassVar[BuilderRegistry | None] = None

    def __init__(self) -> None:
        self._kept: dict[str, Runnable] = {}

    @classmethod
    def get_instance(cls) -> BuilderRegistry:
        """The one registry of the process."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def build(self, definition: Definition, solution: Solution) -> Runnable:
        """Raises BuildError with the compiler's log."""
        kind = "cuda" if is_cuda_available() else "cpu"
        device = f"{kind}:{hardware_from_device(kind)}"
        artefact = build(solution, definition, device=device, cache=get_fib_cache_path())
        found = self._kept.get(artefact.key)
        if found is None:
            metadata = RunnableMetadata(
                build_type=solution.spec.language,
                definition_name=definition.name,
                solution_name=solution.name,
                destination_passing_style=solution.spec.destination_passing_style,
                definition=definition,
            )
            found = self._kept[artefact.key] = Runnable(load(artefact), metadata)
        return found

    def build_reference(self, definition: Definition) -> Runnable:
        """The definition's own reference as a runnable."""
        spec = Spec(language="python", target_hardware=["any"], entry_point="reference.py::run",
                    destination_passing_style=False)  # fmt: skip
        return self.build(
            definition,
            Solution(
                name=f"{definition.name}_reference", definition=definition.name,
                author="reference", spec=spec,
                sources=[Source(path="reference.py", content=definition.reference)],
            ),
        )  # fmt: skip

    def cleanup(self) -> None:
        """Forgets what was built; files stay in the cache."""
        self._kept.clear()
