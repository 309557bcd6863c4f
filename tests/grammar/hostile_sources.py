"""Hostile sources of every front end, and a process of its own that compiles them one by one.

Run as a script it reads no input and prints one JSON object a source: what it ended in, the CPU
seconds it took and the MiB it held at most beyond what the process had before. Each source is
compiled in a forked child, so neither its memory nor a crash of it reaches the next.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator

from vocabularies import medium

from treadle.errors import GrammarError, InvalidRequest, LimitExceeded
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows

Make = Callable[[], Grammar]
N = 100_000
BIG = 10**9


def _schema(value: object) -> Make:
    text = value if isinstance(value, str) else json.dumps(value)
    return lambda: Grammar.json_schema(text)


def _nested(before: str, inside: str, after: str, depth: int = N) -> str:
    return before * depth + inside + after * depth


def schemas() -> Iterator[tuple[str, Make]]:
    """Sources of the JSON Schema front end."""
    for name in ("not", "items", "additionalProperties", "if", "contains"):
        yield f"deep {name}", _schema(_nested(f'{{"{name}":', "{}", "}"))
    yield "deep, allowed", _schema(_nested('{"type":"array","items":', "{}", "}", 990))
    yield "deep allOf, allowed", _schema(_nested('{"allOf":[', "{}", "]}", 490))
    yield "deep arrays", _schema("[" * N)
    yield "deep literal", _schema(_nested('{"const":[', "1", "]}", 490))
    yield "enum", _schema({"enum": [f"value {i}" for i in range(N)]})
    yield "enum of numbers", _schema({"enum": list(range(N))})
    yield "enum of trees", _schema({"enum": [[i] for i in range(N)]})
    yield "enum with a pattern", _schema({"enum": [f"v{i}" for i in range(N)], "pattern": "9$"})
    yield "not enum", _schema({"not": {"enum": [f"v{i}" for i in range(N)]}, "type": "string"})
    yield "one long constant", _schema({"const": "x" * 10**6})
    yield "anyOf", _schema({"anyOf": [{"const": f"c{i}"} for i in range(N)]})
    yield "oneOf", _schema({"oneOf": [{"const": f"c{i}"} for i in range(N)]})
    yield "allOf", _schema({"allOf": [{"minLength": i} for i in range(N)]})
    yield "properties", _schema({"properties": {f"key {i}": {"type": "string"} for i in range(N)}})
    required = {"required": [f"k{i}" for i in range(N)]}
    yield "required", _schema(required | {"type": "object", "additionalProperties": False})
    needs = {f"k{i}": [f"k{i + 1}"] for i in range(N)}
    yield "dependentRequired", _schema({"dependentRequired": needs, "type": "object"})
    yield "patternProperties", _schema({"patternProperties": {f"^k{i}": {} for i in range(N)}})
    overlapping = {f"a{{{i}}}b": {"minLength": i} for i in range(200)}
    yield "overlapping patterns", _schema({"patternProperties": overlapping})
    yield "minLength", _schema({"type": "string", "minLength": BIG})
    yield "minLength, pattern", _schema({"type": "string", "minLength": BIG, "pattern": "a"})
    counts = {"minLength": BIG, "maxLength": 2 * BIG, "pattern": "^(ab|cde)*$"}
    yield "lengths, pattern", _schema(counts | {"type": "string"})
    yield "minLength, format", _schema({"type": "string", "minLength": 20_000, "format": "uri"})
    yield "minItems", _schema({"type": "array", "minItems": BIG, "items": {"minItems": BIG}})
    counted = {"contains": {"const": 1}, "minContains": BIG, "maxContains": 2 * BIG}
    yield "minContains", _schema(counted | {"type": "array"})
    yield "minProperties", _schema({"type": "object", "minProperties": BIG})
    yield "long pattern", _schema({"pattern": "(a|b)?" * 160_000})
    yield "nested stars", _schema({"pattern": "^" + _nested("(", "a", ")*", 400) + "$"})
    yield "nested counts", _schema({"pattern": "^" + _nested("(", "a|b", "){1,1000}", 100) + "$"})
    yield "lookaheads", _schema({"pattern": "^" + "(?=.*a)" * 2_000})
    ring = {f"d{i}": {"$ref": f"#/$defs/d{(i + 1) % N}"} for i in range(N)}
    yield "$ref ring", _schema({"$defs": ring, "$ref": "#/$defs/d0"})
    chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(20_000)}
    chain["d20000"] = {"type": "null"}  # pyright: ignore[reportArgumentType]
    yield "$ref chain", _schema({"$defs": chain, "$ref": "#/$defs/d0"})
    tower = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    tower["d60"] = {}
    yield "$ref tower", _schema({"$defs": tower, "$ref": "#/$defs/d0"})
    either = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    either["d60"] = {}
    yield "doubling anyOf", _schema({"$defs": either, "$ref": "#/$defs/d0"})
    arms = {f"d{i}": {"properties": {"a": {"$ref": f"#/$defs/d{(i + 1) % 999}"}}, "required": ["a"]}
            for i in range(999)}  # fmt: skip
    yield "endless value", _schema({"$defs": arms, "$ref": "#/$defs/d0"})
    yield "long pointer", _schema({"$ref": "#" + "/a" * 400_000})
    yield "long number", _schema('{"minimum": ' + "9" * 10**6 + "}")
    yield "exponent", _schema('{"multipleOf": 1e-999999999999}')
    yield "uniqueItems", _schema({"type": "array", "uniqueItems": True, "items": {"maximum": 9}})
    same = {"a": {"type": "integer"}}
    yield "many equal parts", _schema({"prefixItems": [same] * N, "type": "array"})
    yield "unknown keywords", _schema({f"no keyword {i}": {} for i in range(N)})
    yield "formats", _schema({"anyOf": [{"format": f} for f in ("uri", "email", "ipv6")] * 30})


def patterns() -> Iterator[tuple[str, Make]]:
    """Sources of the regex front end."""
    texts = {
        "deep groups": _nested("(", "a", ")"),
        "open groups": "(" * 10**6,
        "(a*)*": "(a*)*" * 1_000,
        "nested stars": _nested("(", "a", ")*", 400),
        "nested counts": _nested("(", "a", "){1,1000000000}", 100),
        "counts": "(a{1,1000000000}b?){1,1000000000}",
        "counted alternatives": "((ab|a|b){1,1000000000}c?){5,1000000000}",
        "counted lookahead": "(?=(ab|c){1000,1000000000}$)(a|b|c)*",
        "long": "a" * 10**6,
        "long options": "(a|b)?" * 160_000,
        "long classes": "[a-zé]" * 140_000,
        "alternatives": "|".join(f"word{i}" for i in range(N)),
        "stars in a row": "a*" * 200_000,
        "anchors": "^$" * 200_000,
        "boundaries": r"\ba" * 1_000,
        "lookaheads": "(?=.*a)" * 2_000 + ".*",
        "lookbehinds": "a(?<=.*a)" * 1_000,
        "negations": "(?!.*ab)(?!.*ba)" * 200 + "[ab]*",
        "the nth from the end": "(a|b)*a(a|b){25}",
        "differences": "(?!(a|b)*a(a|b){18}$)(?!(a|b)*b(a|b){17}$)(a|b)*",
        "properties": r"\p{L}\P{L}" * 5_000,
    }
    for name, text in texts.items():
        yield name, lambda text=text: Grammar.regex(text)


def grammars() -> Iterator[tuple[str, Make]]:
    """Sources of the EBNF and Lark front ends."""
    shuffled = list(range(20_000))
    random.Random(3).shuffle(shuffled)
    words = "|".join(f'"w{i}"' for i in range(N))
    loops = "".join(f'\nr{i} ::= "a" | r{(i + 1) % 20_000} "b"' for i in shuffled)
    ebnf = {
        "deep groups": "root ::= " + _nested("(", '"a"', ")"),
        "open groups": "root ::= " + "(" * 10**6,
        "alternatives": "root ::= " + words,
        "left recursion": "root ::= r0" + loops,
        "doubling": "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(10_000))
        + '\nr10000 ::= "a"\nroot ::= r0',
        "counts": 'root ::= ("a"{1,1000000000}){1,1000000000} root?',
        "nested counts": "root ::= " + _nested("(", '"a"', "){1,1000000000}", 100),
        "options": "root ::= " + "root? " * 2_000 + '"a"',
        "one long literal": 'root ::= "' + "x" * 10**6 + '"',
        "rules": "root ::= r0\n" + "\n".join(f"r{i} ::= [a-z] r{i + 1}" for i in range(N))
        + f'\nr{N} ::= "."',
    }  # fmt: skip
    for name, text in ebnf.items():
        yield f"ebnf: {name}", lambda text=text: Grammar.ebnf(text)
    lark = {
        "deep groups": "start: " + _nested("(", '"a"', ")"),
        "deep %lark": "start: " + "%lark { start: " * N,
        "alternatives": "start: " + words,
        "terminals": "start: A0\n"
        + "\n".join(f'A{i}: A{i + 1} "x"' for i in range(20_000)) + '\nA20000: "y"',
        "doubling terminals": "start: A0\n"
        + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)) + '\nA60: "y"',
        "doubling choices": "start: A0\n"
        + "\n".join(f'A{i}: A{i + 1} "b" | "c" A{i + 1}' for i in range(60)) + '\nA60: "y"',
        "parameters": "start: p::0\np::_: p::incr(_) | /a/",
        "deep conditions": "start: p::0\np::_: /a/ %if " + "not(" * N,
        "negations": "start: A\nA: " + "~" * N + '"a"',
        "substrings": 'start: %regex {"substring_chars": "' + "ab" * 50_000 + '"}',
        "counts": "start: (/a{1,1000000000}/){1,1000000000} start?",
        "options": "start: " + '["a"] ' * 2_000,
    }  # fmt: skip
    for name, text in lark.items():
        yield f"lark: {name}", lambda text=text: Grammar.lark(text)


def _tag(form: dict[str, object]) -> Make:
    text = {"type": "structural_tag", "format": form}
    return lambda: Grammar.tag(text)


def tags() -> Iterator[tuple[str, Make]]:
    """Structural tags, choices, joined grammars."""
    text: dict[str, object] = {"type": "any_text"}
    tools: list[object] = [
        {"type": "tag", "begin": f"<f{i}>", "content": text, "end": f"</f{i}>"} for i in range(N)
    ]
    free = {"type": "triggered_tags", "tags": tools, "triggers": ["<f"]}
    yield "one trigger", _tag(free)
    yield "triggers", _tag(free | {"triggers": [f"<f{i}>" for i in range(N)]})
    yield "at least one", _tag(free | {"at_least_one": True})
    yield "excludes", _tag({"type": "any_text", "excludes": [f"word {i}" for i in range(N)]})
    long = "ab" * 500_000
    yield "a long exclude", _tag({"type": "any_text", "excludes": [long]})
    listed = {"tags": tools[:20_000], "separator": ",", "at_least_one": True}
    yield "separated tags", _tag({"type": "tags_with_separator", **listed})
    rules = [[f"<{i}>", text] for i in range(N)]
    yield "dispatch", _tag({"type": "dispatch", "rules": rules})
    many: list[object] = [{"type": "const_string", "value": f"v{i}"} for i in range(N)]
    yield "or", _tag({"type": "or", "elements": many})
    yield "sequence", _tag({"type": "sequence", "elements": many})
    schema = {"type": "json_schema", "json_schema": {"type": "object"}}
    typed = [t | {"content": schema} for t in tools[:20_000]]  # pyright: ignore[reportOperatorIssue]
    yield "schemas", _tag(free | {"tags": typed})
    deep: dict[str, object] = {"type": "const_string", "value": "x"}
    for _ in range(300):
        deep = {"type": "repeat", "min": 1, "max": BIG, "content": deep}
    yield "deep repeats", _tag(deep)
    open_tag: dict[str, object] = text
    for i in range(300):
        open_tag = {"type": "tag", "begin": f"<{i}>", "content": open_tag, "end": f"</{i}>"}
    yield "deep tags", _tag(open_tag)
    object_ = {"type": "object", "properties": {f"k{i}": {} for i in range(2_000)}}
    style = {"type": "json_schema", "json_schema": object_, "style": "qwen_xml"}
    yield "styled keys", _tag(style)
    yield "choice", lambda: Grammar.choice([f"choice {i}" for i in range(N)])
    yield "long choices", lambda: Grammar.choice(["ab" * i for i in range(1_000)])

    def joined() -> Grammar:
        whole = Grammar.literal("a")
        for i in range(5_000):
            whole = whole + Grammar.literal("b") if i % 2 else whole | Grammar.literal("c")
        return whole

    yield "joined", joined


SOURCES: dict[str, Callable[[], Iterator[tuple[str, Make]]]] = {
    "schema": schemas,
    "regex": patterns,
    "grammar": grammars,
    "tag": tags,
}


def names() -> list[str]:
    """All sources, `front end: name`."""
    return [f"{kind}: {name}" for kind, make in SOURCES.items() for name, _ in make()]


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _step(compiler: Compiler, grammar: Grammar) -> None:
    """The first masks, and those after every first byte that is legal."""
    matcher = compiler.compile(grammar).matcher()
    rows = mask_rows(1, compiler.vocab.size)
    matcher.fill(rows, 0)
    for byte in b'{["a<w(c1 ':
        matcher.reset()
        if matcher.accept_bytes(bytes([byte])):
            matcher.fill(rows, 0)


def _judge(name: str, make: Make, compiler: Compiler) -> dict[str, object]:
    before, start = _mib(), _cpu()
    try:
        _step(compiler, make())
        end = "works"
    except (LimitExceeded, GrammarError, InvalidRequest) as error:
        end = f"{type(error).__name__}: {str(error)[:120]}"
    cpu, held = _cpu() - start, _mib() - before
    after = compiler.compile(Grammar.json_schema({"type": "integer"})).matcher()
    fine = after.accept_bytes(b"1") and after.accepting and not after.accept_bytes(b"x")
    return {"name": name, "end": end, "cpu": cpu, "mib": held, "next": fine}


def main(chosen: list[str]) -> None:
    compiler = Compiler(Vocab(medium()))
    for kind, sources in SOURCES.items():
        for name, make in sources():
            full = f"{kind}: {name}"
            if chosen and full not in chosen:
                continue
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                resource.setrlimit(resource.RLIMIT_CPU, (int(_cpu()) + 6, int(_cpu()) + 8))
                print(json.dumps(_judge(full, make, compiler)), flush=True)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status != 0:
                end = f"status {status}"
                failed = {"name": full, "end": end, "cpu": 99.0, "mib": 0.0, "next": False}
                print(json.dumps(failed), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
