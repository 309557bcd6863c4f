"""Text to token ids and back, over the core and the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.digest import sha256
from treadle.errors import InvalidRequest, ModelFormatError
from treadle.limits import Limits
from treadle.text import kept
from treadle.text.merged import Words
from treadle.text.passages import Passages
from treadle.text.spec import Json, Spec, added_tokens, json_spec
from treadle.types import TokenKind, TokenTable

if TYPE_CHECKING:
    import tokenizers

_CONTROL = int(TokenKind.CONTROL)  # plain, for loops over whole vocabularies


class Tokenizer:
    """One model's tokeniser. Immutable after construction and safe to share between threads.

    `encode` works with two views of one vocabulary: one that finds control tokens in the text
    (for rendered chat templates) and one that never does (for what users write).
    """

    table: TokenTable
    adds_bos: bool
    bos_id: int | None
    hash: str

    def __init__(self, spec: Spec, made: kept.Kept | None = None) -> None:
        if made is None:
            from treadle.text.table import token_table

            self.table = token_table(spec)
        else:
            self.table = made.table()
        self.bos_id = spec.bos_id
        self.adds_bos = spec.adds_bos
        kinds = bytes(self.table.kinds)
        self._control = frozenset(i for i, kind in enumerate(kinds) if kind == _CONTROL)
        self._library = _Library(spec.text, added_tokens(spec.data, spec.at), spec.at)
        self._words: Words | None = None
        self._passages: Passages | None = None
        if made is not None:
            self.hash = made.hash
            if made.merges:
                self._words = Words(made.merges, spec.size)
                if made.plain is not None:
                    self._passages = Passages(self._words.merges, made.plain, made.added)
            return
        _ = self._library.parsing  # which checks the rest of a spec that nobody has seen before
        identity = f"{spec.text}\0{self.table.stop_ids}\0{spec.bos_id}\0{spec.adds_bos}"
        self.hash = sha256(identity.encode("utf-8", "replace")).hexdigest()

    @classmethod
    def from_json(
        cls,
        source: bytes | str | Path,
        config: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> Tokenizer:
        """From tokenizer.json (its bytes or its path) and the dict of tokenizer_config.json.

        `config` may also hold `eos_token_id` of generation_config.json (one id or several).
        Without `config`, both files are read from the folder of `source` when they are there.
        Raises ModelFormatError, LimitExceeded.
        """
        return cls(json_spec(source, config, limits or Limits()))

    @classmethod
    def from_gguf(
        cls,
        metadata: Mapping[str, Any],
        limits: Limits | None = None,
        folder: Path | None = None,
    ) -> Tokenizer:
        """From the metadata of a GGUF file (`tokenizer.ggml.*`). What takes long to derive is kept
        in `folder`, if one is given, and read from there the next time.

        Raises ModelFormatError naming the key, LimitExceeded.
        """
        limits = limits or Limits()
        key = kept.key_of(metadata, limits) if folder is not None else ""
        if folder is not None and (found := kept.read(folder, key)) is not None:
            return cls(found.spec(), found)
        from treadle.text.gguf import gguf_spec  # which a start that found one does not need

        spec = gguf_spec(metadata, limits)
        made = cls(spec)
        if folder is not None:
            kept.write(folder, key, kept.pack(spec, made.table, made.hash))
        return made

    @property
    def vocab_size(self) -> int:
        """Number of ids, unused ones included. A model's V may be larger (padding)."""
        return len(self.table.data)

    @property
    def bos_token(self) -> str:
        """Text of the token that begins a text; empty when there is none."""
        return self._text(self.bos_id)

    @property
    def eos_token(self) -> str:
        """Text of the token that ends a turn; empty when there is none."""
        return self._text(self.table.stop_ids[0] if self.table.stop_ids else None)

    def token_id(self, text: str) -> int | None:
        """The id of a control token by its text; None when there is no such token."""
        return self._control_ids.get(text)

    def encode(self, text: str, special: bool = False, bos: bool = False) -> list[int]:
        """Ids of a text. `special=True` turns the texts of control tokens into those tokens;
        otherwise they are spelled out like any text. `bos` puts the beginning token first,
        unless the text was parsed and already begins with it.

        Raises InvalidRequest when the text is not valid Unicode, or `bos` is asked of a
        vocabulary that has none.
        """
        try:
            ids = self._ids(text, special)
        except (TypeError, UnicodeEncodeError):
            raise InvalidRequest(
                "the text holds a lone surrogate", at="prompt", hint="send valid Unicode"
            ) from None
        if not special and not self._control.isdisjoint(ids):
            ids = [part for i in ids for part in (self._spelled(i) if i in self._control else [i])]
        if bos:
            if self.bos_id is None:
                raise InvalidRequest("this model has no token that begins a text", at="bos")
            if ids[:1] != [self.bos_id]:
                ids = [self.bos_id, *ids]
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of some ids, from the start of a text; invalid UTF-8 becomes U+FFFD.

        Raises InvalidRequest for an id outside the vocabulary.
        """
        parts: list[bytes] = []
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise InvalidRequest(
                    f"token {number} is outside the vocabulary of {self.vocab_size}", at="tokens"
                )
            if not (skip_special and number in self._control):
                parts.append(self.table.data[number])
        data = b"".join(parts)
        if self.table.strip_space and data.startswith(b" "):
            data = data[1:]
        return data.decode("utf-8", "replace")

    def _ids(self, text: str, special: bool) -> list[int]:
        def library(part: str) -> list[int]:
            engine = self._library.parsing if special else self._library.plain
            found = engine.encode(part, add_special_tokens=False)
            return found.ids if self._words is None else self._words.ids(found)

        known = self._passages
        return library(text) if known is None else known.encode(text, special, library)

    @cached_property
    def _control_ids(self) -> dict[str, int]:
        return {self._text(i): i for i in self._control}

    @cached_property
    def _single(self) -> dict[bytes, int]:
        """Ids of the tokens of one byte or character: what any text can be spelled with."""
        found: dict[bytes, int] = {}
        for number, data in enumerate(self.table.data):
            if 0 < len(data) <= 4 and self.table.kinds[number] in (
                TokenKind.NORMAL,
                TokenKind.BYTE,
            ):
                found.setdefault(data, number)
        return found

    def _spelled(self, number: int) -> list[int]:
        """A control token's text by ordinary tokens, for vocabularies whose merges reach it."""
        ids: list[int] = []
        for char in self._text(number):
            data = char.encode()
            parts: Sequence[bytes] = [data] if data in self._single else [bytes([b]) for b in data]
            if not all(part in self._single for part in parts):
                raise InvalidRequest(
                    f"{self._text(number)!r} cannot be written without its control token",
                    at="prompt",
                )
            ids += [self._single[part] for part in parts]
        return ids

    def _text(self, number: int | None) -> str:
        return "" if number is None else self.table.data[number].decode("utf-8", "replace")


class _Library:
    """The `tokenizers` library's side of a vocabulary, made when it is first asked: for a text that
    is ASCII, many vocabularies do without. added: tokens that it must know by their ids."""

    def __init__(self, text: str, added: Sequence[Json], at: str) -> None:
        self._text, self._added, self._at = text, added, at

    @cached_property
    def parsing(self) -> tokenizers.Tokenizer:
        """Finds control tokens by their texts. Raises ModelFormatError."""
        import tokenizers

        try:
            made = tokenizers.Tokenizer.from_str(self._text)
        except BaseException as error:  # the library panics on some malformed files
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                raise
            raise ModelFormatError(
                f"the tokenizers library refuses it: {str(error)[:200]}", at=self._at
            ) from None
        made.no_truncation()
        made.no_padding()
        for token in self._added:
            if made.token_to_id(token["content"]) != token["id"]:
                raise ModelFormatError(
                    f"added token {token['content'][:40]!r} has id {token['id']}, the vocabulary"
                    f" gives it {made.token_to_id(token['content'])}",
                    at=self._at,
                )
        return made

    @cached_property
    def plain(self) -> tokenizers.Tokenizer:
        """Reads control tokens' texts as plain text."""
        return _without_special(self.parsing)


def _without_special(parsing: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same tokeniser reading control tokens' texts as plain text; the model is shared."""
    import tokenizers

    plain = tokenizers.Tokenizer(parsing.model)
    for part in ("normalizer", "pre_tokenizer"):
        if getattr(parsing, part) is not None:
            setattr(plain, part, getattr(parsing, part))
    added = parsing.get_added_tokens_decoder()
    for number in sorted(added):
        token = added[number]
        if token.special:
            plain.add_special_tokens([token])  # pyright: ignore[reportUnknownMemberType]
        else:
            plain.add_tokens([token])  # pyright: ignore[reportUnknownMemberType]
    plain.encode_special_tokens = True
    return plain
