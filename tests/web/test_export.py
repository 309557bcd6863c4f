"""Bundles: the same bytes every time, weights equal to the source's, and lies named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import HOME, write_gguf

from treadle.cli.main import main
from treadle.errors import GraphError, InvalidRequest, ModelFormatError
from treadle.export import Options, check, write
from treadle.models import Model, load

SMALL = Options(shard=1 << 20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(str(write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_model_gives_the_same_bytes(model: Model, tmp_path: Path) -> None:
    write(model, tmp_path / "a", options=SMALL)
    write(model, tmp_path / "b", options=SMALL)
    write(model, tmp_path / "b", options=SMALL)  # over an older one
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    committed = "web/test/tiny is stale: run tests/web/tiny_bundle.py"
    assert contents(tmp_path / "a") == contents(HOME), committed


def test_weights_are_those_of_the_file_bit_for_bit(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(model, folder, options=SMALL)
    check(folder, model)
    plan = json.loads((folder / "plan.json").read_text())
    shards = [(folder / path).read_bytes() for path in plan["shards"]]
    for name, tensor in model.weights.items():  # read by the format's own words, not by the check
        found = b"".join(shards[i][at : at + n] for i, at, n in plan["weights"][name]["pieces"])
        assert found == tensor.data.tobytes(), name


def test_tensors_span_shards(model: Model, tmp_path: Path) -> None:
    from treadle.export.shards import layout, shards

    table = layout(model.graph, model.weights)
    whole = b"".join(shards(table, model.weights, 1 << 20))
    for size in (256, 4096):
        cut = list(shards(table, model.weights, size))
        assert b"".join(cut) == whole
        assert {len(part) for part in cut[:-1]} == {size}
        for name, weight in table.items():
            pieces = weight.record(size)["pieces"]
            found = b"".join(cut[i][at : at + n] for i, at, n in pieces)
            assert found == model.weights[name].data.tobytes()


def edited(name: str, edit: Callable[[Any], None]) -> Callable[[Path], None]:
    """Changes a JSON file; where it is not the manifest, the manifest's hash follows."""

    def change(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        edit(value)
        data = json.dumps(value).encode()
        (folder / name).write_bytes(data)
        if name != "manifest.json":
            rehash(folder, name, data)

    return change


def rehash(folder: Path, name: str, data: bytes) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == name:
            file.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest))


def patched(name: str, at: int, value: bytes, *, honest: bool = False) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[at : at + len(value)] = value
        (folder / name).write_bytes(data)
        if honest:
            rehash(folder, name, bytes(data))

    return change


def weight(value: dict[str, Any]) -> dict[str, Any]:
    return value["weights"]["l0.q"]


MANIFEST, PLAN = "manifest.json", "plan.json"


def tier(value: dict[str, Any]) -> dict[str, Any]:
    return value["tiers"]["cpu"]


def piece(value: dict[str, Any]) -> list[int]:
    return weight(value)["pieces"][0]


def overlap(value: dict[str, Any]) -> None:
    value["weights"]["l0.q"] = value["weights"]["l0.o"]


Edit = Callable[[Any], Any]
MANIFEST_LIES: dict[str, tuple[Edit, str]] = {
    "format": (lambda m: m.update(format=2), "format"),
    "no files": (lambda m: m.pop("files"), "files"),
    "path": (lambda m: m["files"][0].update(path="../x"), "files/0"),
    "twice": (lambda m: m["files"].append(m["files"][0]), "files/"),
    "bytes": (lambda m: m["files"][0].update(bytes=-1), "files/0/bytes"),
    "float": (lambda m: m["files"][0].update(bytes=1.5), "files/0/bytes"),
    "tiers": (lambda m: m["tiers"].clear(), "tiers"),
}
PLAN_LIES: dict[str, tuple[Edit, str]] = {
    "rows": (lambda p: weight(p).update(rows=65), "weights/l0.q/pieces"),
    "kind": (lambda p: weight(p).update(format="q9"), "weights/l0.q/format"),
    "shard": (lambda p: piece(p).__setitem__(0, 7), "weights/l0.q/pieces/0"),
    "end": (lambda p: piece(p).__setitem__(1, 1 << 40), "weights/l0.q/pieces/0"),
    "overlap": (overlap, "pieces"),
    "param": (lambda p: tier(p)["params"][1].__setitem__(0, "no"), "tiers/cpu/params/1"),
    "plan": (lambda p: tier(p)["plans"][0].update(length=1 << 30), "tiers/cpu/plans/0"),
}
LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    **{k: (edited(MANIFEST, edit), f"{MANIFEST}, {at}") for k, (edit, at) in MANIFEST_LIES.items()},
    **{k: (edited(PLAN, edit), "") for k, (edit, _) in PLAN_LIES.items()},
    "a bit": (patched("weights-00000.bin", 300, b"\xff\x01"), "manifest.json, files/0/sha256"),
    "array": (patched(MANIFEST, 0, b"["), "manifest.json"),
    "magic": (patched("tasks.cpu.bin", 0, b"X", honest=True), "tasks.cpu.bin, plan 0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(lie: str, model: Model, tmp_path: Path) -> None:
    write(model, tmp_path / "out", options=SMALL)
    change, place = LIES[lie]
    place += PLAN_LIES[lie][1] if lie in PLAN_LIES else ""
    change(tmp_path / "out")
    with pytest.raises(ModelFormatError) as found:
        check(tmp_path / "out")
    assert place in str(found.value)


def test_a_plan_that_waits_for_nothing_is_refused(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(model, folder, options=SMALL)
    data = bytearray((folder / "tasks.cpu.bin").read_bytes())
    plan = json.loads((folder / PLAN).read_text())["tiers"]["cpu"]["plans"][0]
    last = plan["length"] - 64  # the plan's last task signals the end of the step
    data[last + 20 : last + 24] = b"\xff\xff\xff\xff"
    (folder / "tasks.cpu.bin").write_bytes(data)
    rehash(folder, "tasks.cpu.bin", bytes(data))
    with pytest.raises(GraphError):
        check(folder)


def test_other_weights_are_noticed(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(model, folder, options=SMALL)
    plan = json.loads((folder / PLAN).read_text())
    _, offset, length = weight(plan)["pieces"][0]
    patched("weights-00000.bin", offset + length - 1, b"\x5a", honest=True)(folder)
    check(folder)
    with pytest.raises(ModelFormatError, match=r"weights/l0\.q"):
        check(folder, model)


def test_what_is_no_bundle_stays(model: Model, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(InvalidRequest):
        write(model, tmp_path)
    assert (tmp_path / "mine").read_text() == "kept"


def test_the_command(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["export", "web", str(model.path), "-o", out, "--check"]) == 0
    assert main(["export", "check", out, str(model.path)]) == 0
    assert "ok: tiny" in capsys.readouterr().out
    assert main(["export", "web", str(model.path), "-o", out, "--tiers", "t9"]) == 2
    assert main(["export", "check", str(tmp_path / "none")]) in (2, 3)
