"""Everything that is not generation: models, tokens, health, version."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import InvalidRequest, NotFound
from treadle.server.body import decode_body, read_body
from treadle.server.context import ServerContext
from treadle.server.convert import check_model, message
from treadle.server.respond import json_response
from treadle.server.wire import DetokenizeBody, TokenizeBody
from treadle.version import __version__


async def models(request: Request, context: ServerContext) -> Response:
    """GET /v1/models."""
    return json_response(
        {"object": "list", "data": [_record(name, context) for name in context.models]}
    )


async def model(request: Request, context: ServerContext) -> Response:
    """GET /v1/models/{id}."""
    name = request.path_params["id"]
    if name not in context.models:
        raise NotFound(f'no model "{name}" is served here', at="/model")
    return json_response(_record(name, context))


def _record(name: str, context: ServerContext) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": context.created,
        "owned_by": "treadle",
        "root": context.name,
        "max_model_len": context.engine.context,
        "capabilities": ["chat", "completions", "structured_outputs", "tools"],
    }


async def tokenize(request: Request, context: ServerContext) -> Response:
    """POST /tokenize: ids of a text, or of messages as the chat template renders them."""
    body = decode_body(await read_body(request, context.limits), TokenizeBody, context.limits)
    check_model(body.model, context.models)
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("send exactly one of prompt and messages", at="/prompt")
    if body.messages is not None:
        turns = [message(m, f"/messages/{i}") for i, m in enumerate(body.messages)]
        ids = await context.engine.tokenize_messages(turns)
    else:
        ids = await context.engine.tokenize(body.prompt or "", special=body.add_special_tokens)
    return json_response(
        {"tokens": ids, "count": len(ids), "max_model_len": context.engine.context}
    )


async def detokenize(request: Request, context: ServerContext) -> Response:
    """POST /detokenize: the text of token ids."""
    body = decode_body(await read_body(request, context.limits), DetokenizeBody, context.limits)
    check_model(body.model, context.models)
    size = context.engine.tokenizer.vocab_size
    for index, token in enumerate(body.tokens):
        if token >= size:
            raise InvalidRequest(
                f"{token} is no token id", at=f"/tokens/{index}", hint=f"ids are below {size}"
            )
    return json_response({"prompt": context.decode(body.tokens)})


async def health(request: Request, context: ServerContext) -> Response:
    """GET /health: 200 while the engine lives, else 503."""
    alive = context.engine.healthy
    return json_response({"status": "ok" if alive else "dead"}, 200 if alive else 503)


async def ready(request: Request, context: ServerContext) -> Response:
    """GET /ready: 200 when a new request would be taken, else 503."""
    able = context.engine.ready
    return json_response({"status": "ready" if able else "busy"}, 200 if able else 503)


async def version(request: Request, context: ServerContext) -> Response:
    """GET /version."""
    return json_response({"version": __version__})
