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
        # Upper half of the Gram matrix, row after row, and the right side.
        self._gram = [_RIDGE, 0.0, 0.0, _RIDGE, 0.0, _RIDGE]
        self._sums = [0.0, 0.0, 0.0]

    def observe(self, tokens: int, kv_tokens: int, seconds: float) -> None:
        """Learns from one finished step."""
        x, y = tokens * 1e-2, kv_tokens * 1e-4
        kept = [value * _FADE for value in self._gram]
        self._gram = [
            kept[0] + 1.0, kept[1] + x, kept[2] + y, kept[3] + x * x, kept[4] + x * y,
            kept[5] + y * y,
        ]  # fmt: skip
        a, b, c = self._sums
        self._sums = [a * _FADE + seconds, b * _FADE + x * seconds, c * _FADE + y * seconds]
        self._steps += 1

    def room(self, decode_rows: int, kv_tokens: int, most: int) -> int:
        """Prefill tokens that fit beside the decode rows, at most `most`; `most` while unknown.

        Without decode rows nobody waits for the step, so the whole budget is used. Where decode
        alone is longer than half the target, prefill may double the step: many tiny chunks
        would cost everyone more than a few larger ones.
        """
        if decode_rows == 0 or self._steps < 8 or most <= 0:
            return max(most, 0)
        aa, ab, ac, bb, bc, cc = self._gram
        s, t, u = self._sums
        ridged = [
            [aa + _RIDGE, ab, ac, s],
            [ab, bb + _RIDGE, bc, t],
            [ac, bc, cc + _RIDGE, u],
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
