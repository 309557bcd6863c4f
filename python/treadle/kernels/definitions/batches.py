"""Workloads of ordinary batches: a decode step of 1 and of 16 sequences, a prefill of 512 tokens.

They serve definitions of which no run has been captured. Index arrays are made by name
(`treadle.kernels.check.inputs`), so only sizes stand here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from treadle.kernels.schema import AxisVar, Definition, RandomInput, Workload

SEQUENCES = (1, 16)
CONTEXT = 1024
"""Tokens of a sequence in a decode step."""
CHUNK = 512
"""Tokens of a prefill."""
_NAMES = uuid.UUID("5a6b1e6c-6c1f-5d0e-9a42-0f2f6e2b7d11")


def ordinary(definition: Definition) -> Iterator[Workload]:
    """Workloads by the names of the variable axes; none where a name is not known here."""
    wanted = [name for name, axis in definition.axes.items() if isinstance(axis, AxisVar)]
    prefill = "total_q" in wanted
    for sequences in SEQUENCES[:1] if prefill else SEQUENCES:
        known = _prefill(definition) if prefill else _decode(definition, sequences)
        if all(name in known for name in wanted):
            axes = {name: known[name] for name in wanted}
            yield Workload(
                uuid=str(uuid.uuid5(_NAMES, f"{definition.name} {axes}")),
                axes=axes,
                inputs={name: RandomInput() for name in definition.inputs},
                treadle={"count": 1, "source": "ordinary batches"},
            )


def _decode(definition: Definition, sequences: int) -> dict[str, int]:
    pages = sequences * -(-CONTEXT // _page(definition))
    return {
        **dict.fromkeys(("M", "T", "R", "S", "batch_size", "num_tokens"), sequences),
        **dict.fromkeys(("S_plus_1", "len_indptr"), sequences + 1),
        **dict.fromkeys(("P", "num_pages"), pages + 1),
        "num_kv_indices": pages,
        "L": -(-CONTEXT // _page(definition)),
        "num_qo_heads": 32,
        "num_kv_heads": 8,
        "max_seq_len": 4 * CONTEXT,
    }


def _prefill(definition: Definition) -> dict[str, int]:
    pages = -(-CHUNK // _page(definition))
    return {
        **dict.fromkeys(("total_q", "total_kv"), CHUNK),
        "len_indptr": 2,
        "batch_size": 1,
        "num_kv_indices": pages,
        "num_pages": pages + 1,
    }


def _page(definition: Definition) -> int:
    """Tokens of a page."""
    for name in ("page_size", "B"):
        value = getattr(definition.axes.get(name), "value", None)
        if value is not None:
            return int(value)
    return 1
