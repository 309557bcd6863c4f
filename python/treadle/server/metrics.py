"""GET /metrics: the engine's counters in Prometheus' text format.

Names end in what routers and dashboards of other servers already know, so another prefix is a
pure rename. No label takes a value from a request.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from treadle.engine.stats import Histogram, Stats
from treadle.server.context import ServerContext

PREFIX = "treadle:"


async def metrics(request: Request, context: ServerContext) -> Response:
    """The text exposition of all metrics."""
    registry = CollectorRegistry()
    registry.register(_Engine(context.engine.stats))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Engine(Collector):
    """Reads the engine's statistics at the moment of the scrape."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        yield from self._histograms()

    def _gauges(self) -> Iterator[Metric]:
        stats = self._stats
        for name, text, value in (
            ("num_requests_running", "Sequences that hold pages.", stats.running),
            ("num_requests_waiting", "Sequences that wait for pages.", stats.waiting),
            ("kv_cache_usage_perc", "Share of KV pages in use, 0 to 1.", stats.kv_usage),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, value=value)
        info = GaugeMetricFamily(
            PREFIX + "cache_config_info",
            "Tokens a KV page, and pages.",
            labels=["block_size", "num_gpu_blocks"],
        )
        info.add_metric([str(stats.page_size), str(stats.pages)], 1)
        yield info

    def _counters(self) -> Iterator[Metric]:
        stats = self._stats
        for name, text, value in (
            ("prompt_tokens", "Prompt tokens taken in.", stats.prompt_tokens),
            ("generation_tokens", "Tokens generated.", stats.generation_tokens),
            ("prefix_cache_queries", "Prompt tokens looked up.", stats.prefix_queries),
            ("prefix_cache_hits", "Prompt tokens found in the cache.", stats.prefix_hits),
            ("num_preemptions", "Sequences that lost their pages.", stats.preemptions),
            ("mask_exposed_seconds", "Time spent waiting for masks.", stats.mask_exposed_seconds),
        ):
            yield CounterMetricFamily(PREFIX + name, text, value=value)
        finished = CounterMetricFamily(
            PREFIX + "request_success", "Choices that ended.", labels=["finished_reason"]
        )
        for reason, count in sorted(stats.finished.items()):
            finished.add_metric([reason], count)
        yield finished
        rejected = CounterMetricFamily(
            PREFIX + "requests_rejected", "Requests refused or failed.", labels=["code"]
        )
        for code, count in sorted(stats.rejected.items()):
            rejected.add_metric([code], count)
        yield rejected

    def _histograms(self) -> Iterator[Metric]:
        stats = self._stats
        for name, text, value in (
            ("time_to_first_token_seconds", "Submit to first token.", stats.time_to_first_token),
            ("inter_token_latency_seconds", "Between tokens.", stats.inter_token_latency),
            ("e2e_request_latency_seconds", "Submit to last token.", stats.request_latency),
            ("request_queue_time_seconds", "Submit to admission.", stats.queue_time),
            ("grammar_compile_seconds", "Compiling a constraint.", stats.grammar_compile),
            ("mask_fill_seconds", "Filling the masks of a step.", stats.mask_fill),
            ("iteration_tokens_total", "Tokens of a step.", stats.iteration_tokens),
        ):
            yield _family(PREFIX + name, text, value)
        steps = HistogramMetricFamily(
            PREFIX + "step_seconds", "Phases of a step.", labels=["phase"]
        )
        for phase, value in stats.step_seconds.items():
            steps.add_metric([phase], value.cumulative(), value.sum)
        yield steps


def _family(name: str, text: str, value: Histogram) -> Metric:
    family = HistogramMetricFamily(name, text)
    family.add_metric([], value.cumulative(), value.sum)
    return family
