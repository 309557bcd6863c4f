"""The formats of a structural tag as types: what `Grammar.tag` takes, field by field.

The core reads and checks them, with the JSON pointer of what is wrong; a test holds these types and
the core together. Source of the language: XGrammar's structural tags.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Style = Literal[
    "json",
    "qwen_xml",
    "minimax_xml",
    "minimax_m3_xml",
    "deepseek_xml",
    "deepseek_v4_1_xml",
    "glm_xml",
    "cohere_xml",
    "kimi_k3_xml",
]
TokenName = int | str  # an id, or a token's text


class ConstString(TypedDict):
    """This text."""

    type: Literal["const_string"]
    value: str


class Regex(TypedDict):
    """Texts that match the pattern as a whole (ECMA-262)."""

    type: Literal["regex"]
    pattern: str


class Ebnf(TypedDict):
    """Texts of an EBNF grammar, from its rule `root`."""

    type: Literal["grammar"]
    grammar: str


class JsonSchema(TypedDict):
    """A value that satisfies the schema; styles other than `json` write an object's members.

    excludes: texts that no string and no key may contain as written.
    """

    type: Literal["json_schema"]
    json_schema: dict[str, Any] | bool
    style: NotRequired[Style]
    any_order: NotRequired[bool]
    max_whitespace_cnt: NotRequired[int | None]
    excludes: NotRequired[list[str]]


class QwenXmlParameter(TypedDict):
    """The old name of `json_schema` in style `qwen_xml`."""

    type: Literal["qwen_xml_parameter"]
    json_schema: dict[str, Any] | bool
    any_order: NotRequired[bool]
    max_whitespace_cnt: NotRequired[int | None]
    excludes: NotRequired[list[str]]


class AnyText(TypedDict):
    """Text without the excluded ones and without the ends of the tag around it. max_chars counts
    code points, max_tokens the tokens that begin inside.
    """

    type: Literal["any_text"]
    excludes: NotRequired[list[str]]
    max_tokens: NotRequired[int | None]
    max_chars: NotRequired[int | None]


class Sequence(TypedDict):
    """One after another."""

    type: Literal["sequence"]
    elements: list[Format]


class Or(TypedDict):
    """One of these."""

    type: Literal["or"]
    elements: list[Format]


class Optional(TypedDict):
    """Once or not at all."""

    type: Literal["optional"]
    content: Format


class Plus(TypedDict):
    """Once or more."""

    type: Literal["plus"]
    content: Format


class Star(TypedDict):
    """Any number of times."""

    type: Literal["star"]
    content: Format


class Repeat(TypedDict):
    """min to max times; max = -1: no bound."""

    type: Literal["repeat"]
    min: int
    max: int
    content: Format


class Token(TypedDict):
    """This token."""

    type: Literal["token"]
    token: TokenName


class ExcludeToken(TypedDict):
    """One token, none of these and not the end token of the tag around it."""

    type: Literal["exclude_token"]
    exclude_tokens: NotRequired[list[TokenName]]


class AnyTokens(TypedDict):
    """Any tokens but these and the end token of the tag around them."""

    type: Literal["any_tokens"]
    exclude_tokens: NotRequired[list[TokenName]]
    max_tokens: NotRequired[int | None]


class Tag(TypedDict):
    """begin, content, one of the ends. Inside a list of tags `type` may be left out."""

    type: NotRequired[Literal["tag"]]
    begin: str | Token
    content: Format
    end: str | Token | list[str | Token]


class TriggeredTags(TypedDict):
    """Free text until a trigger, then a tag that begins with it.

    at_least_one: the output begins with a tag. stop_after_first: nothing follows a tag.
    """

    type: Literal["triggered_tags"]
    triggers: list[str]
    tags: list[Tag]
    at_least_one: NotRequired[bool]
    stop_after_first: NotRequired[bool]
    excludes: NotRequired[list[str]]


class TagsWithSeparator(TypedDict):
    """Tags and separators, nothing else."""

    type: Literal["tags_with_separator"]
    tags: list[Tag]
    separator: str
    at_least_one: NotRequired[bool]
    stop_after_first: NotRequired[bool]


class Dispatch(TypedDict):
    """Free text; after a pattern its format; then text again if `loop` (default)."""

    type: Literal["dispatch"]
    rules: list[tuple[str, Format]]
    loop: NotRequired[bool]
    excludes: NotRequired[list[str]]


class TokenTriggeredTags(TypedDict):
    """`triggered_tags` over tokens: the tags begin with a token."""

    type: Literal["token_triggered_tags"]
    trigger_tokens: list[TokenName]
    tags: list[Tag]
    exclude_tokens: NotRequired[list[TokenName]]
    at_least_one: NotRequired[bool]
    stop_after_first: NotRequired[bool]


class TokenDispatch(TypedDict):
    """`dispatch` over tokens."""

    type: Literal["token_dispatch"]
    rules: list[tuple[TokenName, Format]]
    loop: NotRequired[bool]
    exclude_tokens: NotRequired[list[TokenName]]


Format = (
    ConstString
    | Regex
    | Ebnf
    | JsonSchema
    | QwenXmlParameter
    | AnyText
    | Sequence
    | Or
    | Optional
    | Plus
    | Star
    | Repeat
    | Token
    | ExcludeToken
    | AnyTokens
    | Tag
    | TriggeredTags
    | TagsWithSeparator
    | Dispatch
    | TokenTriggeredTags
    | TokenDispatch
)


class StructuralTag(TypedDict):
    """What a request carries."""

    type: Literal["structural_tag"]
    format: Format
