"""Task graphs run by persistent workers: on the CPU threads over weights in the file's format, on
a Hopper GPU one kernel that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from treadle import _core
from treadle.backends.mega.device import MegaDevice
from treadle.backends.mega.executable import MegaExecutable
from treadle.errors import InvalidRequest, Unsupported

if TYPE_CHECKING:
    from treadle.backends.base import Backend
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.types import Weights

__all__ = ["Mega", "MegaExecutable", "mega"]


def mega(
    device: str | None = None, dtype: str | None = None, threads: int | None = None, tp: int = 1
) -> Backend:
    """The backend for a device: `Mega`, or `MegaCuda` for "cuda" and "cuda:N". tp: GPUs that share
    a model, from that one on.

    Raises Unsupported for another device or dtype.
    """
    if device is None or device.partition(":")[0] != "cuda":
        if tp > 1:
            raise Unsupported(
                f"{tp} ranks on a CPU", at="tp", hint="ranks share the cores: leave it out"
            )
        return cast("Backend", Mega(device, dtype, threads))
    from treadle.backends.mega.cuda_model import MegaCuda

    return MegaCuda(device, dtype, tp=tp)


class Mega:
    """`Backend` of compiled task graphs on the CPU.

    Weights stay in the format of the file, activations are float32 (int8 where a product's weights
    are integers), KV is float16. threads: workers, None = the processors this process may use. A
    row's logits depend neither on their number nor on the batch. isa: forces an instruction set of
    `treadle.mega` ("scalar", "avx2", …), for tests and comparisons. trace: records that each worker
    keeps of what it does, 0 = none.
    """

    def __init__(
        self,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        isa: str | None = None,
        trace: int = 0,
    ) -> None:
        if device not in (None, "cpu"):
            raise Unsupported(
                f"mega runs on cpu and cuda, not on {device!r}", at="device",
                hint="use backend torch",
            )  # fmt: skip
        if dtype not in (None, "f32"):
            raise Unsupported(
                f"mega computes in f32 and keeps weights as they are, not in {dtype!r}",
                at="dtype",
                hint="leave it out, or use backend torch",
            )
        if threads is not None and threads < 1:
            raise InvalidRequest(f"{threads} workers do nothing", at="threads", hint="give >= 1")
        found = _core.cpu_isas()
        if isa is not None and isa not in found:
            raise Unsupported(f"this machine has no {isa!r}", at="isa", hint=f"one of {found}")
        self.device, self.act = "cpu", "f32"
        self.threads = threads or _core.cpu_processors()
        self._isa = isa or found[-1]
        self._trace = trace

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> MegaExecutable:
        """Plans the graph for every bucket of rows and repacks the weights.

        Raises ModelFormatError for weights that do not fit, Unsupported for a page size, GraphError
        for a graph that cannot be planned.
        """
        device = MegaDevice(graph, weights, limits, pages, self.threads, self._isa, self._trace)
        return MegaExecutable(device, limits)
