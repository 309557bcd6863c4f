"""What the engine hands a backend for one step, and what comes back.

Arrays are whatever has the buffer protocol, a shape and elements of the type said here: numpy's, or
`array.array` and memoryviews, for which a process need not load numpy. `np.asarray` wraps each.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

I32 = Any
F32 = Any
U64 = Any
U8 = Any


class Batch(Struct, frozen=True):
    """One ragged step: T tokens of S sequences, logits wanted for R of the tokens.

    Sequence s owns tokens starts[s]:starts[s+1]; after the step it holds lens[s] tokens in all,
    so token j of it stands at position lens[s] - (starts[s+1] - starts[s]) + j (equal to `pos`).
    `slots` is page * B + offset of each token's KV, `table` the pages of a sequence in order,
    padded with 0. An id of -1-j means "row j of the previous TokenFuture".
    """

    ids: I32  # [T]
    pos: I32  # [T]
    slots: I32  # [T]
    starts: I32  # [S+1]
    lens: I32  # [S]
    table: I32  # [S, L]
    rows: I32  # [R] token indices, ascending


class Mask(Struct, frozen=True):
    """Legal next tokens: bit t % 32 of word t // 32 is 1 where token t is legal.

    `rows[i]` is the logits row that bits[i] belongs to; logits rows not listed are unconstrained.
    Tokens beyond the mask's width are illegal.
    """

    bits: I32  # [N, ceil(V / 32)]
    rows: I32  # [N]


class SampleBatch(Struct, frozen=True):
    """Sampling parameters of the R rows of a step, already validated.

    `key` is the request's seed with the choice index folded in, `step` the index of the token
    about to be generated. Bias and penalties are CSR lists over rows: entries
    bias_ptr[r]:bias_ptr[r+1] of (bias_ids, bias_values); likewise pen_ptr over (pen_ids, pen_out,
    the count in the output so far, 0 for a token that only the prompt holds).
    """

    temperature: F32  # [R], 0 = greedy
    top_k: I32  # [R], 0 = off
    top_p: F32  # [R]
    min_p: F32  # [R]
    presence: F32  # [R]
    frequency: F32  # [R]
    repetition: F32  # [R]
    key: U64  # [R]
    step: I32  # [R]
    logprobs: I32  # [R], how many alternatives; -1 = none asked, 0 = only the drawn token's
    bias_ptr: I32  # [R+1]
    bias_ids: I32
    bias_values: F32
    pen_ptr: I32  # [R+1]
    pen_ids: I32
    pen_out: I32


class Sampled(Struct, frozen=True):
    """Tokens of one step. status: 0 = drawn, 1 = no legal token, 2 = logits not finite.

    Log-probabilities are natural, of the raw logits (before mask, bias, penalties, temperature).
    A row's alternatives beyond what it asked for hold id -1.
    """

    ids: I32  # [R]
    status: U8  # [R]
    logprobs: F32  # [R], nan where not asked
    top_ids: I32  # [R, A]
    top_logprobs: F32  # [R, A]
