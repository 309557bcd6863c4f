"""Every public name of xgrammar 0.2.8, its parameters, defaults and fields, against a record."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("transformers")

ROOT = "treadle.compat.xgrammar"
RECORD: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "xgrammar_api.json").read_text()
)
HERE = [name for name, entries in RECORD.items() if not entries.get("unimportable")]
AWAY = [name for name, entries in RECORD.items() if entries.get("unimportable")]


def default(value: Any) -> str | None:
    if value is inspect.Parameter.empty:
        return None
    plain = isinstance(value, (int, float, str, bool, type(None), tuple))
    return repr(value) if plain else type(value).__name__


def parameters(function: Any) -> list[list[str | None]]:
    found = inspect.signature(function).parameters.values()
    return [[p.name, p.kind.name, default(p.default)] for p in found]


def same_parameters(function: Any, recorded: list[list[str | None]], name: str) -> None:
    ours = parameters(function)
    if ours[-1:] and ours[-1][1] == "VAR_KEYWORD" and ours[-1] not in recorded:
        ours = ours[:-1]  # more is accepted, and refused by name
    assert ours == recorded, name


def same_member(owner: Any, name: str, recorded: list[Any]) -> None:
    found = inspect.getattr_static(owner, name)
    if recorded[0] == "property":
        assert isinstance(found, property), name
        return
    assert isinstance(found, staticmethod) == (recorded[0] == "static"), name
    same_parameters(getattr(owner, name), recorded[1], name)


def same_class(found: Any, recorded: dict[str, Any], name: str) -> None:
    for base in ("RuntimeError", "XGRObject", "BaseModel", "Enum"):
        if base in recorded["class"]:
            assert base in [c.__name__ for c in found.__mro__], (name, base)
    if "enum" in recorded:
        assert issubclass(found, Enum)
        assert {member.name: member.value for member in found} == recorded["enum"]
    if recorded.get("init"):
        same_parameters(found.__init__, recorded["init"], name)
    for member, entry in (recorded.get("members") or {}).items():
        same_member(found, member, entry)
    if "fields" in recorded:
        fields = {}
        for key, field in found.model_fields.items():
            usual = "required" if field.is_required() else default(field.default)
            fields[key] = [usual, field.alias]
        assert fields == recorded["fields"], name


@pytest.mark.parametrize("module", HERE)
def test_names_and_parameters(module: str) -> None:
    found = importlib.import_module(f"{ROOT}.{module}" if module else ROOT)
    for name, recorded in RECORD[module].items():
        assert hasattr(found, name), f"{module}.{name} is missing"
        thing = getattr(found, name)
        if "module" in recorded:
            assert thing.__name__ == f"{ROOT}.{recorded['module']}"
        elif "function" in recorded:
            same_parameters(thing, recorded["function"], name)
        elif "class" in recorded:
            same_class(thing, recorded, name)


@pytest.mark.parametrize("module", AWAY)
def test_names_of_modules_that_need_a_device(module: str) -> None:
    entries = {k: v for k, v in RECORD[module].items() if k != "unimportable"}
    package = Path(importlib.import_module(ROOT).__path__[0])
    tree = ast.parse((package / f"{module.replace('.', '/')}.py").read_text())
    ours: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            ours[node.name] = [arg.arg for arg in node.args.args]
        elif isinstance(node, ast.ClassDef):
            ours.setdefault(node.name, [])
        elif isinstance(node, ast.ImportFrom):
            ours.update({alias.asname or alias.name: [] for alias in node.names})
    assert entries
    for name, recorded in entries.items():
        assert name in ours, name
        if "function" in recorded:
            assert ours[name] == [p[0] for p in recorded["function"]], name
