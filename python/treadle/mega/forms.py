"""How the Hopper kernel streams a matrix, by the format that the file stores it in.

The same table as `Form` in `cuda/mega/forms.cuh`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """number: of a phase's `form`. words: of 16 bits that 16 rows by 32 columns take. span: columns
    of a tile of the stream. formats: of a file, that it holds without rounding but of scales.
    group: columns that share a scale; a matrix has whole groups."""

    number: int
    words: int
    span: int
    formats: frozenset[str] = frozenset()
    group: int = 32


BF16 = Form(0, 512, 512)
FOUR = Form(1, 144, 1024, frozenset({"q4_0"}))
FOUR_LOW = Form(2, 160, 1024, frozenset({"q4_0", "q4_1", "q4_k"}))
EIGHT = Form(3, 264, 512, frozenset({"fp8"}), 128)
FORMS = (BF16, FOUR, FOUR_LOW, EIGHT)
"""By number. Every format can be rounded to bf16; a scale with a least value also says what one
without it does."""


def form_of(formats: Iterable[str], columns: int) -> Form:
    """The smallest form that holds all these formats."""
    found = set(formats)
    fitting = [form for form in FORMS if found <= form.formats and columns % form.group == 0]
    return min(fitting, key=lambda form: form.words, default=BF16)


def in_full_tiles(form: Form, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether ranges of columns (first, end) fall into tiles of the full span."""
    return all((end - first) % form.span == 0 for first, end in ranges)
