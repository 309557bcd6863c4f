"""The border to Python: buffers, batches, threads, and what mirrors the core."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import vocabularies
from msgspec.structs import fields

from treadle import _core
from treadle.errors import InvalidRequest
from treadle.grammar import Batch, Compiler, Grammar, Vocab, decode_vocab, mask_rows
from treadle.limits import GrammarLimits
from treadle.types import TokenKind, TokenTable

TABLE = vocabularies.medium()
VOCAB = Vocab(TABLE)
WORDS = (VOCAB.size + 31) // 32
COMPILED = Compiler(VOCAB).compile(Grammar.json())


def test_limits_mirror_the_core() -> None:
    core = _core.Limits()
    names = {name for name in dir(core) if not name.startswith("_")}
    assert names == {field.name for field in fields(GrammarLimits)}
    for field in fields(GrammarLimits):
        assert getattr(core, field.name) == getattr(GrammarLimits(), field.name)


def test_any_int32_buffer_takes_rows() -> None:
    matcher = COMPILED.matcher()
    rows = mask_rows(2, VOCAB.size)
    assert rows.shape == (2, WORDS)
    assert matcher.fill(rows, 1)
    expected = rows.array()
    assert not expected[0].any()
    assert expected[1].any()
    plain = np.full((3, WORDS + 2), -1, dtype=np.int32)
    padded = plain[:, : WORDS + 1]
    matcher.fill(padded, 2)
    assert (padded[2, :WORDS] == expected[1]).all()
    assert padded[2, WORDS] == 0
    assert (plain[:2] == -1).all()
    assert (plain[:, -1] == -1).all()


def test_torch_rows() -> None:
    torch = pytest.importorskip("torch")
    rows = torch.zeros((1, WORDS), dtype=torch.int32)
    twin = mask_rows(1, VOCAB.size)
    COMPILED.matcher().fill(rows, 0)
    COMPILED.matcher().fill(twin, 0)
    assert (rows.numpy() == twin.array()).all()


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (np.zeros((1, WORDS), dtype=np.int64), TypeError),
        (np.zeros((1, WORDS), dtype=np.float32), TypeError),
        (np.zeros(WORDS, dtype=np.int32), TypeError),
        (np.zeros((WORDS, 2), dtype=np.int32).T, TypeError),
        (np.zeros((1, WORDS - 1), dtype=np.int32), InvalidRequest),
        (b"x" * WORDS * 4, TypeError),
        (None, TypeError),
    ],
)
def test_unfit_rows_are_refused(rows: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        COMPILED.matcher().fill(rows, 0)


def test_read_only_rows_and_bad_indices_are_refused() -> None:
    matcher = COMPILED.matcher()
    frozen = np.zeros((1, WORDS), dtype=np.int32)
    frozen.setflags(write=False)
    with pytest.raises(TypeError):
        matcher.fill(frozen, 0)
    for index in (-1, 1):
        with pytest.raises(IndexError):
            matcher.fill(mask_rows(1, VOCAB.size), index)
    with pytest.raises(IndexError):
        Batch().fill([matcher], mask_rows(1, VOCAB.size), [3])
    with pytest.raises(ValueError, match="one row index"):
        Batch().fill([matcher], mask_rows(1, VOCAB.size), [0, 0])


def test_batch_rows_and_failures() -> None:
    starved = Compiler(VOCAB, GrammarLimits(step_fuel=300)).compile(Grammar.json()).matcher()
    matchers = [COMPILED.matcher(), starved, COMPILED.matcher()]
    matchers[2].accept_bytes(b"[1")
    rows = mask_rows(5, VOCAB.size)
    assert Batch().fill(matchers, rows, [4, 0, 2]) == [1]
    single = mask_rows(1, VOCAB.size)
    for matcher, row in ((matchers[0], 4), (matchers[2], 2)):
        matcher.fill(single, 0)
        assert (rows.array()[row] == single.array()[0]).all()
    assert not rows.array()[[0, 1, 3]].any()
    assert starved.error is not None
    ids = [TABLE.data.index(b"["), 0, TABLE.data.index(b"]")]
    assert Batch().accept(matchers, ids) == [True, False, True]


def test_threads_fill_the_same_masks() -> None:
    """Two threads, shared and separate matchers of one grammar, against a lone run."""
    texts = [b"", b"[", b'["', b'{"a": 1', b'{"a": "b\\', b"-0.", b"[[[", b'"\\ud83d']
    fresh = Compiler(VOCAB).compile(Grammar.json())
    expected = {}
    for text in texts:
        matcher = COMPILED.matcher()
        assert matcher.accept_bytes(text)
        rows = mask_rows(1, VOCAB.size)
        matcher.fill(rows, 0)
        expected[text] = bytes(memoryview(rows))
    wrong: list[bytes] = []

    def work() -> None:
        matchers = [fresh.matcher() for _ in texts]
        for matcher, text in zip(matchers, texts, strict=True):
            matcher.accept_bytes(text)
        for _ in range(20):
            rows = mask_rows(len(texts), VOCAB.size)
            Batch().fill(matchers, rows)
            for i, text in enumerate(texts):
                if rows.array()[i].tobytes() != expected[text]:
                    wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_vocab_checks_its_table() -> None:
    with pytest.raises(InvalidRequest):
        Vocab(TokenTable((), (), ()))
    with pytest.raises(InvalidRequest, match="kinds"):
        Vocab(TokenTable((b"a",), (), ()))
    narrow = Vocab(TokenTable((b"a", b"b"), (TokenKind.NORMAL,) * 2, (1,)), size=1)
    assert narrow.size == 1
    assert narrow.stop_ids == []
    same = Vocab(TABLE)
    assert same.hash == VOCAB.hash
    assert len(same.hash) == 32
    assert same.hash != Vocab(TABLE, size=VOCAB.size + 1).hash


def test_decode_vocab() -> None:
    assert decode_vocab(["Ġhi", "Ċ", "Ã©", "日", "<0x0A>"], "byte_level") == [
        (b" hi", False),
        (b"\n", False),
        ("é".encode(), False),
        ("日".encode(), False),
        (b"<0x0A>", False),
    ]
    assert decode_vocab(["▁a▁", "<0x0A>", "<0xZZ>", "<0xE2>"], "byte_fallback") == [
        (b" a ", False),
        (b"\n", True),
        (b"<0xZZ>", False),
        (b"\xe2", True),
    ]
    assert decode_vocab([b"\xff", "é"], "raw") == [(b"\xff", False), ("é".encode(), False)]
    with pytest.raises(InvalidRequest, match="byte_level"):
        decode_vocab(["a"], "bpe")


def test_byte_level_alphabet_is_that_of_tokenizers() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    decoder = tokenizers.decoders.ByteLevel()
    for char in tokenizers.pre_tokenizers.ByteLevel.alphabet():
        piece = char * 2
        ((data, _),) = decode_vocab([piece], "byte_level")
        assert data.decode(errors="replace") == decoder.decode([piece])
