"""Arithmetic over axis sizes: + - * / // % ** and parentheses, comparisons; never `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

from treadle.errors import InvalidRequest, LimitExceeded

MAX_CHARACTERS = 512
MAX_BITS = 256

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
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


def parse(text: str, at: str = "") -> ast.expr:
    """The expression's tree. Raises InvalidRequest if it is none, LimitExceeded if too long."""
    if len(text) > MAX_CHARACTERS:
        raise LimitExceeded("expression characters", len(text), MAX_CHARACTERS, at=at or None)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidRequest(
            f"{text!r} is no expression", at=at or None, hint="write arithmetic over axis names"
        ) from None


def names(text: str, at: str = "") -> frozenset[str]:
    """Names that an expression reads."""
    return frozenset(n.id for n in ast.walk(parse(text, at)) if isinstance(n, ast.Name))


def evaluate(text: str, given: Mapping[str, float], at: str = "") -> float:
    """The value of an expression over `given`; true and false are 1 and 0.

    Raises InvalidRequest for anything that is not plain arithmetic, an unknown name or a division
    by zero, LimitExceeded for numbers beyond 256 bits.
    """
    try:
        return _value(parse(text, at), given)
    except (KeyError, ValueError, ZeroDivisionError, OverflowError) as problem:
        reason = f"{problem.args[0]} is not known" if isinstance(problem, KeyError) else problem
        raise InvalidRequest(
            f"{text!r} has no value: {reason}", at=at or None, hint="correct the expression"
        ) from None


def _value(node: ast.expr, given: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("a truth value is no number")
        case ast.Constant(value=int() | float() as constant):
            return constant
        case ast.Name(id=name):
            return given[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, given)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, given), _value(right, given))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left, given), _value(right, given)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return float(_COMPARE[type(op)](_value(left, given), _value(right, given)))
        case _:
            raise ValueError(f"{ast.unparse(node)} is not plain arithmetic")


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > MAX_BITS or abs(base) > 2**64:
        raise LimitExceeded("bits of a power", int(min(abs(exponent), 1e9)), MAX_BITS)
    result: object = base**exponent
    if not isinstance(result, int | float):
        raise ValueError("a power is not real")
    return _bounded(result)


def _bounded(value: float) -> float:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise LimitExceeded("bits of a number", value.bit_length(), MAX_BITS)
    return value
