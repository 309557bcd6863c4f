"""Runs a plan through wgpu-py, as the browser's executor does: for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gpu import buffer, device, pipeline, read, uniform

from treadle.export.expr import evaluate
from treadle.export.fast import planes
from treadle.export.tier import Tier
from treadle.export.wgsl import FORMATS
from treadle.models.quant import dequantise
from treadle.types import Batch, Tensor

TINT = ("enable subgroups;\n", "diagnostic(off, subgroup_uniformity);\n")
ORDER = ("ids", "pos", "slots", "starts", "lens", "rows", "table")


def modules(text: str) -> dict[str, str]:
    """Kernel name -> its module."""
    parts = text.split("//# kernel ")[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}


class PlanExecutor:
    """One plan with its buffers. sizes: the capacities T S R L P E."""

    def __init__(self, tier: Tier, weights: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
        self.record, self.sizes = tier.record, dict(sizes)
        text = next(iter(tier.files.values())).decode()
        for line in TINT:  # the adapter here has naga for a compiler
            text = text.replace(line, "")
        self.kernels = modules(text)
        self.buffers: dict[str, Any] = {}
        for name, spec in self.record["buffers"].items():
            data = np.zeros(evaluate(spec["size"], self.sizes), np.uint8)
            if "plane" in spec:
                self.buffers[name] = buffer(plane(spec, weights))
                continue
            for part in spec.get("weights", ()):
                tensor = weights[part["tensor"]]
                held = dequantise(tensor) if "widen" in part else tensor.data
                raw = np.ascontiguousarray(held).reshape(-1).view(np.uint8)
                row = raw.size // max(1, tensor_rows(tensor))
                piece = raw[part["row"] * row : (part["row"] + part["rows"]) * row]
                data[part["offset"] : part["offset"] + piece.size] = piece
            if spec.get("kv"):
                data[:] = 0xFF  # NaN: a position that was not written must not be read
            self.buffers[name] = buffer(data)
        self.run = uniform({})
        self.made: dict[str, Any] = {}
        self.dispatches = 0

    def forward(self, batch: Batch) -> np.ndarray:
        """Logits [R, V] of a step."""
        T, (S, L), R = len(batch.ids), batch.table.shape, len(batch.rows)
        ones = T == S and bool((np.diff(batch.starts) == 1).all())
        name = "prefill" if not ones else "decode" if T == 1 else "batch"
        at, run = 0, {"T": T, "S": S, "R": R, "L": L, "P": self.sizes["P"]}
        room = {"starts": "S + 1", "lens": "S", "rows": "R", "table": "S * L"}
        words = np.zeros(self.buffers["batch"].size // 4, np.int32)
        for key in ORDER:
            values = getattr(batch, key).reshape(-1)
            run[key] = at
            words[at : at + len(values)] = values
            at += evaluate(room.get(key, "T"), self.sizes)
        self._write(self.buffers["batch"], words)
        self._run(name, run)
        vocab = self.record["vocab"]
        return read(self.buffers["logits"], np.float32, R * vocab).reshape(R, vocab)

    def _write(self, target: Any, data: np.ndarray) -> None:
        device().queue.write_buffer(target, 0, np.ascontiguousarray(data).view(np.uint8))

    def _run(self, name: str, run: dict[str, int]) -> None:
        from treadle.export.wgsl import RUN

        self._write(self.run, np.array([run.get(key, 0) for key in RUN], np.uint32))
        encoder = device().create_command_encoder()
        work = encoder.begin_compute_pass()
        sizes = {key: run.get(key, 0) for key in "TSRLP"}
        for index, step in enumerate(self.record["steps"][name]):
            made, group = self._step(f"{name}.{index}", step)
            work.set_pipeline(made)
            work.set_bind_group(0, group)
            work.dispatch_workgroups(*(evaluate(text, sizes) for text in step["grid"]))
        self.dispatches = len(self.record["steps"][name])
        work.end()
        device().queue.submit([encoder.finish()])

    def _step(self, key: str, step: Mapping[str, Any]) -> tuple[Any, Any]:
        if key not in self.made:
            made = pipeline(self.kernels[step["kernel"]])
            held = [self.buffers[name] for name in step["bind"]]
            if self.record["kernels"][step["kernel"]]["uniform"]:
                held.append(self.run)
            entries = [{"binding": i, "resource": {"buffer": b}} for i, b in enumerate(held)]
            layout = made.get_bind_group_layout(0)
            self.made[key] = made, device().create_bind_group(layout=layout, entries=entries)
        return self.made[key]


def plane(spec: Mapping[str, Any], weights: Mapping[str, Tensor]) -> np.ndarray:
    """Quants or scales of a stack of whole matrices."""
    held = [weights[part["tensor"]] for part in spec["weights"]]
    size = FORMATS[held[0].format][1]
    blocks = np.concatenate([np.ascontiguousarray(t.data).reshape(-1, size) for t in held])
    width = held[0].shape[-1] // 32
    return planes(held[0].format, blocks, width)[0 if spec["plane"] == "quants" else 1]


def tensor_rows(tensor: Tensor) -> int:
    """Rows of a matrix; a vector is one."""
    return 1 if len(tensor.shape) == 1 else int(np.prod(tensor.shape[:-1]))
