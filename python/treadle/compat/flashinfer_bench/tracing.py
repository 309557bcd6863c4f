"""`flashinfer_bench.tracing` over treadle's capture.

Workloads are kept by cells of sizes, each with its count; what flashinfer-bench's policies would
keep beyond or below that is refused rather than done differently.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.compat.flashinfer_bench.configs import Registry
from treadle.compat.flashinfer_bench.env import get_fib_dataset_path, get_fib_enable_tracing
from treadle.errors import InvalidRequest, Unsupported
from treadle.kernels.capture import Limits, Recorder
from treadle.kernels.store import Dataset

__all__ = [
    "TracingConfig",
    "TracingConfigRegistry",
    "TracingRuntime",
    "disable_tracing",
    "enable_tracing",
    "get_attention_only_configs",
    "get_default_configs",
    "get_full_configs",
]

_DUMPS = {"dump_int": False, "dump_all": True}
_FILTERS = ("attention", "keep_first_k_by_axes")


@dataclass(frozen=True)
class TracingConfig:
    """input_dump_policy: "dump_int" keeps index arrays and describes floats, "dump_all" keeps all.
    filter_policy: "attention", or "keep_first_k_by_axes" with k of each cell of sizes."""

    input_dump_policy: str = "dump_int"
    input_dump_policy_kwargs: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)
    filter_policy: str = "attention"
    filter_policy_kwargs: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        if self.input_dump_policy not in _DUMPS:
            raise Unsupported(
                repr(self.input_dump_policy), at="input_dump_policy", hint=f"one of {[*_DUMPS]}"
            )
        if self.filter_policy not in _FILTERS:
            raise Unsupported(
                repr(self.filter_policy), at="filter_policy", hint=f"one of {[*_FILTERS]}"
            )
        if self.input_dump_policy_kwargs or set(self.filter_policy_kwargs) - {"k"}:
            raise Unsupported("policy arguments", at="TracingConfig", hint="only k is known")

    def limits(self) -> Limits:
        """The same as capture has it."""
        keep = int(self.filter_policy_kwargs.get("k", 4))
        return Limits(keep=keep, values=_DUMPS[self.input_dump_policy])


class TracingConfigRegistry(Registry[TracingConfig]):
    """Settings by definition."""


class TracingRuntime:
    """A recorder a setting. Rows are written by `flush`, `stop`, or on leaving the context."""

    _stack: list[TracingRuntime] = []  # noqa: RUF012 - the process-wide stack that the name promises
    _from_env = False

    def __init__(
        self, dataset_path: str | Path | None, tracing_config: TracingConfigRegistry
    ) -> None:
        self._store = Dataset(dataset_path or get_fib_dataset_path())
        self._configs = tracing_config
        self._recorders: dict[TracingConfig, Recorder] = {}
        self._taps: dict[str, Any] = {}

    @classmethod
    def get_instance(cls) -> TracingRuntime | None:
        """The innermost runtime that runs; FIB_ENABLE_TRACING=1 starts one on the first call."""
        if not cls._stack and not cls._from_env:
            cls._from_env = True
            if get_fib_enable_tracing():
                cls(None, get_default_configs()).start()
        return cls._stack[-1] if cls._stack else None

    def collect(self, def_name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Records one call of a definition; one that is not there or not asked for is left out."""
        config = self._configs.get(def_name)
        definition = self._store.definitions().get(def_name)
        if config is None or definition is None:
            return
        tap = self._taps.get(def_name)
        if tap is None:
            tap = self._taps[def_name] = self._recorder(config).resolve(def_name, _nothing)
        order = list(definition.inputs)
        rest = [kwargs[name] for name in order[len(args) :] if name in kwargs]
        tap(*(*args, *rest)[: len(order)])

    def flush(self) -> None:
        """Writes what was recorded; recording goes on."""
        recorders, self._recorders, self._taps = self._recorders, {}, {}
        for recorder in recorders.values():
            recorder.close()

    def start(self) -> None:
        """Makes this the runtime in use."""
        if not TracingRuntime._stack or TracingRuntime._stack[-1] is not self:
            TracingRuntime._stack.append(self)

    def stop(self) -> None:
        """Writes, and gives way to the runtime before. Raises InvalidRequest out of turn."""
        if not TracingRuntime._stack or TracingRuntime._stack[-1] is not self:
            raise InvalidRequest("another runtime was started later", hint="stop that one first")
        TracingRuntime._stack.pop()
        self.flush()

    def __enter__(self) -> TracingRuntime:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _recorder(self, config: TracingConfig) -> Recorder:
        found = self._recorders.get(config)
        if found is None:
            now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")
            source = f"tracing-{now}-{len(self._recorders)}"
            found = Recorder(self._store, source, limits=config.limits())
            self._recorders[config] = found
        return found


def get_default_configs() -> TracingConfigRegistry:
    """Every definition, index arrays kept."""
    return TracingConfigRegistry(TracingConfig())


def get_full_configs() -> TracingConfigRegistry:
    """Every definition, all inputs kept."""
    return TracingConfigRegistry(TracingConfig(input_dump_policy="dump_all"))


def get_attention_only_configs() -> TracingConfigRegistry:
    """No default: attention definitions are registered by name."""
    return TracingConfigRegistry(None)


def enable_tracing(
    dataset_path: str | Path | None = None,
    tracing_config: TracingConfig | TracingConfigRegistry | None = None,
) -> TracingRuntime:
    """Starts recording into a dataset; None is FIB_DATASET_PATH."""
    if isinstance(tracing_config, TracingConfig):
        tracing_config = TracingConfigRegistry(tracing_config)
    runtime = TracingRuntime(dataset_path, tracing_config or get_default_configs())
    runtime.start()
    return runtime


def disable_tracing() -> None:
    """Stops the innermost runtime, if one runs, and writes what it recorded."""
    current = TracingRuntime.get_instance()
    if current is not None:
        current.stop()


def _nothing(*operands: Any) -> None:
    del operands
