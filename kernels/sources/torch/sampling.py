"""One draw a row from filtered probabilities, all rows at once

Tokens are sorted once; a race of exponentials picks one of what the filters leave, so nothing has
to sum to one.
"""

import torch


def _draw(probs, top_k, top_p):
    values, order = torch.sort(probs, dim=-1, descending=True, stable=True)
    V = values.shape[1]
    if top_k is not None:
        k = torch.where((top_k > 0) & (top_k < V), top_k, V)
        values = values.masked_fill(torch.arange(V, device=probs.device) >= k[:, None], 0.0)
    if top_p is not None:
        before = values.cumsum(-1) - values
        p = top_p[:, None]
        if top_k is not None:  # the filter that follows sees the rest as a whole
            cut = (top_k > 0) & (top_k < V)
            p = p * torch.where(cut[:, None], values.sum(-1, keepdim=True), 1.0)
        dropped = (before > p) | ((p <= 0) & (torch.arange(V, device=probs.device) > 0))
        values = values.masked_fill(dropped & (top_p < 1)[:, None], 0.0)
    race = torch.empty_like(values).exponential_().clamp_(min=1e-30)
    place = torch.argmax(values / race, -1, keepdim=True)
    return order.gather(-1, place)[:, 0]


def run_top_k(probs, top_k):
    return _draw(probs, top_k, None)


def run_top_p(probs, top_p):
    return _draw(probs, None, top_p)


def run_top_k_top_p(probs, top_k, top_p):
    return _draw(probs, top_k, top_p)
