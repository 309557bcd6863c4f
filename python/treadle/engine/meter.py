"""The loop's stop-watch: where a step's time goes, and how long requests wait for tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from treadle.engine.pace import Pace
from treadle.engine.stats import Stats

if TYPE_CHECKING:
    from treadle.engine.loop import InFlight
    from treadle.engine.request import Sequence

_OVER = 1e-4  # seconds of waiting below which a step was already over


class Meter:
    """Writes the times of a loop into its stats and teaches its pace. Times are monotonic."""

    def __init__(self, stats: Stats, pace: Pace) -> None:
        self._stats = stats
        self._pace = pace
        self._collected = 0.0  # when the last step's tokens were there
        self._tokens_before = 0.0  # when the last step that gave tokens gave them

    def phase(self, name: str, start: float) -> None:
        """A part of a step that began at `start` ends now."""
        self._stats.step_seconds[name].observe(time.monotonic() - start)

    def waited(self, done: InFlight, start: float, now: float) -> None:
        """The host waited for a step from `start` to `now`.

        A step that was over when the host came for it may have waited for its masks: their time
        counts as exposed, which is an upper bound.
        """
        self._stats.step_seconds["wait"].observe(now - start)
        if now - start < _OVER:
            self._stats.mask_exposed_seconds += done.masked
        tokens = sum(part.count for part in done.plan)
        kv_tokens = sum(part.start + part.count for part in done.plan)
        self._pace.observe(tokens, kv_tokens, now - max(done.launched, self._collected))
        self._collected = now

    def tokens(self, moved: list[Sequence], given: int, now: float) -> None:
        """These sequences got `given` tokens together; latencies count once a request."""
        stats, usual, same = self._stats, self._tokens_before, 0
        for seq in moved:
            request = seq.request
            last, request.last_token = request.last_token, now
            if last == usual:
                same += 1  # most requests got their last token in the step before
            elif last is None:
                stats.time_to_first_token.observe(now - request.arrived)
            elif last != now:
                stats.inter_token_latency.observe(now - last)
        if same:
            stats.inter_token_latency.observe(now - usual, same)
        stats.generation_tokens += given
        self._tokens_before = now
