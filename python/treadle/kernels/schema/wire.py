"""Bytes to objects and back, in the v1 layout."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar, cast

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.schema import rules
from treadle.kernels.schema.types import AxisConst, AxisExpr, Definition, Solution, Trace

T = TypeVar("T", Definition, Solution, Trace)

_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Definition, Solution, Trace)
}
_ENCODER = msgspec.json.Encoder()
_CHECKS: dict[type[Any], Any] = {
    Definition: rules.check_definition,
    Solution: rules.check_solution,
    Trace: rules.check_trace,
}


def read(kind: type[T], data: bytes | str, at: str = "", *, lenient: bool = False) -> T:
    """One object. Raises InvalidRequest naming place and key; unknown keys are errors.

    lenient: unknown keys move under `treadle.unknown` of their object, or are dropped where an
    object has no such place.
    """
    try:
        if not lenient:
            value = _DECODERS[kind].decode(data)
        else:
            raw: object = msgspec.json.decode(data)
            value = msgspec.convert(_fold(raw, kind), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidRequest(
            str(problem), at=at or kind.__name__.lower(), hint="see the FlashInfer Trace format"
        ) from None
    _CHECKS[kind](value)
    return value


def write(value: Definition | Solution | Trace, *, strict: bool = False) -> bytes:
    """One line of JSON without newline. strict: v1 keys only, no `treadle`.

    Raises InvalidRequest for an object that breaks the rules, or under `strict` one that a v1
    reader would refuse.
    """
    _CHECKS[type(value)](value)
    if not strict:
        return _ENCODER.encode(_plain(msgspec.to_builtins(value), keep=True))
    refused = rules.refused_by_v1(value)
    if refused:
        raise InvalidRequest("; ".join(refused), hint="keep it under ext/, or leave it out")
    return _ENCODER.encode(_plain(msgspec.to_builtins(value), keep=False))


def pretty(data: bytes) -> bytes:
    """The same JSON over several lines, newline at the end, as files of one object have it."""
    return msgspec.json.format(data, indent=2) + b"\n"


def sig(d: Definition) -> str:
    """SHA-256 of what makes two definitions one: axes, operands in order, dtypes, attrs."""
    axes: dict[str, Any] = {}
    for name in sorted(d.axes):
        axis = d.axes[name]
        axes[name] = (
            axis.value
            if isinstance(axis, AxisConst)
            else axis.expression
            if isinstance(axis, AxisExpr)
            else None
        )
    operands = [
        [[name, t.shape, t.dtype] for name, t in group.items()] for group in (d.inputs, d.outputs)
    ]
    attrs = (d.treadle or {}).get("attrs", {})
    return _digest([axes, *operands, attrs])


def solution_id(signature: str, s: Solution) -> str:
    """SHA-256 over the definition's sig, the whole spec and the sources; names do not count."""
    sources = sorted((str(rules.check_path(f.path, s.name)), f.content) for f in s.sources)
    return _digest([signature, msgspec.to_builtins(s.spec), sources])


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


_NULLABLE = ("solution", "evaluation", "correctness", "performance", "extra", "shape", "binding")
_OURS = ("treadle", "optional", "parent", "compile_options")


def _plain(value: Any, *, keep: bool) -> Any:
    """Drops nulls that say nothing, and our own keys unless `keep`; a v1 object is shallow."""
    if isinstance(value, dict):
        out: dict[str, Any] = {}
        for key, item in cast("dict[str, Any]", value).items():
            if item is None and key not in _NULLABLE:
                continue
            if key in _OURS and not keep:
                continue
            # What others put under these keys is kept as it is.
            out[key] = item if key in ("treadle", "extra") else _plain(item, keep=keep)
        return out
    if isinstance(value, list):
        return [_plain(item, keep=keep) for item in cast("list[Any]", value)]
    return value


def _fold(raw: Any, kind: Any) -> Any:
    """Moves keys that `kind` does not know under `treadle.unknown`; our types nest four deep."""
    info = msgspec.inspect.type_info(kind)
    return _fold_info(raw, info)


def _fold_info(raw: Any, info: Any) -> Any:
    match info:
        case msgspec.inspect.UnionType(types=kinds):
            tag = cast("dict[str, Any]", raw).get("type") if isinstance(raw, dict) else None
            for kind in kinds:
                is_struct = isinstance(kind, msgspec.inspect.StructType)
                if is_struct and isinstance(raw, dict) and kind.tag in (None, tag):
                    return _fold_info(raw, kind)
            return cast("Any", raw)
        case msgspec.inspect.DictType(value_type=inner) if isinstance(raw, dict):
            items = cast("dict[str, Any]", raw).items()
            return {key: _fold_info(item, inner) for key, item in items}
        case msgspec.inspect.ListType(item_type=inner) if isinstance(raw, list):
            return [_fold_info(item, inner) for item in cast("list[Any]", raw)]
        case msgspec.inspect.StructType(fields=fields, tag_field=tag_field):
            if not isinstance(raw, dict):
                return raw
            known = {field.encode_name: field.type for field in fields}
            out: dict[str, Any] = {}
            unknown: dict[str, Any] = {}
            for key, item in cast("dict[str, Any]", raw).items():
                if key in known:
                    out[key] = _fold_info(item, known[key])
                elif key == tag_field:
                    out[key] = item
                else:
                    unknown[key] = item
            if unknown and "treadle" in known:
                out["treadle"] = {**(out.get("treadle") or {}), "unknown": unknown}
            return out
        case _:
            return raw
