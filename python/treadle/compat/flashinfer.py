"""FlashInfer's Python API over a table of measured kernels.

    with enabled(table, flashinfer.sites(dataset.definitions().values())):
        ...                                    # SGLang, vLLM or a script, unchanged

Written for FlashInfer 0.2 to 0.6: norms, and decode attention with its plan/run split. An API is
found by the `fi_api` tag of definitions; a call is taken if a definition has its sizes, types and
constants (the epsilon of a norm is part of a definition, so another epsilon is another one), and
if it asks for nothing that the definition does not say. Everything else goes to FlashInfer.

`trace_solutions` gives values for FlashInfer's own table (`flashinfer.trace_apply.enable_apply`).
"""

# FlashInfer has no annotations here, and torch's own are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import importlib
import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from treadle.errors import NotFound
from treadle.kernels.apply import Resolver, Site
from treadle.kernels.schema import AxisConst, Definition

MISS: Any = object()
"""What a handle's fallback returns, so that the API's own code runs exactly as it would."""


def sites(definitions: Iterable[Definition], package: str = "flashinfer") -> list[Site]:
    """Call sites of every API that a definition names, at each place where it is exported.

    Raises NotFound if the package is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        raise NotFound(
            f"{package} is not installed", hint="pip install flashinfer-python"
        ) from None
    by_api: dict[str, list[Definition]] = {}
    for one in definitions:
        for tag in one.tags:
            if tag.startswith("fi_api:"):
                api = tag.removeprefix("fi_api:").removesuffix(".run")
                by_api.setdefault(api, []).append(one)
    found: list[Site] = []
    for api, known in by_api.items():
        maker = _APIS.get(api)
        if maker is None:
            continue
        owner, name = _locate(api.replace("flashinfer", package, 1))
        if owner is None:
            continue
        original = getattr(owner, name)
        if inspect.isclass(original):
            found += maker(original, known)
            continue
        for module, attribute in _exports(package, original):
            found += [Site(module, attribute, site.make) for site in maker(original, known)]
    return found


def trace_solutions(
    table: Resolver, fallbacks: Mapping[str, Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    """Definition name → a callable as `flashinfer.trace_apply.enable_apply` takes them.

    FlashInfer calls a matched solution by keyword and has no way back to its own kernel, and it
    does not say a norm's epsilon; so a fallback for each definition is the caller's to give: a
    function of the definition's inputs in order. A definition without one is left out.
    """

    def by_keyword(name: str, fallback: Callable[..., Any]) -> Callable[..., Any]:
        handle = table.resolve(name, fallback)

        def run(*operands: Any, **named: Any) -> Any:
            return handle(*operands, *named.values())  # given in the definition's order

        return run

    return {name: by_keyword(name, fallback) for name, fallback in fallbacks.items()}


class _Chooser:
    """Definition and handle for a call, by what may differ between calls of one API."""

    def __init__(
        self,
        table: Resolver,
        definitions: Iterable[Definition],
        oracle: Callable[..., Any] | None,
    ) -> None:
        self._table = table
        self._known = [d for d in definitions if table.find(d) == d.name]
        self._oracle = oracle
        self._found: dict[Any, Callable[..., Any] | None] = {}

    def __call__(
        self,
        key: Any,
        operands: Mapping[str, Any],
        attrs: Mapping[str, Any],
        host: Mapping[str, list[int]] | None = None,
    ) -> Callable[..., Any] | None:
        """The handle under `key`; looked for once, by constant sizes, types and attrs."""
        try:
            return self._found[key]
        except KeyError:
            pass
        handle = None
        for d in self._known:
            if _fits(d, operands, attrs):
                made = self._table.resolve(d.name, _missed, host=host, oracle=self._oracle)
                handle = None if made is _missed else made
                break
        self._found[key] = handle
        return handle


def _missed(*operands: Any) -> Any:
    del operands
    return MISS


def _fits(d: Definition, operands: Mapping[str, Any], attrs: Mapping[str, Any]) -> bool:
    ours = (d.treadle or {}).get("attrs", {})
    if any(ours.get(name, value) != value for name, value in attrs.items()):
        return False
    if "eps" in attrs and "eps" not in ours:
        return False  # a definition that does not say its epsilon could be any
    for name, tensor in d.inputs.items():
        value = operands.get(name)
        if tensor.shape is None:
            continue
        if value is None or str(value.dtype) != f"torch.{tensor.dtype}":
            return False
        if len(tensor.shape) != value.dim():
            return False
        for axis, size in zip(tensor.shape, value.shape, strict=True):
            declared = d.axes[axis]
            if isinstance(declared, AxisConst) and declared.value != size:
                return False
    return True


def _rmsnorm(original: Callable[..., Any], known: list[Definition]) -> list[Site]:
    """rmsnorm(input, weight, eps=1e-6, out=None, enable_pdl=None) → tensor."""

    def make(original: Callable[..., Any], table: Resolver) -> Callable[..., Any]:
        eps_of: dict[str, float] = {}

        def oracle(x: Any, w: Any) -> Any:
            return original(x, w, eps_of["eps"])

        choose = _Chooser(table, known, oracle)

        def rmsnorm(
            input: Any, weight: Any, eps: float = 1e-6, out: Any = None,
            enable_pdl: Any = None, **more: Any,
        ) -> Any:  # fmt: skip
            if not more:
                handle = choose(
                    (input.shape[-1], input.dtype, weight.dtype, eps),
                    {"hidden_states": input, "weight": weight}, {"eps": eps},
                )  # fmt: skip
                if handle is not None:
                    eps_of["eps"] = eps
                    made = handle(input, weight)
                    if made is not MISS:
                        return made if out is None else out.copy_(made)
            return original(input, weight, eps, out, enable_pdl, **more)

        return rmsnorm

    return [Site(None, original.__name__, make)]


def _fused_add_rmsnorm(original: Callable[..., Any], known: list[Definition]) -> list[Site]:
    """fused_add_rmsnorm(input, residual, weight, eps=1e-6, enable_pdl=None) → None: residual takes
    the sum, input the norm of it. Definitions of this API that return the norm alone leave the sum
    to us."""

    def make(original: Callable[..., Any], table: Resolver) -> Callable[..., Any]:
        eps_of: dict[str, float] = {}

        def oracle(x: Any, residual: Any, w: Any) -> Any:
            mine = x.clone()
            original(mine, residual.clone(), w, eps_of["eps"])
            return mine

        plain = [d for d in known if list(d.outputs) == ["output"]]
        choose = _Chooser(table, plain, oracle)

        def fused_add_rmsnorm(
            input: Any, residual: Any, weight: Any, eps: float = 1e-6, enable_pdl: Any = None,
            **more: Any,
        ) -> None:  # fmt: skip
            if not more:
                handle = choose(
                    (input.shape[-1], input.dtype, weight.dtype, eps),
                    {"hidden_states": input, "residual": residual, "weight": weight},
                    {"eps": eps},
                )  # fmt: skip
                if handle is not None:
                    eps_of["eps"] = eps
                    made = handle(input, residual, weight)
                    if made is not MISS:
                        residual.add_(input)
                        input.copy_(made)
                        return
            original(input, residual, weight, eps, enable_pdl, **more)

        return fused_add_rmsnorm

    return [Site(None, original.__name__, make)]


_PLAIN = {"pos_encoding_mode": "NONE", "window_left": -1, "logits_soft_cap": (None, 0, 0.0)}
"""Arguments of `plan` that must have these values: the definitions know none of them."""


def _decode(wrapper: type, known: list[Definition]) -> list[Site]:
    """BatchDecodeWithPagedKVCacheWrapper: `plan` says the pages, `run` the query."""
    plans: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
    bind = inspect.signature(wrapper.plan).bind  # type: ignore[attr-defined]

    def make_plan(original: Callable[..., Any], table: Resolver) -> Callable[..., Any]:
        del table

        def plan(self: Any, *args: Any, **named: Any) -> Any:
            made = original(self, *args, **named)
            plans.pop(self, None)
            bound = bind(self, *args, **named)
            bound.apply_defaults()
            found = _planned(self, bound.arguments)
            if found is not None:
                plans[self] = found
            return made

        return plan

    def make_run(original: Callable[..., Any], table: Resolver) -> Callable[..., Any]:
        pages = [0]
        current: dict[str, Any] = {}

        def oracle(q: Any, k: Any, v: Any, *rest: Any) -> Any:
            del rest
            return original(current["self"], q, (k, v), return_lse=True)

        choose = _Chooser(table, known, oracle)

        def run(self: Any, q: Any, paged_kv_cache: Any, *args: Any, **named: Any) -> Any:
            planned = plans.get(self)
            out, lse = named.get("out"), named.get("lse")
            want_lse = bool(named.get("return_lse"))
            if (
                planned is not None
                and not args
                and isinstance(paged_kv_cache, tuple)
                and all(v is None for k, v in named.items() if k not in _KNOWN)
            ):
                k, v = paged_kv_cache
                last = planned["kv_last_page_len"]
                handle = choose(
                    (q.shape[1:], k.shape[1:], q.dtype, k.dtype),
                    {"q": q, "k_cache": k, "v_cache": v, **planned["tensors"]}, {},
                    {"num_kv_indices": pages},
                )  # fmt: skip
                if handle is not None:
                    pages[0] = planned["pages"]
                    current["self"] = self
                    index = (*planned["index"], *((last,) if k.shape[1] > 1 else ()))
                    made = handle(q, k, v, *index, planned["sm_scale"] or q.shape[-1] ** -0.5)
                    if made is not MISS:
                        o = made[0] if out is None else out.copy_(made[0])
                        if not want_lse:
                            return o
                        return o, (made[1] if lse is None else lse.copy_(made[1]))
            return original(self, q, paged_kv_cache, *args, **named)

        return run

    return [Site(wrapper, "plan", make_plan), Site(wrapper, "run", make_run)]


_KNOWN = frozenset({"out", "lse", "return_lse", "enable_pdl"})


def _planned(self: Any, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `run` needs of a plan; None for one that asks for more than the definitions say."""
    for name, usual in _PLAIN.items():
        value = given.get(name, usual)
        if value != usual and not (isinstance(usual, tuple) and value in usual):
            return None
    if getattr(self, "_kv_layout", "NHD") != "NHD":
        return None
    indptr, indices, last = (given[n] for n in ("indptr", "indices", "last_page_len"))
    device = indices.device
    if indptr.device != device or last.device != device:
        # Kernels want all of them in one place; a copy here is once a step, not once a layer.
        pages, indptr, last = int(indptr[-1]), indptr.to(device), last.to(device)
    else:
        pages = int(indptr[-1]) if device.type == "cpu" else int(indices.shape[0])
    return {
        "index": (indptr, indices),
        "tensors": {"kv_indptr": indptr, "kv_indices": indices, "kv_last_page_len": last},
        "kv_last_page_len": last,
        "pages": pages,
        "sm_scale": given.get("sm_scale"),
    }


_APIS: dict[str, Callable[[Any, list[Definition]], list[Site]]] = {
    "flashinfer.norm.rmsnorm": _rmsnorm,
    "flashinfer.norm.fused_add_rmsnorm": _fused_add_rmsnorm,
    "flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper": _decode,
}


def _locate(api: str) -> tuple[Any, str]:
    """Module and attribute of a dotted name; (None, "") if this version has none."""
    path, _, name = api.rpartition(".")
    try:
        owner = importlib.import_module(path)
    except ImportError:
        return None, ""
    return (owner, name) if hasattr(owner, name) else (None, "")


def _exports(package: str, function: Any) -> list[tuple[ModuleType, str]]:
    """Every module of the package that holds this very function."""
    return [
        (module, name)
        for path, module in list(sys.modules.items())
        if module is not None and (path == package or path.startswith(f"{package}."))
        for name, value in list(vars(module).items())
        if value is function
    ]
