"""A GPU through wgpu-py for measurements: buffers, compiled steps, timestamps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import wgpu

from treadle.export.wgsl import RUN

MOST = 1.0
"""Seconds of work before a measurement, at most: until clocks are what they have been."""
CHUNK = 18 << 20  # a whole number of 18-byte blocks and of words


class Step(NamedTuple):
    """A dispatch that can be encoded any number of times."""

    pipeline: Any
    group: Any
    grid: tuple[int, int, int]


class Gpu:
    """The first Vulkan adapter that is a real GPU, else any, with all it can do."""

    def __init__(self) -> None:
        found = [a for a in wgpu.gpu.enumerate_adapters_sync() if "Vulkan" in a.summary]
        if not found:
            raise SystemExit("no Vulkan adapter: is libvulkan1 there, is VK_DRIVER_FILES set?")
        adapter = min(found, key=lambda a: "CPU" in a.summary)
        self.name = adapter.summary
        names = ("max-buffer-size", "max-storage-buffer-binding-size",
                 "max-compute-workgroup-storage-size", "max-compute-workgroup-size-x",
                 "max-compute-invocations-per-workgroup")  # fmt: skip
        features = [
            f for f in ("shader-f16", "subgroup", "timestamp-query") if f in adapter.features
        ]
        self.device = adapter.request_device_sync(
            required_features=features, required_limits={n: adapter.limits[n] for n in names}
        )
        self.queue = self.device.queue
        rng = np.random.default_rng(0)
        self.noise = rng.integers(0, 256, CHUNK, np.uint8)
        self.scales = np.full(CHUNK // 2, 0.004, np.float16).view(np.uint8)
        self._pipelines: dict[str, Any] = {}
        self._sources: dict[int, tuple[Any, np.ndarray]] = {}
        self._stamps = self.device.create_query_set(type="timestamp", count=2)
        use = wgpu.BufferUsage
        self._resolved = self.device.create_buffer(
            size=256, usage=use.QUERY_RESOLVE | use.COPY_SRC | use.COPY_DST
        )
        self.tick, self._fastest = 1.0, float("inf")
        self._burn: list[Step] = []
        self.subgroup = self._subgroup()
        self.tick = self._calibrate()

    def storage(self, size: int) -> Any:
        use = wgpu.BufferUsage
        size = max(256, size + -size % 16)
        return self.device.create_buffer(size=size, usage=use.STORAGE | use.COPY_SRC | use.COPY_DST)

    def uniform(self, values: Mapping[str, int]) -> Any:
        use = wgpu.BufferUsage
        words = np.array([values.get(name, 0) for name in RUN], np.uint32)
        return self.device.create_buffer_with_data(data=words, usage=use.UNIFORM | use.COPY_DST)

    def fill(self, buffer: Any, data: np.ndarray) -> None:
        """Writes `data` over and over, by copies on the device."""
        key = id(data)
        if key not in self._sources:
            source = self.storage(len(data))
            self.queue.write_buffer(source, 0, data)
            self._sources[key] = (source, data)  # the array is kept, so that its id stays its own
        source = self._sources[key][0]
        encoder = self.device.create_command_encoder()
        for at in range(0, buffer.size, len(data)):
            size = min(len(data), buffer.size - at)
            encoder.copy_buffer_to_buffer(source, 0, buffer, at, size - size % 4)
        self.queue.submit([encoder.finish()])

    def wait(self) -> None:
        self.queue.read_buffer(self._resolved, 0, 4)

    def step(self, text: str, buffers: Sequence[Any], grid: tuple[int, int, int]) -> Step:
        """Compiles, once a text, and binds."""
        if text not in self._pipelines:
            module = self.device.create_shader_module(code=text)
            self._pipelines[text] = self.device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": "main"}
            )
        made = self._pipelines[text]
        group = self.device.create_bind_group(
            layout=made.get_bind_group_layout(0),
            entries=[{"binding": i, "resource": {"buffer": b}} for i, b in enumerate(buffers)],
        )
        return Step(made, group, grid)

    def encode(self, steps: Sequence[Step], stamped: bool = False) -> Any:
        """One pass of steps as a command buffer."""
        encoder = self.device.create_command_encoder()
        stamps = {
            "query_set": self._stamps, "beginning_of_pass_write_index": 0,
            "end_of_pass_write_index": 1,
        }  # fmt: skip
        work = encoder.begin_compute_pass(timestamp_writes=stamps if stamped else None)
        for step in steps:
            work.set_pipeline(step.pipeline)
            work.set_bind_group(0, step.group)
            work.dispatch_workgroups(*step.grid)
        work.end()
        if stamped:
            encoder.resolve_query_set(self._stamps, 0, 2, self._resolved, 0)
        return encoder.finish()

    def time(self, steps: Sequence[Step], rounds: int = 7) -> float:
        """Seconds of GPU time of one pass of steps at full clocks, the median after two."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < MOST:  # clocks rise under load only, and fall without
            took = self._stamped(self._burn)
            self._fastest = min(took, self._fastest)
            if took < 1.02 * self._fastest:
                break
        for _ in range(2):
            self.queue.submit([self.encode(steps)])
        return statistics.median(self._stamped(steps) for _ in range(rounds))

    def _stamped(self, steps: Sequence[Step]) -> float:
        self.queue.submit([self.encode(steps, stamped=True)])
        begin, end = np.frombuffer(self.queue.read_buffer(self._resolved, 0, 16), np.uint64)
        return int(end - begin) * self.tick * 1e-9

    def _subgroup(self) -> int:
        text = """
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(subgroup_size) size: u32) { out[0] = size; }"""
        out = self.storage(256)
        self.queue.submit([self.encode([self.step(text, [out], (1, 1, 1))])])
        return int(np.frombuffer(self.queue.read_buffer(out, 0, 4), np.uint32)[0])

    def _calibrate(self) -> float:
        """Nanoseconds a timestamp's tick: wall time of long work over its ticks."""
        text = """
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var s = id.x;
  for (var i = 0u; i < 20000u; i++) { s = s * 1664525u + 1013904223u; }
  out[id.x & 63u] = s;
}"""
        step = self.step(text, [self.storage(256)], (264, 1, 1))
        self._burn = [step] * (2 if "CPU" in self.name else 20)
        begun = time.perf_counter()
        while time.perf_counter() - begun < 0.4:
            self._fastest = min(self._fastest, self._stamped(self._burn))
        ratios: list[float] = []
        for many in (40, 80):
            start = time.perf_counter()
            self.queue.submit([self.encode([step] * many, stamped=True)])
            stamps = np.frombuffer(self.queue.read_buffer(self._resolved, 0, 16), np.uint64)
            ratios.append((time.perf_counter() - start) * 1e9 / max(1, int(stamps[1] - stamps[0])))
        print("wall over ticks", [round(r, 3) for r in ratios], flush=True)
        return 1.0 if 0.8 < ratios[-1] < 1.3 else ratios[-1]
