"""A short proof that this machine measures honestly: tricks refused, honest work passed, noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from treadle.kernels.build import build
from treadle.kernels.run.match import Match, Outcome
from treadle.kernels.run.referee import open_device
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Workload,
)
from treadle.kernels.stats import Verdict

GLU = Definition(
    name="selfcheck_glu",
    op_type="glu",
    axes={"T": AxisVar(), "F": AxisConst(value=256)},
    inputs={n: Tensor(shape=["T", "F"], dtype="float32") for n in ("g", "u")},
    outputs={"y": Tensor(shape=["T", "F"], dtype="float32")},
    reference="def run(g, u):\n    return g / (1 + (-g).exp()) * u\n",
    treadle={"op": "glu", "attrs": {"act": "silu"}},
)
_PLAIN = "    np.multiply(g / (1 + np.exp(-g)), u, out=y)\n"
_BODIES = {
    "honest": _PLAIN,
    "slower": _PLAIN * 2,
    "cached by address": (
        "    k = g.ctypes.data\n    if k not in kept:\n"
        "        kept[k] = g / (1 + np.exp(-g)) * u\n    y[...] = np.resize(kept[k], y.shape)\n"
    ),
    "half precision": "    y[...] = (g / (1 + np.exp(-g))).astype('f2') * u.astype('f2')\n",
    "writes its input": _PLAIN + "    g[...] = 0\n",
    "another process": "    import os\n    os.fork() or os._exit(0)\n" + _PLAIN,
    "reads files": "    open('/etc/passwd').read()\n" + _PLAIN,
}


def selfcheck(
    device: str, settings: Settings, cache: Path, share: bool = False
) -> Iterator[dict[str, Any]]:
    """One row a check: name, ok, found."""
    opened = open_device(device, share=share)
    workload = Workload(
        uuid="selfcheck", axes={"T": 64}, inputs={n: RandomInput() for n in GLU.inputs}
    )

    def side(name: str) -> Side:
        body = f"import numpy as np\n\nkept = {{}}\n\n\ndef run(g, u, y):\n{_BODIES[name]}"
        one = Solution(
            name=name.replace(" ", "_"), definition=GLU.name, author="treadle",
            spec=Spec(language="python", target_hardware=["cpu"], entry_point="main.py::run",
                      treadle={"array": "numpy"}),
            sources=[Source(path="main.py", content=body)],
        )  # fmt: skip
        return Side(one, build(one, GLU, device=opened.name, cache=cache).folder)

    match = Match(GLU, workload, side("honest"), opened, settings)
    try:
        for name in _BODIES:
            found = _tried(match, side(name))
            if name == "honest":
                ok = isinstance(found, Outcome) and found.comparison.verdict not in (
                    Verdict.FAST, Verdict.SLOW,
                )  # fmt: skip
            elif name == "slower":
                ok = isinstance(found, Outcome) and found.comparison.verdict is Verdict.SLOW
            else:
                ok = isinstance(found, Refused)
            yield {"name": name, "ok": ok, "found": _told(found)}
    finally:
        match.close()


def _tried(match: Match, side: Side) -> Outcome | Refused:
    try:
        return match.run(side)
    except Refused as wrong:
        return wrong


def _told(found: Outcome | Refused) -> str:
    if isinstance(found, Refused):
        return f"{found.status} {found.code} {found.text}".strip()
    c = found.comparison
    return (
        f"{c.verdict} {c.ratio:.3f} [{c.low:.3f}, {c.high:.3f}], isolation {found.level}, "
        f"noise {found.noise:.1%}"
    )
