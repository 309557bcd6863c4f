"""`flashinfer_bench.apply` over treadle's table.

Differences: only traces of this very device model count; sizes between measured ones take the
nearest within an octave; `on_miss_policy="use_def_best"` is refused, because it takes what was
measured for other sizes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.compat.flashinfer_bench.configs import Registry
from treadle.compat.flashinfer_bench.data import TraceSet
from treadle.compat.flashinfer_bench.env import (
    get_fib_cache_path,
    get_fib_dataset_path,
    get_fib_enable_apply,
)
from treadle.compat.flashinfer_bench.utils import hardware_from_device, is_cuda_available
from treadle.errors import InvalidRequest, NotFound, Unsupported
from treadle.kernels.apply import Build, Policy, Resolver, Table
from treadle.kernels.apply.compare import outputs
from treadle.kernels.enable import builder

__all__ = [
    "ApplyConfig",
    "ApplyConfigRegistry",
    "ApplyRuntime",
    "apply",
    "disable_apply",
    "enable_apply",
]

MISS: Any = object()


@dataclass(frozen=True)
class ApplyConfig:
    """max_atol, max_rtol: largest errors of a trace that counts. aot_ratio: above 0, the first call
    waits until its winners are built; at 0 they are built behind its back."""

    max_atol: float = 1e-2
    max_rtol: float = 1e-5
    aot_ratio: float = 1.0
    on_miss_policy: str = "fallback_only"

    def __post_init__(self) -> None:
        if not (self.max_atol > 0 and self.max_rtol > 0 and 0 <= self.aot_ratio <= 1):
            raise InvalidRequest("errors are positive, aot_ratio lies in 0 to 1", at="ApplyConfig")
        if self.on_miss_policy != "fallback_only":
            raise Unsupported(
                repr(self.on_miss_policy), at="on_miss_policy", hint="use fallback_only"
            )


class ApplyConfigRegistry(Registry[ApplyConfig]):
    """Settings by definition."""


class ApplyRuntime:
    """A table a setting, over one trace set. Nests; a context manager."""

    _stack: list[ApplyRuntime] = []  # noqa: RUF012 - the process-wide stack that the name promises
    _from_env = False

    def __init__(
        self,
        trace_set: TraceSet,
        apply_config: ApplyConfig | ApplyConfigRegistry | None = None,
        *,
        device: str | None = None,
        build: Build | None = None,
    ) -> None:
        """device: the model as traces name it; None asks torch. build: None builds from sources."""
        if isinstance(apply_config, ApplyConfigRegistry):
            self._configs = apply_config
        else:
            self._configs = ApplyConfigRegistry(apply_config or ApplyConfig())
        self._store = trace_set.dataset()
        kind = "cuda" if is_cuda_available() else "cpu"
        self._kind = device.partition(":")[0] if device and ":" in device else kind
        self._device = device or hardware_from_device(kind)
        self._build = build or builder(f"{self._kind}:{self._device}", get_fib_cache_path())
        self._tables: dict[ApplyConfig, Table] = {}
        self._handles: dict[Any, Callable[..., Any]] = {}

    @classmethod
    def get_instance(cls) -> ApplyRuntime | None:
        """The innermost runtime that runs; FIB_ENABLE_APPLY=1 starts one on the first call."""
        if not cls._stack and not cls._from_env:
            cls._from_env = True
            if get_fib_enable_apply():
                cls(TraceSet.from_path(str(get_fib_dataset_path()))).start()
        return cls._stack[-1] if cls._stack else None

    def table(self, def_name: str) -> Resolver | None:
        """The table for a definition's setting; None leaves the definition alone."""
        config = self._configs.get(def_name)
        if config is None:
            return None
        found = self._tables.get(config)
        if found is None:
            policy = Policy(
                isolation=0, gain=0.0, unproven=True, shadow=0,
                max_absolute=config.max_atol, max_relative=config.max_rtol,
            )  # fmt: skip
            found = self._tables[config] = Table.from_store(
                self._store, self._device, policy, build=self._build, kind=self._kind
            )
        return found

    def dispatch(
        self,
        def_name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fallback: Callable[..., Any] | None,
    ) -> Any:
        """One call. With as many arguments as inputs and outputs, the outputs are written and None
        comes back. Raises NotFound where nothing is found and there is no fallback, InvalidRequest
        for a number of arguments that fits neither style."""
        table = self.table(def_name)
        definition = self._store.definitions().get(def_name)
        if table is None or definition is None:
            return _fall_back(def_name, args, kwargs, fallback)
        order = [*definition.inputs, *definition.outputs]
        given = args
        if kwargs:
            rest = [name for name in order[len(args) :] if name in kwargs]
            given = (*args, *(kwargs[name] for name in rest))
        n = len(definition.inputs)
        if len(given) not in (n, len(order)):
            raise InvalidRequest(f"{len(given)} arguments", at=def_name, hint=f"{n} inputs")
        handle = self._handles.get(def_name)
        if handle is None:
            handle = self._handles[def_name] = table.resolve(def_name, _missed)
            config = self._configs.get(def_name)
            if config is not None and config.aot_ratio > 0 and isinstance(table, Table):
                table.wait()
        made = handle(*given[:n])
        if made is MISS:
            return _fall_back(def_name, args, kwargs, fallback)
        if len(given) == n:
            return made
        for place, value in zip(given[n:], outputs(made), strict=True):
            place.copy_(value)
        return None

    def start(self) -> None:
        """Makes this the runtime in use."""
        if not ApplyRuntime._stack or ApplyRuntime._stack[-1] is not self:
            ApplyRuntime._stack.append(self)

    def stop(self) -> None:
        """Gives way to the runtime before. Raises InvalidRequest out of turn."""
        if not ApplyRuntime._stack or ApplyRuntime._stack[-1] is not self:
            raise InvalidRequest("another runtime was started later", hint="stop that one first")
        ApplyRuntime._stack.pop()

    def __enter__(self) -> ApplyRuntime:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()


def apply(
    def_name_or_resolver: str | Callable[..., str],
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    fallback: Callable[..., Any] | None = None,
) -> Any:
    """With `args` or `kwargs` a call; without, a decorator whose function is the fallback."""
    if args is not None or kwargs is not None:
        return _route(def_name_or_resolver, args or (), kwargs or {}, fallback)

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return _route(def_name_or_resolver, args, kwargs, function)

        return wrapped

    return decorator


def enable_apply(
    dataset_path: str | Path | None = None,
    apply_config: ApplyConfig | ApplyConfigRegistry | None = None,
) -> ApplyRuntime:
    """Starts a runtime over a dataset; None is FIB_DATASET_PATH."""
    path = str(dataset_path) if dataset_path is not None else None
    runtime = ApplyRuntime(TraceSet.from_path(path), apply_config)
    runtime.start()
    return runtime


def disable_apply() -> None:
    """Stops the innermost runtime, if one runs."""
    current = ApplyRuntime.get_instance()
    if current is not None:
        current.stop()


def _route(
    name: str | Callable[..., str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: Callable[..., Any] | None,
) -> Any:
    from treadle.compat.flashinfer_bench.tracing import TracingRuntime

    found = name if isinstance(name, str) else name(*args, **kwargs)
    runtime = ApplyRuntime.get_instance()
    if runtime is not None:
        return runtime.dispatch(found, args, kwargs, fallback)
    tracing = TracingRuntime.get_instance()
    if tracing is not None:
        tracing.collect(found, args, kwargs)
    return _fall_back(found, args, kwargs, fallback)


def _missed(*operands: Any) -> Any:
    del operands
    return MISS


def _fall_back(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: Callable[..., Any] | None,
) -> Any:
    if fallback is None:
        raise NotFound(f"nothing for {name!r}, and no fallback", hint="pass fallback=")
    return fallback(*args, **kwargs)
