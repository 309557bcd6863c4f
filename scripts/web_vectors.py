"""What the npm package's tests compare with: what the Python side answers to the same questions."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from treadle.errors import TreadleError
from treadle.limits import Limits
from treadle.server import wire
from treadle.server.body import decode_body
from treadle.server.convert import chat_request, completion_requests
from treadle.text import ChatTemplate, Tokenizer
from treadle.text.formats import ToolFormat, format_named, tool_formats
from treadle.types import Message, Tool

ROOT = Path(__file__).parents[1]
TEXT = ROOT / "tests" / "text"
DATA = ROOT / "web" / "test" / "data"
GOLDEN = tomllib.loads((TEXT / "golden_calls.toml").read_text("utf-8"))
TOOLS = tuple(Tool(**tool) for tool in GOLDEN["tool"])
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Köln", "tags": ["a", "b"]}'},
}
TALK = (
    Message("system", "Be brief."),
    Message("user", "Weather in Köln? 12 °C <b>"),
    Message("assistant", "One moment.", tool_calls=(CALL,)),
    Message("tool", '{"c": 7.5}', name="get_weather", tool_call_id="call_1"),
    Message("user", "And\ttomorrow?"),
)
TEXTS = (
    "Hello world, it's 2026!",
    "  spaces\n\n\tand tabs ",
    "<|im_start|>user\nhi<|im_end|>\n",
    "Größe 東京 🧵🪡 e\u0301",
    "aaaa" * 9,
)
_USER: dict[str, Any] = {"role": "user", "content": "hi"}
_TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {}}}
# Bodies whose verdict both sides share; a body without an error is taken by both.
CHATS: tuple[Any, ...] = (
    {},
    [],
    {"messages": []},
    {"messages": [_USER]},
    {"messages": [_USER], "mesages": 1},
    {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": 3}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "txt": "a"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    {"messages": [{"role": "tool", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]},
    {"messages": [_USER], "temperature": 3},
    {"messages": [_USER], "temperature": "hot"},
    {"messages": [_USER], "temperature": 0},
    {"messages": [_USER], "top_p": 0},
    {"messages": [_USER], "min_p": 1},
    {"messages": [_USER], "n": 17},
    {"messages": [_USER], "n": 1.5},
    {"messages": [_USER], "stop": ["x"] * 17},
    {"messages": [_USER], "stop": ""},
    {"messages": [_USER], "stop": ["a", "b"], "seed": -5, "max_tokens": None},
    {"messages": [_USER], "max_tokens": 0},
    {"messages": [_USER], "max_tokens": 3, "max_completion_tokens": 4},
    {"messages": [_USER], "logprobs": True, "top_logprobs": 21},
    {"messages": [_USER], "top_logprobs": 2},
    {"messages": [_USER], "logit_bias": {"5": 101}},
    {"messages": [_USER], "logit_bias": {"5": -100}},
    {"messages": [_USER], "store": True},
    {"messages": [_USER], "store": False, "user": "me", "metadata": {"a": "b"}},
    {"messages": [_USER], "stream_options": {"include_usage": True, "extra": 1}},
    {"messages": [_USER], "response_format": {"type": "xml"}},
    {"messages": [_USER], "response_format": {"type": "json_object", "schema": {}}},
    {"messages": [_USER], "response_format": {"type": "json_schema"}},
    {"messages": [_USER], "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    {"messages": [_USER], "structured_outputs": {}},
    {"messages": [_USER], "structured_outputs": {"regex": "a", "choice": ["a"]}},
    {"messages": [_USER], "structured_outputs": {"choice": []}},
    {"messages": [_USER], "structured_outputs": {"json": {}, "json_object": None}},
    {"messages": [_USER], "tools": [_TOOL, _TOOL]},
    {"messages": [_USER], "tools": [_TOOL], "tool_choice": "auto"},
    {"messages": [_USER], "tool_choice": "required"},
    {"messages": [_USER], "tools": [_TOOL], "tool_choice": {"function": {"name": "g"}}},
    {"messages": [_USER], "tools": [{"function": {"name": "a b"}}]},
    {"messages": [_USER], "tools": [_TOOL], "response_format": {"type": "json_object"}},
)
COMPLETIONS: tuple[Any, ...] = (
    {},
    {"prompt": ""},
    {"prompt": []},
    {"prompt": [1, 2]},
    {"prompt": [[1, 2], "x"]},
    {"prompt": [[]]},
    {"prompt": [1, "x"]},
    {"prompt": [-1]},
    {"prompt": "x", "logprobs": 21},
    {"prompt": "x", "echo": "yes"},
    {"prompt": "x", "best_of": 2},
)


def vectors() -> dict[str, Any]:
    """Every file of vectors by name."""
    return {
        "formats.json": {name: entry.data() for name, entry in sorted(tool_formats().items())},
        "calls.json": {
            "tools": [_plain(tool) for tool in TOOLS],
            "markers": {name: entry.markers for name, entry in sorted(tool_formats().items())},
            "tags": {name: _tags(entry) for name, entry in sorted(tool_formats().items())},
            "turns": _turns(),
        },
        "requests.json": {
            "chat": [_verdict(body, wire.ChatBody) for body in CHATS],
            "completions": [_verdict(body, wire.CompletionBody) for body in COMPLETIONS],
        },
        "prompts.json": _prompts(),
    }


def _plain(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }


def _tags(entry: ToolFormat) -> dict[str, Any]:
    return {
        "auto": entry.tag(TOOLS),
        "one": entry.tag(TOOLS, parallel=False),
        "required": entry.tag(TOOLS, "required"),
        "named": entry.tag(TOOLS, ("named", "stop")),
    }


def _turns() -> list[dict[str, Any]]:
    """What models of each family write, and the reader's events, with and without reasoning."""
    found: list[dict[str, Any]] = []
    for turn in GOLDEN["turn"]:
        entry, text = format_named(turn["format"]), turn["text"]
        # Cut off in the middle, and with something that is no call after all.
        for said in (text, text[: len(text) * 2 // 3], entry.call.trigger + " no call " + text):
            found.append({"format": entry.name, "text": said, **_read(entry, said)})
    for entry in sorted(tool_formats().values(), key=lambda one: one.name):
        calls: list[tuple[str, Mapping[str, Any]]] = [
            ("get_weather", {"city": "Köln", "days": 3, "tags": ["a", "}"], "deep": {"a": "7"}})
        ]
        text = entry.render_calls(calls)
        found.append({"format": entry.name, "text": text, "rendered": calls, **_read(entry, text)})
    return found


def _read(entry: ToolFormat, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, split in (("plain", False), ("split", True)):
        reader = entry.reader(split, TOOLS)
        events = [*reader.push(text), *reader.finish()]
        found[name] = [[event.kind, event.value] for event in events]
    return found


def _verdict(body: Any, kind: type[Any]) -> dict[str, Any]:
    try:
        decoded = decode_body(msgspec.json.encode(body), kind, Limits())
        if isinstance(decoded, wire.ChatBody):
            chat_request(decoded)
        else:
            completion_requests(decoded)
    except TreadleError as error:
        return {"body": body, "code": error.code, "at": error.at}
    return {"body": body}


def _prompts() -> dict[str, Any]:
    tokenizer = Tokenizer.from_json(DATA / "tokenizer.json", {"eos_token": "<|im_end|>"})
    rendered: list[dict[str, Any]] = []
    for path in sorted((TEXT / "templates").glob("*.jinja")):
        template = ChatTemplate(path.read_text("utf-8"), "<s>", "</s>", clock=_clock)
        entry = _format_of(path.stem)
        with_tools = entry.adapt(TALK, TOOLS, template.supports_system)
        for messages, tools in ((TALK[:2], ()), (TALK, TOOLS), (with_tools, ())):
            case: dict[str, Any] = {"template": path.stem, "format": entry.name}
            case |= {"messages": [_turn(m) for m in messages], "tools": len(tools) > 0}
            try:
                case["text"] = template.render(messages, tools)
            except TreadleError as error:
                case["code"] = error.code
            rendered.append(case)
    return {
        "ids": [[text, tokenizer.encode(text, special=True)] for text in TEXTS],
        "talk": [_turn(message) for message in TALK],
        "rendered": rendered,
    }


def _clock() -> datetime:
    return datetime(2026, 7, 4, 12)  # local time, as templates read it


def _format_of(stem: str) -> ToolFormat:
    for name in ("qwen", "llama3", "mistral", "smollm2"):
        if stem.startswith(name):
            return tool_formats()[name]
    return tool_formats()["neutral"]


def _turn(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["toolCalls"] = list(message.tool_calls)
    if message.tool_call_id is not None:
        found["toolCallId"] = message.tool_call_id
    return found


def write() -> dict[Path, str]:
    """The text of every file of vectors."""
    return {
        DATA / name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
        for name, value in vectors().items()
    }
