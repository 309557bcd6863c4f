"""What is kept of an operand: moments of floats, the numbers of index arrays.

Everything here is queued on the device without waiting for it; `finish` waits, on the writer's
thread.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_OUTLIERS = 16
OUTLIER = 6.0
"""A channel is an outlier from so many times the median channel's root mean square."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Device tensors: mean, standard deviation and largest magnitude, root mean square a channel
    of the last axis [d]. event: after which they are there."""

    summary: Any
    channels: Any
    event: Any


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of an operand on its device."""

    tensor: Any
    event: Any


def moments(tensor: Any) -> Moments:
    """Queues the moments of a float tensor; nothing of its size is copied."""
    import torch

    wide = tensor.detach().float()
    if wide.dim() == 0:
        wide = wide[None]
    rows = wide.reshape(-1, wide.shape[-1])
    mean = wide.mean()
    spread = (wide - mean).square().mean().sqrt()
    summary = torch.stack((mean, spread, wide.abs().amax()))
    return Moments(summary, rows.square().mean(0).sqrt(), _event(tensor))


def copy(tensor: Any) -> Copy:
    """Queues a copy."""
    return Copy(tensor.detach().clone(), _event(tensor))


def on_host(kept: Copy) -> Any:
    """The copy on the host, once it is there."""
    _wait(kept.event)
    return kept.tensor.cpu().contiguous()


def distribution(kept: Moments, seed: int) -> dict[str, Any]:
    """What a generator needs to make something alike: normal, with its outlier channels."""
    _wait(kept.event)
    mean, spread, top = (float(v) for v in kept.summary.cpu())
    found: dict[str, Any] = {
        "kind": "normal", "mean": mean, "std": spread, "max": top, "seed": seed,
    }  # fmt: skip
    channels = kept.channels.cpu()
    median = float(channels.median())
    if median > 0:
        large = (channels > OUTLIER * median).nonzero()[:, 0].tolist()
        if large:
            order = sorted(large, key=lambda i: -float(channels[i]))[:MAX_OUTLIERS]
            found["outliers"] = {str(i): float(channels[i]) / median for i in sorted(order)}
    return found


def _event(tensor: Any) -> Any:
    if not tensor.is_cuda:
        return None
    import torch

    event = torch.cuda.Event()
    event.record()
    return event


def _wait(event: Any) -> None:
    if event is not None:
        event.synchronize()
