"""What a locked process may have compiled for it, and that nothing of a solution runs unlocked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from arena import HONEST, LINEAR, Entered, entered

from treadle.kernels.run import compilers
from treadle.kernels.run.refusal import Refused

pytestmark = pytest.mark.alone

HERE = Path("/scratch")
PROGRAMS = {"/usr/bin/gcc": compilers._C_FLAG, "/t/bin/ptxas": compilers._PTX_FLAG}
GCC = "/usr/bin/gcc /scratch/a/m.c -O3 -shared -fPIC -Wno-psabi -o /scratch/a/m.so"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (f"{GCC} -l:libcuda.so.1 -L/usr/lib -I/usr/include/python3.12", True),
        ("/t/bin/ptxas -lineinfo -v --gpu-name=sm_90a /scratch/k.ptx -o /scratch/k.ptx.o", True),
        ("/t/bin/ptxas --version", True),
        ("/sbin/ldconfig -p", True),
        ("/sbin/ldconfig", False),
        ("/bin/sh -c id", False),
        ("gcc /scratch/a/m.c", False),  # by a path that was found before, not by name
        (f"{GCC} -fplugin=/scratch/p.so", False),
        (f"{GCC} -wrapper /scratch/w", False),
        (f"{GCC} -B/scratch", False),
        (f"{GCC} -Wl,--dynamic-linker=/scratch/x", False),
        (f"{GCC} -Wno-x,y", False),
        (f"{GCC} @/scratch/flags.c", False),
        ("/usr/bin/gcc /etc/passwd -o /scratch/m.so", False),
        ("/usr/bin/gcc /scratch/../etc/m.c -o /scratch/m.so", False),
        ("/usr/bin/gcc /scratch/m.c -o /tmp/m.so", False),
        ("/usr/bin/gcc /scratch/m.s", False),
        ("/t/bin/ptxas --options-file /scratch/f.ptx", False),
        ("", False),
    ],
)
def test_two_programs_with_known_flags_in_one_folder(command: str, wanted: bool) -> None:
    assert compilers.allowed(command.split(), PROGRAMS, HERE) is wanted


LOCKED = """
import ctypes, os, subprocess, sys
from pathlib import Path
from treadle.kernels.run import compilers, sandbox
from treadle.kernels.run.player import readable

folder = Path(sys.argv[1])
level = sandbox.enter(4, readable(folder), 1 << 46, 60, reserves=True, scratch=folder)
line = compilers.start(folder)
print("level", sandbox.lock(level, 4))
(folder / "m.c").write_text("int seven(void) { return 7; }")
words = [sys.argv[2], str(folder / "m.c"), "-shared", "-fPIC", "-o", str(folder / "m.so")]
subprocess.check_call(words)
print("made", ctypes.CDLL(str(folder / "m.so")).seven())
print("shell", subprocess.run(["/bin/sh", "-c", "id"], capture_output=True).returncode)
try:
    Path(folder.parent, "outside").write_text("x")
except OSError:
    print("walled")
sys.stdout.flush()
os.fork()
print("forked")
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.skipif(os.geteuid() != 0, reason="a folder of nobody's needs root")
def test_a_locked_process_compiles_and_starts_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    for part in (tmp_path, *list(tmp_path.parents)[:2]):
        part.chmod(0o755)
    os.chown(folder, 65534, 65534)
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, str(folder), str(shutil.which("gcc"))],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    told = dict(re.findall(r"^(\w+) (\d+)$", done.stdout, re.MULTILINE))
    if told.get("level") != "4":
        pytest.skip(f"isolation {told.get('level')} here: {done.stderr[-200:]}")
    assert (told["made"], told["shell"]) == ("7", "126")
    assert "walled" in done.stdout
    assert "forked" not in done.stdout
    assert done.returncode < 0  # the filter's trap
    assert not list(folder.iterdir())  # what was written lay in a file system of its own


def test_a_module_that_forks_while_it_loads_is_refused(tmp_path: Path) -> None:
    """Also one that puts something else in place of the lock: it is locked before it loads."""
    lying = (
        "from treadle.kernels.run import sandbox, seccomp\n"
        "seccomp.install = lambda **k: True\nsandbox.lock = lambda *a: 4\n"
        "import os\nif os.fork() == 0:\n    os.setsid()\n    os._exit(0)\n"
    )
    with entered(tmp_path, LINEAR, HONEST) as match:
        _refused(match, lying + HONEST)


def _refused(match: Entered, body: str) -> None:
    with pytest.raises(Refused) as caught:
        match(body)
    assert caught.value.code == "child", (caught.value.status, caught.value.text)
