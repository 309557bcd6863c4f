"""Texts without the library: the core cuts and merges what is ASCII.

The library takes six megabytes and spends most of its time on patterns of Unicode classes. Its cuts
of ASCII text by the patterns of some vocabularies are simple enough to be written down
(`cpp/tokens/ascii_words.h`), so a text is divided where no pattern of the vocabulary joins or looks
across, and the parts that hold other characters go to the library, which is loaded for the first.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from treadle import _core
    from treadle.text.spec import Json

_CUTS = {
    # name -> where a text may be divided: between a character that takes no line break with it and
    # a line break, which begins a word of its own
    "gpt-2": r"(?<=[!-~])(?=\n)",
    "smollm": r"(?<=[!-~])(?=\n)",
    "qwen2": r"(?<=[A-Za-z0-9])(?=\n)",
}


class Plain(msgspec.Struct, frozen=True, array_like=True):
    """How a vocabulary cuts and spells ASCII: the name of its pattern, and the id of each character
    alone, None = it has none."""

    cut: str
    symbols: list[int | None]


class Passages:
    """Encodes the texts of one vocabulary."""

    def __init__(self, merges: _core.Merges, plain: Plain, added: Sequence[Json]) -> None:
        self._merges, self._cut = merges, plain.cut
        self._symbols = array("I", [number or 0 for number in plain.symbols])
        self._unspelled = [chr(c) for c, number in enumerate(plain.symbols) if number is None]
        self._divide = re.compile(_CUTS[plain.cut])
        self._added = {token["content"]: token for token in added}
        longest_first = sorted(self._added, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, text: str, special: bool, rest: Callable[[str], list[int]]) -> list[int]:
        """Ids of a text; `rest` gives those of a part that is not ASCII. special: control tokens
        are found by their texts."""
        ids: list[int] = []
        first = 0
        for found in self._marks.finditer(text):
            token = self._added[found[0]]
            if special or not token.get("special"):
                self._between(text[first : found.start()], ids, rest)
                ids.append(token["id"])
                first = found.end()
        self._between(text[first:], ids, rest)
        return ids

    def _between(self, text: str, ids: list[int], rest: Callable[[str], list[int]]) -> None:
        parts = [text] if self._plain(text) else self._divide.split(text)
        for plain, some in groupby(parts, self._plain):
            joined = "".join(some)
            ids += (
                self._merges.encode_ascii(joined, self._cut, self._symbols)
                if plain
                else rest(joined)
            )

    def _plain(self, text: str) -> bool:
        """Whether the core can spell a text."""
        return text.isascii() and not any(c in text for c in self._unspelled)


def plain_of(text: str, added: Sequence[Json]) -> Plain | None:
    """Of a vocabulary whose tokenizer.json without its merges is `text`; None where its pattern is
    not among the known ones, or an added token takes more than its own text."""
    import json

    from treadle.text.alphabet import LETTER_OF
    from treadle.text.gguf import pretokenisers

    data: Json = json.loads(text)
    cut = next((n for n in _CUTS if _cuts_of(data) == _known(pretokenisers()[n].splits)), None)
    normaliser = data.get("normalizer")
    if cut is None or (normaliser and normaliser.get("type") != "NFC"):  # which ASCII is
        return None
    if any(t.get("lstrip") or t.get("rstrip") or t.get("single_word") for t in added):
        return None
    late = {bool(t.get("normalized")) for t in added}  # found after the others, and after NFC
    if len(late) > 1 or (normaliser and True in late):
        return None
    vocab: dict[str, int] = data["model"]["vocab"]
    return Plain(cut, [vocab.get(LETTER_OF[byte]) for byte in range(128)])


def _known(splits: Sequence[str]) -> list[Json]:
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return [*({"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated"} for p in splits),
            level]  # fmt: skip


def _cuts_of(data: Json) -> list[Json]:
    """The pre-tokenisers of a tokenizer.json, less what does not change the cuts."""
    found: Json = data.get("pre_tokenizer") or {}
    steps: list[Json] = found.get("pretokenizers") or [found]
    return [
        {k: v for k, v in step.items() if k != "trim_offsets" and (k, v) != ("invert", False)}
        for step in steps
    ]
