"""Hostile and mistaken requests: typed refusals that name the field, and the next one works."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, get_args, get_origin, get_type_hints

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import MODEL, Server

from treadle.errors import TreadleError
from treadle.limits import Limits
from treadle.server import wire
from treadle.server.body import check_depth, decode_body, pointer

ASK = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": MODEL, "messages": ASK, "max_tokens": 2}


def refused(http: httpx.Client, body: Any, path: str = "/v1/chat/completions") -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"stop": [""]}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"seed": 1 << 70}, "seed"),
        ({"guided_json": {}}, "guided_json"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "extra": 1}]}, "messages.0.extra"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.type",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ],
)
def test_bad_field_is_named(http: httpx.Client, extra: dict[str, Any], param: str) -> None:
    error = refused(http, {**CHAT, **extra})
    assert error["param"] is not None
    assert error["param"].startswith(param) or param.startswith(error["param"]), error
    assert error["message"]


def test_bad_schema_names_keyword_and_place(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": "abc"}}}
    error = refused(
        http,
        {
            **CHAT,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema},
            },
        },
    )
    assert error["code"] == "grammar_error"
    assert "minimum" in error["message"]
    assert error["param"] == "response_format.json_schema.schema.properties.age.minimum"


def test_two_constraints_are_refused(http: httpx.Client) -> None:
    error = refused(
        http,
        {
            **CHAT,
            "response_format": {"type": "json_object"},
            "structured_outputs": {"regex": "a"},
        },
    )
    assert "response_format" in error["message"]
    assert "structured_outputs" in error["message"]


def test_not_json_too_deep_too_large(http: httpx.Client) -> None:
    url = "/v1/chat/completions"
    assert http.post(url, content=b"{").status_code == 400
    assert http.post(url, content=b'{"a": "\xff"}').status_code == 400
    assert http.post(url, content=b"[" * 100_000).status_code == 400
    assert http.post(url, content=b" " * (5 << 20)).status_code == 413
    assert http.get("/health").status_code == 200


def test_wrong_method_and_path_are_typed(http: httpx.Client) -> None:
    for answer in (http.get("/v1/chat/completions"), http.post("/v1/nothing", json={})):
        assert answer.status_code in (404, 405)
        assert answer.json()["error"]["message"]


def test_vanished_clients_free_everything(http: httpx.Client, server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({**CHAT, "max_tokens": 512, "ignore_eos": True, "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for cut in (head[:20], head, head + body[:10], head + body, head + body):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(cut)
            if cut == head + body:
                connection.recv(200)
    deadline = time.monotonic() + 20
    while _gauge(http, "num_requests_running") or _gauge(http, "kv_cache_usage_perc"):
        assert time.monotonic() < deadline, "a vanished client's request still runs"
        time.sleep(0.1)
    assert http.post("/v1/chat/completions", json=CHAT).status_code == 200


def _gauge(http: httpx.Client, name: str) -> float:
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(f"treadle:{name}"):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


def _walk(kind: Any, path: str) -> list[str]:
    """Paths of numbers, texts and containers that no Meta bounds."""
    bounded = hasattr(kind, "__metadata__")
    inner = get_args(kind)[0] if bounded else kind
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        hints = get_type_hints(inner, include_extras=True)
        return [bad for name in hints for bad in _walk(hints[name], f"{path}.{name}")]
    if get_origin(inner) is list:
        return ([] if bounded else [path]) + _walk(get_args(inner)[0], f"{path}[]")
    if inner in (int, float, str):
        return [] if bounded else [path]
    union = [arg for arg in get_args(inner) if arg is not type(None)]
    if get_origin(inner) in (dict, tuple) or not union or not isinstance(union[0], type | object):
        return []
    if str(get_origin(inner)) in ("<class 'types.UnionType'>", "typing.Union"):
        return [bad for arg in union for bad in _walk(arg, path)]
    return []


@pytest.mark.parametrize(
    "body", [wire.ChatBody, wire.CompletionBody, wire.TokenizeBody, wire.DetokenizeBody]
)
def test_every_field_has_a_range(body: type) -> None:
    assert _walk(body, body.__name__) == []


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@settings(max_examples=200)
def test_any_json_decodes_or_is_refused(value: Any) -> None:
    try:
        decode_body(json.dumps(value).encode(), wire.ChatBody, Limits())
    except TreadleError as error:
        assert error.http_status == 400  # noqa: PT017


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        decode_body(data, wire.CompletionBody, Limits())
    except TreadleError as error:
        assert error.http_status == 400  # noqa: PT017


def test_depth_counts_brackets_outside_strings() -> None:
    check_depth(b'{"a": "' + b"[" * 500 + b'"}', 64)
    with pytest.raises(TreadleError, match="json_depth"):
        check_depth(b"[" * 65 + b"]" * 65, 64)


def test_pointer_of_a_path() -> None:
    assert pointer("$.messages[0].content[2].text") == "/messages/0/content/2/text"
