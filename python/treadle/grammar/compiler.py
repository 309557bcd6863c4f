"""Vocabularies and compilers: a grammar bound to the tokens of one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from treadle import _core
from treadle.grammar.grammar import Grammar
from treadle.grammar.matcher import Matcher
from treadle.grammar.translate import core_limits, translate

if TYPE_CHECKING:
    from os import PathLike

    from treadle.limits import GrammarLimits
    from treadle.types import TokenTable


class Vocab:
    """The tokens of one model as the core sees them: a trie over their bytes. Immutable.

    `size` is the model's V; ids beyond the table are unused, tokens beyond `size` are left out.
    Control and unused tokens are never part of a text; stop tokens end it.
    """

    __slots__ = ("core",)

    def __init__(self, table: TokenTable, size: int | None = None) -> None:
        width = len(table.data) if size is None else size
        kinds = [int(kind) for kind in table.kinds]
        stops = [stop for stop in table.stop_ids if stop < width]
        try:
            self.core = _core.Vocab(tuple(table.data), kinds, stops, width)
        except _core.CoreError as error:
            raise translate(error) from None

    @property
    def size(self) -> int:
        """V: how many ids a mask row covers."""
        return self.core.size

    @property
    def hash(self) -> str:
        """128 bits over bytes, kinds, stop ids and size, as hexadecimal digits."""
        return self.core.hash

    @property
    def stop_ids(self) -> list[int]:
        """The tokens that end a text unless a matcher says otherwise."""
        return self.core.stop_ids


class Compiled:
    """A grammar over one vocabulary. Shared by any number of matchers, in any thread."""

    __slots__ = ("core", "grammar", "vocab")

    def __init__(self, core: _core.Compiled, grammar: Grammar, vocab: Vocab) -> None:
        self.core = core
        self.grammar = grammar
        self.vocab = vocab

    def matcher(self, stop_tokens: Sequence[int] | None = None) -> Matcher:
        """A matcher at the start of a text. `stop_tokens` default to the vocabulary's."""
        try:
            stops = None if stop_tokens is None else list(stop_tokens)
            return Matcher(self.core.matcher(stops, self.grammar.core))
        except _core.CoreError as error:
            raise translate(error) from None

    def dumps(self) -> bytes:
        """One block for `Compiler.loads` of the same vocabulary: the grammar, checksummed."""
        return self.grammar.core.dump_block(self.vocab.core)

    @property
    def memory(self) -> int:
        """Bytes held by nodes, states and masks, about."""
        return self.core.memory


class Compiler:
    """Compiles grammars for one vocabulary; equal grammars share states and masks.

    Compiling is parsing: states and masks are computed when a matcher first needs them. The cache
    keeps the most recently used grammars within `limits.cache_bytes`.

    `masks`: a folder in which `save` keeps what the walks behind the masks found, for the next
    process over the same vocabulary; safe to delete. It must belong to this user alone. What is
    damaged, foreign or of another build is not read and overwritten. Such a compiler has to be the
    first of its process: `recalled` says how many entries could be used, 0 if none.
    """

    __slots__ = ("core", "limits", "masks", "recalled", "vocab")

    def __init__(
        self,
        vocab: Vocab,
        limits: GrammarLimits | None = None,
        *,
        masks: str | PathLike[str] | None = None,
    ) -> None:
        self.vocab = vocab
        self.limits = limits
        self.core = _core.Compiler(vocab.core, core_limits(limits))
        self.masks = masks
        self.recalled = 0
        if masks is not None:
            from treadle.grammar import kept

            block = kept.read(masks, vocab.hash)
            self.recalled = self.core.recall(block, kept.build()) if block else 0

    def save(self, most: int = 16 << 20) -> int:
        """Writes the file of this vocabulary, at once and whole: the entries used last, in
        at most `most` bytes. Returns its size; 0 without a folder. Raises OSError.
        """
        if self.masks is None:
            return 0
        from treadle.grammar import kept

        block = self.core.remember(kept.build(), most)
        if block:
            kept.write(self.masks, self.vocab.hash, block)
        return len(block)

    def compile(self, grammar: Grammar) -> Compiled:
        """Raises `GrammarError` (reason `unsatisfiable` if nothing matches) or `LimitExceeded`."""
        try:
            return Compiled(self.core.compile(grammar.core), grammar, self.vocab)
        except _core.CoreError as error:
            raise translate(error) from None

    def loads(self, data: bytes) -> Compiled:
        """The compiled grammar of a block that `Compiled.dumps` made.

        Raises `GrammarError` with reason `format` for a damaged block, one of another version or
        for another vocabulary.
        """
        try:
            core = _core.Grammar.load_block(data, self.vocab.core, core_limits(self.limits))
        except _core.CoreError as error:
            raise translate(error) from None
        return self.compile(Grammar(core))

    @property
    def memory(self) -> int:
        """Bytes held by the cached grammars, about."""
        return self.core.memory

    def clear(self) -> None:
        """Forgets all cached grammars; those in use stay valid."""
        self.core.clear()


def decode_vocab(pieces: Iterable[str | bytes], kind: str) -> list[tuple[bytes, bool]]:
    """The bytes of each token string, and whether it is one `<0xNN>` byte of byte fallback.

    `kind`: `raw`, `byte_level` (GPT-2's printable alphabet) or `byte_fallback` (SentencePiece).
    A piece outside its alphabet stands for its own text. Raises `InvalidRequest` for another kind.
    """
    try:
        return _core.decode_vocab(list(pieces), kind)
    except _core.CoreError as error:
        raise translate(error) from None
