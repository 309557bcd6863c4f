"""What int8 activations and float16 KV cost: SmolLM2 against its own weights in float32.

Both read the same quantised weights; the reference widens them exactly and computes in float32, so
what differs is the arithmetic of the runtime, for each kind of weights by itself.
"""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from treadle.backends.table import backend
from treadle.limits import Limits
from treadle.models import load
from treadle.models.quant import dequantise
from treadle.text import Tokenizer
from treadle.types import Batch, Tensor

TEXT = """\
The harbour lay quiet before the first ferry. A woman in a grey coat counted crates of apples on
the quay, wrote the number into a small book, and counted them again, because the number had not
pleased her. Two boys watched from the wall. One said that apples float and stones do not; the
other said that a stone in a boat floats as well as any apple, and that it was the boat that
mattered. The woman heard it and laughed. "Then tell me," she said, "what happens to the water in
the dock when I throw a stone out of my boat?" Nobody answered at once. The gulls argued over a
crust, the clock of the customs house struck six, and far out the ferry turned its lights towards
the land. In the end the elder boy drew a boat in the dust with his finger, then the water around
it, then a line for how high it stood. He rubbed the line out and drew it lower. "It falls," he
said, "a little." The woman gave him an apple and went on counting.
"""
PAGE = 16


@pytest.fixture(scope="module")
def model():
    return load("smollm2-135m", progress=False)


@pytest.fixture(scope="module")
def ids(model):
    return Tokenizer.from_gguf(model.tokenizer_source.metadata, Limits()).encode(TEXT)


def logits(name, model, weights, ids, **options):
    """Logits [T, V] of a text, in chunks of 100 tokens."""
    pages = -(-len(ids) // PAGE)
    executable = backend(name, **options).compile(model.graph, weights, Limits(), pages=pages)
    found = []
    try:
        for start in range(0, len(ids), 100):
            end = min(start + 100, len(ids))
            starts = np.array([0, end - start], np.int32)
            span = np.arange(start, end, dtype=np.int32)
            rows = np.arange(end - start, dtype=np.int32)
            batch = Batch(
                np.array(ids[start:end], np.int32), span, span, starts,
                np.array([end], np.int32), np.arange(pages, dtype=np.int32)[None], rows,
            )  # fmt: skip
            made = executable.forward(batch).call.wait()
            found.append(made.array if name == "mega" else made.numpy())
    finally:
        executable.close()
    return np.concatenate(found)


def perplexity(rows, ids):
    """exp of the mean negative log-probability of each next token."""
    rows = rows[:-1].astype(np.float64)
    peak = rows.max(-1, keepdims=True)
    total = peak[:, 0] + np.log(np.exp(rows - peak).sum(-1))
    return float(np.exp(np.mean(total - rows[np.arange(len(rows)), ids[1:]])))


def as_kind(weights, kind):
    """The weights with every matrix in another format; `file` leaves them alone."""
    if kind == "file":
        return dict(weights)
    made = {}
    for name, tensor in weights.items():
        if len(tensor.shape) < 2:
            made[name] = tensor
            continue
        wide = dequantise(tensor)
        data = (
            wide.astype(np.float16) if kind == "f16"
            else gguf.quants.quantize(wide, gguf.GGMLQuantizationType[kind.upper()])
        )  # fmt: skip
        made[name] = Tensor(name, tensor.shape, kind, data)
    return made


@pytest.mark.parametrize("kind", ["file", "q4_0", "q8_0", "f16"])
def test_a_text_is_read_as_by_the_same_weights_in_float32(model, ids, kind):
    torch.set_num_threads(1)
    weights = as_kind(model.weights, kind)
    want = logits("torch", model, weights, ids, device="cpu")
    got = logits("mega", model, weights, ids)
    reference, ours = perplexity(want, ids), perplexity(got, ids)
    agree = float(np.mean(want.argmax(-1) == got.argmax(-1)))
    off = float(np.linalg.norm(got - want) / np.linalg.norm(want))
    print(f"{kind}: perplexity {ours:.4f}, float32 {reference:.4f}; greedy agreement {agree:.3f}; "
          f"relative error of logits {off:.2e}")  # fmt: skip
    # Integers are quantised a block of 32 at a time, which near ties of a small model do notice.
    assert abs(ours / reference - 1) < (0.002 if kind == "f16" else 0.025)
    assert agree > (0.99 if kind == "f16" else 0.92)
    assert off < (0.001 if kind == "f16" else 0.05)
