"""The generated dispatcher: guards, a key, a bisection, a call; what it looks at in Python, the
core's dispatcher (`native`) looks at first where it can.

What can be known when a handle is made is checked then; what is left becomes one function of a few
lines, written as text and compiled once for every shape of it. Its names are numbered and its
numbers are integers: nothing of a dataset becomes code.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping
from typing import Any

from treadle.errors import KernelError
from treadle.kernels.apply.calling import torch_dtype
from treadle.kernels.apply.compare import difference, outputs
from treadle.kernels.apply.core import Core
from treadle.kernels.apply.guards import (
    Device,
    admitter,
    constants,
    fault,
    nobody,
    refusal,
    why_refused,
)
from treadle.kernels.apply.keys import Size
from treadle.kernels.apply.native import Ways, shorten
from treadle.kernels.schema import AxisConst, Definition, Tensor, weights, written

_compiled: dict[str, Callable[..., Any]] = {}


class Unfit(Exception):
    """A bound operand that the definition does not take: there is nothing to dispatch."""


def handle(
    core: Core,
    fallback: Callable[..., Any],
    device: Device,
    *,
    bound: Mapping[str, Any],
    host: Mapping[str, list[int]],
    trusted: frozenset[str],
    oracle: Callable[..., Any] | None,
    shadow: int,
) -> Callable[..., Any]:
    """A function of the definition's inputs that are not in `bound`, in order.

    host: axis → a cell whose number is its size, for what no shape shows. trusted: inputs whose
    type, device and rank the caller vouches for. oracle: what a shadowed call is compared with,
    where that is not the fallback. Raises Unfit.
    """
    writer = _Writer(core, fallback, device, bound, host, trusted, shadow)
    writer.oracle = oracle or fallback
    return writer.make()


class _Writer:
    """Collects the lines of one function and the values it closes over."""

    def __init__(
        self,
        core: Core,
        fallback: Callable[..., Any],
        device: Device,
        bound: Mapping[str, Any],
        host: Mapping[str, list[int]],
        trusted: frozenset[str],
        shadow: int,
    ) -> None:
        self.core, self.fallback, self.device = core, fallback, device
        self.oracle = fallback
        self.bound, self.host, self.trusted, self.shadow = bound, host, trusted, shadow
        self.definition = core.definition
        self.free = [n for n in self.definition.inputs if n not in bound]
        self.names = {n: f"a{i}" for i, n in enumerate(self.definition.inputs)}
        self.body: list[str] = []
        self.refuse: list[str] = []
        self.unheld: list[str] = []  # constraints that no call can check
        self.recording = False  # a bound operand wants a gradient
        self.values: dict[str, Any] = {
            "state": core.state,
            "bisect": bisect,
            "hit": core.counters.hit,
            "fallback": fallback,
        }
        self.sizes: dict[str, str] = {}  # axis -> text of its size
        self.passed: dict[str, str] = {}  # input -> text of what the kernel gets
        for i, (axis, cell) in enumerate(host.items()):
            self.values[f"h{i}"] = cell
            self.sizes[axis] = f"h{i}[0]"

    def make(self) -> Callable[..., Any]:
        self._bound()
        names = list(self.definition.inputs)
        lasting = [names[i] for i in weights(self.definition)]
        if lasting and self.bound.keys() >= set(lasting):
            self.core.bind([self.values[self.names[n]] for n in lasting])
        else:
            self.values["state"] = self.core.unbound
        first = True
        for name in self.free:
            tensor = self.definition.inputs[name]
            if tensor.shape is None:
                continue
            if name not in self.trusted and _steady(self.definition, name, tensor):
                self._remembered(name, tensor)
            else:
                self._looked_at(name, tensor, first=first and name not in self.trusted)
                first = False
        self._relations()
        return self._function()

    def _bound(self) -> None:
        axes = constants(self.definition)
        for name, value in self.bound.items():
            tensor = self.definition.inputs[name]
            found = fault(tensor, axes, value, self.device)
            if found:
                raise Unfit(f"{name}: {found}")
            if getattr(value, "requires_grad", False):
                self.recording = True
                self._gradient("")
                value = value.detach()
            self.values[self.names[name]] = value
            for dim, axis in enumerate(tensor.shape or ()):
                size = value.shape[dim]
                if axes[axis] not in (None, size):
                    raise Unfit(f"{name}: axis {axis} is {size}")
                axes[axis] = size
                self.sizes.setdefault(axis, str(size))

    def _looked_at(self, name: str, tensor: Tensor, *, first: bool) -> None:
        """Reads an operand's attributes at every call."""
        a, i = self.names[name], list(self.definition.inputs).index(name)
        assert tensor.shape is not None
        trusted = name in self.trusted
        needed: list[tuple[int, str]] = []
        for dim, axis in enumerate(tensor.shape):
            known = isinstance(self.definition.axes[axis], AxisConst) or axis in self.sizes
            if not (trusted and known):
                needed.append((dim, axis))
        rank = len(tensor.shape)
        if trusted and len(needed) == 1:
            dim, axis = needed[0]
            self._line(f"s{i}_{dim} = {a}.shape[{dim}]")
            self.sizes[axis] = f"s{i}_{dim}"
        elif needed or not trusted:
            target = ", ".join(f"s{i}_{dim}" for dim in range(rank)) + ("," if rank == 1 else "")
            self._line("try:")
            if rank:
                self._line(f"    {target} = {a}.shape")
            else:
                self._line(f"    s{i} = {a}.shape")
                self.refuse.append(f"s{i}")
            self._line("except (AttributeError, TypeError, ValueError):")
            self._line(f"    return refused({self._operands(self.free)})")
            for dim, axis in enumerate(tensor.shape):
                self._sized(axis, f"s{i}_{dim}")
        if not trusted:
            if first:
                self.values["Plain"] = _plain_tensor()
                self.refuse.append(f"type({a}) is not Plain")
            self.refuse.append(f"{a}.requires_grad")
            self.values[f"D{i}"] = torch_dtype(tensor.dtype)
            self.refuse += [f"{a}.dtype is not D{i}", self.device.refuses(a)]
        self.refuse.append(f"not {a}.is_contiguous()")

    def _remembered(self, name: str, tensor: Tensor) -> None:
        """Compares an operand with the one that was looked at last."""
        a, i = self.names[name], list(self.definition.inputs).index(name)
        cell: list[tuple[Any, ...]] = [(nobody,)]
        axes = constants(self.definition)
        self.values[f"m{i}"] = cell
        self.values[f"admit{i}"] = admitter(tensor, axes, self.device, cell)
        self._line(f"r{i} = m{i}[0]")
        self._line(f"if r{i}[0]() is not {a}:")
        self._line(f"    r{i} = admit{i}({a})")
        self._line(f"    if r{i} is None:")
        self._line(f"        return refused({self._operands(self.free)})")
        if tensor.dtype.startswith(("float", "bfloat")):  # no other type can have a gradient
            self._gradient(f"r{i}[-1] is not None and ")
            self.passed[name] = f"{a} if r{i}[-1] is None else r{i}[-1]"
        for dim, axis in enumerate(tensor.shape or ()):
            if not isinstance(self.definition.axes[axis], AxisConst):
                self._sized(axis, f"r{i}[{dim + 1}]")

    def _gradient(self, wanted: str) -> None:
        """Refuses, where autograd is on, an operand that wants a gradient: kernels have none."""
        import torch

        self.values["recording"] = torch.is_grad_enabled
        self.refuse.append(f"{wanted}recording()")

    def _sized(self, axis: str, text: str) -> None:
        """Notes a size, or demands that it equals what is known of its axis."""
        declared = self.definition.axes[axis]
        if isinstance(declared, AxisConst):
            self.refuse.append(f"{text} != {declared.value}")
        elif axis in self.host:
            return  # a buffer: its real size is the host's number
        elif axis in self.sizes:
            self.refuse.append(f"{text} != {self.sizes[axis]}")
        else:
            self.sizes[axis] = text

    def _relations(self) -> None:
        """What the definition says of its axes among each other."""
        known = dict(self.sizes)
        for axis, declared in self.definition.axes.items():
            if isinstance(declared, AxisConst):
                known[axis] = str(declared.value)
        for name in self.free:
            tensor = self.definition.inputs[name]
            if tensor.shape is None and tensor.dtype.startswith("int"):
                known[name] = self.names[name]
        host = set(self.host)
        for text in self.definition.constraints:
            found = refusal(text, {n: f"({t})" for n, t in known.items() if n not in host})
            if found is None:
                self.unheld.append(text)
            else:
                self.refuse.append(found)
        for coordinate in self.core.space.coordinates:
            if coordinate.per is not None:
                found = f"{self._size(coordinate.per)} <= 0"
                if found not in self.refuse:
                    self.refuse.append(found)

    def _size(self, size: Size) -> str:
        text = self.sizes.get(size.axis)
        if text is None:
            raise Unfit(f"no operand shows axis {size.axis}")
        return f"({text} - {size.less})" if size.less else text

    def _function(self) -> Callable[..., Any]:
        given = self._operands(self.free)
        every = ", ".join(self.passed.get(n, a) for n, a in self.names.items())
        if self.refuse:
            self._line(f"if {' or '.join(self.refuse)}:")
            self._line(f"    return refused({given})")
        self._line("bounds, below = state[0]")
        keys: list[str] = []
        for coordinate in self.core.space.coordinates:
            top = self._size(coordinate.size)
            keys.append(top if coordinate.per is None else f"{top} / {self._size(coordinate.per)}")
        keys = keys or ["1"]
        for key in keys[:-1]:
            self._line(f"bounds, below = below[bisect(bounds, {key})]")
        self._line(f"f = below[bisect(bounds, {keys[-1]})]")
        self._line("if f is None:")
        self._line("    next(none)")
        self._line(f"    return fallback({given})")
        if self.shadow:
            self.values["shadowed"] = self._shadowed()
            self._line(f"if next(hit) % {self.shadow} == 0:")
            self._line(f"    return shadowed(f, ({every}{',' if every else ''}))")
        else:
            self._line("next(hit)")
        self._line("try:")
        self._line(f"    return f({every})")
        self._line("except Exception as error:")
        self._line(f"    return broken(f, error, ({given}{',' if given else ''}))")
        self.values |= {
            "none": self.core.counters.miss["no winner"],
            "refused": self._refused(),
            "broken": self._broken(),
        }
        body = "\n".join(f"        {line}" for line in self.body)
        text = (
            f"def make({', '.join(self.values)}):\n"
            f"    def call({given}):\n{body}\n"
            "    return call\n"
        )
        maker = _compiled.get(text)
        if maker is None:
            space: dict[str, Any] = {}
            exec(compile(text, "<treadle apply>", "exec"), space)  # noqa: S102 - our own text
            maker = _compiled[text] = space["make"]
        slow: Any = maker(**self.values)
        slow.__name__ = slow.__qualname__ = self.definition.name
        slow.__wrapped__ = self.fallback
        return slow if self.recording else self._shortened(slow)

    def _shortened(self, slow: Callable[..., Any]) -> Callable[..., Any]:
        d, values, counters = self.definition, self.values, self.core.counters
        ways = Ways(
            values["state"], counters.hit, counters.miss["no winner"], self.fallback,
            slow, values["broken"], values.get("shadowed"),
        )  # fmt: skip
        steady = {n for n in self.free if d.inputs[n].shape and _steady(d, n, d.inputs[n])}
        return shorten(
            d, self.core.space, self.device, ways,
            bound={n: values[self.names[n]] for n in self.bound}, host=self.host,
            trusted=self.trusted, steady=frozenset(steady - self.trusted),
            unheld=frozenset(self.unheld), shadow=self.shadow,
        )  # fmt: skip

    def _refused(self) -> Callable[..., Any]:
        """Counts why, and lets the fallback answer."""
        core, device, fallback = self.core, self.device, self.fallback
        whole = self._whole()

        def refused(*given: Any) -> Any:
            core.counters.missed(why_refused(core.definition, whole(given), device))
            return fallback(*given)

        return refused

    def _broken(self) -> Callable[..., Any]:
        """Opens the breaker of an entry that raised."""
        core, fallback = self.core, self.fallback

        def broken(call: Callable[..., Any], error: Exception, given: tuple[Any, ...]) -> Any:
            entry = core.entry_of(call)
            if entry is not None:
                entry.errors += 1
                core.open(entry, f"{type(error).__name__}: {error}"[:400])
                if entry.in_place:
                    raise KernelError(
                        f"{entry.solution.name} failed after it may have written its operands:"
                        f" {error}", at=core.definition.name, hint="start the step anew",
                    ) from error  # fmt: skip
            return fallback(*given)

        return broken

    def _shadowed(self) -> Callable[..., Any]:
        """Runs entry and fallback on the same operands and compares."""
        core, fallback = self.core, self.oracle
        names = list(self.definition.inputs)
        into = [names.index(n) for n in written(self.definition)]
        places = [names.index(n) for n in self.free]
        draws = bool((self.definition.treadle or {}).get("sampler"))

        def shadowed(call: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
            entry = core.entry_of(call)
            if entry is None or draws or _capturing():
                return call(*operands)
            entry.shadows += 1
            kept = list(operands)
            for i in into:
                kept[i] = operands[i].clone()
            wanted = fallback(*[kept[i] for i in places])
            try:
                given = call(*operands)
                found = difference(
                    (*outputs(given if not into or given is not None else ()),
                     *[operands[i] for i in into]) if into else given,
                    (*outputs(wanted if wanted is not None else ()),
                     *[kept[i] for i in into]) if into else wanted,
                )  # fmt: skip
            except Exception as error:
                entry.errors += 1
                given, found = None, f"{type(error).__name__}: {error}"[:400]
            if not found:
                return given
            entry.mismatches += 1
            core.open(entry, found)
            for i in into:
                operands[i].copy_(kept[i])
            return wanted

        return shadowed

    def _whole(self) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        """All operands from those that are not bound."""
        bound, names, free = self.bound, list(self.definition.inputs), self.free

        def whole(given: tuple[Any, ...]) -> tuple[Any, ...]:
            mine = dict(zip(free, given, strict=True))
            return tuple(bound[n] if n in bound else mine[n] for n in names)

        return whole

    def _operands(self, names: list[str]) -> str:
        return ", ".join(self.names[n] for n in names)

    def _line(self, text: str) -> None:
        self.body.append(text)


def _steady(d: Definition, name: str, tensor: Tensor) -> bool:
    """Whether an operand is likely the same object at the next call: a weight, a pool, indices."""
    ours = d.treadle or {}
    if name in ours.get("weights", ()):
        return True
    assert tensor.shape is not None
    pools = set(ours.get("capacity", ())) | {"num_pages", "P"}
    if any(axis in pools for axis in tensor.shape):
        return True
    if name.endswith("indptr"):
        return True
    return bool(tensor.shape) and all(isinstance(d.axes[a], AxisConst) for a in tensor.shape)


def _plain_tensor() -> Any:
    import torch

    return torch.Tensor


def _capturing() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
