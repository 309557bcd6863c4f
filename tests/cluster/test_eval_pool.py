"""Measurements over Ray: a node is killed in mid-run, and every job still has one trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from treadle.cluster import EvalPool
from treadle.kernels import command
from treadle.kernels.run import coordinator, pool, traces
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Trace,
    Workload,
)
from treadle.kernels.store import Dataset

pytestmark = pytest.mark.alone

ray = pytest.importorskip("ray", reason="no Ray: pip install 'treadle[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

ADD = Definition(
    name="add_h48",
    op_type="add",
    axes={"T": AxisVar(), "D": AxisConst(value=48)},
    inputs={n: Tensor(shape=["T", "D"], dtype="float32") for n in "xy"},
    outputs={"z": Tensor(shape=["T", "D"], dtype="float32")},
    reference="def run(x, y):\n    return x + y\n",
    treadle={"op": "add", "attrs": {}},
)
QUICK = Settings(looks=(4,), seconds=0.3, noise_rounds=0, edges=False)
SIZES = (4, 8, 12, 16, 20)


def _solution(name: str, body: str) -> Solution:
    spec = Spec(language="python", target_hardware=["cpu"], entry_point="main.py::run",
                treadle={"array": "numpy"})  # fmt: skip
    text = f"import numpy as np\ndef run(x, y, z):\n    {body}\n"
    return Solution(name=name, definition=ADD.name, author="tests", spec=spec,
                    sources=[Source(path="main.py", content=text)])  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    made = Dataset(tmp_path / "data")
    made.add(ADD)
    made.add(_solution("base", "np.add(x, y, out=z)"))
    made.add(_solution("other", "np.add(y, x, out=z)"))
    for size in SIZES:
        row = Workload(uuid=f"w{size}", axes={"T": size}, inputs=dict.fromkeys("xy", RandomInput()))
        made.append(Trace(definition=ADD.name, workload=row), flush=False)
    return made


@pytest.mark.slow
def test_a_lost_node_costs_no_trace_and_makes_no_double(data, tmp_path, capsys):
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(**node)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        tasks = coordinator.plan(data, [ADD.name], ["other"], "base")
        with EvalPool("cpu", tmp_path / "cache", cluster.address, share=True) as devices:

            def killing(number: int, total: int, name: str) -> None:
                assert (total, name.partition(" ")[0]) == (len(SIZES), "other")
                if number == 1:  # both nodes have a job in flight
                    cluster.remove_node(second, allow_graceful=False)

            report = pool.spread(tasks, devices, QUICK, data=data, progress=killing)
            assert devices.lost == 1
        assert report.faults == []
        keys = [traces.resume_key(t) for t in data.traces(ADD.name)]
        assert len(keys) == len(set(keys)) == len(SIZES)
        assert {t.evaluation.status for t in data.traces(ADD.name)} == {"PASSED"}
        line = ["bench", str(data.root), "--baseline", "base", "--ray", cluster.address, "--share",
                "--quiet", "--json", "--cache", str(tmp_path / "cache")]  # fmt: skip
        capsys.readouterr()
        assert command.main(line) == 0  # the same again, from the command line
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (said["left_out"], said["results"]) == (len(SIZES), [])
    finally:
        ray.shutdown()
        cluster.shutdown()
