"""Which values of a sharded graph are partial: sums that still lack the other ranks' terms.

The roles of an op's axes say it. Cutting a parallel axis cuts the output; cutting a reduce axis
that the output lacks leaves a partial sum; anything else cannot be cut. A partial value may pass
through ops that are linear in it (`additive`), and must be summed before any other.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from msgspec import Struct

from treadle.graph.dims import Dims, Shape
from treadle.graph.fusion import Step
from treadle.graph.op import Role
from treadle.graph.signature import Kind


class Flow(Struct, frozen=True):
    """What a cut does to one op: a partial output, positions of operands to sum first, a fault."""

    partial: bool
    summed: tuple[int, ...] = ()
    fault: str = ""


class Flows:
    """Follows a graph under its cut, step by step in order; layers repeat, so answers are kept."""

    def __init__(self, kinds: Mapping[str, Kind], dims: Dims, divided: Mapping[str, int]) -> None:
        """kinds: of the graph's inputs, params and states at least."""
        self.kinds = dict(kinds)
        self.partial: set[str] = set()
        self._dims = dims
        self._divided = divided
        self._known: dict[Hashable, tuple[tuple[Kind, ...], Flow]] = {}

    def step(self, step: Step) -> Flow:
        """What the cut does to one step; afterwards its outputs are known, partial or not."""
        ins = tuple(self.kinds[name] for name in step.ins)
        pattern = tuple(name in self.partial for name in step.ins)
        key = (step.op.name, ins, tuple(step.attrs.items()), pattern)
        if key not in self._known:
            made = step.op.infer(ins, step.attrs, self._dims)
            self._known[key] = made, _flow(step, ins, self._dims, self._divided, pattern)
        made, found = self._known[key]
        self.kinds.update(zip(step.outs, made, strict=True))
        if found.partial:
            self.partial.update(step.outs)
        return found


def _flow(
    step: Step,
    kinds: Sequence[Kind],
    dims: Dims,
    divided: Mapping[str, int],
    partial: Sequence[bool],
) -> Flow:
    op = step.op
    here = tuple(index for index, is_partial in enumerate(partial) if is_partial)
    if op.name == "allreduce":
        return Flow(False, fault="" if here else "is whole, a sum over ranks would multiply it")
    given = op.ins[: len(kinds)]
    linear = tuple(i for i, operand in enumerate(given) if operand.name in op.additive)
    passes = bool(here) and here == linear
    binding = op.bind(kinds, step.attrs, dims)
    kept = {letter for out in op.outs for letter in out.axes}
    sums = False
    bound: list[tuple[str, Shape]] = [(name, (entry,)) for name, entry in binding.axes.items()]
    for letter, shape in [*bound, *binding.groups.items()]:
        if not is_cut(shape, dims, divided):
            continue
        role = op.roles.get(letter, Role.WHOLE)
        if role is Role.REDUCE and letter not in kept:
            sums = True
        elif role is not Role.PARALLEL:
            shown = " ".join(dims.show(entry) for entry in shape)
            return Flow(False, fault=f"cannot be cut along {letter} = {shown} ({role})")
    return Flow(passes or sums, () if passes else here)


def is_cut(shape: Shape, dims: Dims, divided: Mapping[str, int]) -> bool:
    """Whether any factor of a shape is spread over ranks."""
    return any(divided.get(str(atom), 1) > 1 for atom in dims.flat(shape))
