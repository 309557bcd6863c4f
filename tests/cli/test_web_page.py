"""`treadle web`: what it serves and what it refuses, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from treadle.cli import web
from treadle.cli.main import main
from treadle.errors import InvalidRequest, NotFound
from treadle.server.static import site


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    page, bundle = tmp_path / "page", tmp_path / "bundle"
    for folder in (page, bundle):
        folder.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    (page / "treadle.js").write_text("export {}")
    (page / "core.wasm").write_bytes(bytes(range(100)))
    (bundle / "manifest.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    return page, bundle


def test_types_ranges_and_headers(folders: tuple[Path, Path]) -> None:
    client = TestClient(site(*folders), base_url="http://localhost")
    root = client.get("/")
    assert root.headers["content-type"].startswith("text/html")
    assert root.headers["cross-origin-opener-policy"] == "same-origin"
    assert root.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "'wasm-unsafe-eval'" in root.headers["content-security-policy"]
    assert client.get("/treadle.js").headers["content-type"].startswith("text/javascript")
    part = client.get("/core.wasm", headers={"Range": "bytes=10-12"})
    assert (part.status_code, part.content) == (206, bytes([10, 11, 12]))
    assert part.headers["content-type"] == "application/wasm"
    assert client.get("/bundle/manifest.json").json() == {}
    plain = TestClient(site(*folders, isolated=False), base_url="http://127.0.0.1")
    assert "cross-origin-embedder-policy" not in plain.get("/").headers


def test_nothing_beyond_the_two_folders(folders: tuple[Path, Path]) -> None:
    client = TestClient(site(*folders), base_url="http://localhost")
    for path in ("/../secret", "/bundle/../../secret", "/%2e%2e/secret", "/bundle/%2e%2e%2fsecret"):
        assert client.get(path).status_code == 404
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.post("/").status_code == 405


def test_a_bundle_is_served_as_it_is(folders: tuple[Path, Path]) -> None:
    assert web.bundle_folder(str(folders[1]), None) == folders[1]
    with pytest.raises(NotFound):
        web.bundle_folder("no-such-model", None)


def test_bad_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["web", "--port", "x"], ["web", "--colour"]):
        assert main(arguments) == InvalidRequest.exit_code
        assert "treadle: InvalidRequest" in capsys.readouterr().err


def test_a_page_that_was_not_built_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(web, "_PACKAGE", tmp_path / "python" / "treadle")
    with pytest.raises(NotFound, match="make page"):
        web.page_folder()
