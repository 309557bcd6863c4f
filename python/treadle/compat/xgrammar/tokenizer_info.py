"""What grammars need to know of a tokenizer: the bytes of each token, and which are special."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Sequence
from enum import Enum
from functools import cached_property
from typing import Any, cast

from treadle.compat.xgrammar import _huggingface
from treadle.compat.xgrammar._stored import Json, field, load, store
from treadle.compat.xgrammar.base import XGRObject
from treadle.compat.xgrammar.exception import DeserializeFormatError
from treadle.grammar import Vocab, decode_vocab
from treadle.types import TokenKind, TokenTable

# Spellings that end a text when nobody says which tokens do; xgrammar 0.2.8 knows the same.
_STOPS = frozenset(
    text.encode()
    for text in (
        "</s>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|endoftext|>",
        "<eos>",
        "<|eos|>",
        "<end_of_turn>",
        "<｜end▁of▁sentence｜>",
    )
)


class VocabType(Enum):
    """How token strings spell bytes."""

    RAW = 0  # as they are
    BYTE_FALLBACK = 1  # SentencePiece: <0x0A> is a byte, ▁ a space
    BYTE_LEVEL = 2  # GPT-2's printable alphabet


class Tokens:
    """What a TokenizerInfo holds. The trie over the tokens is built on first use."""

    def __init__(
        self,
        data: list[tuple[bytes, bool]],
        vocab_type: VocabType,
        size: int | None,
        stop_ids: Collection[int] | None,
        add_prefix_space: bool,
        control: Collection[int] = (),
    ) -> None:
        self.data = [piece for piece, _ in data]
        self.size = len(data) if size is None else size
        if self.size < len(data):
            raise RuntimeError(f"vocab_size is {size}, but the vocabulary has {len(data)} tokens")
        if stop_ids is None:
            stop_ids = [i for i, piece in enumerate(self.data) if piece in _STOPS]
        beyond = [i for i in stop_ids if not 0 <= i < self.size]
        if beyond:
            raise RuntimeError(f"stop token {beyond[0]} is outside the vocabulary of {self.size}")
        self.vocab_type = vocab_type
        self.stop_ids = list(stop_ids)
        self.add_prefix_space = add_prefix_space
        self.control = sorted(set(control) - set(self.stop_ids))
        self._bytes = [is_byte for _, is_byte in data]

    @cached_property
    def special_ids(self) -> list[int]:
        """Empty and padded ids, and control tokens; stop tokens apart."""
        empty = [i for i, piece in enumerate(self.data) if not piece]
        padded = range(len(self.data), self.size)
        return sorted({*empty, *padded, *self.control} - set(self.stop_ids))

    @cached_property
    def vocab(self) -> Vocab:
        """treadle's vocabulary."""
        kinds = [
            TokenKind.UNUSED if not piece else TokenKind.BYTE if byte else TokenKind.NORMAL
            for piece, byte in zip(self.data, self._bytes, strict=True)
        ]
        for i in (*self.control, *self.stop_ids):
            if i < len(kinds):
                kinds[i] = TokenKind.CONTROL
        table = TokenTable(tuple(self.data), tuple(kinds), tuple(self.stop_ids))
        return Vocab(table, self.size)

    def metadata(self) -> Json:
        return {
            "vocab_type": self.vocab_type.value,
            "vocab_size": self.size,
            "add_prefix_space": self.add_prefix_space,
            "stop_token_ids": self.stop_ids,
        }


class TokenizerInfo(XGRObject):
    """The vocabulary of a model.

    vocab_size: the width of the model's logits (default: the number of tokens); ids beyond the
    tokens are padding. stop_token_ids: default, the tokens spelled like a known end mark.
    """

    def __init__(
        self,
        encoded_vocab: Sequence[str] | Sequence[bytes],
        vocab_type: VocabType = VocabType.RAW,
        *,
        vocab_size: int | None = None,
        stop_token_ids: Sequence[int] | int | None = None,
        add_prefix_space: bool = False,
    ) -> None:
        data = decode_vocab(encoded_vocab, vocab_type.name.lower())
        stops = [stop_token_ids] if isinstance(stop_token_ids, int) else stop_token_ids
        self._init_handle(Tokens(data, vocab_type, vocab_size, stops, add_prefix_space))

    @staticmethod
    def from_huggingface(
        tokenizer: Any,
        *,
        vocab_size: int | None = None,
        stop_token_ids: Sequence[int] | int | None = None,
    ) -> TokenizerInfo:
        """The vocabulary of a transformers tokenizer; stop tokens default to its EOS.

        vocab_size: the width of the model's logits; tokens beyond it are left out. Tokens that the
        tokenizer marks as special never enter text. Raises ValueError for a tokenizer without
        vocabulary, or of an unknown kind.
        """
        stops = [stop_token_ids] if isinstance(stop_token_ids, int) else stop_token_ids
        if stops is not None and not len(stops):
            raise ValueError("stop_token_ids must not be empty")
        found = _huggingface.read(tokenizer, vocab_size)
        if stops is None and found.eos is None:
            warnings.warn(
                "the tokenizer has no EOS token and stop_token_ids is not given; tokens spelled "
                "like a known end mark are taken",
                stacklevel=2,
            )
        elif stops is None:
            stops = [cast(int, found.eos)]
        kind = VocabType[found.kind.upper()]
        tokens = Tokens(
            found.data, kind, len(found.data), stops, found.add_prefix_space, found.control
        )
        return TokenizerInfo._create_from_handle(tokens)

    @property
    def vocab_type(self) -> VocabType:
        """How the encoded vocabulary spelled bytes."""
        return self._handle.vocab_type

    @property
    def vocab_size(self) -> int:
        """V: how many ids a mask row covers."""
        return self._handle.size

    @property
    def add_prefix_space(self) -> bool:
        """Whether the tokenizer puts a space before a text."""
        return self._handle.add_prefix_space

    @property
    def prepend_space_in_tokenization(self) -> bool:
        """The old name of `add_prefix_space`."""
        warnings.warn("use add_prefix_space", DeprecationWarning, stacklevel=2)
        return self.add_prefix_space

    @property
    def decoded_vocab(self) -> list[bytes]:
        """The bytes of each token."""
        return list(self._handle.data)

    @property
    def stop_token_ids(self) -> list[int]:
        """The tokens that end a text."""
        return list(self._handle.stop_ids)

    @property
    def special_token_ids(self) -> list[int]:
        """Ids that are never text: empty and padded ones, and the tokenizer's control tokens."""
        return list(self._handle.special_ids)

    def dump_metadata(self) -> str:
        """Type, size, prefix space and stop tokens as JSON, for `from_vocab_and_metadata`."""
        return json.dumps(self._handle.metadata(), separators=(",", ":"))

    @staticmethod
    def from_vocab_and_metadata(
        encoded_vocab: Sequence[str] | Sequence[bytes], metadata: str
    ) -> TokenizerInfo:
        """The info of an encoded vocabulary and the text of `dump_metadata`.

        Raises RuntimeError when that text is not what `dump_metadata` writes.
        """
        try:
            fields: Any = json.loads(metadata)
            kind, size, space, stops = _checked(fields)
        except (ValueError, RecursionError, DeserializeFormatError) as error:
            raise RuntimeError(f"metadata: {error}") from None
        return TokenizerInfo(
            encoded_vocab, kind, vocab_size=size, stop_token_ids=stops, add_prefix_space=space
        )

    def serialize_json(self) -> str:
        """The whole info as JSON, in treadle's own format. One character of a token is one byte."""
        tokens: Tokens = self._handle
        data = [piece.decode("latin-1") for piece in tokens.data]
        more = {"control_token_ids": tokens.control, "decoded_vocab": data}
        return store("tokenizer_info", tokens.metadata() | more)

    @staticmethod
    def deserialize_json(json_string: str) -> TokenizerInfo:
        """The info of `serialize_json`.

        Raises InvalidJSONError, DeserializeVersionError or DeserializeFormatError.
        """
        fields = load("tokenizer_info", json_string)
        kind, size, space, stops = _checked(fields)
        control = _numbers(fields, "control_token_ids")
        try:
            pieces = [
                (text.encode("latin-1"), False) for text in field(fields, "decoded_vocab", list)
            ]
            tokens = Tokens(pieces, kind, size, stops, space, control)
        except (AttributeError, UnicodeEncodeError, RuntimeError) as error:
            raise DeserializeFormatError(f"decoded_vocab: {error}") from None
        return TokenizerInfo._create_from_handle(tokens)


def _checked(fields: Any) -> tuple[VocabType, int, bool, list[int]]:
    if not isinstance(fields, dict):
        raise DeserializeFormatError("expected a JSON object")
    known = cast(Json, fields)
    number = field(known, "vocab_type", int)
    if number not in (0, 1, 2):
        raise DeserializeFormatError(f"vocab_type: {number} is none of 0, 1, 2")
    return (
        VocabType(number),
        field(known, "vocab_size", int),
        field(known, "add_prefix_space", bool),
        _numbers(known, "stop_token_ids"),
    )


def _numbers(fields: Json, name: str) -> list[int]:
    values = field(fields, name, list)
    if not all(type(value) is int and value >= 0 for value in values):
        raise DeserializeFormatError(f"{name}: expected token ids")
    return values
