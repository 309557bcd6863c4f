"""`treadle mega trace --device cuda`: one step of the persistent kernel, SM by SM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from treadle.cli.mega import write
from treadle.cli.mega_trace import TraceConfig, answer, started
from treadle.cli.options import note
from treadle.errors import Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.mega.codegen_program import Program


def trace_cuda(config: TraceConfig) -> None:
    """Answers once to warm up, once more, and writes the last step of that.

    Raises Unsupported without a Hopper GPU or for a model that the kernel does not cover.
    """
    from treadle.backends.mega import cuda_trace
    from treadle.backends.mega.cuda_executable import CudaExecutable
    from treadle.backends.mega.cuda_model import MegaCuda
    from treadle.limits import Limits
    from treadle.models import load

    limits = Limits()
    backend = MegaCuda("cuda", trace=True)
    model = load(config.source, act=backend.act, page=backend.page, limits=limits, progress=True)
    exe = backend.compile(model.graph, model.weights, limits)
    if not isinstance(exe, CudaExecutable):
        exe.close()
        raise Unsupported("no kernel for this model, hence no trace of one", at=model.name)
    engine = started(cast("Any", exe), limits)
    try:
        for turn in range(2):
            answer(engine, config, exe.vocab, config.seed + turn)
        decoder = cast("Any", exe.kernel())
        written(config, model.name, decoder.program, cuda_trace.words(decoder))
    finally:
        engine.close()


def written(config: TraceConfig, name: str, program: Program, raw: NDArray[Any]) -> None:
    """The files of one step from its marks: a track an SM, the rings of three of them, and on the
    picture sixteen SMs."""
    from treadle.backends.mega import cuda_trace
    from treadle.mega.picture import picture
    from treadle.mega.timeline import chrome, steps

    us, workers = cuda_trace.aligned(raw), program.plan.workers
    found = cuda_trace.spans(program.plan, us)
    about = {"model": name, "workers": workers, "prompt_tokens": config.prompt_tokens}
    made = chrome(found, workers, about, device="cuda")
    shown = sorted({0, workers // 2, workers - 1})
    made["traceEvents"] += cuda_trace.counters(program, us, shown)
    write(config.output, json.dumps(made))
    whole = steps(found, workers, ("sample",))
    note(f"one step of {max(s.end for s in found):,.1f} µs, {len(found)} tasks and waits")
    if config.picture and whole:
        lanes = min(16, workers)
        rows = program.plan.shape.rows
        title = f"{name}: one step of {rows} rows on {workers} SMs, {lanes} of them shown"
        few = [cuda_trace.some(step, workers, lanes) for step in whole]
        write(config.picture, picture(few, lanes, [rows], title))
