"""Chat templates against jinja2 set up as transformers sets it up, and hostile templates."""

from __future__ import annotations

import itertools
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import hostile
import jinja2
import pytest
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from treadle.errors import InvalidRequest, LimitExceeded, Unsupported
from treadle.limits import Limits
from treadle.text import ChatTemplate
from treadle.types import Message, Tool

TEMPLATES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
NOON = datetime(2026, 2, 3, 12, 0)
TOOLS = (
    Tool(
        "get_weather",
        'Weather <now> & "then"',
        {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "où? 都市"}},
            "required": ["city"],
        },
    ),
    Tool("stop"),
)


class _Generation(Extension):
    """`{% generation %}` of training templates, as a block that only prints its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _oracle(source: str) -> jinja2.Template:
    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = NOON.strftime
    return environment.from_string(source)


def _outcome(oracle: jinja2.Template, context: dict[str, Any]) -> tuple[str, str | None]:
    """(text, None), or what the template said when it refused; "" for an error of its own."""
    try:
        return oracle.render(**context), None
    except jinja2.UndefinedError:
        return "", ""
    except jinja2.TemplateError as error:
        return "", str(error)


def _call(name: str, arguments: dict[str, Any], number: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": number, "type": "function", "function": function}


def _conversations() -> list[list[Message]]:
    user, system = Message("user", " Wie geht's?\n<b>&'\" "), Message("system", "Be brief. ")
    assistant = Message("assistant", "<think>\nhm\n</think>\n\nGut.")
    calling = Message(
        "assistant", tool_calls=(_call("get_weather", {"city": "Köln <3"}, "abcdefghi"),)
    )
    twice = Message(
        "assistant",
        "Looking.",
        tool_calls=(_call("stop", {}, "abcdefghi"), _call("stop", {"a": [1, None]}, "ihgfedcba")),
    )
    answer = Message("tool", '{"t": 3}', name="get_weather", tool_call_id="abcdefghi")
    talk = [user, assistant, Message("user", "und jetzt?")]
    return [
        [user],
        [system, user],
        talk,
        [system, *talk],
        [user, calling, answer],
        [user, calling, answer, assistant, user],
        [system, user, twice, answer, answer],
        [assistant, user],
        [user, user],
        [system],
    ]


def _as_dicts(messages: list[Message]) -> list[dict[str, Any]]:
    """What transformers would be given for the same conversation, written out by hand here."""
    found: list[dict[str, Any]] = []
    for message in messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.name:
            entry["name"] = message.name
        if message.tool_call_id:
            entry["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            entry["tool_calls"] = [
                {
                    **call,
                    "function": {
                        **call["function"],
                        "arguments": json.loads(call["function"]["arguments"]),
                    },
                }
                for call in message.tool_calls
            ]
        found.append(entry)
    return found


def _tool_dicts(tools: tuple[Tool, ...]) -> list[dict[str, Any]] | None:
    return [
        {
            "type": "function",
            "function": {
                "name": t.name,
                "description": t.description,
                "parameters": dict(t.parameters),
            },
        }
        for t in tools
    ] or None


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_print_what_jinja2_prints(path: Path) -> None:
    source = path.read_text("utf-8")
    ours = ChatTemplate(source, "<s>", "</s>", clock=lambda: NOON)
    oracle = _oracle(source)
    rendered = 0
    for messages, tools, prompt, options in itertools.product(
        _conversations(), ((), TOOLS), (True, False), ({}, {"enable_thinking": False})
    ):
        context = {
            "messages": _as_dicts(messages),
            "tools": _tool_dicts(tools),
            "documents": None,
            "add_generation_prompt": prompt,
            "bos_token": "<s>",
            "eos_token": "</s>",
            **options,
        }
        expected, refusal = _outcome(oracle, context)
        if refusal is not None:
            with pytest.raises(InvalidRequest, match=re.escape(refusal)):
                ours.render(messages, tools, prompt, options)
            continue
        assert ours.render(messages, tools, prompt, options) == expected
        rendered += 1
    assert rendered >= 16


SNIPPETS = [
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role }}"
    "{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{{ m['role'] }}{% break %}{% endif %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}",
    "{{ messages[-1].content.strip().upper() }}|{{ messages[0].get('x', 'd') }}",
    "{{ 'a,b,c'.split(',')[-1] }}{{ 'xxabxx'.strip('x') }}{{ 'ab'.startswith('a') }}",
    "{{ nothing }}|{{ none }}|{{ true }}|{{ 1.0 }}|{{ [1, 'a', none] }}|{{ {'k': 1} }}",
    "{{ 'x' if nothing is defined else 'y' }}{{ nothing is none }}{{ nothing | default('z') }}",
    "  {% if true %}\n  kept\n  {% endif %}\ntail\n",
    "{%- for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }};{% endfor -%}  x",
    "{% macro f(a, b='q') %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}",
    "{% generation %}a{{ 1 }}{%- endgeneration %} b",
    "{{ messages | map(attribute='role') | join(',') }}{{ messages | length }}{{ 7 // 2 }}",
    "{{ messages | tojson(indent=2) }}{{ {'é': '<&>'} | tojson }}{{ '%s-%d' | format('a', 3) }}",
    "{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(3, first=true) }}",
    "{{ 'a\n\nb' | indent(1, blank=true) }}|{{ 'a\nb' | indent('--', true) }}",
    "{{ messages[::-1][0].role }}{{ messages[1:] | length }}{{ 'abc'[::-1] }}",
    "{{ strftime_now('%d %b %Y') }}",
]


@pytest.mark.parametrize("source", SNIPPETS)
def test_the_language_is_the_one_templates_are_written_in(source: str) -> None:
    messages = [Message("user", " hi "), Message("assistant", "yes"), Message("user", "ok ")]
    context = {
        "messages": _as_dicts(messages),
        "tools": None,
        "add_generation_prompt": True,
    }
    assert ChatTemplate(source, clock=lambda: NOON).render(messages) == (
        _oracle(source).render(**context)
    )


@pytest.mark.parametrize("name", [*hostile.LOOPS, *hostile.REACHES])
def test_hostile_templates_end_in_typed_errors_at_once(name: str) -> None:
    template = ChatTemplate({**hostile.LOOPS, **hostile.REACHES}[name])
    start = time.monotonic()
    with pytest.raises((InvalidRequest, LimitExceeded)) as error:
        template.render([Message("user", "x")])
    assert time.monotonic() - start < 5
    assert "root:" not in str(error.value)
    assert ChatTemplate("{{ messages[0].content }}").render([Message("user", "x")]) == "x"


@pytest.mark.parametrize("source", hostile.SYNTAX.values(), ids=hostile.SYNTAX)
def test_templates_that_do_not_compile_say_where(source: str) -> None:
    with pytest.raises(Unsupported, match=r"chat_template:1: the template does not compile"):
        ChatTemplate(source)


def test_limits_name_the_budget() -> None:
    with pytest.raises(LimitExceeded, match="template_bytes is 20, the maximum is 10"):
        ChatTemplate("x" * 20, limits=Limits(template_bytes=10))
    small = Limits(template_fuel=50, template_output_bytes=30)
    with pytest.raises(LimitExceeded) as fuel:
        ChatTemplate("{% for i in range(99) %}{% endfor %}", limits=small).render([])
    assert (fuel.value.limit, fuel.value.maximum) == ("template_fuel", 50)
    with pytest.raises(LimitExceeded) as output:
        ChatTemplate("é" * 16, limits=small).render([])
    assert (output.value.limit, output.value.value) == ("template_output_bytes", 32)


def test_the_templates_own_words_reach_the_caller() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="refuses this conversation: roles must alternate"):
        template.render([Message("user", "x")])


@pytest.mark.parametrize(
    ("name", "tools", "system"),
    [
        ("chatml", False, True),
        ("gemma2", False, False),
        ("gemma3", False, True),
        ("llama2", False, True),
        ("llama3", False, True),
        ("llama3_2", True, True),
        ("mistral_v3", True, True),
        ("qwen2_5", True, True),
        ("qwen3", True, True),
        ("smollm2", False, True),
    ],
)
def test_support_is_found_by_rendering(name: str, tools: bool, system: bool) -> None:
    source = (Path(__file__).parent / "templates" / f"{name}.jinja").read_text("utf-8")
    template = ChatTemplate(source, "<s>", "</s>")
    assert (template.supports_tools, template.supports_system) == (tools, system)


def test_bad_calls_and_options_are_named() -> None:
    template = ChatTemplate("{{ messages }}")
    for call, at in (
        ({"function": {"name": "f", "arguments": "{"}}, "function.arguments: is not JSON"),
        ({"function": {"name": "f", "arguments": "[1]"}}, "function.arguments: is not a JSON obj"),
        ({"id": "x"}, "function: needs a function with a name"),
    ):
        messages = [Message("user", "x"), Message("assistant", tool_calls=(call,))]
        with pytest.raises(InvalidRequest) as error:
            template.render(messages)
        assert f"messages[1].tool_calls[0].{at}" in str(error.value)
    with pytest.raises(InvalidRequest, match=r"chat_template_kwargs\.messages"):
        template.render([], options={"messages": []})


def test_developer_turns_are_system_turns_where_the_template_knows_no_better() -> None:
    messages = [Message("developer", "x")]
    assert ChatTemplate("{{ messages[0].role }}").render(messages) == "system"
    aware = "{% if messages[0].role == 'developer' %}D{% endif %}"
    assert ChatTemplate(aware).render(messages) == "D"


def test_rendering_is_safe_from_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")

    def render(i: int) -> bool:
        text = f"{i:04}" * 200
        return template.render([Message("user", text)] * 3) == text * 3

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(render, range(200)))
