"""Hidden trials: legal inputs for every one of them, and large inputs keep their one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle.kernels.run.referee import open_device
from treadle.kernels.run.stage import Settings, Stage
from treadle.kernels.store import Dataset

DATA = Dataset(Path(__file__).parents[2] / "kernels")


class SmallRing:
    """This processor, with the room for one call that a GPU has."""

    shared = 1 << 16

    def __init__(self) -> None:
        self._device = open_device("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


@pytest.mark.parametrize(
    "name",
    [
        "attention_h9_d64_ps16_kv3_f32",
        "qk_norm_rope_kv_h9_d64_kv3_r32_ps16_f32_eps1e-05",
        "gqa_paged_decode_h32_kv8_d128_ps1",
    ],
)
def test_trials_of_workloads_with_large_inputs_can_be_filled(name: str) -> None:
    definition, varied = DATA.definition(name), False
    for trace in [*DATA.workloads(name)][:2]:
        stage = Stage(definition, trace.workload, SmallRing(), Settings(calls=4), b"k" * 32)
        try:
            axes = trace.workload.axes
            assert stage.feed.large
            varied |= any(call.axes != axes for batch in stage.trials for call in batch)
            for batch in stage.trials:
                stage.feed.place(batch)
                stage.feed.fill(batch)
        finally:
            stage.close()
    assert varied
