"""Core data types: one small vocabulary that every layer above imports down to."""

from treadle.types.batch import Batch, Mask, SampleBatch, Sampled
from treadle.types.outline import Outline
from treadle.types.output import Delta, FinishReason, TokenLogprob, ToolCall, Usage
from treadle.types.request import Constraint, Generate, Message, Tool
from treadle.types.sampling import Sampling
from treadle.types.tensor import Stored, Tensor, Weights
from treadle.types.tokens import TokenKind, TokenTable

__all__ = [
    "Batch",
    "Constraint",
    "Delta",
    "FinishReason",
    "Generate",
    "Mask",
    "Message",
    "Outline",
    "SampleBatch",
    "Sampled",
    "Sampling",
    "Stored",
    "Tensor",
    "TokenKind",
    "TokenLogprob",
    "TokenTable",
    "Tool",
    "ToolCall",
    "Usage",
    "Weights",
]
