"""Graphs as JSON: canonical text out, suspicious reading in.

Canonical means: fixed field order, sorted names, no spaces, shortest floats. The same graph always
has the same text, and the SHA-256 of that text is its identity.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, cast

from treadle.errors import GraphError, ModelFormatError
from treadle.graph.declared import lookup
from treadle.graph.dims import Dims, Shape, Size
from treadle.graph.ir import STAGES, Graph, Node, Param, Value, frozen, place
from treadle.graph.signature import DTYPES
from treadle.graph.verify import verify
from treadle.types.formats import FORMATS

VERSION = 1
MAX_TEXT = 64 << 20
MAX_NODES = 1 << 18
MAX_RANK = 8

_REQUIRED = (
    "treadle_graph",
    "name",
    "stage",
    "dims",
    "inputs",
    "params",
    "state",
    "nodes",
    "outputs",
)
_OPTIONAL = ("divided",)
T = TypeVar("T")


def dumps(graph: Graph) -> str:
    """The canonical JSON text. `divided` appears only in sharded graphs."""
    data: dict[str, Any] = {
        "treadle_graph": VERSION,
        "name": graph.name,
        "stage": graph.stage,
        "dims": _ordered(graph.dims),
        "inputs": _ordered({n: [v.dtype, v.shape] for n, v in graph.inputs.items()}),
        "params": _ordered({n: [p.dtype, p.shape, p.format] for n, p in graph.params.items()}),
        "state": _ordered({n: [v.dtype, v.shape] for n, v in graph.state.items()}),
        "nodes": [[n.op, n.inputs, n.outputs, _ordered(n.attrs)] for n in graph.nodes],
        "outputs": graph.outputs,
    }
    if graph.divided:
        data["divided"] = _ordered(graph.divided)
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def loads(text: str | bytes) -> Graph:
    """Reads a graph and verifies it at its own stage.

    Raises ModelFormatError for anything that is not a graph file of this version: broken JSON,
    duplicate or unknown fields, wrong types, sizes beyond the limits; GraphError for a well-formed
    file whose graph breaks a rule.
    """
    data = _parse(text)
    for key in data:
        if key not in _REQUIRED and key not in _OPTIONAL:
            _bad(f"unknown field {key!r}", f"/{key}", "it comes from a newer treadle; upgrade")
    if data.get("treadle_graph") != VERSION or isinstance(data.get("treadle_graph"), bool):
        _bad(
            f"version {data.get('treadle_graph')!r}, this build reads {VERSION}",
            "/treadle_graph",
            "export the graph again with this version",
        )
    for key in _REQUIRED:
        if key not in data:
            _bad(f"field {key!r} is missing", f"/{key}", "the file is cut off or of another kind")
    stage = _text(data["stage"], "/stage")
    if stage not in STAGES:
        _bad(f"unknown stage {stage!r}", "/stage", f"one of {' '.join(STAGES)}")
    try:
        dims = Dims(_table(data["dims"], "/dims", _size))
    except GraphError as error:
        _bad(error.message, "/dims", error.hint or "correct the dims")
    graph = Graph(
        name=_text(data["name"], "/name"),
        stage=stage,
        dims=dims,
        inputs=frozen(_values(data["inputs"], "/inputs")),
        params=MappingProxyType(_table(data["params"], "/params", _param)),
        state=frozen(_values(data["state"], "/state")),
        nodes=_nodes(data, dims),
        outputs=tuple(_list(data["outputs"], "/outputs", _text, MAX_NODES)),
        divided=MappingProxyType(_table(data.get("divided", {}), "/divided", _ways)),
    )
    verify(graph)
    return graph


def _ordered(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: table[key] for key in sorted(table)}


def _parse(text: str | bytes) -> dict[str, Any]:
    if len(text) > MAX_TEXT:
        _bad(f"{len(text)} bytes, at most {MAX_TEXT}", "/", "no graph is that large")
    try:
        data = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
    except ModelFormatError:
        raise
    except RecursionError:
        _bad("nested too deeply", "/", "a graph nests four levels")
    except ValueError as error:
        _bad(f"not JSON: {error}", "/", "the file is damaged or of another kind")
    if not isinstance(data, dict):
        _bad(f"expected an object, got {_kind(data)}", "/", "the file is of another kind")
    return cast("dict[str, Any]", data)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        _bad(f"key {twice!r} occurs twice", "/", "names are unique; correct the writer")
    return table


def _constant(word: str) -> NoReturn:
    _bad(f"{word} is not JSON", "/", "numbers are finite")


def _bad(message: str, at: str, hint: str) -> NoReturn:
    raise ModelFormatError(message, at=f"graph.json{at}", hint=hint)


def _kind(data: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
    }
    return names.get(type(data), "null" if data is None else "a number")


def _text(data: object, at: str) -> str:
    if not isinstance(data, str) or not 0 < len(data) <= 256:
        _bad(f"expected a text of 1 to 256 characters, got {_kind(data)}", at, "correct the writer")
    try:
        data.encode()
    except UnicodeEncodeError:
        _bad("a name holds half a surrogate pair", at, "names are Unicode text")
    return data


def _int(data: object, at: str) -> int:
    if not isinstance(data, int) or isinstance(data, bool):
        _bad(f"expected an integer, got {_kind(data)}", at, "correct the writer")
    return data


def _list(data: object, at: str, item: Callable[[object, str], T], most: int) -> list[T]:
    if not isinstance(data, list):
        _bad(f"expected a list, got {_kind(data)}", at, "correct the writer")
    items = cast("list[object]", data)
    if len(items) > most:
        _bad(f"{len(items)} entries, at most {most}", at, "no graph needs so many")
    return [item(entry, f"{at}/{index}") for index, entry in enumerate(items)]


def _table(data: object, at: str, item: Callable[[str, object, str], T]) -> dict[str, T]:
    if not isinstance(data, dict):
        _bad(f"expected an object, got {_kind(data)}", at, "correct the writer")
    entries = cast("dict[str, object]", data)
    if len(entries) > MAX_NODES:
        _bad(f"{len(entries)} entries, at most {MAX_NODES}", at, "no graph needs so many")
    return {key: item(_text(key, at), value, f"{at}/{key}") for key, value in entries.items()}


def _entry(data: object, at: str) -> str | int:
    return _text(data, at) if isinstance(data, str) else _int(data, at)


def _size(_: str, data: object, at: str) -> Size:
    if isinstance(data, list):
        return tuple(_list(cast("object", data), at, _entry, MAX_RANK))
    return None if data is None else _int(data, at)


def _ways(_: str, data: object, at: str) -> int:
    ways = _int(data, at)
    if not 0 < ways <= 1 << 16:
        _bad(f"divided {ways} ways", at, "1 to 65536 ranks")
    return ways


def _fields(data: object, at: str, count: int) -> list[object]:
    fields = _list(data, at, lambda item, _: item, count)
    if len(fields) != count:
        _bad(f"{len(fields)} fields, expected {count}", at, "correct the writer")
    return fields


def _dtype(data: object, at: str) -> str:
    if data not in DTYPES:
        _bad(f"unknown dtype {data!r}", at, f"one of {' '.join(DTYPES)}")
    return cast("str", data)


def _shape(data: object, at: str) -> Shape:
    return tuple(_list(data, at, _entry, MAX_RANK))


def _values(data: object, at: str) -> Sequence[Value]:
    def value(name: str, item: object, where: str) -> Value:
        dtype, shape = _fields(item, where, 2)
        return Value(name, _dtype(dtype, where), _shape(shape, where))

    return list(_table(data, at, value).values())


def _param(name: str, data: object, at: str) -> Param:
    dtype, shape, fmt = _fields(data, at, 3)
    if not isinstance(fmt, str) or fmt not in FORMATS:
        _bad(f"unknown format {fmt!r}", at, f"one of {' '.join(FORMATS)}")
    return Param(name, _dtype(dtype, at), _shape(shape, at), fmt)


def _nodes(data: Mapping[str, Any], dims: Dims) -> tuple[Node, ...]:
    graph = _text(data["name"], "/name")

    def node(item: object, at: str) -> Node:
        op, ins, outs, attrs = _fields(item, at, 4)
        raw = Node(
            _text(op, f"{at}/0"),
            tuple(_list(ins, f"{at}/1", _text, 256)),
            tuple(_list(outs, f"{at}/2", _text, 256)),
        )
        given = _table(attrs, f"{at}/3", lambda _, value, __: value)
        where = place(graph, int(at.rsplit("/", 1)[1]), raw)
        complete = lookup(raw.op, where).check_attrs(given, dims, where)
        return Node(raw.op, raw.inputs, raw.outputs, MappingProxyType(complete))

    return tuple(_list(data["nodes"], "/nodes", node, MAX_NODES))
