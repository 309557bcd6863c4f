"""Text: tokenisers, incremental detokenisation, stop strings, chat templates, tool formats."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.text.chat import ChatTemplate as ChatTemplate
    from treadle.text.detok import Detokeniser as Detokeniser
    from treadle.text.detok import Spellings as Spellings
    from treadle.text.formats import ToolFormat as ToolFormat
    from treadle.text.formats import tool_format as tool_format
    from treadle.text.reader import CallEvent as CallEvent
    from treadle.text.reader import CallReader as CallReader
    from treadle.text.stop import StopSearch as StopSearch
    from treadle.text.tokenizer import Tokenizer as Tokenizer

_HOME = {
    "CallEvent": "reader",
    "CallReader": "reader",
    "ChatTemplate": "chat",
    "Detokeniser": "detok",
    "Spellings": "detok",
    "StopSearch": "stop",
    "Tokenizer": "tokenizer",
    "ToolFormat": "formats",
    "tool_format": "formats",
}
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "CallEvent",
    "CallReader",
    "ChatTemplate",
    "Detokeniser",
    "Spellings",
    "StopSearch",
    "Tokenizer",
    "ToolFormat",
    "tool_format",
]


def __getattr__(name: str) -> object:
    """Loads a name's module on first use: `formats` needs neither tokenizers nor the core."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
