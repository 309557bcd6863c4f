"""Routing: the best experts of every token; of equal scores the lower expert comes first."""

import torch

from .constants import CHOSEN, RENORM, SOFTMAX


def choose(x):
    logits = x.float()
    chosen = torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, :CHOSEN]
    scores = torch.softmax(logits, -1) if SOFTMAX else torch.sigmoid(logits)
    weights = scores.gather(-1, chosen)
    if RENORM:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, chosen.int()
