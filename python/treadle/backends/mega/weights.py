"""Params as the CPU runtime takes them: matrices packed into strips, the rest as float32."""

from __future__ import annotations

import threading
from array import array
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from treadle import _core
from treadle.backends.params import tensor_as
from treadle.kept import give_back_pages
from treadle.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from treadle.backends.mega.plans import Bucket
    from treadle.types import Outline, Weights

_STRIP = 16  # rows, as treadle.mega.records says, which takes long to import
_AT_ONCE = 1 << 20  # bytes packed before their pages are given back


def bound(outline: Outline, weights: Weights, plans: Sequence[Bucket], threads: int) -> list[Any]:
    """Params in the plans' order: (kind, rows, columns, packed[, experts]), float32 [n], or None
    for one that no plan reads. Packs on so many threads.

    Raises ModelFormatError for a tensor that is missing or has another shape.
    """
    matrices = {number for plan in plans for number in plan.matrices}
    values = {number for plan in plans for number in plan.vectors}
    names = [*outline.params]
    sizes = {number: _size(outline, weights, names[number]) for number in sorted(matrices)}
    starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    memory = _core.cpu_buffer(sum(sizes.values()))  # one, because large pages are

    def one(number: int) -> Any:
        if number not in matrices | values:
            return None
        tensor = _tensor(outline, weights, names[number])  # which may be a copy: one at a time
        if number in matrices:
            start = starts[number]
            return packed(tensor, memory[start : start + sizes[number]])
        vector = _floats(tensor)
        give_back_pages(tensor.raw)
        return vector

    return _side_by_side(one, len(outline.params), threads)


def _side_by_side(make: Callable[[int], Any], count: int, threads: int) -> list[Any]:
    """make(0) … make(count - 1), on so many threads of which the caller's is one."""
    out: list[Any] = [None] * count
    work = iter(range(count))  # next() on it is atomic
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for number in work:
                out[number] = make(number)
        except BaseException as error:  # whatever it is, the caller raises it
            errors.append(error)
            for _ in work:  # nobody begins another
                pass

    others = [threading.Thread(target=run, daemon=True) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return out


def _tensor(outline: Outline, weights: Weights, name: str) -> Tensor:
    """Raises ModelFormatError if it is missing or has another shape."""
    return tensor_as(outline.params[name][1], weights, name, outline.name)


def _size(outline: Outline, weights: Weights, name: str) -> int:
    """Bytes of a param when packed; looks at its data only where nothing else knows its format."""
    formats: Mapping[str, str] = getattr(weights, "formats", {})
    if name not in formats:
        return packed_bytes(_tensor(outline, weights, name))
    return _packed_bytes(formats[name], outline.params[name][1])


def packed_bytes(tensor: Tensor) -> int:
    """Bytes of `packed`, whole cache lines."""
    return _packed_bytes(tensor.format, tensor.shape)


def _packed_bytes(format: str, shape: tuple[int, ...]) -> int:
    *experts, rows, columns = shape
    kind = format if has_kernel(format) else "f32"
    return _core.cpu_packed_bytes(kind, rows, columns) * (experts[0] if experts else 1)


def packed(tensor: Tensor, out: memoryview) -> tuple[Any, ...]:
    """A matrix [rows, columns], or one an expert [experts, rows, columns], in strips of 16 rows.

    What no kernel multiplies with as it is, is widened to float32. A mapped file's pages are given
    back as they are packed, so that memory never holds both forms of a model.
    """
    if not has_kernel(tensor.format):
        from treadle.models.quant import dequantise

        tensor = Tensor(tensor.name, tensor.shape, "f32", dequantise(tensor))
    *experts, rows, columns = tensor.shape
    count = experts[0] if experts else 1
    data = tensor.raw
    size, room = len(data) // count, len(out) // count  # bytes of a matrix, here and there
    each = size // rows * _STRIP  # bytes of a strip in the file
    strips = max(1, _AT_ONCE // each)
    for expert in range(count):
        source = data[expert * size : (expert + 1) * size]
        target = out[expert * room : (expert + 1) * room]
        for first in range(0, -(-rows // _STRIP), strips):
            _core.cpu_pack(tensor.format, rows, columns, source, target, first, strips)
            give_back_pages(source)
    return (tensor.format, rows, columns, out, *experts)


def _floats(tensor: Tensor) -> Any:
    """The values of a vector, float32 [n]."""
    if tensor.format == "f32":
        found = array("f")
        found.frombytes(tensor.raw)  # without a float object each
        return found
    from treadle.models.quant import dequantise

    return dequantise(tensor).reshape(-1)


@cache
def has_kernel(kind: str) -> bool:
    """Whether the runtime's products take this format as it is."""
    try:
        _core.cpu_packed_bytes(kind, 1, 256)  # a row that every format divides
    except _core.CoreError:
        return False
    return True
