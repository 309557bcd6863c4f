"""How long a step will take, learned from the steps that ran, and so how much prefill fits in one.

    seconds = a + b · tokens + c · KV tokens read

The three numbers are a least-squares fit whose memory fades (half-life about 70 steps), so the
prediction follows the machine. It only decides how a prompt is cut, never what comes out.
"""

from __future__ import annotations

_FADE = 0.99
_RIDGE = 1e-6


class Pace:
    """Prediction of step times; `target` is the wanted length of a mixed step in seconds."""

    def __init__(self, target: float) -> None:
        self.target = target
        self._steps = 0
        self._gram = [[_RIDGE * (i == j) for j in range(3)] for i in range(3)]
        self._sums = [0.0] * 3

    def observe(self, tokens: int, kv_tokens: int, seconds: float) -> None:
        """Learns from one finished step."""
        x = (1.0, tokens * 1e-2, kv_tokens * 1e-4)
        for i, (row, left) in enumerate(zip(self._gram, x, strict=True)):
            for j, right in enumerate(x):
                row[j] = row[j] * _FADE + left * right
            self._sums[i] = self._sums[i] * _FADE + left * seconds
        self._steps += 1

    def room(self, decode_rows: int, kv_tokens: int, most: int) -> int:
        """Prefill tokens that fit beside the decode rows, at most `most`; `most` while unknown.

        Without decode rows nobody waits for the step, so the whole budget is used. Where decode
        alone is longer than half the target, prefill may double the step: many tiny chunks
        would cost everyone more than a few larger ones.
        """
        if decode_rows == 0 or self._steps < 8 or most <= 0:
            return max(most, 0)
        ridged = [
            [*(v + _RIDGE * (i == j) for j, v in enumerate(row)), wanted]
            for i, (row, wanted) in enumerate(zip(self._gram, self._sums, strict=True))
        ]
        a, b, c = (max(value, 0.0) for value in _solved(ridged))
        if b <= 0.0:
            return most
        decode = a + b * decode_rows * 1e-2 + c * kv_tokens * 1e-4
        left = max(self.target - decode, decode)
        return min(most, int(left / (b * 1e-2)))


def _solved(rows: list[list[float]]) -> list[float]:
    """x of A · x = b by elimination; rows [A | b], A symmetric and positive definite, which needs
    no pivots."""
    size = len(rows)
    for k, pivot in enumerate(rows):
        for row in rows[k + 1 :]:
            share = row[k] / pivot[k]
            for j in range(k, size + 1):
                row[j] -= share * pivot[j]
    out = [0.0] * size
    for k in reversed(range(size)):
        known = sum(rows[k][j] * out[j] for j in range(k + 1, size))
        out[k] = (rows[k][size] - known) / rows[k][k]
    return out
