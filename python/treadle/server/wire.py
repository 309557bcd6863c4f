"""Request bodies of the OpenAI-style endpoints: every field has a type and a range.

Unknown fields are refused by name. Fields that are accepted without effect stand in
`WithoutEffect`, so that the list is one place and a test can read it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from treadle.types.sampling import (
    Choices,
    LogitBias,
    MaxTokens,
    MinP,
    MinTokens,
    Penalty,
    Repetition,
    Seed,
    Stop,
    StopIds,
    Stops,
    Temperature,
    TokenId,
    TopK,
    TopLogprobs,
    TopP,
)

Text = Annotated[str, Meta(max_length=4 << 20)]
ShortText = Annotated[str, Meta(max_length=512)]
FunctionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
JsonObject = dict[str, Any]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A strict JSON object."""


class TextPart(Body, tag_field="type", tag="text"):
    """One text part of a message's content."""

    text: Text


class ImagePart(Body, tag_field="type", tag="image_url"):
    """Named so that the refusal can say what is missing, not that a field is unknown."""

    image_url: Any


class AudioPart(Body, tag_field="type", tag="input_audio"):
    """As ImagePart."""

    input_audio: Any


Part = TextPart | ImagePart | AudioPart
Parts = Annotated[list[Part], Meta(max_length=1_024)]


class CalledFunction(Body):
    """Name and JSON text of the arguments of a call that an assistant turn made."""

    name: FunctionName
    arguments: Text


class CallBody(Body):
    """A call in an assistant turn of the history."""

    id: ShortText
    function: CalledFunction
    type: Literal["function"] = "function"


class MessageBody(Body):
    """One turn of the dialogue."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Parts | None = None
    name: ShortText | None = None
    tool_calls: Annotated[list[CallBody], Meta(max_length=128)] | None = None
    tool_call_id: ShortText | None = None
    refusal: Text | None = None


class FunctionBody(Body):
    """A function the model may call; `parameters` is a JSON Schema."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=65_536)] | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolBody(Body):
    """A tool; functions are the only kind."""

    function: FunctionBody
    type: Literal["function"] = "function"


class NamedFunction(Body):
    """The name inside a named tool choice."""

    name: FunctionName


class NamedChoice(Body):
    """tool_choice that forces one function."""

    function: NamedFunction
    type: Literal["function"] = "function"


class TextFormat(Body, tag_field="type", tag="text"):
    """No constraint."""


class JsonObjectFormat(Body, tag_field="type", tag="json_object"):
    """Any JSON object."""


class NamedSchema(Body):
    """The schema of a json_schema response format."""

    name: Annotated[str, Meta(max_length=128)]
    schema: JsonObject | bool = True
    description: Annotated[str, Meta(max_length=65_536)] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Body, tag_field="type", tag="json_schema"):
    """A JSON value that the schema accepts."""

    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(Body):
    """One constraint in the form that vLLM's clients send; exactly one field."""

    json: JsonObject | bool | Text | None = None
    json_object: Literal[True] | None = None
    regex: Text | None = None
    choice: Annotated[list[Text], Meta(min_length=1, max_length=65_536)] | None = None
    grammar: Text | None = None


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class WithoutEffect(Body):
    """Accepted because clients send them by default; they change nothing here."""

    user: ShortText | None = None
    metadata: dict[ShortText, ShortText] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None


class SamplingBody(WithoutEffect):
    """The sampling fields both endpoints share; None means the model's default."""

    model: ShortText | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    structured_outputs: StructuredOutputs | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Repetition | None = None
    logit_bias: LogitBias | None = None
    max_tokens: MaxTokens | None = None
    min_tokens: MinTokens | None = None
    ignore_eos: bool | None = None
    stop: Stop | Stops | None = None
    stop_token_ids: StopIds | None = None
    n: Choices | None = None
    seed: Seed | None = None


class ChatBody(SamplingBody, kw_only=True):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[MessageBody], Meta(min_length=1, max_length=4_096)]
    tools: Annotated[list[ToolBody], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    chat_template_kwargs: JsonObject | None = None


class CompletionBody(SamplingBody, kw_only=True):
    """Body of POST /v1/completions. `prompt`: text, token ids, or a list of texts or id lists."""

    prompt: Text | Annotated[list[Any], Meta(min_length=1, max_length=1 << 20)]
    echo: bool = False
    logprobs: TopLogprobs | None = None
    response_format: ResponseFormat | None = None


class TokenizeBody(Body):
    """Body of POST /tokenize: a text, or messages rendered by the chat template."""

    prompt: Text | None = None
    messages: Annotated[list[MessageBody], Meta(min_length=1, max_length=4_096)] | None = None
    model: ShortText | None = None
    add_special_tokens: bool = True


class DetokenizeBody(Body):
    """Body of POST /detokenize."""

    tokens: Annotated[list[TokenId], Meta(max_length=1 << 20)]
    model: ShortText | None = None
