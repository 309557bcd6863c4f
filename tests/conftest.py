"""Shared by all suites: a run that meant to run everything fails when a suite ran nothing."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent
_ran: Counter[str] = Counter()

# A busy machine is slow, not wrong.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

if "PYTEST_XDIST_WORKER" in os.environ:  # a core each: two pools of two threads would spin
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def cuda_device() -> None:
    """Skips a test where the CUDA driver finds no device."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no CUDA driver")
    count = ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        pytest.skip("no CUDA device")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-suites",
        action="store_true",
        help="fail when a folder of tests/ ran no test (skipped ones do not count)",
    )
    parser.addoption(
        "--suites-file",
        type=Path,
        metavar="FILE",
        help="suites that earlier runs of the same whole ran, a line each; this run's are added",
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and not report.skipped:
        _ran[Path(report.nodeid.split("::")[0]).parent.name] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    file: Path | None = session.config.getoption("--suites-file")
    if file is not None:
        if file.exists():
            _ran.update(file.read_text().split())
        file.write_text("\n".join(sorted(_ran)))
    if not session.config.getoption("--all-suites"):
        return
    suites = {path.parent.name for path in ROOT.rglob("test_*.py")}
    idle = sorted(suite for suite in suites if not _ran[suite])
    if idle:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"suites that ran no test: {', '.join(idle)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
