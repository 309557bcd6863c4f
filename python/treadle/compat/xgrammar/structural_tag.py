"""Structural tags as pydantic models. What each format means: `docs/grammar.md`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Style = Literal[
    "json",
    "qwen_xml",
    "minimax_xml",
    "minimax_m3_xml",
    "deepseek_xml",
    "glm_xml",
    "cohere_xml",
    "kimi_k3_xml",
    "deepseek_v4_1_xml",
]
_Token = int | str  # an id, or a token's text
_Budget = Annotated[int, Field(ge=0, le=2_147_483_647)]


class ConstStringFormat(BaseModel):
    """This text."""

    type: Literal["const_string"] = "const_string"
    value: str


class JSONSchemaFormat(BaseModel):
    """A value that satisfies a schema, in one of the argument styles.

    `excludes`: texts that strings and keys which the schema leaves open must not contain.
    """

    type: Literal["json_schema"] = "json_schema"
    json_schema: bool | dict[str, Any]
    style: Style = "json"
    any_order: bool = False
    max_whitespace_cnt: int | None = None
    excludes: list[str] = []


class AnyTextFormat(BaseModel):
    """Text without the excluded strings and without the end of the tag around it."""

    type: Literal["any_text"] = "any_text"
    excludes: list[str] = []
    max_tokens: _Budget | None = None
    max_chars: _Budget | None = None


class TokenFormat(BaseModel):
    """One token."""

    type: Literal["token"] = "token"
    token: _Token


class ExcludeTokenFormat(BaseModel):
    """One token that is not listed."""

    type: Literal["exclude_token"] = "exclude_token"
    exclude_tokens: list[_Token] = []


class AnyTokensFormat(BaseModel):
    """Any number of tokens that are not listed."""

    type: Literal["any_tokens"] = "any_tokens"
    exclude_tokens: list[_Token] = []
    max_tokens: _Budget | None = None


class GrammarFormat(BaseModel):
    """A text of an EBNF grammar."""

    type: Literal["grammar"] = "grammar"
    grammar: str


class RegexFormat(BaseModel):
    """A text that matches a pattern as a whole."""

    type: Literal["regex"] = "regex"
    pattern: str


class SequenceFormat(BaseModel):
    """One after the other."""

    type: Literal["sequence"] = "sequence"
    elements: list[Format]


class OrFormat(BaseModel):
    """One of them."""

    type: Literal["or"] = "or"
    elements: list[Format]


class TagFormat(BaseModel):
    """begin, content, one of the ends."""

    type: Literal["tag"] = "tag"
    begin: str | TokenFormat
    content: Format
    end: str | list[str] | TokenFormat


class TriggeredTagsFormat(BaseModel):
    """Free text until a trigger, then a tag that starts with it, and so on."""

    type: Literal["triggered_tags"] = "triggered_tags"
    triggers: list[str]
    tags: list[TagFormat]
    at_least_one: bool = False
    stop_after_first: bool = False
    excludes: list[str] = []


class TokenTriggeredTagsFormat(BaseModel):
    """Free tokens until a trigger token, then a tag that starts with it, and so on."""

    type: Literal["token_triggered_tags"] = "token_triggered_tags"
    trigger_tokens: list[_Token]
    tags: list[TagFormat]
    exclude_tokens: list[_Token] = []
    at_least_one: bool = False
    stop_after_first: bool = False


class TagsWithSeparatorFormat(BaseModel):
    """Tags with a separator between them, and nothing else."""

    type: Literal["tags_with_separator"] = "tags_with_separator"
    tags: list[TagFormat]
    separator: str
    at_least_one: bool = False
    stop_after_first: bool = False


class OptionalFormat(BaseModel):
    """The content or nothing."""

    type: Literal["optional"] = "optional"
    content: Format


class PlusFormat(BaseModel):
    """The content once or more."""

    type: Literal["plus"] = "plus"
    content: Format


class StarFormat(BaseModel):
    """The content any number of times."""

    type: Literal["star"] = "star"
    content: Format


class RepeatFormat(BaseModel):
    """The content `min` to `max` times; a `max` of -1 is no bound."""

    type: Literal["repeat"] = "repeat"
    min: int
    max: int
    content: Format


class DispatchFormat(BaseModel):
    """Free text; after a pattern its format; then text again if `loop`."""

    type: Literal["dispatch"] = "dispatch"
    rules: list[tuple[str, Format]]
    loop: bool = True
    excludes: list[str] = []


class TokenDispatchFormat(BaseModel):
    """Free tokens; after a token its format; then tokens again if `loop`."""

    type: Literal["token_dispatch"] = "token_dispatch"
    rules: list[tuple[_Token, Format]]
    loop: bool = True
    exclude_tokens: list[_Token] = []


class QwenXMLParameterFormat(BaseModel):
    """The old form of a JSONSchemaFormat with style qwen_xml."""

    type: Literal["qwen_xml_parameter"] = "qwen_xml_parameter"
    json_schema: bool | dict[str, Any]


Format = Annotated[
    AnyTextFormat
    | ConstStringFormat
    | JSONSchemaFormat
    | GrammarFormat
    | RegexFormat
    | QwenXMLParameterFormat
    | OrFormat
    | SequenceFormat
    | TagFormat
    | TriggeredTagsFormat
    | TokenTriggeredTagsFormat
    | TagsWithSeparatorFormat
    | OptionalFormat
    | PlusFormat
    | StarFormat
    | TokenFormat
    | ExcludeTokenFormat
    | AnyTokensFormat
    | RepeatFormat
    | DispatchFormat
    | TokenDispatchFormat,
    Field(discriminator="type"),
]

for _model in (
    SequenceFormat,
    OrFormat,
    TagFormat,
    TriggeredTagsFormat,
    TokenTriggeredTagsFormat,
    TagsWithSeparatorFormat,
    OptionalFormat,
    PlusFormat,
    StarFormat,
    RepeatFormat,
    DispatchFormat,
    TokenDispatchFormat,
):
    _model.model_rebuild()


class StructuralTagItem(BaseModel):
    """A tag of the old form: `schema` is a dict, JSON text or a pydantic model."""

    begin: str
    schema_: str | type[BaseModel] | dict[str, Any] = Field(alias="schema")
    end: str


class StructuralTag(BaseModel):
    """`{"type": "structural_tag", "format": {...}}`, as in a request's `response_format`."""

    type: Literal["structural_tag"] = "structural_tag"
    format: Format

    @staticmethod
    def from_legacy_structural_tag(
        tags: list[StructuralTagItem], triggers: list[str]
    ) -> StructuralTag:
        """The old form, a list of tags and their triggers, as triggered tags."""
        made = [
            TagFormat(
                begin=tag.begin,
                content=JSONSchemaFormat(json_schema=_schema(tag.schema_)),
                end=tag.end,
            )
            for tag in tags
        ]
        return StructuralTag(format=TriggeredTagsFormat(triggers=triggers, tags=made))

    @staticmethod
    def from_json(json_str: str | dict[str, Any]) -> StructuralTag:
        """From JSON text or a dict. Raises pydantic's ValidationError, a ValueError."""
        if isinstance(json_str, str):
            return StructuralTag.model_validate_json(json_str)
        if isinstance(json_str, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            return StructuralTag.model_validate(json_str)
        raise ValueError("expected JSON text or a dict")


def _schema(schema: str | type[BaseModel] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema, str):
        return json.loads(schema)
    return schema if isinstance(schema, dict) else schema.model_json_schema()
