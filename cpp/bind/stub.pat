# What nanobind.stubgen cannot know: the attributes of the exception and the items of sequences.
CoreError$:
    class CoreError(Exception):
        """What went wrong in the core. The fields are those of Status (cpp/support/result.h)."""

        code: str
        reason: str
        kind: str
        at: str
        keyword: str
        text: str
        limit: str
        value: float
        maximum: float

Vocab.__init__:
    def __init__(self, data: tuple[bytes, ...], kinds: Sequence[int], stop_ids: Sequence[int], size: int = 0) -> None: ...

decode_vocab$:
    def decode_vocab(pieces: Sequence[str | bytes], kind: str) -> list[tuple[bytes, bool]]:
        \doc

Batch.fill$:
    def fill(self, matchers: Sequence[Matcher], rows: object, index: Sequence[int] | None = None) -> list[int]:
        \doc

Batch.accept$:
    def accept(self, matchers: Sequence[Matcher], ids: Sequence[int]) -> list[bool]: ...

Batch.mask_ids$:
    def mask_ids(self, matchers: Sequence[Matcher], out: object) -> list[int]:
        \doc

Matcher.captures$:
    def captures(self, longest: bool) -> list[tuple[str, bytes]]: ...

Matcher.error$:
    @property
    def error(self) -> CoreError | None: ...

TokenBytes.__init__:
    def __init__(self, table: Sequence[bytes]) -> None: ...

TokenBytes.joined$:
    \from typing_extensions import Buffer
    @staticmethod
    def joined(text: Buffer, ends: Buffer) -> TokenBytes:
        \doc

TokenBytes.__eq__$:
    def __eq__(self, other: object, /) -> bool: ...

Merges.__init__$:
    def __init__(self, rows: Buffer, ids: int) -> None:
        \doc

Merges.encode_ascii$:
    def encode_ascii(self, text: str, cut: str, symbols: Buffer) -> list[int]:
        \doc

strings_end$:
    def strings_end(data: Buffer, at: int, count: int, most: int) -> int | None:
        \doc

Detokeniser.__init__:
    def __init__(self, table: TokenBytes | Sequence[bytes], strip_space: bool = False) -> None: ...

cpu_buffer$:
    def cpu_buffer(bytes: int) -> memoryview:
        \doc

cpu_kv_pages$:
    def cpu_kv_pages(pages: int, heads: Sequence[tuple[int, int]]) -> list[memoryview]:
        \doc

cpu_pack$:
    def cpu_pack(kind: str, rows: int, columns: int, data: Buffer, out: Buffer, first: int = 0, count: int = ...) -> None:
        \doc

cpu_halves$:
    def cpu_halves(rows: Buffer, heads: int, out: Buffer) -> None:
        \doc

CpuRunner.bind$:
    def bind(self, mask: object | None = None, mask_rows: Buffer | None = None, given: Buffer | None = None, params: object | None = None) -> None:
        \doc

CpuRunner.__init__:
    def __init__(self, plans: Sequence[bytes], params: Sequence[object], states: Sequence[object], isa: str, trace: int = 0) -> None: ...

CpuRunner.drawn$:
    def drawn(self, step: int) -> tuple[memoryview, memoryview, memoryview, memoryview, memoryview]:
        \doc

cpu_draw$:
    def cpu_draw(isa: str, logits: NDArray[numpy.float32], masks: NDArray[numpy.int32] | None, params: object) -> tuple[memoryview, memoryview, memoryview, memoryview, memoryview]:
        \doc

dispatcher$:
    \from collections.abc import Callable
    \from typing import Any
    def dispatcher(torch: tuple[Any, ...], calls: tuple[Any, ...], arguments: int, shadow: int, guards: Sequence[tuple[Any, ...]], sizes: Sequence[int], host: Sequence[tuple[list[int], int]], relations: Sequence[tuple[int, int, int]], key: Sequence[tuple[int, int, int, int]], passed: Sequence[tuple[int, Any]]) -> Callable[..., Any]:
        \doc
