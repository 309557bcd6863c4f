"""Writes tests/web/corpus.json from the native engine: `python tests/web/write_corpus.py`.

To be run when the language of a grammar changes on purpose; the tests compare both engines with it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from corpus import DATA, PATH, Case, Choose, pack_table, run_case, unpack_table

from treadle.grammar import Compiler, Matcher, Vocab
from treadle.types import TokenTable

sys.path.insert(0, str(Path(__file__).parents[1] / "grammar"))
from vocabularies import medium, small

STEPS = 40  # tokens of one case at most
WORDS = 1200  # tokens of the larger vocabulary, beside the bytes

NESTED = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": -5, "maximum": 1200},
        "next": {"$ref": "#"},
    },
    "required": ["id"],
    "additionalProperties": False,
}
CALL = {
    "type": "triggered_tags",
    "triggers": ["<a"],
    "tags": [
        {
            "type": "tag",
            "begin": "<a>",
            "content": {"type": "json_schema", "json_schema": NESTED},
            "end": "</a>",
        }
    ],
}

# Grammar, options, and a text that leads through it (None: a random walk).
LISTED: list[tuple[Case, str | None]] = [
    ({"kind": "json"}, '{"name": [1, 2.5e-3, "größe", null], "x": {"é": "\\ud83d\\ude00"}}'),
    ({"kind": "json", "options": {"whitespace": 0, "numbers": "plain"}}, None),
    ({"kind": "json_object", "options": {"escapes": "minimal"}}, '{"tag": true, "x": "a b"}'),
    ({"kind": "json_schema", "source": NESTED}, '{"id": 12, "next": {"id": -5}}'),
    ({"kind": "json_schema", "source": NESTED, "options": {"order": "declared"}}, None),
    (
        {
            "kind": "json_schema",
            "source": {"items": {"$ref": "x:item"}, "type": "array"},
            "options": {
                "closed": True,
                "formats": "exact",
                "resources": {"x:item": {"properties": {"id": {"format": "date"}}}},
            },
        },
        '[{"id": "2024-02-29"}, {"x": 1}]',
    ),
    (
        {
            "kind": "json_schema",
            "source": NESTED,
            "options": {"indent": 2, "separators": [" ,", ":"]},
        },
        '{\n  "id":12 ,\n  "next":{\n    "id":-5\n  }\n}',
    ),
    (
        {"kind": "json_schema", "source": {"type": "string", "pattern": "^(ab|ba)*\\d{3,5}$"}},
        '"abba1234"',
    ),
    (
        {"kind": "json_schema", "source": {"type": "string", "format": "date-time"}},
        '"2024-02-29T23:59:60Z"',
    ),
    ({"kind": "json_schema", "source": {"type": "number", "multipleOf": 0.25}}, "-12.75"),
    (
        {"kind": "json_schema", "source": {"type": "array", "minItems": 2, "maxItems": 300}},
        "[1, [], {}]",
    ),
    ({"kind": "regex", "source": "(?:[a-z]+@)?\\p{Lu}{2,400}(?=\\d)[0-9]{1,3}"}, "name@ÄÖ12"),
    ({"kind": "regex", "source": "(a|b)*abb(a|b){12}"}, None),
    ({"kind": "ebnf", "source": 'root ::= "(" root ")" root | [a-e]{0,3}'}, "((ab))(c)"),
    (
        {
            "kind": "ebnf",
            "source": 'e ::= e "+" t | t\nt ::= "x" | "12" | "(" e ")"',
            "options": {"root": "e"},
        },
        "x+(12+x)",
    ),
    ({"kind": "lark", "file": "fence.lark"}, 'a b\n```json\n{"answer": 1}\n```x'),
    ({"kind": "lark", "file": "sql.lark"}, None),
    ({"kind": "choice", "source": ["true", "tru", "größe", "日本", "name"]}, "größe"),
    ({"kind": "structural_tag", "source": CALL}, 'name <a>{"id": 1}</a> x <a>'),
    ({"kind": "literal", "source": "null, true"}, "null, true"),
    (
        {"kind": "concat", "parts": [{"kind": "regex", "source": "x+"}, {"kind": "json"}]},
        "xx[null]",
    ),
    (
        {
            "kind": "any_of",
            "parts": [
                {"kind": "choice", "source": ["12", "id"]},
                {"kind": "regex", "source": "1\\d*"},
            ],
        },
        "12",
    ),
    ({"kind": "json_schema", "source": {"type": "intger"}}, None),
    ({"kind": "json_schema", "source": '{"type": "string",\n "pattern": }'}, None),
    ({"kind": "json_schema", "source": {"minimum": 5, "maximum": 4, "type": "integer"}}, None),
    ({"kind": "json_schema", "source": {"$ref": "#/nowhere"}}, None),
    ({"kind": "regex", "source": "a(b"}, None),
    ({"kind": "regex", "source": "\\bx"}, None),
    ({"kind": "ebnf", "source": 'root ::= "a" missing'}, None),
    ({"kind": "lark", "source": "start: A\nA: /("}, None),
    ({"kind": "structural_tag", "source": {"type": "any_txt"}}, None),
    ({"kind": "regex", "source": "((((a))))", "options": {"limits": {"source_depth": 3}}}, None),
    ({"kind": "regex", "source": "(a|b)*", "options": {"limits": {"source_bytes": 4}}}, None),
]


def follow(text: str, table: TokenTable) -> Choose:
    """Along `text` by the longest legal token each; then a stop token, then the end."""
    left = text.encode()

    def choose(legal: list[int], matcher: Matcher) -> int | None:
        nonlocal left
        if matcher.steps >= STEPS or matcher.finished:
            return None
        fitting = [t for t in legal if table.data[t] and left.startswith(table.data[t])]
        fitting = [t for t in fitting if t not in table.stop_ids]
        if fitting:
            token = max(fitting, key=lambda t: (len(table.data[t]), t))
            left = left[len(table.data[token]) :]
            return token
        return next((t for t in legal if t in table.stop_ids), None)

    return choose


def wander(seed: str, table: TokenTable) -> Choose:
    """A random walk that rather ends a text than not, and prefers long tokens."""
    rng = random.Random(seed)

    def choose(legal: list[int], matcher: Matcher) -> int | None:
        if matcher.steps >= STEPS or not legal:
            return None
        stops = [t for t in legal if t in table.stop_ids]
        if stops and rng.random() < 0.3:
            return stops[0]
        return max(rng.choices(legal, k=3), key=lambda t: len(table.data[t]))

    return choose


def cases(table: TokenTable, name: str) -> list[Case]:
    """Every case over one vocabulary, with what the native engine says."""
    compiler = Compiler(Vocab(table))
    out: list[Case] = []
    for listed, text in LISTED:
        case = {"vocabulary": name, **listed}
        choose = wander(json.dumps(listed), table) if text is None else follow(text, table)
        out.append(case | run_case(case, compiler, choose))
    for entry in json.loads((DATA / "maskbench.json").read_text()):
        case = {"vocabulary": name, "kind": "json_schema", "maskbench": entry["name"]}
        valid: list[Any] = [test["data"] for test in entry["tests"] if test["valid"]]
        text = json.dumps(valid[0], ensure_ascii=False) if valid else ""
        out.append(case | run_case(case, compiler, follow(text, table)))
    return out


def main() -> None:
    """Writes the corpus, one line a case."""
    tables = {"small": pack_table(small()), "medium": pack_table(medium(WORDS))}
    lines: list[str] = []
    for name, packed in tables.items():
        made = cases(unpack_table(packed), name)
        made = made if name == "medium" else [case for case in made if "maskbench" not in case]
        lines += [json.dumps(case, ensure_ascii=False) for case in made]
    vocabularies = json.dumps(tables)
    body = ",\n".join(lines)
    PATH.write_text(f'{{"vocabularies": {vocabularies},\n"cases": [\n{body}\n]}}\n')
    print(f"{PATH.name}: {len(lines)} cases, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
