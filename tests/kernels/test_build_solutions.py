"""Building: what compiles is found again, what does not is data, what reaches out is refused."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from treadle.errors import KernelError
from treadle.kernels.build import Artefact, BuildFailure, build, confined, load
from treadle.kernels.build.artefact import Cache
from treadle.kernels.schema import AxisVar, Definition, Solution, Source, Spec, Tensor

pytestmark = pytest.mark.alone

SCALE = Definition(
    name="double",
    op_type="scale",
    axes={"T": AxisVar()},
    inputs={
        "x": Tensor(shape=["T"], dtype="float32"),
        "by": Tensor(shape=None, dtype="float32"),
    },
    outputs={"y": Tensor(shape=["T"], dtype="float32")},
    reference="def run(x, by):\n    return x * by\n",
)
C = """\
#include "tensor.h"
extern "C" int run(const DLTensor* x, double by, DLTensor* y, void*) {
  if (x->ndim != 1 || x->dtype.bits != 32) return 1;
  for (int64_t i = 0; i < x->shape[0]; i++)
    static_cast<float*>(y->data)[i] = static_cast<const float*>(x->data)[i] * float(by);
  return 0;
}
"""
HEADER = (Path(__file__).parents[2] / "kernels/sources/common/dltensor.h").read_text()


def solution(
    language: str = "cpp",
    files: dict[str, str] | None = None,
    entry: str = "m.cc::run",
    **spec: Any,
) -> Solution:
    given = files if files is not None else {"m.cc": C, "tensor.h": HEADER}
    spec.setdefault("binding", "dlpack" if language == "cpp" else None)
    return Solution(
        name="s",
        definition="double",
        author="a",
        spec=Spec(language=language, target_hardware=["cpu"], entry_point=entry, **spec),
        sources=[Source(path=p, content=c) for p, c in files_of(given)],
    )


def files_of(files: dict[str, str]) -> list[tuple[str, str]]:
    return list(files.items())


def python(files: dict[str, str], entry: str = "m.py::run") -> Solution:
    return solution("python", files, entry, destination_passing_style=False)


def test_cpp_is_built_once_and_called_through_dlpack(tmp_path: Path) -> None:
    made = build(solution(), SCALE, device="cpu", cache=tmp_path)
    assert (made.binding, made.entry, made.destination_passing) == ("dlpack", "run.so", True)
    begun = time.perf_counter()
    again = build(solution(), SCALE, device="cpu", cache=tmp_path)
    assert again == made
    assert time.perf_counter() - begun < 0.2
    assert Artefact.at(made.folder) == made
    x, y = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    run = load(made)
    assert run(x, 2.5, y) is None
    assert y.tolist() == [0, 2.5, 5, 7.5, 10]
    x.flags.writeable = False  # a referee maps inputs read-only
    run(x, 2, y)
    assert y[4] == 8
    with pytest.raises(KernelError, match="returned 1"):
        run(x.reshape(1, 5), 2.5, y)
    other = build(
        solution(compile_options={"cflags": ["-O1"]}), SCALE, device="cpu", cache=tmp_path
    )
    assert other.key != made.key


def test_python_sources_import_each_other(tmp_path: Path) -> None:
    files = {
        "m.py": "from .sub.part import twice\n\ndef run(x, by):\n    return twice(x) * by / 2\n",
        "sub/part.py": "def twice(x):\n    return x * 2\n",
    }
    for _ in range(2):  # loading must leave the folder as it was
        run = load(build(python(files), SCALE, device="cpu", cache=tmp_path))
        assert run(3, 4) == 12
    with pytest.raises(KernelError, match=r"does not load.*boom"):
        load(
            build(python({"m.py": "raise ValueError('boom')"}), SCALE, device="cpu", cache=tmp_path)
        )


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (solution(files={"m.cc": "int run() { return nonsense; }"}), "nonsense"),
        (solution(files={"m.cc": '#error "' + "x" * 300_000 + '"'}), "left out"),
        (python({"m.py": "def run(:\n"}), "m.py"),
        (python({"m.py": "(" * 100_000}), "m.py"),
    ],
)
def test_a_failure_is_data_and_is_remembered(broken: Solution, said: str, tmp_path: Path) -> None:
    logs: list[str] = []
    for _ in range(2):
        with pytest.raises(BuildFailure) as caught:
            build(broken, SCALE, device="cpu", cache=tmp_path)
        assert caught.value.stage == "compile"
        assert said in caught.value.log
        assert len(caught.value.log.encode()) <= confined.MAX_LOG
        assert str(tmp_path) not in caught.value.log
        logs.append(caught.value.log)
    assert logs[0] == logs[1]
    assert len(list(tmp_path.rglob("failure.json"))) == 1
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (solution(files={"../m.cc": C}, entry="../m.cc::run"), "path"),
        (solution(files={"/tmp/m.cc": C}, entry="/tmp/m.cc::run"), "path"),
        (solution(files={"m.cc": C, "a b;c.h": "x"}), "odd characters"),
        (solution(files={"-fplugin=x.cc": C}, entry="-fplugin=x.cc::run"), "odd characters"),
        (solution(files={"m.cc": '#include "/etc/passwd"\n'}), "/etc/passwd"),
        (solution(files={"m.cc": '  # include <../../x>\n'}), "../../x"),
        (solution(files={"m.txt": C}, entry="m.txt::run"), "does not end"),
        (solution("python", {"m.py": "x=1"}, "m.py::run", binding="torch"), "no binding"),
        *(
            (solution(compile_options={group: [flag]}), "not allowed")
            for group, flag in [
                ("cflags", "-fplugin=evil.so"),
                ("cflags", "-I/etc"),
                ("cflags", "-include/etc/passwd"),
                ("cflags", "@/etc/passwd"),
                ("cflags", "-O3\n-fplugin=x"),
                ("cflags", "-Wl,-rpath,/tmp"),
                ("cflags", "-Wa,-o,/tmp/x"),
                ("cflags", "-wrapper"),
                ("cflags", "-specs=x"),
                ("cflags", "-B/tmp"),
                ("cflags", "-DX=$(id)"),
                ("cflags", "-o"),
                ("ld_flags", "-L/tmp"),
                ("ld_flags", "-T/tmp/script"),
                ("ld_flags", "-levil"),
                ("cuda_cflags", "-Xcompiler=-fplugin=x"),
                ("cuda_cflags", "--compiler-bindir=/tmp"),
            ]
        ),
        (solution(compile_options={"nvcc": ["-O3"]}), "unknown"),
    ],
)  # fmt: skip
def test_what_reaches_out_is_refused_before_a_write(
    bad: Solution, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BuildFailure) as caught:
        build(bad, SCALE, device="cpu", cache=tmp_path / "cache")
    assert caught.value.stage == "check"
    assert said in caught.value.log
    assert not list(tmp_path.iterdir())


def test_what_was_changed_after_the_build_is_not_loaded(tmp_path: Path) -> None:
    made = build(python({"m.py": "def run(x, by):\n    return x\n"}), SCALE, device="cpu",
                 cache=tmp_path)  # fmt: skip
    entry = made.folder / made.entry
    good = entry.read_text()

    def refused() -> None:
        with pytest.raises(KernelError):
            load(made)
        with pytest.raises(KernelError):
            Artefact.at(made.folder)
        assert load(build(python({"m.py": good}), SCALE, device="cpu", cache=tmp_path))(7, 1) == 7

    entry.write_text(good + "# more\n")
    refused()
    (made.folder / "src" / "extra.py").write_text("x = 1\n")
    refused()
    entry.rename(tmp_path / "m.py")
    entry.symlink_to(tmp_path / "m.py")
    refused()
    entry.unlink()
    os.mkfifo(entry)
    refused()


def test_a_missing_tool_is_said_and_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailure) as caught:
        build(solution(), SCALE, device="cpu", cache=tmp_path)
    assert caught.value.stage == "toolchain"
    assert not list(tmp_path.iterdir())
    shader = solution("wgsl", {"a.wgsl": "fn main() {}"}, "a.wgsl::main", binding=None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildFailure, match="package wgpu") as caught:
        build(shader, SCALE, device="webgpu", cache=tmp_path)
    assert caught.value.stage == "toolchain"


def test_a_build_ends_at_its_limits_with_all_its_children(tmp_path: Path) -> None:
    nap = (
        "import os, time\nos.fork()\nopen(str(os.getpid()), 'w')\nwhile True:\n    time.sleep(1)\n"
    )
    said = confined.run([sys.executable, "-c", nap], tmp_path, seconds=1.5)
    assert said.timed_out
    children = [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]
    assert len(children) == 2
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)
    flood = "import sys\nfor i in range(60000):\n    print(i, 'y' * 50)\n"
    said = confined.run([sys.executable, "-c", flood], tmp_path)
    assert said.status == 0
    assert len(said.log) <= confined.MAX_LOG
    assert said.log.startswith("0 y")
    assert said.log.rstrip().endswith("59999 " + "y" * 50)
    grab = "x = bytearray(5 << 30)\n"
    assert confined.run([sys.executable, "-c", grab], tmp_path).status != 0
    words = "import os\nprint(sorted(os.environ), os.getcwd())\n"
    assert "TREADLE" not in confined.run([sys.executable, "-c", words], tmp_path).log


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_artefact_is_plain_data(tmp_path: Path) -> None:
    made = build(python({"m.py": "def run(x, by):\n    return x\n"}), SCALE, device="cpu",
                 cache=tmp_path)  # fmt: skip
    record = msgspec.json.decode((made.folder / "artefact.json").read_bytes())
    assert set(record) == {
        "entry", "symbol", "binding", "destination_passing", "key", "files", "kernels", "prepare"
    }  # fmt: skip
    assert set(record["files"]) == {"src/m.py"}


def test_of_two_builders_the_second_gets_what_the_first_made(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    kept: list[Artefact] = []
    for content in (b"one", b"another"):  # compilers need not write the same bytes twice
        room = store.room()
        (room / "run.so").write_bytes(content)
        made = Artefact(
            folder=room, entry="run.so", symbol="run", binding="dlpack", destination_passing=True,
            key="ab" * 32, files={},
        )  # fmt: skip
        kept.append(store.keep(room, made))
    assert kept[0] == kept[1]
    kept[1].verify()
