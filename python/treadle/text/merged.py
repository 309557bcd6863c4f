"""A byte-pair tokeniser in two parts: `tokenizers` cuts and spells a text, the core merges.

The library takes a fifth of a second and forty megabytes to build the maps of a vocabulary of
50,000. Given only the single symbols of it, and no merges, it does everything else a tokeniser does
(added tokens, normalising, cutting into words, unknown symbols and byte fallback); what is left is
to merge the symbols of each word, from a table that lies on disk as it is used.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

from treadle import _core
from treadle.text.spec import Json, Spec, added_tokens

if TYPE_CHECKING:
    import tokenizers

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def apart(spec: Spec) -> tuple[str, bytes] | None:
    """The tokenizer.json of the symbols alone, and the merges: rows of four uint32 (left, right,
    rank, joined), ascending. None for a model that does more than merge."""
    import json

    model: Json = spec.data["model"]
    more = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    if model.get("type") != "BPE" or any(model.get(name) for name in more):
        return None
    vocab: dict[str, int] = model["vocab"]
    named = {token["content"] for token in added_tokens(spec.data, spec.at)}
    named.add(model.get("unk_token") or "")
    if model.get("byte_fallback"):
        named |= _BYTES
    symbols = {piece: i for piece, i in vocab.items() if len(piece) == 1 or piece in named}
    pairs = {  # of a pair named twice the last one counts, as in the library
        (vocab[left], vocab[right]): (rank, vocab[left + right])
        for rank, (left, right) in enumerate(model["merges"])
    }
    rows = array("I", chain.from_iterable((*pair, *pairs[pair]) for pair in sorted(pairs)))
    data: Json = {**spec.data, "model": {**model, "vocab": symbols, "merges": []}}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")), rows.tobytes()


class Words:
    """Encodes with the parts that `apart` made; the interface is that of the library.

    Raises _core.CoreError for merges that do not ascend or name ids beyond `size`.
    """

    def __init__(self, merges: bytes | memoryview, size: int) -> None:
        self.merges = _core.Merges(merges, size)

    def ids(self, symbols: tokenizers.Encoding) -> list[int]:
        """Ids of a text whose symbols the library found."""
        words: Any = symbols.word_ids
        return self.merges.apply(symbols.ids, words)
