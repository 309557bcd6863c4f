"""The vocabulary of a transformers tokenizer, read through its public methods alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from treadle.grammar import decode_vocab
from treadle.text.alphabet import BYTE_OF, fallback_byte


@dataclass(frozen=True, slots=True)
class Found:
    """`data`: bytes of each id, and whether it is a byte piece. `control`: never text."""

    data: list[tuple[bytes, bool]]
    kind: str
    add_prefix_space: bool
    eos: int | None
    control: frozenset[int]


def read(tokenizer: Any, size: int | None) -> Found:
    """Raises ValueError for an object without vocabulary, or of a kind that is not known."""
    try:
        ids: dict[str | bytes, int] = tokenizer.get_vocab()
    except AttributeError:
        raise ValueError(f"{type(tokenizer).__name__} has no get_vocab()") from None
    width = size or max(len(ids), max(ids.values()) + 1)
    pieces: list[str | bytes] = [""] * width
    for piece, number in ids.items():
        if number < width:
            pieces[number] = piece
    kind = _kind(tokenizer, ids)
    data = decode_vocab(pieces, kind)
    control: set[int] = {int(i) for i in getattr(tokenizer, "all_special_ids", ())}
    added: dict[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    for number, token in added.items():
        if number < width:  # added tokens are matched, and so spelled, as plain text
            data[number] = (str(token).encode("utf-8", "replace"), False)
        if getattr(token, "special", False):
            control.add(number)
    eos = getattr(tokenizer, "eos_token_id", None)
    return Found(
        data,
        kind,
        _prefixes_space(tokenizer, kind),
        eos if isinstance(eos, int) and eos < width else None,
        frozenset(number for number in control if number < width),
    )


def _kind(tokenizer: Any, ids: dict[str | bytes, int]) -> str:
    """raw, byte_level or byte_fallback, by the vocabulary: decoders are sometimes misdescribed."""
    texts = [piece for piece in ids if isinstance(piece, str)]
    if sum(fallback_byte(piece) is not None for piece in texts) >= 128:
        return "byte_fallback"
    alphabet = frozenset(BYTE_OF)
    if sum(letter in ids for letter in alphabet) >= 128:
        inside = sum(alphabet.issuperset(piece) for piece in texts)
        if inside >= 0.99 * len(texts):  # added tokens may have any spelling
            return "byte_level"
    if _known_otherwise(tokenizer):
        return "raw"
    raise ValueError(f"tokenizers of type {type(tokenizer).__name__} are not known")


def _known_otherwise(tokenizer: Any) -> bool:
    """Fast tokenizers, SentencePiece and tiktoken ones, whose pieces are their own text."""
    if hasattr(tokenizer, "backend_tokenizer") or hasattr(tokenizer, "sp_model"):
        return True
    inner = getattr(tokenizer, "tokenizer", None) or getattr(tokenizer, "tok", None)
    files: dict[str, str] = getattr(tokenizer, "vocab_files_names", {})
    return (
        hasattr(inner, "sp_model")
        or type(inner).__name__ in ("Encoding", "SentencePieceProcessor")
        or "tiktoken" in files.get("vocab_file", "")
    )


def _prefixes_space(tokenizer: Any, kind: str) -> bool:
    """Whether a text that begins with a letter begins with a piece that begins with a space."""
    if kind == "raw":
        return False
    try:
        first = tokenizer.convert_ids_to_tokens(tokenizer.encode("a", add_special_tokens=False))[:1]
    except (AttributeError, TypeError, ValueError):
        return False
    return bool(first) and str(first[0]).startswith("▁" if kind == "byte_fallback" else "Ġ")
