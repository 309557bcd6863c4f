"""Whether two answers to one call agree, as far as their types can tell.

Both are rounded to the output type, so neither is the truth. A row's error in the L2 norm may be
four units of the type's precision, an element's eight of its row's scale; float32 sums that were
merely reordered differ by more than that of float32, hence the floor. NaN and infinity must be at
the same places; integers and truth values must be equal.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ROW, ELEMENT = 4.0, 8.0
FLOOR_ROW, FLOOR_ELEMENT = 1e-5, 1e-4


def outputs(value: Any) -> tuple[Any, ...]:
    """One output or several as a tuple."""
    if isinstance(value, tuple | list):
        return tuple(value)  # pyright: ignore[reportUnknownVariableType]
    return (value,)


def difference(given: Any, wanted: Any) -> str:
    """Why an answer is not the wanted one; empty if it is. Either is a tensor, or several."""
    return first_difference(outputs(given), outputs(wanted))


def first_difference(given: Sequence[Any], wanted: Sequence[Any]) -> str:
    """As `difference`, over outputs in order."""
    if len(given) != len(wanted):
        return f"{len(given)} outputs instead of {len(wanted)}"
    for i, (got, want) in enumerate(zip(given, wanted, strict=True)):
        if want is None:  # a fallback may leave out what its caller does not read
            continue
        found = _tensor(got, want)
        if found:
            return f"output {i}: {found}"
    return ""


def _tensor(got: Any, want: Any) -> str:
    import torch

    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return f"shape {tuple(getattr(got, 'shape', ()))} instead of {tuple(want.shape)}"
    if got.dtype != want.dtype:
        return f"dtype {got.dtype} instead of {want.dtype}"
    if got.device != want.device:
        return f"on {got.device} instead of {want.device}"
    if torch.equal(got, want):  # the usual answer of a kernel that only runs faster
        return ""
    if not want.dtype.is_floating_point:
        return "integers differ"
    wide = torch.float64 if want.dtype == torch.float64 else torch.float32
    a, b = got.detach().to(wide), want.detach().to(wide)
    finite = torch.isfinite(b)
    special = ~finite
    same = torch.where(special, (a == b) | (torch.isnan(a) & torch.isnan(b)), torch.isfinite(a))
    if not bool(same.all()):
        return "NaN or infinity at other places"
    zero = torch.zeros((), dtype=wide, device=b.device)
    a, b = torch.where(finite, a, zero), torch.where(finite, b, zero)
    if b.dim() == 0:
        a, b = a[None], b[None]
    eps = torch.finfo(want.dtype).eps
    error = (a - b).abs()
    norm = torch.linalg.vector_norm(b, dim=-1, keepdim=True)
    row = float((torch.linalg.vector_norm(error, dim=-1, keepdim=True) - _row(eps) * norm).max())
    if row > torch.finfo(wide).tiny:
        return f"a row is off by more than {_row(eps):.1e} of its length"
    scale = torch.maximum(b.abs(), norm / b.shape[-1] ** 0.5)
    limit = max(ELEMENT * eps, FLOOR_ELEMENT)
    if bool((error > limit * scale + torch.finfo(wide).tiny).any()):
        return f"an element is off by more than {limit:.1e} of its row's scale"
    return ""


def _row(eps: float) -> float:
    return max(ROW * eps, FLOOR_ROW)
