"""The public names of flashinfer-bench over treadle.kernels. Extra `[compat]`.

`data`, `apply`, `tracing`, `bench`, `compile`, `integration`, `env`, `utils`, `agents` stand under
their own names. Files are the same; what would be done less exactly is refused with a reason.
"""

from treadle.compat.flashinfer_bench.apply import (
    ApplyConfig,
    ApplyConfigRegistry,
    apply,
    disable_apply,
    enable_apply,
)
from treadle.compat.flashinfer_bench.bench import Benchmark, BenchmarkConfig
from treadle.compat.flashinfer_bench.data import (
    AxisConst,
    AxisVar,
    BuildSpec,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    EvaluationStatus,
    Performance,
    RandomInput,
    SafetensorsInput,
    Solution,
    SourceFile,
    SupportedLanguages,
    TensorSpec,
    Trace,
    TraceSet,
    Workload,
)
from treadle.compat.flashinfer_bench.tracing import (
    TracingConfig,
    TracingConfigRegistry,
    disable_tracing,
    enable_tracing,
)

__all__ = [
    "ApplyConfig",
    "ApplyConfigRegistry",
    "AxisConst",
    "AxisVar",
    "Benchmark",
    "BenchmarkConfig",
    "BuildSpec",
    "Correctness",
    "Definition",
    "Environment",
    "Evaluation",
    "EvaluationStatus",
    "Performance",
    "RandomInput",
    "SafetensorsInput",
    "Solution",
    "SourceFile",
    "SupportedLanguages",
    "TensorSpec",
    "Trace",
    "TraceSet",
    "TracingConfig",
    "TracingConfigRegistry",
    "Workload",
    "apply",
    "disable_apply",
    "disable_tracing",
    "enable_apply",
    "enable_tracing",
]
