"""WGSL solutions: what stands beside the module, and calling it through wgpu.

`launch.json` of a solution says which inputs, one after another, fill each storage buffer in
binding order, which buffer is written, in whose rows the outputs lie side by side, and, as
expressions of the definition's axes, the workgroups of the grid and the words of the uniform block,
the last binding. Buffers are float32 or int32.
"""

# wgpu has no annotations that strict mode could use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from treadle.errors import InvalidRequest, KernelError, Unsupported
from treadle.kernels.schema import AxisConst, Definition, Solution, expression

LAUNCH, CALL = "launch.json", "call.json"
_TYPES = {"float32": "<f4", "int32": "<i4"}
MAX_GROUPS = 65535


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `launch.json` says."""

    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]
    grid: list[str]
    uniform: dict[str, str] = {}


class Call(msgspec.Struct, frozen=True):
    """What a call needs to know of its definition: operand → axes and type; sizes of axes."""

    inputs: dict[str, tuple[list[str], str]]
    outputs: dict[str, tuple[list[str], str]]
    sizes: dict[str, int]


def call_of(s: Solution, d: Definition) -> bytes:
    """The text of `call.json`. Raises InvalidRequest where solution and definition do not fit."""
    at = f"solution {s.name!r} {LAUNCH}"
    text = next((f.content for f in s.sources if f.path == LAUNCH), None)
    if text is None or any(f.path == CALL for f in s.sources):
        raise InvalidRequest(
            f"no {LAUNCH}, or a file {CALL}", at=at, hint="say what fills the buffers"
        )
    try:
        launch = msgspec.json.decode(text, type=Launch)
    except msgspec.MsgspecError as problem:
        raise InvalidRequest(str(problem), at=at, hint="see docs/kernels-solutions.md") from None
    tensors = {**d.inputs, **d.outputs}
    named = [n for names in (*launch.inputs.values(), *launch.outputs.values()) for n in names]
    unknown = sorted(set(named) - set(tensors))
    unwritten = sorted(set(d.outputs) - {n for names in launch.outputs.values() for n in names})
    odd = [n for n in named if n in tensors and tensors[n].dtype not in _TYPES]
    if unknown or unwritten or odd or len(launch.outputs) != 1 or len(launch.grid) != 3:
        raise InvalidRequest(
            f"unknown {unknown}, unwritten {unwritten}, types of {odd}", at=at,
            hint="name the definition's operands, one output buffer and three sizes of the grid",
        )  # fmt: skip
    for one in (*launch.grid, *launch.uniform.values()):
        missing = sorted(expression.names(one, at) - set(d.axes))
        if missing:
            raise InvalidRequest(f"{one!r} reads {missing}", at=at, hint="use the axes")
    return msgspec.json.encode(
        Call(
            inputs={n: (t.shape or [], t.dtype) for n, t in d.inputs.items()},
            outputs={n: (t.shape or [], t.dtype) for n, t in d.outputs.items()},
            sizes={n: a.value for n, a in d.axes.items() if isinstance(a, AxisConst)},
        )
    )


def shader(folder: Path, entry: str, symbol: str) -> Callable[..., None]:
    """A built solution as a function of inputs, then outputs, which are arrays of the host.

    Every call sends its inputs and fetches its outputs. Raises Unsupported without an adapter.
    """
    home = (folder / entry).parent
    launch = msgspec.json.decode((home / LAUNCH).read_bytes(), type=Launch)
    call = msgspec.json.decode((home / CALL).read_bytes(), type=Call)
    device, use = _device()
    module = device.create_shader_module(code=(folder / entry).read_text(encoding="utf-8"))
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": module, "entry_point": symbol}
    )

    def buffer(raw: bytes, more: int) -> Any:
        raw += bytes(-len(raw) % 16 + 16)  # a buffer has some bytes, whole words of them
        return device.create_buffer_with_data(data=raw, usage=use.COPY_SRC | more)

    def run(*operands: Any) -> None:
        names = [*call.inputs, *call.outputs]
        if len(operands) != len(names):
            raise KernelError(f"{len(operands)} operands, {len(names)} wanted", at=entry)
        given = {n: np.asarray(o) for n, o in zip(names, operands, strict=True)}
        sizes = _sizes(call, given)
        held = [
            buffer(b"".join(given[n].tobytes() for n in names), use.STORAGE)
            for names in launch.inputs.values()
        ]
        ((_, written),) = launch.outputs.items()
        widths = [given[n].shape[-1] for n in written]
        rows = math.prod(given[written[0]].shape[:-1])
        size = 4 * rows * sum(widths)
        held.append(buffer(bytes(size), use.STORAGE))
        if launch.uniform:
            words = [int(expression.evaluate(text, sizes)) for text in launch.uniform.values()]
            held.append(buffer(np.array(words, np.uint32).tobytes(), use.UNIFORM))
        grid = [int(expression.evaluate(text, sizes)) for text in launch.grid]
        if not all(0 <= count <= MAX_GROUPS for count in grid):
            raise KernelError(f"a grid of {grid}", at=entry, hint=f"at most {MAX_GROUPS} a side")
        out = held[len(launch.inputs)]
        if size:
            entries = [
                {"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}}
                for i, b in enumerate(held)
            ]
            group = device.create_bind_group(
                layout=pipeline.get_bind_group_layout(0), entries=entries
            )
            encoder = device.create_command_encoder()
            step = encoder.begin_compute_pass()
            step.set_pipeline(pipeline)
            step.set_bind_group(0, group)
            step.dispatch_workgroups(*grid)
            step.end()
            device.queue.submit([encoder.finish()])
            raw = device.queue.read_buffer(out, 0, size)
            whole = np.frombuffer(raw, _TYPES[call.outputs[written[0]][1]]).reshape(rows, -1)
            parts = np.split(whole, np.cumsum(widths)[:-1], axis=1)
            for name, part in zip(written, parts, strict=True):
                given[name][...] = part.reshape(given[name].shape)
        for one in held:
            one.destroy()

    return run


def _sizes(call: Call, given: Mapping[str, Any]) -> dict[str, float]:
    """Axis → size, from the operands. Raises KernelError for other shapes or types."""
    sizes: dict[str, float] = dict(call.sizes)
    for name, (axes, dtype) in {**call.inputs, **call.outputs}.items():
        shape = given[name].shape
        fits = len(shape) == len(axes) and given[name].dtype == np.dtype(_TYPES[dtype])
        if not fits or any(sizes.setdefault(a, n) != n for a, n in zip(axes, shape, strict=True)):
            raise KernelError(
                f"{name} is {given[name].dtype}{[*shape]}", at="wgsl", hint=f"{dtype}{axes}"
            )
    return sizes


def _device() -> tuple[Any, Any]:
    try:
        import wgpu
    except ImportError:
        raise Unsupported("no package wgpu", at="wgsl", hint="pip install wgpu") from None
    os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")  # noqa: S108 - the loader only wants a name
    adapters = wgpu.gpu.enumerate_adapters_sync()
    if not adapters:
        raise Unsupported("no WebGPU adapter", at="wgsl", hint="install a Vulkan driver")
    return adapters[0].request_device_sync(), wgpu.BufferUsage
