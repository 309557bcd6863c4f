"""A decoding loop of your own around treadle's masks, with any tokenizer and any source of logits.

    python examples/grammar/own_loop.py [tokenizer.json] [--seed 1]

The logits are random here, so the answer is nonsense that satisfies the schema to the letter: that
is what masks alone guarantee. Without a tokenizer.json the vocabulary is the 256 bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from treadle.grammar import Compiler, Grammar, Vocab, apply_mask, mask_rows
from treadle.types import TokenKind, TokenTable

SCHEMA = Path(__file__).parents[1] / "person.schema.json"
PATIENCE = 200  # tokens; then only what closes the answer is drawn, if it is legal


def byte_table() -> TokenTable:
    """One token a byte, and one that stops."""
    data = (*(bytes([byte]) for byte in range(256)), b"</s>")
    return TokenTable(data, (TokenKind.BYTE,) * 256 + (TokenKind.CONTROL,), stop_ids=(256,))


def token_table(path: str | None) -> TokenTable:
    """Bytes, kind and stop ids of a tokenizer's vocabulary."""
    if path is None:
        return byte_table()
    from treadle.text import Tokenizer

    return Tokenizer.from_json(path).table


def main() -> None:
    """Draws one answer and prints it on one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tokenizer", nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    table = token_table(args.tokenizer)
    grammar = Grammar.json_schema(
        json.loads(SCHEMA.read_text("utf-8")),
        order="declared",
        escapes="minimal",
        numbers="plain",
        whitespace=0,
    )
    compiler = Compiler(Vocab(table))
    matcher = compiler.compile(grammar).matcher()
    rows = mask_rows(1, compiler.vocab.size)  # int32 [1, ceil(V / 32)]
    closing = [i for i, data in enumerate(table.data) if data and set(data) <= set(b'"}]')]
    out = b""
    while not matcher.finished:
        drawn = [rng.random() for _ in range(compiler.vocab.size)]
        logits = np.asarray([drawn], dtype=np.float32)  # [1, V]
        if matcher.steps > PATIENCE:
            logits[0, [*closing, *table.stop_ids]] += 1
        matcher.fill(rows)
        apply_mask(logits, rows)
        token = int(logits[0].argmax())
        matcher.accept(token)
        out += b"" if token in table.stop_ids else table.data[token]
    print(out.decode())


if __name__ == "__main__":
    main()
