"""Bytes and kind of every token id, read off a tokeniser's vocabulary and decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from treadle.errors import ModelFormatError
from treadle.text.alphabet import fallback_byte, piece_bytes
from treadle.text.spec import Json, Spec, added_tokens, steps
from treadle.types import TokenKind, TokenTable

# Texts of control tokens that end a turn in some family, whatever the config calls "eos".
TURN_ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
)


def token_table(spec: Spec) -> TokenTable:
    """The table of every id below `spec.size`; ids that no piece has are unused.

    Raises ModelFormatError when the decoder is of a kind whose bytes are not known.
    """
    data: list[bytes] = [b""] * spec.size
    kinds = [TokenKind.UNUSED] * spec.size
    spell, strip_space, bytes_too = _speller(spec)
    model: Json = spec.data["model"]
    for piece, number in model["vocab"].items():
        byte = fallback_byte(piece) if bytes_too else None
        data[number] = spell(piece) if byte is None else bytes([byte])
        kinds[number] = TokenKind.NORMAL if byte is None else TokenKind.BYTE
    special: dict[str, int] = {}
    for token in added_tokens(spec.data, spec.at):
        number, content = token["id"], token["content"]
        data[number] = content.encode("utf-8", "replace")  # matched as raw text, so spelled so
        kinds[number] = TokenKind.CONTROL if token.get("special") else TokenKind.NORMAL
        if token.get("special"):
            special[content] = number
    unknown = model.get("unk_token")
    if isinstance(unknown, str) and unknown in model["vocab"]:
        kinds[model["vocab"][unknown]] = TokenKind.CONTROL
    stops = [*spec.eos_ids, *(special[text] for text in TURN_ENDS if text in special)]
    for number in stops:
        if number >= spec.size:
            raise ModelFormatError(
                f"end-of-turn id {number} is outside the vocabulary of {spec.size}", at=spec.at
            )
        kinds[number] = TokenKind.CONTROL
    return TokenTable(tuple(data), bytes(kinds), tuple(dict.fromkeys(stops)), strip_space)


def _speller(spec: Spec) -> tuple[Callable[[str], bytes], bool, bool]:
    """(piece → bytes in mid-text, strips one space at the start, has byte pieces)."""
    decoders = steps(spec.data.get("decoder"), "decoders")
    names = {str(step.get("type")) for step in decoders}
    if "ByteLevel" in names:
        return _byte_level, False, False
    if not names or not names <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        raise ModelFormatError(
            f"decoder {sorted(names) or 'none'} is not supported",
            at=spec.at,
            hint="treadle reads byte-level and SentencePiece decoders",
        )
    swaps: list[tuple[str, str]] = []
    strip_space = False
    for step in decoders:
        if step["type"] == "Replace":
            swaps.append(_replacement(step, spec.at))
        elif step["type"] == "Metaspace":
            swaps.append((str(step.get("replacement", "▁")), " "))
            scheme = step.get("prepend_scheme", "always")
            strip_space = scheme != "never" and step.get("add_prefix_space", True) is not False
        elif step["type"] == "Strip" and step.get("content") == " ":
            strip_space = bool(step.get("start"))

    def spell(piece: str) -> bytes:
        for old, new in swaps:
            piece = piece.replace(old, new)
        return piece.encode("utf-8", "replace")

    return spell, strip_space, "ByteFallback" in names


def _byte_level(piece: str) -> bytes:
    found = piece_bytes(piece)
    return piece.encode("utf-8", "replace") if found is None else found


def _replacement(step: Json, at: str) -> tuple[str, str]:
    pattern: Any = step.get("pattern")
    old = cast(Json, pattern).get("String") if isinstance(pattern, dict) else None
    new = step.get("content")
    if not isinstance(old, str) or not old or not isinstance(new, str):
        raise ModelFormatError("decoder Replace needs a plain string pattern and content", at=at)
    return old, new
