"""The corpus that holds native and wasm engines together: how a case is run, and what it records.

A case is a grammar, a vocabulary and a token sequence; it records a hash of the mask before every
token, what the matcher says of itself, and the forced bytes. web/test/corpus.test.ts replays it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.errors import GrammarError, LimitExceeded, TreadleError
from treadle.grammar import Compiler, Grammar, MaskRows, Matcher, Vocab, mask_rows
from treadle.limits import GrammarLimits
from treadle.types import TokenKind, TokenTable

HERE = Path(__file__).parent
DATA = HERE.parent / "grammar" / "data"
PATH = HERE / "corpus.json"

Case = dict[str, Any]
# The next token, given what is legal and what is left of the case's text; None ends the walk.
Choose = Callable[[list[int], Matcher], int | None]


def pack_table(table: TokenTable) -> dict[str, Any]:
    """A vocabulary as JSON."""
    data = [base64.b64encode(token).decode() for token in table.data]
    return {"data": data, "kinds": [int(k) for k in table.kinds], "stops": list(table.stop_ids)}


def unpack_table(packed: dict[str, Any]) -> TokenTable:
    """The reverse of `pack_table`."""
    data = tuple(base64.b64decode(token) for token in packed["data"])
    return TokenTable(data, tuple(map(TokenKind, packed["kinds"])), tuple(packed["stops"]))


def source_of(case: Case) -> Any:
    """The source itself, or what a case refers to in tests/grammar/data."""
    if "maskbench" in case:
        schemas = json.loads((DATA / "maskbench.json").read_text())
        return next(entry["schema"] for entry in schemas if entry["name"] == case["maskbench"])
    if "file" in case:
        return (DATA / case["file"]).read_text()
    return case.get("source")


def grammar_of(case: Case) -> Grammar:
    """The grammar of a case; raises what its constructor raises."""
    kind, options = case["kind"], dict(case.get("options", {}))
    if "limits" in options:
        options["limits"] = GrammarLimits(**options["limits"])
    if kind in ("concat", "any_of"):
        made = [grammar_of(part) for part in case["parts"]]
        return made[0] + made[1] if kind == "concat" else made[0] | made[1]
    if kind in ("json", "json_object"):
        return getattr(Grammar, kind)(**options)
    name = "tag" if kind == "structural_tag" else kind
    return getattr(Grammar, name)(source_of(case), **options)


def run_case(case: Case, compiler: Compiler, choose: Choose) -> Case:
    """What the engine says about a case whose tokens `choose` picks."""
    try:
        grammar = grammar_of(case)
        matcher = compiler.compile(grammar).matcher()
    except TreadleError as error:
        return {"error": _fields(error)}
    rows = mask_rows(1, compiler.vocab.size)
    tokens: list[int] = []
    steps: list[str] = []
    forced = hashlib.sha256()
    while True:
        try:
            masked = matcher.fill(rows, 0)
            forced.update(matcher.forced() + b"\0")
        except TreadleError as error:
            return _record(tokens, steps, forced.hexdigest(), _fields(error))
        steps.append(_step(rows, masked, matcher))
        token = choose(_legal(rows), matcher)
        if token is None:
            return _record(tokens, steps, forced.hexdigest(), None)
        assert matcher.accept(token)
        tokens.append(token)


def _step(rows: MaskRows, masked: bool, matcher: Matcher) -> str:
    digest = hashlib.sha256(bytes(memoryview(rows).cast("B"))).hexdigest()[:8]
    return digest + str(masked + 2 * matcher.accepting + 4 * matcher.finished)


def _record(tokens: list[int], steps: list[str], forced: str, error: Case | None) -> Case:
    record: Case = {"tokens": tokens, "steps": " ".join(steps), "forced": forced[:8]}
    return record | ({"error": error} if error else {})


def _legal(rows: MaskRows) -> list[int]:
    words = memoryview(rows).cast("B").cast("I")
    return [32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1]


def _fields(error: TreadleError) -> Case:
    fields: Case = {"code": error.code, "at": error.at or ""}
    if isinstance(error, GrammarError):
        fields |= {"kind": error.kind, "keyword": error.keyword or "", "reason": error.reason}
    if isinstance(error, LimitExceeded):
        fields |= {"limit": error.limit, "value": error.value, "maximum": error.maximum}
    return fields


def compilers(corpus: Case) -> dict[str, Compiler]:
    """One compiler a vocabulary of the corpus."""
    packed = corpus["vocabularies"].items()
    return {name: Compiler(Vocab(unpack_table(table))) for name, table in packed}
