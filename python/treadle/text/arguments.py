"""The arguments of a call in a conversation's history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from treadle.errors import InvalidRequest


def called_function(call: object, at: str) -> tuple[str, dict[str, Any]]:
    """(name, arguments) of a call as OpenAI writes it. Raises InvalidRequest below `at`."""
    function = cast(Mapping[str, Any], call).get("function") if isinstance(call, Mapping) else None
    name: object = None
    arguments: object = None
    if isinstance(function, Mapping):
        function = cast(Mapping[str, object], function)
        name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str):
        raise InvalidRequest("needs a function with a name", at=f"{at}.function")
    return name, call_arguments(arguments, f"{at}.function.arguments")


def call_arguments(value: object, at: str) -> dict[str, Any]:
    """The argument object of a call, given as JSON text (OpenAI) or as an object.

    Raises InvalidRequest at `at` when it is neither.
    """
    if isinstance(value, str):
        import json

        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            raise InvalidRequest("is not JSON", at=at, hint="send a JSON object") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InvalidRequest("is not a JSON object", at=at, hint="send a JSON object")
    return cast(dict[str, Any], value)
