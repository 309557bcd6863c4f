"""treadle: LLM inference from the browser tab to the GPU, with outputs that always parse.

Names load on first use, so that `import treadle` costs nothing worth measuring.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would triple our cost
if TYPE_CHECKING:
    from treadle.engine import LLM, AsyncEngine, Output
    from treadle.errors import (
        Cancelled,
        ContextOverflow,
        EngineDead,
        GrammarError,
        GraphError,
        InvalidRequest,
        KernelError,
        LimitExceeded,
        ModelFormatError,
        NotFound,
        NotReady,
        Overloaded,
        Timeout,
        TreadleError,
        Unauthorized,
        Unsupported,
    )
    from treadle.grammar import Grammar
    from treadle.limits import GrammarLimits, Limits
    from treadle.types import Constraint, Delta, Generate, Message, Sampling, Tool
    from treadle.version import __version__

_NAMES = {
    "treadle.engine": ("LLM", "AsyncEngine", "Output"),
    "treadle.errors": (
        "Cancelled",
        "ContextOverflow",
        "EngineDead",
        "GrammarError",
        "GraphError",
        "InvalidRequest",
        "KernelError",
        "LimitExceeded",
        "ModelFormatError",
        "NotFound",
        "NotReady",
        "Overloaded",
        "Timeout",
        "TreadleError",
        "Unauthorized",
        "Unsupported",
    ),
    "treadle.grammar": ("Grammar",),
    "treadle.limits": ("GrammarLimits", "Limits"),
    "treadle.types": ("Constraint", "Delta", "Generate", "Message", "Sampling", "Tool"),
    "treadle.version": ("__version__",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "LLM",
    "AsyncEngine",
    "Cancelled",
    "Constraint",
    "ContextOverflow",
    "Delta",
    "EngineDead",
    "Generate",
    "Grammar",
    "GrammarError",
    "GrammarLimits",
    "GraphError",
    "InvalidRequest",
    "KernelError",
    "LimitExceeded",
    "Limits",
    "Message",
    "ModelFormatError",
    "NotFound",
    "NotReady",
    "Output",
    "Overloaded",
    "Sampling",
    "Timeout",
    "Tool",
    "TreadleError",
    "Unauthorized",
    "Unsupported",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
