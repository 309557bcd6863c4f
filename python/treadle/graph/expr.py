"""Arithmetic over axis letters: the text of an op's constraints, flops and bytes.

Text rather than code, because the same text goes into Definitions as a constraint or a formula.
Only numbers, names, + - * / // % and comparisons; nothing is ever evaluated by the interpreter.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right,  # operator's own stubs lack types
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@lru_cache(maxsize=512)
def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@lru_cache(maxsize=512)
def names(text: str) -> frozenset[str]:
    """The names an expression reads."""
    found = {node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)}
    return frozenset(found - {"min"})


def value(text: str, given: Mapping[str, int]) -> float:
    """Computes an expression. Raises KeyError for a name not given, ValueError for other syntax."""
    return _walk(_parse(text), given)


def _walk(node: ast.expr, given: Mapping[str, int]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return given[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_walk(left, given), _walk(right, given))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_walk(left, given), _walk(right, given))
        case ast.Call(func=ast.Name(id="min"), args=[left, right], keywords=[]):
            return min(_walk(left, given), _walk(right, given))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not plain arithmetic")
