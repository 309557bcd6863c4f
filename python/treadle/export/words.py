"""A model's text side as files: tokenizer.json, vocab.bin, the template and the chat record."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.errors import ModelFormatError
from treadle.text import Tokenizer, tool_format
from treadle.text.gguf import gguf_spec
from treadle.text.spec import json_spec

if TYPE_CHECKING:
    from treadle.limits import Limits
    from treadle.models.load import Model
    from treadle.text.spec import Spec
    from treadle.types import TokenTable

_MAGIC = 0x31565254  # "TRV1"


@dataclass(frozen=True, slots=True)
class Words:
    """`files` by name; `chat` is the manifest's record."""

    files: dict[str, bytes]
    chat: dict[str, Any]


def words(model: Model, vocab: int, limits: Limits) -> Words:
    """vocab: the width of a logits row. Raises ModelFormatError, LimitExceeded."""
    spec = _spec(model, limits)
    tokenizer = Tokenizer(spec)
    files = {"tokenizer.json": spec.text.encode(), "vocab.bin": vocab_bin(tokenizer.table, vocab)}
    if model.chat_template is not None:
        files["chat_template.jinja"] = model.chat_template.encode()
    form = tool_format(model.chat_template, model.graph.name).data()
    stops = tuple(dict.fromkeys((*tokenizer.table.stop_ids, *model.tokenizer_source.stop_ids)))
    return Words(
        files,
        {
            "template": "chat_template.jinja" if model.chat_template is not None else None,
            "bos": tokenizer.bos_id,
            "adds_bos": tokenizer.adds_bos,
            "bos_token": tokenizer.bos_token,
            "eos_token": tokenizer.eos_token,
            "eos": list(stops),
            "strip_space": tokenizer.table.strip_space,
            "tools": form,
            "reasoning": form["reasoning"],
        },
    )


def vocab_bin(table: TokenTable, width: int) -> bytes:
    """The vocabulary as the core loads it: cpp/bind/wasm_vocab.cc describes the format."""
    stops = [number for number in table.stop_ids if number < width]
    text = b"".join(table.data)
    head = struct.pack("<5I", _MAGIC, len(table.data), width, len(stops), len(text))
    lengths = [len(token) for token in table.data]
    numbers = struct.pack(f"<{len(stops) + len(lengths)}I", *stops, *lengths)
    return head + numbers + bytes(int(kind) for kind in table.kinds) + text


def _spec(model: Model, limits: Limits) -> Spec:
    source = model.tokenizer_source
    if source.kind == "gguf":
        return gguf_spec(source.metadata, limits)
    if source.path is None:
        raise ModelFormatError(
            "the folder has no tokenizer.json", at=str(model.path),
            hint="fetch it from the model's repository",
        )  # fmt: skip
    return json_spec(source.path, source.metadata or None, limits)
