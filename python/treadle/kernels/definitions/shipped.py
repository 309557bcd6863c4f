"""What lies in `kernels/definitions`: the public families, and every op at our models' shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from treadle.graph import FUSED, OPS
from treadle.kernels.definitions.derive import define
from treadle.kernels.definitions.public import public
from treadle.kernels.definitions.quantised import gemm_w4g32
from treadle.kernels.schema import AxisConst, Definition

SMOLLM2: dict[str, Any] = {
    "D": 576, "H": 9, "K": 3, "d": 64, "F": 1536, "V": 49152, "B": 16, "r": 32,
    "Hd": ("H", "d"), "Kd": ("K", "d"), "E": 8, "A": 2, "O": 576, "I": 576,
}  # fmt: skip
LLAMA_1B: dict[str, Any] = {
    "D": 2048, "H": 32, "K": 8, "d": 64, "F": 8192, "V": 128256, "B": 16, "r": 32,
    "Hd": ("H", "d"), "Kd": ("K", "d"), "E": 8, "A": 2, "O": 2048, "I": 2048,
}  # fmt: skip
MODELS: tuple[tuple[str, str, Mapping[str, Any], float], ...] = (
    ("smollm2-135m", "f32", SMOLLM2, 1e-5),
    ("llama-3.2-1b", "bf16", LLAMA_1B, 1e-5),
)
"""Tag, storage type, sizes, eps. Neither routes; E and A are there for the ops that do."""

LINEARS = {
    "smollm2-135m": ((960, 576), (576, 576), (3072, 576), (576, 1536), (49152, 576)),
    "llama-3.2-1b": ((3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192), (128256, 2048)),
}

_ATTRS: dict[str, dict[str, Any]] = {
    "scale": {"by": 0.125},
    "softcap": {"cap": 30.0},
    "glu": {"act": "silu"},
    "gate_up_glu": {"act": "silu"},
    "experts": {"act": "silu"},
    "route": {"renorm": True, "score": "softmax", "A": "A"},
    "route_experts": {"renorm": True, "score": "softmax", "A": "A", "act": "silu"},
    "split": {"sizes": ["Hd", "Kd", "Kd"]},
    "view": {"shape": ["T", "H", "d"]},
}
_OPERANDS = {
    "add": "x: T D; y: T D",
    "allreduce": "x: T D",
    "scale": "x: T D",
    "softcap": "x: T V",
    "split": "x: T QKV",
    "view": "x: T Hd",
}
_WORDS = {"D": "h", "H": "h", "K": "kv", "d": "d", "F": "f", "V": "v", "B": "ps", "A": "topk",
          "E": "e", "O": "n", "I": "k", "r": "r", "Hd": "q", "Kd": "kv", "QKV": "qkv"}  # fmt: skip


def shipped() -> Iterator[Definition]:
    """Every definition of the dataset, in a fixed order."""
    yield from public()
    for model, act, sizes, eps in MODELS:
        for n, k in LINEARS[model]:
            yield define(
                "linear", f"gemm_n{n}_k{k}_{act}", {"O": n, "I": k}, act=act, op_type="gemm",
                names={"T": "M", "O": "N", "I": "K", "x": "A", "w": "B", "y": "C"},
                tags=[f"model:{model}"],
            )  # fmt: skip
        if act == "bf16":
            yield from (gemm_w4g32(n, k, model) for n, k in LINEARS[model])
        for op in (*OPS, *FUSED):
            if op != "linear":
                yield own(op, act, sizes, eps, model)
        yield own("linear_add", act, {**sizes, "I": sizes["F"]}, eps, model)


def own(op: str, act: str, sizes: Mapping[str, Any], eps: float, model: str) -> Definition:
    """An op or composition under our own name: its constant axes, what its attrs bake in, type."""
    given = {**sizes, "QKV": (sizes["H"] + 2 * sizes["K"]) * sizes["d"]}
    if op == "split":
        given |= {"QKV": ("HQKV", "d"), "HQKV": sizes["H"] + 2 * sizes["K"]}
    attrs = dict(_ATTRS.get(op, {}))
    declared = OPS.get(op) or FUSED[op]
    if "eps" in declared.attrs:
        attrs["eps"] = eps
    if op == "attention":
        attrs["scale"] = given["d"] ** -0.5
    made = define(op, op, given, act=act, attrs=attrs, operands=_OPERANDS.get(op))
    consts = {
        n: axis.value
        for n, axis in made.axes.items()
        if isinstance(axis, AxisConst) and n in _WORDS
    }
    baked = [str(attrs[key]) for key in ("act", "score") if key in attrs]
    letters = [f"{_WORDS[name]}{size}" for name, size in consts.items()]
    suffix = [f"eps{eps:g}"] if "eps" in attrs else []
    name = "_".join([op, *baked, *dict.fromkeys(letters), act, *suffix])
    return define(
        op, name, given, act=act, attrs=attrs, operands=_OPERANDS.get(op), tags=[f"model:{model}"]
    )
