"""Who may talk to the server: keys on every route, whatever path a request claims; and where it
listens."""

from __future__ import annotations

import ast
import inspect
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from treadle.engine.stats import Stats
from treadle.limits import Limits
from treadle.server import app as application
from treadle.server.app import ROUTES, build_app
from treadle.server.context import ServerContext

KEY = "correct horse"
BANNED = {"pickle", "marshal", "shelve", "dill", "eval", "exec", "torch.load", "yaml.load"}
# apply/dispatch.py compiles call sites from its own templates: numbers and names such as `a0`,
# never a text of a dataset. check/float64.py runs the reference of a definition, a program: whoever
# measures kernels chose the dataset, and the solutions in it run confined.
COMPILES = {"dispatch.py": {"exec"}, "float64.py": {"exec"}}
OPEN = {"/health", "/ready", "/version", "/metrics"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    engine: Any = SimpleNamespace(
        healthy=True, ready=True, stats=Stats(), fingerprint="fp", context=128
    )
    app = build_app(ServerContext(engine, Limits(), "model"), [KEY, "battery staple"])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_only_the_listed_routes_are_open() -> None:
    assert {path for path, _, _, public in ROUTES if public} == OPEN
    # every route passes through the guard: none is built beside it
    assert "Route(" not in inspect.getsource(application).replace("-> Route", "")


@pytest.mark.parametrize("row", ROUTES, ids=lambda row: row[0])
def test_every_other_route_needs_a_key(client: TestClient, row: Any) -> None:
    path, _, method, public = row
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer \xff"},
    ]
    for headers in wrong:
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = client.request(method, path, headers=raw)
        assert (answer.status_code == 401) == (not public), (path, headers)
    for key in (KEY, "battery staple"):
        answer = client.request(method, path, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code != 401


@pytest.mark.parametrize("host", ["x/health", "/health", "x?/health", "x#/health", "health"])
def test_a_host_header_cannot_move_the_path(client: TestClient, host: str) -> None:
    answer = client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["//v1/models", "/health/../v1/models", "/v1/models%2f"])
def test_other_spellings_of_a_path_open_nothing(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (401, 404)


def test_headers_have_a_budget(client: TestClient) -> None:
    answer = client.get("/health", headers={"X-Long": "a" * (20 << 10)})
    assert answer.status_code == 431
    assert answer.json()["error"]["code"] == "limit_exceeded"


def test_another_interface_needs_a_key_or_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "TREADLE_API_KEY" in done.stderr


def test_a_taken_port_fails_before_the_model_loads() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "treadle", "serve", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert port in done.stderr


def test_nothing_in_the_package_unpickles_or_evaluates() -> None:
    package = Path(inspect.getfile(application)).parents[1]
    files = list(package.rglob("*.py"))
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            found = _reach(node)
            banned = BANNED - COMPILES.get(path.name, set())
            assert not found & banned, f"{path.name}:{getattr(node, 'lineno', 0)}: {found}"


def test_the_search_finds_what_it_looks_for() -> None:
    for text in ("import pickle", "from marshal import loads", "eval('1')", "torch.load('x')"):
        assert any(_reach(node) & BANNED for node in ast.walk(ast.parse(text))), text


def _reach(node: ast.AST) -> set[str]:
    """Modules that a node imports, or the name that it calls."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    if isinstance(node, ast.Call):
        return {ast.unparse(node.func)}
    return set()
