"""C = A Bᵀ with B in w4g32, unpacked before the product

A row is K/2 bytes of codes, then K/32 float16 scales. Of 128 columns lane t of 4 holds columns
8t … 8t + 7 of each group of 32, column 2j in nibble j, 2j + 1 in nibble j + 4.
"""

import torch
from torch.nn import functional


def unpacked(b, K, dtype):
    raw = b.view(torch.uint8)
    codes = raw[:, : K // 2].reshape(-1, K // 128, 4, 4, 4)  # [N, block, lane, group, byte]
    nibbles = torch.stack((codes & 15, codes >> 4), -1).flatten(-2)  # nibble 0 … 7
    columns = nibbles.unflatten(-1, (2, 4)).transpose(-1, -2)  # [N, block, lane, group, j, half]
    columns = columns.flatten(-2).transpose(2, 3).reshape(-1, K // 32, 32)
    scales = raw[:, K // 2 :].contiguous().view(torch.float16)
    return ((columns.float() - 8.0) * scales.float()[..., None]).flatten(1).to(dtype)


def run(a, b):
    return functional.linear(a, unpacked(b, a.shape[1], a.dtype))
