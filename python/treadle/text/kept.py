"""What building a tokeniser from GGUF metadata derives, as bytes that can be kept on disk.

A vocabulary of 50,000 tokens takes a second to turn into tokenizer.json and a table of bytes, and
a fiftieth of that to read back. What is kept is named by a hash of everything it follows from, this
package's text included, and carries a hash of itself; the `tokenizers` library and the core check
the rest.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, cast

import msgspec

from treadle import _core
from treadle import kept as files
from treadle.digest import blake2b
from treadle.limits import Limits
from treadle.text.passages import Plain, plain_of
from treadle.text.spec import Json, Spec, added_tokens
from treadle.types import TokenKind, TokenTable

_MOST = 16  # tokenisers on disk; the oldest go


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A tokeniser's parts: of the spec what is read after the table was made, and the table. Where
    there are `merges`, `text` holds the symbols alone (`merged.apart`), and `plain` how ASCII is
    cut, if `passages` knows. `spelled`: the bytes of all ids, which end at `ends` (uint32)."""

    text: str
    merges: memoryview
    plain: Plain | None
    added: list[Json]
    size: int
    bos_id: int | None
    adds_bos: bool
    at: str
    spelled: memoryview
    ends: memoryview
    kinds: bytes
    stop_ids: list[int]
    strip_space: bool
    hash: str

    def spec(self) -> Spec:
        """The spec without its vocabulary, which lies in `text` and `merges`."""
        data = {"added_tokens": self.added}
        return Spec(self.text, data, self.size, self.bos_id, (), self.adds_bos, self.at)

    def table(self) -> TokenTable:
        """The table of bytes and kinds."""
        data = cast("Sequence[bytes]", _core.TokenBytes.joined(self.spelled, self.ends))
        return TokenTable(data, self.kinds, tuple(self.stop_ids), self.strip_space)


def key_of(metadata: Mapping[str, Any], limits: Limits) -> str:
    """Names what follows from a GGUF file's tokeniser metadata in this version of the package."""
    found = blake2b(_package() + repr(limits).encode(), digest_size=20)
    for name in sorted(metadata):
        if name.startswith("tokenizer.ggml."):
            value: Any = metadata[name]
            raw = getattr(value, "raw", None)  # a long array that still lies in its file
            found.update(msgspec.msgpack.encode((name, None if raw is not None else value)))
            if raw is not None:
                found.update(len(raw).to_bytes(8, "little"))
                found.update(raw)
    return found.hexdigest()


def pack(spec: Spec, table: TokenTable, hash: str) -> bytes:
    """A tokeniser as bytes."""
    from treadle.text.merged import apart

    text, merges = apart(spec) or (spec.text, b"")
    added = list(added_tokens(spec.data, spec.at))
    ends = array("I", accumulate(map(len, table.data)))
    kept = Kept(
        text, memoryview(merges), plain_of(text, added) if merges else None, added, spec.size,
        spec.bos_id, spec.adds_bos, spec.at, memoryview(b"".join(table.data)), memoryview(ends),
        bytes(table.kinds), list(table.stop_ids), table.strip_space, hash,
    )  # fmt: skip
    return files.seal(msgspec.msgpack.encode(kept))


def unpack(data: bytes | mmap) -> Kept | None:
    """The parts in bytes that `pack` made, long ones as views of them; None for any others."""
    body = files.unseal(data)
    if body is None:
        return None
    try:
        kept = msgspec.msgpack.decode(body, type=Kept)
    except msgspec.DecodeError:
        return None
    whole = len(kept.ends) // 4 == len(kept.kinds) == kept.size
    known = not kept.kinds or max(kept.kinds) < len(TokenKind)
    return kept if whole and known else None


def read(folder: Path, key: str) -> Kept | None:
    """The tokeniser that `write` put there, or None."""
    try:
        with (folder / key).open("rb") as file:
            return unpack(mmap(file.fileno(), 0, access=ACCESS_READ))
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return None


def write(folder: Path, key: str, data: bytes) -> None:
    """Keeps what `pack` made."""
    files.write(folder, key, data, _MOST)


@cache
def _package() -> bytes:
    """A hash of this package's files: other code may derive other things."""
    found = blake2b(digest_size=20)
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.suffix in (".py", ".toml"):
            found.update(path.read_bytes())
    return found.digest()
