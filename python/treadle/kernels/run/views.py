"""Operands of a call as numpy arrays or torch tensors over shared memory, and results back into it.

Runs in the untrusted process. A result must be exactly an array of the expected type, shape and
dtype, in memory of its own; it is copied into its slot by compiled code before the call counts as
done.
"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from treadle.kernels.run.layout import Operand, Place, State, real

# torch is optional, and looked at through its module object only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false


class Wrong(Exception):
    """A result that cannot be taken; `state` says in which way."""

    def __init__(self, state: State, text: str) -> None:
        super().__init__(text)
        self.state = state


class Views:
    """Makes views of one kind of array: numpy, or torch where `torch` is the module."""

    def __init__(self, inputs: mmap.mmap, outputs: mmap.mmap, torch: Any = None) -> None:
        self._maps = {Place.INPUT: inputs, Place.OUTPUT: outputs}
        self._torch = torch
        first = np.frombuffer(inputs, np.uint8)
        self._inputs = (first.ctypes.data, first.ctypes.data + len(first))
        self.inputs = first

    def view(self, operand: Operand, stored: str, dtype: str) -> Any:
        """One operand. stored: numpy's type string; dtype: the definition's name of it."""
        place, offset, shape = operand
        match place:
            case Place.INTEGER:
                return offset
            case Place.REAL:
                return real(offset)
            case Place.TRUTH:
                return bool(offset)
            case _:
                array = np.ndarray(shape, stored, self._maps[Place(place)], offset)
        if self._torch is None:
            return array
        with warnings.catch_warnings():  # that inputs cannot be written is meant so
            warnings.simplefilter("ignore")
            tensor = self._torch.from_numpy(array)
        wanted = getattr(self._torch, dtype)
        return tensor if tensor.dtype == wanted else tensor.view(wanted)

    def wake(self) -> None:
        """Makes the device this process's own before a batch; a processor is."""

    def planned(self, run: Callable[[], None]) -> Callable[[], None]:
        """A batch, made ready as far as it can be before its inputs are there."""
        return run

    def finished(self, run: Callable[[], None]) -> Callable[[], None]:
        """`run`, and waiting until the device has done it."""
        return run

    def take(self, made: Any, slots: Sequence[Any], held: list[Any]) -> None:
        """Copies the results of a call into their slots. Raises Wrong.

        held: results of earlier calls of the batch, kept alive, so that equal addresses mean that
        one result overwrote another.
        """
        parts: Sequence[Any] = (made,)
        if type(made) in (tuple, list):
            parts = made
        if len(parts) != len(slots):
            raise Wrong(State.COUNT, f"{len(parts)} outputs, {len(slots)} are declared")
        for part, slot in zip(parts, slots, strict=True):
            if self._torch is None and isinstance(part, np.generic):
                part = cast("Any", np.asarray(part))
            if type(part) is not type(slot):
                raise Wrong(State.KIND, f"an output is {type(part).__name__}, a plain array counts")
            if tuple(part.shape) != tuple(slot.shape):
                raise Wrong(State.SHAPE, f"shape {tuple(part.shape)}, not {tuple(slot.shape)}")
            if part.dtype != slot.dtype:
                raise Wrong(State.DTYPE, f"dtype {part.dtype}, not {slot.dtype}")
            address = part.ctypes.data if self._torch is None else part.data_ptr()
            if part.nbytes and self._inputs[0] <= address < self._inputs[1]:
                raise Wrong(State.ALIAS, "an output is an input")
            held.append(part)
            if self._torch is None:
                np.copyto(slot, part)
            else:
                slot.copy_(part)

    def disjoint(self, held: Sequence[Any]) -> None:
        """Raises Wrong where two results of a batch share their memory."""
        seen: set[int] = set()
        for part in held:
            if part.nbytes:
                address = part.ctypes.data if self._torch is None else part.data_ptr()
                if address in seen:
                    raise Wrong(State.ALIAS, "one output overwrites an earlier one")
                seen.add(address)
