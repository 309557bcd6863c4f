"""docs/grammar-differences.md, from tests/grammar/data/differences.toml."""

from __future__ import annotations

import tomllib
from itertools import groupby
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "tests" / "grammar" / "data" / "differences.toml"
HEAD = """# Where engines disagree

Written by `scripts/write_docs.py` from `tests/grammar/data/differences.toml`; edit that instead.

One text for every disagreement that random testing and reading found between treadle, llguidance
{llguidance} and xgrammar {xgrammar} (`strict_mode=False`), with what the standard says about it.
`tests/grammar/test_differential.py` holds every verdict to the engines that are installed, and
what the standard says to `jsonschema`. **Bold** is a verdict against the standard;
*refuses* means that the grammar does not compile, which is honest and never wrong. Section numbers
are those of JSON Schema 2020-12 (Core, Validation), RFC 8259 (JSON) and ECMA-262.

A rejected spelling costs no valid value as long as another spelling is left, so whether that
matters depends on who writes: a model that may only write what the engine offers never notices,
text from elsewhere does. An accepted invalid text is always a defect.
"""
TAIL = """## Other differences

| what | treadle | llguidance | xgrammar |
|---|---|---|---|
"""
NO_TAGS = "has no such formats"
# Of masks rather than texts, or on purpose on one side.
OTHERS = (
    ("special tokens inside JSON strings", "never", "never", "allowed, as their text"),
    (
        "masks that lead into a rule which no text can finish",
        "never: such rules are pruned, a grammar of nothing else is refused",
        "offered, then stuck",
        "offered, then stuck",
    ),
    ("whitespace between JSON tokens", "runs of at most 64 bytes", "no bound", "no bound"),
    ("digits of a number", "at most 400, 3 of an exponent", "no bound", "no bound"),
    ("an undeclared name twice in an object", "may repeat", "may repeat", "may repeat"),
    ("surrogates in UTF-8, by a pattern such as `[^a]`", "never", "never", "allowed"),
    # Found by stepping 22,000 random structural tags beside xgrammar, mask by mask.
    ("tags: bytes in free text that are no UTF-8", "never", NO_TAGS, "offered"),
    ("tags: a token that `repeat` excludes in its content", "never", NO_TAGS, "offered"),
    (
        "tags: a token that one alternative of `or` excludes and another does not",
        "allowed",
        NO_TAGS,
        "refused",
    ),
    (
        "tags: any tokens, then text: whether the tokens may have been all",
        "yes",
        NO_TAGS,
        "not where text may stand",
    ),
    (
        "tags: behind trigger `<x`, where `<x>a` is excluded from the text before it",
        "what the trigger begins",
        NO_TAGS,
        "`>` as well",
    ),
    (
        "tags: a token that goes on behind the end of a tag around `dispatch`",
        "only into what may follow",
        NO_TAGS,
        "into anything",
    ),
    ("tags: unlimited content and an empty end", "compiles", NO_TAGS, "refused"),
    ("tags: `token_dispatch` within `optional`", "compiles", NO_TAGS, "ends the process"),
)


def document() -> str:
    """The whole page."""
    data = tomllib.loads(SOURCE.read_text("utf-8"))
    parts = [HEAD.format(**data["versions"])]
    for topic, rows in groupby(data["difference"], key=lambda row: row["topic"]):
        lines = [
            f"## {topic}\n",
            "| schema | text | by the standard | treadle | llguidance | xgrammar | why |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in rows]
        parts.append("\n".join(lines) + "\n")
    others = "".join(f"| {' | '.join(row)} |\n" for row in OTHERS)
    return "\n".join([*parts, TAIL + others])


def _line(row: dict[str, str]) -> str:
    verdicts = [_verdict(row[engine], row) for engine in ("treadle", "llguidance", "xgrammar")]
    right = "valid" if row["right"] == "accepts" else "invalid"
    cells = [_code(row["source"]), _code(row["text"]), right, *verdicts, row["why"]]
    return f"| {' | '.join(cells)} |"


def _verdict(word: str, row: dict[str, str]) -> str:
    if word == "refuses":
        return "*refuses*"
    return word if word == row["right"] else f"**{word}**"


def _code(text: str) -> str:
    """Inline code inside a table cell: control characters as escapes, pipes kept from Markdown."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    shown = shown.replace("|", "\\|")
    if "`" in shown:
        return f"`` {shown} ``"
    return f"`{shown}`" if shown.strip() == shown and shown else f"<code>{shown}</code>"
