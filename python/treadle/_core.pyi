"""The native core of treadle: grammars, token tables, incremental text."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy
from numpy.typing import NDArray
from typing_extensions import Buffer

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

class Vocab:
    """Bytes and kinds of all tokens, and the trie over them."""

    def __init__(
        self,
        data: tuple[bytes, ...],
        kinds: Sequence[int],
        stop_ids: Sequence[int],
        size: int = 0,
    ) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def hash(self) -> str: ...
    @property
    def stop_ids(self) -> list[int]: ...
    @property
    def trie_nodes(self) -> int: ...

def decode_vocab(pieces: Sequence[str | bytes], kind: str) -> list[tuple[bytes, bool]]:
    """The bytes of each piece, and whether it is one <0xNN> byte."""

class MaskRows:
    """Packed masks: int32 [n, ceil(size / 32)], through the buffer protocol."""

    def __init__(self, rows: int, size: int) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...

class RowView:
    """Mask rows of another owner, parsed once."""

    def __init__(self, rows: object) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...

def apply_mask(
    logits: object,
    rows: object,
    index: Sequence[int] | None = None,
    width: int | None = None,
    keep_beyond: bool = False,
) -> None:
    """Minus infinity where the bit of the same row is 0."""

def apply_mask_ids(
    logits: object,
    table: object,
    ids: Sequence[int],
    staging: object | None = None,
    index: Sequence[int] | None = None,
    width: int | None = None,
    keep_beyond: bool = False,
) -> None:
    """
    The same with rows of a table: -1 is no mask, -2 the staging row at that position.
    """

def cpu_isas() -> list[str]:
    """Instruction sets this build and machine offer, worst first."""

def cpu_processors() -> int:
    """Processors of the affinity mask, cut by the cgroup's quota."""

def cpu_packed_bytes(kind: str, rows: int, columns: int) -> int:
    """Bytes of a packed matrix."""

def cpu_buffer(bytes: int) -> memoryview:
    """
    Uninitialised bytes on a page of their own, in large pages where there are any: for packed weights and KV pages.
    """

def give_back_heap() -> None:
    """
    Memory that was freed goes back to the system, as far as the C library can.
    """

def keep_heap_small() -> None:
    """
    From now on all threads share one heap that keeps little of what is free: for a process that serves one user.
    """

def cpu_kv_pages(pages: int, heads: Sequence[tuple[int, int]]) -> list[memoryview]:
    """
    KV pages of layers with (heads, size): float16 bits [pages, heads, 2 * 16 * size] of each, K before V, all in one buffer.
    """

def cpu_pack(
    kind: str,
    rows: int,
    columns: int,
    data: Buffer,
    out: Buffer,
    first: int = 0,
    count: int = ...,
) -> None:
    """
    Packs strips of 16 rows from rows as they lie in a file; the GIL is released.
    """

def cpu_halves(rows: Buffer, heads: int, out: Buffer) -> None:
    """
    Rows [n, bytes] whose pairs lie interleaved in each head, put back to halves.
    """

def cpu_unpack_row(
    kind: str,
    rows: int,
    columns: int,
    packed: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    row: int,
    out: Annotated[
        NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu")
    ],
) -> None:
    """One row of a packed matrix, f32."""

def cpu_matmul(
    isa: str,
    kind: str,
    rows: int,
    columns: int,
    packed: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    x: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None, None), order="C", device="cpu", writable=False),
    ],
    y: Annotated[
        NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")
    ],
    first: int = 0,
    count: int = 18446744073709551615,
    times: int = 1,
) -> None:
    """
    y [T, rows] = x [T, columns] times the strips' rows; x is quantised where needed.
    """

def cpu_read(
    isa: str,
    data: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    times: int = 1,
) -> int:
    """Reads every byte: the bandwidth that a dot is measured against."""

def cpu_rmsnorm(
    isa: str,
    x: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None, None), order="C", device="cpu", writable=False),
    ],
    w: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    eps: float,
    y: Annotated[
        NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")
    ],
) -> None:
    """y = x / sqrt(mean(x^2) + eps) * w."""

def cpu_glu(
    isa: str,
    act: str,
    g: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    u: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    y: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu")],
) -> None:
    """y = act(g) * u."""

def cpu_rope(
    isa: str,
    x: Annotated[
        NDArray[numpy.float32], dict(shape=(None, None, None), order="C", device="cpu")
    ],
    pos: Annotated[
        NDArray[numpy.int32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    freq: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    mscale: float,
) -> None:
    """Half-split rotation in place."""

def cpu_kv_write(
    isa: str,
    kv: Annotated[
        NDArray[numpy.uint16], dict(shape=(None, None, None), order="C", device="cpu")
    ],
    k: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None, None, None), order="C", device="cpu", writable=False),
    ],
    v: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None, None, None), order="C", device="cpu", writable=False),
    ],
    slots: Annotated[
        NDArray[numpy.int32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
) -> None:
    """Appends to pages [P, K, 2 * 16 * d] of f16."""

def cpu_attention(
    isa: str,
    q: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None, None, None), order="C", device="cpu", writable=False),
    ],
    kv: Annotated[
        NDArray[numpy.uint16], dict(shape=(None, None, None), order="C", device="cpu")
    ],
    table: Annotated[
        NDArray[numpy.int32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    position: int,
    scale: float,
    window: int,
    softcap: float,
    segment: int,
    out: Annotated[
        NDArray[numpy.float32], dict(shape=(None, None, None), order="C", device="cpu")
    ],
) -> None:
    """
    Attention of one sequence's last tokens, the first of them at `position`.
    """

def cpu_best_token(
    logits: Annotated[
        NDArray[numpy.float32],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    mask: object | None,
) -> int:
    """The greatest legal logit, ties to the lowest id; -1 if none is legal."""

def cpu_draw(
    isa: str,
    logits: NDArray[numpy.float32],
    masks: NDArray[numpy.int32] | None,
    params: object,
) -> tuple[memoryview, memoryview, memoryview, memoryview, memoryview]:
    """
    Draws a token for each row of logits [R, V] f32 under masks [R, V / 32] of legal tokens, as a SampleBatch says: ids, status, logprobs, top_ids, top_logprobs.
    """

class CpuRunner:
    """Plans, weights and KV pages bound together, and the workers' steps."""

    def __init__(
        self,
        plans: Sequence[bytes],
        params: Sequence[object],
        states: Sequence[object],
        isa: str,
        trace: int = 0,
    ) -> None: ...
    @property
    def workers(self) -> int: ...
    def start(self) -> None:
        """Starts a thread for each worker."""

    def close(self) -> None:
        """Stops and joins the threads; the runner is then of no use."""

    def post(
        self,
        plan: int,
        ids: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
        pos: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
        slots: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
        starts: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
        lens: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
        table: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None, None), order="C", device="cpu", writable=False),
        ],
        rows: Annotated[
            NDArray[numpy.int32],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
    ) -> int:
        """
        Gives the workers a batch; returns the step's number. Two steps may be under way.
        """

    def bind(
        self,
        mask: object | None = None,
        mask_rows: Buffer | None = None,
        given: Buffer | None = None,
        params: object | None = None,
    ) -> None:
        """
        How the oldest step not yet bound draws its tokens; mask_rows: the row of each mask; params: a SampleBatch, without one the best token is taken.
        """

    def wait_logits(self, step: int) -> bool:
        """False: the runner was closed."""

    def wait_done(self, step: int) -> bool:
        """False: the runner was closed."""

    def is_over(self, step: int) -> bool: ...
    def advance(self) -> None:
        """One worker, no threads: runs as far as it can."""

    def logits(
        self, step: int
    ) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """A view [rows, vocabulary], valid until a later step runs."""

    def drawn(
        self, step: int
    ) -> tuple[memoryview, memoryview, memoryview, memoryview, memoryview]:
        """
        ids, status, logprobs, top_ids and top_logprobs of a step that is over, as `Sampled`.
        """

    def tokens(self, step: int) -> list[int]:
        """-1 where no token was legal."""

    def trace(self, number: int) -> bytes:
        """
        Records of 24 bytes (cpu/trace.h) of a worker, or of the host after the last worker.
        """

def dispatcher(
    torch: tuple[Any, ...],
    calls: tuple[Any, ...],
    arguments: int,
    shadow: int,
    guards: Sequence[tuple[Any, ...]],
    sizes: Sequence[int],
    host: Sequence[tuple[list[int], int]],
    relations: Sequence[tuple[int, int, int]],
    key: Sequence[tuple[int, int, int, int]],
    passed: Sequence[tuple[int, Any]],
) -> Callable[..., Any]:
    """
    A function that calls the kernel of a table where every guard holds, else `slow`.
    """

class Limits:
    """Budgets; the fields of treadle.limits.GrammarLimits."""

    def __init__(self) -> None: ...
    @property
    def source_bytes(self) -> int: ...
    @source_bytes.setter
    def source_bytes(self, arg: int, /) -> None: ...
    @property
    def source_depth(self) -> int: ...
    @source_depth.setter
    def source_depth(self, arg: int, /) -> None: ...
    @property
    def regex_bytes(self) -> int: ...
    @regex_bytes.setter
    def regex_bytes(self, arg: int, /) -> None: ...
    @property
    def ir_nodes(self) -> int: ...
    @ir_nodes.setter
    def ir_nodes(self, arg: int, /) -> None: ...
    @property
    def derived_nodes(self) -> int: ...
    @derived_nodes.setter
    def derived_nodes(self, arg: int, /) -> None: ...
    @property
    def compile_fuel(self) -> int: ...
    @compile_fuel.setter
    def compile_fuel(self, arg: int, /) -> None: ...
    @property
    def step_fuel(self) -> int: ...
    @step_fuel.setter
    def step_fuel(self, arg: int, /) -> None: ...
    @property
    def stack_depth(self) -> int: ...
    @stack_depth.setter
    def stack_depth(self, arg: int, /) -> None: ...
    @property
    def branches(self) -> int: ...
    @branches.setter
    def branches(self, arg: int, /) -> None: ...
    @property
    def configs(self) -> int: ...
    @configs.setter
    def configs(self, arg: int, /) -> None: ...
    @property
    def number_digits(self) -> int: ...
    @number_digits.setter
    def number_digits(self, arg: int, /) -> None: ...
    @property
    def seen_values(self) -> int: ...
    @seen_values.setter
    def seen_values(self, arg: int, /) -> None: ...
    @property
    def whitespace(self) -> int: ...
    @whitespace.setter
    def whitespace(self, arg: int, /) -> None: ...
    @property
    def cache_bytes(self) -> int: ...
    @cache_bytes.setter
    def cache_bytes(self, arg: int, /) -> None: ...

class SchemaOptions:
    """How JSON is written; see treadle.grammar.schema."""

    def __init__(self) -> None: ...
    @property
    def declared_order(self) -> bool: ...
    @declared_order.setter
    def declared_order(self, arg: bool, /) -> None: ...
    @property
    def whitespace(self) -> int: ...
    @whitespace.setter
    def whitespace(self, arg: int, /) -> None: ...
    def fix(self, comma: str, colon: str, indent: int | None) -> None: ...
    @property
    def minimal_escapes(self) -> bool: ...
    @minimal_escapes.setter
    def minimal_escapes(self, arg: bool, /) -> None: ...
    @property
    def plain_numbers(self) -> bool: ...
    @plain_numbers.setter
    def plain_numbers(self, arg: bool, /) -> None: ...
    @property
    def lenient(self) -> bool: ...
    @lenient.setter
    def lenient(self, arg: bool, /) -> None: ...
    @property
    def assert_formats(self) -> bool: ...
    @assert_formats.setter
    def assert_formats(self, arg: bool, /) -> None: ...
    @property
    def exact_formats(self) -> bool: ...
    @exact_formats.setter
    def exact_formats(self, arg: bool, /) -> None: ...
    @property
    def closed(self) -> bool: ...
    @closed.setter
    def closed(self, arg: bool, /) -> None: ...
    @property
    def resources(self) -> list[tuple[str, str]]: ...
    @resources.setter
    def resources(self, arg: Sequence[tuple[str, str]], /) -> None: ...
    @property
    def at(self) -> str: ...
    @at.setter
    def at(self, arg: str, /) -> None: ...

class Grammar:
    """The description of a language."""

    @staticmethod
    def schema(text: str, options: SchemaOptions, limits: Limits) -> Grammar: ...
    @staticmethod
    def json(text: str, options: SchemaOptions, limits: Limits) -> Grammar: ...
    @staticmethod
    def json_object(text: str, options: SchemaOptions, limits: Limits) -> Grammar: ...
    @staticmethod
    def regex(text: str, limits: Limits) -> Grammar: ...
    @staticmethod
    def tag(text: str, limits: Limits) -> Grammar: ...
    @staticmethod
    def literal(text: bytes, limits: Limits) -> Grammar: ...
    @staticmethod
    def ebnf(text: str, root: str, limits: Limits) -> Grammar: ...
    @staticmethod
    def lark(
        text: str, start: str, named: Sequence[str], limits: Limits
    ) -> Grammar: ...
    @staticmethod
    def choice(strings: Sequence[str], limits: Limits) -> Grammar: ...
    @staticmethod
    def concat(arg: Sequence[Grammar], /) -> Grammar: ...
    @staticmethod
    def any_of(arg: Sequence[Grammar], /) -> Grammar: ...
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    def ebnf_text(self) -> str: ...
    def dump(self) -> str: ...
    def dump_block(self, vocab: Vocab) -> bytes: ...
    @staticmethod
    def load(text: str, limits: Limits) -> Grammar: ...
    @staticmethod
    def load_block(block: bytes, vocab: Vocab, limits: Limits) -> Grammar: ...
    @property
    def notes(self) -> list[tuple[str, str, str]]: ...

class Compiled:
    """A grammar over one vocabulary; makes matchers."""

    def matcher(
        self, stop_tokens: Sequence[int] | None, grammar: Grammar
    ) -> Matcher: ...
    @property
    def memory(self) -> int: ...
    @property
    def states(self) -> int: ...

class Compiler:
    """Compiles grammars for a vocabulary; cached by content."""

    def __init__(self, vocab: Vocab, limits: Limits) -> None: ...
    def compile(self, grammar: Grammar) -> Compiled: ...
    def clear(self) -> None: ...
    def recall(self, block: bytes, build: str) -> int: ...
    def remember(self, build: str, most: int) -> bytes: ...
    @property
    def memory(self) -> int: ...
    @property
    def cached(self) -> int: ...

class Matcher:
    """One text on its way through a grammar."""

    def fill(self, rows: object, index: int) -> bool: ...
    def accept(self, token: int) -> bool: ...
    def accept_bytes(self, text: bytes) -> bool: ...
    def rollback(self, steps: int) -> None: ...
    def fork(self) -> Matcher: ...
    def reset(self) -> None: ...
    def forced(self) -> bytes: ...
    def canonical(self, forced: bytes, ids: Sequence[int]) -> int: ...
    def validate(self, ids: Sequence[int]) -> int: ...
    def token_bytes(self, token: int) -> bytes: ...
    def fill_tree(
        self,
        child: object,
        sibling: object,
        ids: object,
        rows: object,
        seconds: float | None = None,
        temperatures: object | None = None,
    ) -> bool: ...
    def captures(self, longest: bool) -> list[tuple[str, bytes]]: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def accepting(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def steps(self) -> int: ...
    @property
    def error(self) -> CoreError | None: ...

class Batch:
    """Many matchers in one call; 0 threads: half of the cores."""

    def __init__(self, threads: int = 0) -> None: ...
    def fill(
        self,
        matchers: Sequence[Matcher],
        rows: object,
        index: Sequence[int] | None = None,
    ) -> list[int]:
        """Fills one row a matcher; returns the positions that failed."""

    def accept(self, matchers: Sequence[Matcher], ids: Sequence[int]) -> list[bool]: ...
    def mask_ids(self, matchers: Sequence[Matcher], out: object) -> list[int]:
        """Writes one mask id a matcher; returns the positions without one (-2)."""

class TokenBytes:
    """The bytes of every token id, shared by all detokenisers of a model."""

    def __init__(self, table: Sequence[bytes]) -> None: ...
    @staticmethod
    def joined(text: Buffer, ends: Buffer) -> TokenBytes:
        """
        Of bytes one behind another; ends: where each id's end, uint32, as bytes.
        """

    def without(self, ids: Sequence[int]) -> TokenBytes:
        """The same memory, in which these ids spell nothing."""

    def __len__(self) -> int: ...
    def __getitem__(self, arg: int, /) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...

class Detokeniser:
    """Token ids to text; only whole characters are emitted. One a sequence."""

    def __init__(
        self, table: TokenBytes | Sequence[bytes], strip_space: bool = False
    ) -> None: ...
    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids complete."""

    def flush(self) -> str:
        """Ends the text; an unfinished character becomes U+FFFD."""

    def fork(self) -> Detokeniser: ...

class StopSearch:
    """Finds stop strings in text that comes in pieces. One a sequence."""

    def __init__(self, stops: Sequence[str]) -> None: ...
    def push(self, text: str) -> tuple[str, str | None]:
        """The text that may be emitted, and the stop string once it is complete."""

    def flush(self) -> str:
        """Ends the text; returns what was held back."""

    @property
    def stopped(self) -> bool: ...
    def fork(self) -> StopSearch: ...

class Merges:
    """The merges of a byte-pair vocabulary."""

    def __init__(self, rows: Buffer, ids: int) -> None:
        """
        rows: bytes of (left, right, rank, joined), four uint32 each, ascending.
        """

    def __len__(self) -> int: ...
    def apply(self, ids: Sequence[int], words: Sequence[int]) -> list[int]:
        """
        Merges symbols; neighbours with the same number in `words` are of one word.
        """

    def encode_ascii(self, text: str, cut: str, symbols: Buffer) -> list[int]:
        """
        Ids of an ASCII text, cut as the pre-tokeniser of that name does; symbols [128].
        """

def strings_end(data: Buffer, at: int, count: int, most: int) -> int | None:
    """
    Where so many GGUF strings end; None if one is too long, cut off or not UTF-8.
    """

def clock_ns() -> int:
    """Monotonic nanoseconds."""

def clock_step_ns() -> int:
    """Smallest step of the clock, in nanoseconds."""

def flush_lines(
    data: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
) -> bool:
    """Drops bytes from every cache; False where the processor cannot."""

def digest(
    data: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
) -> int:
    """A 64-bit hash, for comparing two states of a buffer."""

def copy_bytes(
    target: Annotated[
        NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu")
    ],
    source: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
) -> None:
    """memcpy."""

def differing(
    first: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
    second: Annotated[
        NDArray[numpy.uint8],
        dict(shape=(None,), order="C", device="cpu", writable=False),
    ],
) -> int:
    """Bytes that differ."""

class Words:
    """64-bit words in shared memory, one a cache line."""

    def __init__(
        self,
        page: Annotated[
            NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu")
        ],
    ) -> None: ...
    def __len__(self) -> int: ...
    def load(self, word: int) -> int: ...
    def beat(self, word: int) -> int:
        """Moves while somebody spins on the word."""

    def post(self, word: int, value: int) -> None:
        """Stores a value and wakes who sleeps on the word."""

    def nudge(self, word: int) -> None:
        """Wakes who sleeps on the word without changing it."""

    def wait(
        self, word: int, old: int, spin_ns: int, timeout_ns: int
    ) -> tuple[int, int]:
        """(clock, value) once the word left `old`; clock -1: time is up."""

    def call(
        self, go: int, value: int, done: int, old: int, spin_ns: int, timeout_ns: int
    ) -> tuple[int, int, int]:
        """Posts and waits for the answer: (start, end or -1, value seen)."""

    def guard(
        self,
        fault: int,
        detail: int,
        inputs: Annotated[
            NDArray[numpy.uint8],
            dict(shape=(None,), order="C", device="cpu", writable=False),
        ],
    ) -> bool:
        """Writes down what kills this process; `inputs` is its read-only memory."""
