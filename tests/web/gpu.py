"""A software GPU through wgpu-py, with the limits that every WebGPU device has, for tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from treadle.export.wgsl import RUN, Kernel

LAVAPIPE = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"


@cache
def device() -> Any:
    """The device. Skips with the reason where there is none."""
    if os.path.exists(LAVAPIPE):
        os.environ.setdefault("VK_ICD_FILENAMES", LAVAPIPE)
    os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")
    wgpu = pytest.importorskip("wgpu", reason="package wgpu is not installed (extra dev)")
    adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if "Vulkan" in a.summary]
    if not adapters:
        pytest.skip("no Vulkan adapter: scripts/system_packages.sh gpu installs a software one")
    more = [name for name in ("shader-f16", "subgroup") if name in adapters[0].features]
    return adapters[0].request_device_sync(required_features=more)


def buffer(data: np.ndarray, more: int = 0) -> Any:
    """A storage buffer with an array's bytes, padded to words; `more`: further usage bits."""
    import wgpu

    raw = np.ascontiguousarray(data).tobytes()
    raw += bytes(-len(raw) % 16 + 16)
    use = wgpu.BufferUsage
    return device().create_buffer_with_data(
        data=raw, usage=use.STORAGE | use.COPY_SRC | use.COPY_DST | more
    )


def read(source: Any, dtype: Any, count: int) -> np.ndarray:
    """The first `count` items of a buffer."""
    size = count * np.dtype(dtype).itemsize
    raw = device().queue.read_buffer(source, 0, size + -size % 4)
    return np.frombuffer(raw, np.uint8)[:size].view(dtype).copy()


@cache
def pipeline(text: str) -> Any:
    """A compiled kernel."""
    module = device().create_shader_module(code=text)
    return device().create_compute_pipeline(
        layout="auto", compute={"module": module, "entry_point": "main"}
    )


def uniform(run: Mapping[str, int]) -> Any:
    """The block of run-time sizes."""
    import wgpu

    words = np.array([run.get(name, 0) for name in RUN], np.uint32)
    use = wgpu.BufferUsage
    return device().create_buffer_with_data(data=words, usage=use.UNIFORM | use.COPY_DST)


def launch(
    kernel: Kernel,
    arrays: Mapping[str, Any],
    grid: tuple[int, ...],
    run: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Runs one kernel; arrays that are numpy go to new buffers. Returns every buffer by name."""
    made = pipeline(kernel.text)
    held = {
        b.name: arrays[b.name]
        if not isinstance(arrays[b.name], np.ndarray)
        else buffer(arrays[b.name])
        for b in kernel.bindings
    }
    entries = [
        {"binding": i, "resource": {"buffer": held[b.name], "offset": 0, "size": held[b.name].size}}
        for i, b in enumerate(kernel.bindings)
    ]
    if "var<uniform>" in kernel.text:
        block = uniform(run or {})
        entries.append({"binding": len(entries), "resource": {"buffer": block}})
    group = device().create_bind_group(layout=made.get_bind_group_layout(0), entries=entries)
    encoder = device().create_command_encoder()
    step = encoder.begin_compute_pass()
    step.set_pipeline(made)
    step.set_bind_group(0, group)
    step.dispatch_workgroups(*(*grid, 1, 1)[:3])
    step.end()
    device().queue.submit([encoder.finish()])
    return held
