"""Constraints of a definition, evaluated over axis sizes and host values; never `eval`.

What public files write: arithmetic and comparisons over axes, `kv_indptr[-1].item()`, `x.shape[0]`,
`len(x)`, `x.max()`, `and`, `or`, `not`. Anything else is an error, not a pass.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from treadle.errors import InvalidRequest
from treadle.kernels.schema import expression

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: a // b, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_REDUCE: dict[str, Callable[[Any], Any]] = {
    "item": lambda x: x if np.ndim(x) == 0 else np.asarray(x).reshape(-1)[0],
    "max": lambda x: np.max(x, initial=0),
    "min": lambda x: np.min(x) if np.size(x) else 0,
    "sum": np.sum,
}


def holds(text: str, values: Mapping[str, Any], at: str = "") -> bool:
    """Whether a constraint is true. values: axis sizes and input arrays by name.

    Raises InvalidRequest for what is no such expression or reads an unknown name.
    """
    try:
        return bool(np.all(_value(expression.parse(text, at), values)))
    except KeyError as problem:
        reason = f"{problem.args[0]} is not known"
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as problem:
        reason = str(problem)
    raise InvalidRequest(
        f"constraint {text!r} has no value: {reason}", at=at or None, hint="correct the constraint"
    )


def assigned(text: str) -> tuple[str, str] | None:
    """`name == arithmetic` as (name, arithmetic), None for any other constraint."""
    try:
        tree = expression.parse(text)
    except InvalidRequest:
        return None
    match tree:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[right]):
            return name, ast.unparse(right)
        case _:
            return None


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as constant):
            return constant
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(bool(np.all(_value(part, values))) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(bool(np.all(_value(part, values))) for part in parts)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = [_value(side, values) for side in (left, *rights)]
            return all(
                bool(np.all(_COMPARE[type(op)](a, b)))
                for op, a, b in zip(ops, sides, sides[1:], strict=False)
            )
        case ast.Subscript(value=ast.Attribute(value=inner, attr="shape"), slice=index):
            return np.shape(_value(inner, values))[_index(index)]
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, values)[_index(index)]
        case ast.Call(func=ast.Attribute(value=inner, attr=name), args=[], keywords=[]) if (
            name in _REDUCE
        ):
            return _REDUCE[name](_value(inner, values))
        case ast.Call(func=ast.Name(id="len"), args=[inner], keywords=[]):
            return len(_value(inner, values))
        case ast.Call(func=ast.Name(id="int"), args=[inner], keywords=[]):
            return int(_value(inner, values))
        case _:
            raise ValueError(f"{ast.unparse(node)} is not understood")


def _index(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
        case _:
            raise ValueError(f"[{ast.unparse(node)}] is no constant index")
