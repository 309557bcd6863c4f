"""Shared by all suites: a run that meant to run everything fails when a suite ran nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
_ran: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-suites",
        action="store_true",
        help="fail when a folder of tests/ ran no test (skipped ones do not count)",
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and not report.skipped:
        _ran[Path(report.nodeid.split("::")[0]).parent.name] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--all-suites"):
        return
    suites = {path.parent.name for path in ROOT.rglob("test_*.py")}
    idle = sorted(suite for suite in suites if not _ran[suite])
    if idle:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"suites that ran no test: {', '.join(idle)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
