"""Substituted calls as torch operators, so that `torch.compile(fullgraph=True)` sees one node.

Selection happens inside the operator at every call; the compiler sees a schema and a shape rule.
`Library.define` with `impl` costs about a microsecond over the plain call; the `custom_op`
decorator costs several times that and is not used.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from treadle.errors import InvalidRequest, Unsupported
from treadle.kernels.apply.calling import places, torch_dtype
from treadle.kernels.apply.table import Resolver
from treadle.kernels.schema import AxisConst, Definition, returned, written

VIEWS = frozenset({"view", "split"})
"""Ops whose result shares its operand's memory, which a torch operator may not."""


class Ops:
    """Operators of one resolver under a namespace. `close` unregisters them."""

    def __init__(self, resolver: Resolver, namespace: str = "treadle_kernels") -> None:
        import torch

        self._resolver = resolver
        self._namespace = namespace
        self._library = torch.library.Library(namespace, "FRAGMENT")
        self._made: dict[str, Callable[..., Any]] = {}

    def op(self, definition: Definition, fallback: Callable[..., Any]) -> Callable[..., Any]:
        """The operator of a definition; its operands are the definition's inputs.

        An input that is also an output is declared as written, and the operator does not return
        it. Raises Unsupported for a signature that torch's schemas cannot say, InvalidRequest if
        the definition has an operator already.
        """
        import torch

        if definition.name in self._made:
            raise InvalidRequest(f"{definition.name} has an operator", hint="keep the first one")
        word = re.sub(r"\W", "_", definition.name)
        text = schema(definition)
        shape = _fake(definition)
        call = self._resolver.resolve(definition.name, fallback)
        outs = returned(definition)

        def run(*operands: Any) -> Any:
            made = call(*operands)
            if not outs:
                return None
            return made if len(outs) == 1 else tuple(made)

        self._library.define(word + text)
        self._library.impl(word, run, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{self._namespace}::{word}", shape, lib=self._library)
        found = getattr(getattr(torch.ops, self._namespace), word).default
        self._made[definition.name] = found
        return found

    def close(self) -> None:
        """Unregisters every operator."""
        self._library._destroy()  # pyright: ignore[reportPrivateUsage]
        self._made.clear()


def schema(d: Definition) -> str:
    """Operands and results as torch writes them, without the name."""
    if d.op_type in VIEWS:
        raise Unsupported("its result is a view of its operand", at=d.name, hint="call it plainly")
    into = set(written(d).values())
    words: list[str] = []
    for i, (name, tensor) in enumerate(d.inputs.items()):
        if tensor.shape is None:
            kind = {"f": "float", "b": "bool"}.get(tensor.dtype[0], "int")
            kind = "float" if tensor.dtype == "bfloat16" else kind
        else:
            kind = f"Tensor({chr(ord('a') + i)}!)" if name in into else "Tensor"
        words.append(f"{kind}{'?' if tensor.optional else ''} {_word(name)}")
    outs = returned(d)
    if any(d.outputs[n].shape is None for n in outs):
        raise Unsupported("an output is a scalar", at=d.name, hint="call it plainly")
    result = "Tensor" if len(outs) == 1 else f"({', '.join(['Tensor'] * len(outs))})"
    return f"({', '.join(words)}) -> {result}"


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    return f"{word}_" if word in ("self", "out", "from") else word


def _fake(d: Definition) -> Callable[..., Any]:
    """Empty outputs of the right size, from operands that have sizes but no data."""
    at = places(d)
    anchor = next(i for i, t in enumerate(d.inputs.values()) if t.shape is not None)
    wanted: list[tuple[list[int | tuple[int, int]], Any]] = []
    for name in returned(d):
        tensor = d.outputs[name]
        sizes: list[int | tuple[int, int]] = []
        for axis in tensor.shape or ():
            declared = d.axes[axis]
            if not isinstance(declared, AxisConst) and axis not in at:
                raise Unsupported(f"no input shows axis {axis!r}", at=d.name)
            sizes.append(declared.value if isinstance(declared, AxisConst) else at[axis])
        wanted.append((sizes, torch_dtype(tensor.dtype)))

    def shape(*operands: Any) -> Any:
        outs = tuple(
            operands[anchor].new_empty(
                [s if isinstance(s, int) else operands[s[0]].shape[s[1]] for s in sizes],
                dtype=dtype,
            )
            for sizes, dtype in wanted
        )
        if not outs:
            return None
        return outs[0] if len(outs) == 1 else outs

    return shape
