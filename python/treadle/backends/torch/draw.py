"""The sampler on a device: all rows at once, no value read back before the token is drawn.

The same order and the same noise as `treadle.backends.sampler`, which is its oracle.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from treadle.backends.philox import all_words, gumbel
from treadle.backends.sampler import DRAWN, NO_LEGAL_TOKEN, NOT_FINITE
from treadle.types import Sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.types import Mask, SampleBatch


class DeviceDrawn:
    """Tokens under way to the host. `ids` int64 [R] stays on the device for the next step."""

    __slots__ = ("_event", "_parts", "ids")

    def __init__(self, ids: Any, parts: tuple[Any, ...]) -> None:
        self.ids = ids
        self._event = None
        if ids.is_cuda:
            self._parts = tuple(_to_pinned(part) for part in parts)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(ids.device))
        else:
            self._parts = parts

    def collect(self) -> Sampled:
        """The tokens, once the device has written them."""
        if self._event is not None:
            self._event.synchronize()
        return Sampled(*(part.numpy() for part in self._parts))


def _to_pinned(part: Any) -> Any:
    host = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return host.copy_(part, non_blocking=True)


def draw(logits: Any, mask: Mask | None, params: SampleBatch) -> DeviceDrawn:
    """One token for each row of float32 logits [R, V], which are not changed."""
    device = logits.device
    R, V = logits.shape
    finite = torch.isfinite(logits).all(-1)  # [R]
    z = torch.where(finite[:, None], logits, 0.0)
    legal = None
    if mask is not None:
        legal = torch.ones((R, V), dtype=torch.bool, device=device)
        legal[_put(mask.rows, device)] = _expand(mask.bits, V, device)
        z = z.masked_fill(~legal, -torch.inf)
    z = _adjust(z, params, device)
    greedy = z.argmax(-1)
    ids = greedy
    hot = params.temperature > 0
    if hot.any():
        ids = torch.where(_put(hot, device), _gumbel_max(z, params, device), greedy)
    status = torch.where(finite, DRAWN, NOT_FINITE)
    if legal is not None:
        status = torch.where(finite & ~legal.any(-1), NO_LEGAL_TOKEN, status)
    ids = torch.where(status == DRAWN, ids, -1)
    found = _log_probabilities(logits, ids, status, params.logprobs)
    return DeviceDrawn(ids, (ids.to(torch.int32), status.to(torch.uint8), *found))


def _put(array: NDArray[Any], device: Any, dtype: Any = None) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype, non_blocking=True)


def _expand(bits: NDArray[np.int32], vocab: int, device: Any) -> Any:
    """Packed [N, W] → bool [N, V]; tokens beyond the mask's width are illegal."""
    shifts = torch.arange(32, dtype=torch.int32, device=device)
    flags = ((_put(bits, device)[:, :, None] >> shifts) & 1).reshape(len(bits), -1).bool()
    if flags.shape[1] < vocab:
        flags = torch.nn.functional.pad(flags, (0, vocab - flags.shape[1]))
    return flags[:, :vocab]


def _adjust(z: Any, params: SampleBatch, device: Any) -> Any:
    rows = np.arange(len(params.temperature))
    if len(params.bias_ids):
        at = _put(np.repeat(rows, np.diff(params.bias_ptr)), device), _put(params.bias_ids, device)
        z = z.index_put((at[0], at[1].long()), _put(params.bias_values, device), accumulate=True)
    if len(params.pen_ids):
        row = np.repeat(rows, np.diff(params.pen_ptr))
        at = _put(row, device), _put(params.pen_ids, device).long()
        factor = _put(params.repetition[row], device)
        count = params.pen_out.astype(np.float32)
        less = params.frequency[row] * count
        less2 = params.presence[row] * (count > 0)
        old = z[at]
        old = torch.where(old > 0, old / factor, old * factor)
        z = z.index_put(at, old - _put(less, device) - _put(less2.astype(np.float32), device))
    return z


def _gumbel_max(z: Any, params: SampleBatch, device: Any) -> Any:
    temperature = _put(np.where(params.temperature > 0, params.temperature, 1.0), device, z.dtype)
    z = (z - z.amax(-1, keepdim=True)) / temperature[:, None]  # <= 0; a masked row gives nan
    k, p, m = params.top_k, params.top_p, params.min_p
    V = z.shape[-1]
    if ((k > 0) & (k < V)).any() or (p < 1.0).any():
        z = _truncate(z, params, device)
    if (m > 0.0).any():
        floor = np.log(np.maximum(m, 1e-30)).astype(np.float32)
        floor[m <= 0.0] = -np.inf
        z = z.masked_fill(z < _put(floor, device)[:, None], -torch.inf)
    keys = _put(params.key.view(np.int64), device)[:, None]
    steps = _put(params.step.astype(np.int64), device)[:, None]
    return (z + gumbel(torch, all_words(torch, V, keys, steps))).argmax(-1)


def _truncate(z: Any, params: SampleBatch, device: Any) -> Any:
    """z with everything outside top_k, then top_p, at -inf. Sorted stably: lower ids come first."""
    V = z.shape[-1]
    ordered, order = torch.sort(z, dim=-1, descending=True, stable=True)
    k = np.where((params.top_k > 0) & (params.top_k < V), params.top_k, V).astype(np.int64)
    kth = ordered.gather(-1, _put(k - 1, device)[:, None])
    weights = torch.exp(ordered).masked_fill(ordered < kth, 0.0).double()
    mass = weights.cumsum(-1)
    target = _put(params.top_p.astype(np.float64), device)[:, None] * mass[:, -1:]
    whole = _put(params.top_p >= 1.0, device)[:, None]
    keep = (weights > 0) & (whole | (mass - weights < target))
    keep[:, 0] = True
    kept = torch.zeros_like(keep).scatter(-1, order, keep)
    return z.masked_fill(~kept, -torch.inf)


def _log_probabilities(
    logits: Any, ids: Any, status: Any, wanted: NDArray[np.int32]
) -> tuple[Any, Any, Any]:
    R, V = logits.shape
    count = max(0, int(wanted.max())) if R else 0
    nan = torch.full((R,), torch.nan, device=logits.device)
    top_ids = torch.full((R, count), -1, dtype=torch.int32, device=logits.device)
    top = torch.full((R, count), torch.nan, device=logits.device)
    if not R or not (wanted >= 0).any():
        return nan, top_ids, top
    asked = _put(wanted.astype(np.int64), logits.device)
    drawn = status == DRAWN
    total = torch.logsumexp(logits.double(), -1)  # [R]
    own = logits.gather(-1, ids.clamp(min=0)[:, None])[:, 0].double() - total
    own = torch.where(drawn & (asked >= 0), own.float(), nan)
    inside = min(count, V)
    if inside:
        values, order = torch.sort(logits, dim=-1, descending=True, stable=True)
        shown = (torch.arange(inside, device=logits.device) < asked[:, None]) & drawn[:, None]
        values = (values[:, :inside].double() - total[:, None]).float()
        top[:, :inside] = torch.where(shown, values, torch.nan)
        top_ids[:, :inside] = torch.where(shown, order[:, :inside], -1).to(torch.int32)
    return own, top_ids, top
