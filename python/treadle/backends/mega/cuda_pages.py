"""One content of KV pages in two layouts: the kernel streams whole heads, torch keeps tokens.

A page is copied when the other side is about to run and only if it was written since. The kernel's
layout is [layer][page][KV head][K, V][position][d], torch's [page, position, KV head, d] of keys
and of values, a layer.
"""

# torch's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class SharedPages:
    """kvs: the kernel's tensors [L, P, K / ranks, 2, B, d], one a rank, each with the next heads;
    pools: keys and values of each layer [>= P, B, K, d]."""

    def __init__(self, kvs: Sequence[Any], pools: Sequence[tuple[Any, Any]]) -> None:
        self._kvs, self._pools = kvs, pools
        self._newer: dict[str, set[int]] = {"kernel": set(), "torch": set()}

    def wrote(self, side: str, pages: NDArray[Any]) -> None:
        """Notes that a side ("kernel", "torch") writes these pages."""
        self._newer[side].update(int(page) for page in np.unique(pages))

    def enter(self, side: str) -> None:
        """Brings what the other side has written to this one. Both are at rest."""
        import torch

        other = "torch" if side == "kernel" else "kernel"
        pages, self._newer[other] = sorted(self._newer[other]), set()
        if not pages:
            return
        with torch.inference_mode():
            first = 0
            for part in self._kvs:
                heads = slice(first, first + part.shape[2])
                first = heads.stop
                at = torch.tensor(pages, device=part.device)
                for kv, (keys, values) in zip(part, self._pools, strict=True):
                    here = at.to(keys.device)
                    if side == "kernel":
                        # [n, 2, B, K, d]
                        both = torch.stack((keys[here, :, heads], values[here, :, heads]), 1)
                        kv[at] = both.permute(0, 3, 1, 2, 4).to(kv.device, kv.dtype)
                    else:
                        both = kv[at].permute(0, 2, 3, 1, 4).to(keys.device, keys.dtype)
                        keys[here, :, heads], values[here, :, heads] = both[:, 0], both[:, 1]
            for part in self._kvs:
                if part.is_cuda:
                    torch.cuda.synchronize(part.device)
