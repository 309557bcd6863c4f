"""Workloads of the grammar benchmarks: real schemas, tool calls in free text, long repetitions.

Source of the schemas: MaskBench (guidance-ai/jsonschemabench), one JSON file a schema with labelled
instances, or one file that holds a list of them (the committed sample).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[1] / "tests" / "grammar" / "data" / "maskbench.json"
COUNTS = (1, 10, 50, 100, 200)  # tools of one request
LENGTHS = (100, 1_000, 10_000)  # bounds of repetitions
PROSE = (
    "Certainly. The trip takes two days if you leave on Monday, and the price is about 240 euros: "
    "that includes the ferry (42.50 each way), a room near the harbour and breakfast. I still have "
    "to check the timetable; meanwhile, here are the options:\n\n- by train, 7 hours\n- by car, 9 "
    "hours, with a stop in Basel\n\n"
)
WORDS = PROSE.split(" ")


@dataclass(frozen=True, slots=True)
class Job:
    """One grammar and the texts that walk it, each with whether it is in the language."""

    name: str
    group: str
    kind: str  # schema | tools
    source: Any
    texts: tuple[tuple[str, bool], ...]


def read_entries(path: Path) -> list[dict[str, Any]]:
    """{"name", "schema", "tests": [{"data", "valid"}]} of every schema, sorted by name."""
    if path.is_file():
        entries = json.loads(path.read_text("utf-8"))
    else:
        files = sorted(path.glob("*.json"))
        entries = [{"name": file.stem, **json.loads(file.read_text("utf-8"))} for file in files]
    return sorted(entries, key=lambda entry: entry["name"])


def schema_jobs(entries: list[dict[str, Any]], count: int, seed: int) -> list[Job]:
    """`count` schemas drawn without replacement; instances as json.dumps writes them."""
    chosen = list(entries)
    random.Random(seed).shuffle(chosen)
    return [
        Job(
            entry["name"],
            "schemas",
            "schema",
            json.dumps(entry["schema"]),
            tuple((spell(test["data"]), test["valid"]) for test in entry["tests"]),
        )
        for entry in chosen[:count]
    ]


def spell(value: Any) -> str:
    """A value as JSON text."""
    return json.dumps(value, ensure_ascii=False)


# Tools


@dataclass(frozen=True, slots=True)
class Sample:
    """A tool with one call that its parameters admit."""

    name: str
    parameters: dict[str, Any]
    arguments: dict[str, Any]

    def renamed(self, number: int) -> Sample:
        """The same tool with another name and other argument names: another grammar."""
        mark = f"_{number}"
        properties = self.parameters.get("properties", {})
        changed = {
            **self.parameters,
            "properties": {key + mark: value for key, value in properties.items()},
        }
        if "required" in changed:
            changed["required"] = [key + mark for key in changed["required"]]
        arguments = {key + mark: value for key, value in self.arguments.items()}
        return Sample(self.name + mark, changed, arguments)


PLAIN = {"type", "properties", "required", "items", "enum", "description", "title", "default"}
PLAIN |= {"additionalProperties", "const"}


def plain(schema: Any) -> bool:
    """Whether every engine supports each keyword: this workload is about speed."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    inner = [*schema.get("properties", {}).values()]
    inner += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return set(schema) <= PLAIN and all(plain(value) for value in inner)


def closed(schema: Any) -> Any:
    """Objects closed where they name properties and leave the rest open, so that all engines
    compile one language whatever their default.
    """
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    if "properties" in out:
        out["properties"] = {key: closed(value) for key, value in out["properties"].items()}
        out.setdefault("additionalProperties", False)
    if "items" in out:
        out["items"] = closed(out["items"])
    return out


def tool_pool(entries: list[dict[str, Any]], size: int) -> tuple[list[Sample], int]:
    """At least `size` tools, and how many of them are distinct; the others are renamed ones.

    Distinct tools are those of the sets BFCL (properties of an outer object) and Glaive (a file).
    """
    found: dict[str, Sample] = {}
    for name, parameters, arguments in candidates(entries):
        if not isinstance(parameters, dict) or not isinstance(arguments, dict) or not arguments:
            continue
        parameters = closed(parameters)
        order = list(parameters.get("properties", {}))
        if not plain(parameters) or not set(arguments) <= set(order):
            continue
        written = {key: arguments[key] for key in order if key in arguments}
        found.setdefault(name, Sample(name, parameters, written))
    distinct = [found[name] for name in sorted(found)]
    pool = list(distinct)
    number = 2
    while distinct and len(pool) < size:
        pool += [tool.renamed(number) for tool in distinct]
        number += 1
    return pool[: max(size, len(distinct))], len(distinct)


def candidates(entries: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """(name, parameters, arguments of a call)."""
    for entry in entries:
        kind = entry["name"].split("_")[0].split("-")[0]
        good = [test["data"] for test in entry["tests"] if test["valid"]]
        if not good or not isinstance(good[0], dict):
            continue
        if kind == "BFCL":
            for name, parameters in entry["schema"].get("properties", {}).items():
                calls = [value[name] for value in good if name in value]
                if calls:
                    yield "".join(c if c.isalnum() else "_" for c in name), parameters, calls[0]
        elif kind == "Glaiveai2K":
            name = entry["name"].split("---")[-1].rsplit("_", 1)[0]
            yield name, entry["schema"], good[0]


def tool_jobs(pool: list[Sample], requests: int, seed: int) -> list[Job]:
    """`requests` requests a count: free text, a call, text, a call, text. Popular tools recur."""
    rng = random.Random(seed)
    pool = list(pool)
    rng.shuffle(pool)
    weights = [1 / (place + 10) for place in range(len(pool))]
    jobs: list[Job] = []
    for count in COUNTS:
        for request in range(requests):
            picked: dict[int, Sample] = {}
            while len(picked) < min(count, len(pool)):
                place = rng.choices(range(len(pool)), weights)[0]
                picked[place] = pool[place]
            tools = list(picked.values())
            rng.shuffle(tools)
            text = words(rng, 40)
            for tool in rng.choices(tools, k=2):
                text += f" {begin_of(tool)}{spell(tool.arguments)}</function> {words(rng, 25)}"
            jobs.append(
                Job(f"tools {count}/{request}", str(count), "tools", tag(tools), ((text, True),))
            )
    rng.shuffle(jobs)
    return jobs


def words(rng: random.Random, count: int) -> str:
    """A run of prose."""
    start = rng.randrange(len(WORDS))
    return " ".join(WORDS[(start + place) % len(WORDS)] for place in range(count))


def begin_of(tool: Sample) -> str:
    """How a call begins (Llama 3.1's own form)."""
    return f"<function={tool.name}>"


def tag(tools: list[Sample]) -> dict[str, Any]:
    """The structural tag of free text mixed with calls."""
    tags = [
        {
            "type": "tag",
            "begin": begin_of(tool),
            "content": {"type": "json_schema", "json_schema": tool.parameters},
            "end": "</function>",
        }
        for tool in tools
    ]
    form = {"type": "triggered_tags", "triggers": ["<function="], "tags": tags}
    return {"type": "structural_tag", "format": form}


# Repetition


def repetition_jobs(seed: int) -> list[Job]:
    """Counted strings, arrays, objects and patterns with bounds of LENGTHS."""
    rng = random.Random(seed)
    jobs: list[Job] = []

    def letters(count: int, alphabet: str = "abcdefgh ijklmno") -> str:
        return "".join(rng.choice(alphabet) for _ in range(count))

    def add(kind: str, schema: Any, value: Any) -> None:
        jobs.append(
            Job(f"{kind}/{n}", f"{n}", "schema", json.dumps(schema), ((spell(value), True),))
        )

    for n in LENGTHS:
        long = min(n - 5, 600)
        for kind, make in repetition_kinds(n, long, letters).items():
            add(kind, *make())
    return jobs


def repetition_kinds(
    n: int, long: int, letters: Callable[..., str]
) -> dict[str, Callable[[], tuple[Any, Any]]]:
    """name → (schema, a value that walks deep into the bound)."""
    text = {"type": "string"}
    whole = {"type": "integer"}
    return {
        "maxLength": lambda: ({**text, "maxLength": n}, letters(long)),
        "minLength, maxLength": lambda: (
            {**text, "minLength": n // 2, "maxLength": n},
            letters(max(long, n // 2)),
        ),
        "maxItems": lambda: (
            {"type": "array", "items": whole, "maxItems": n},
            list(range(min(long, 200))),
        ),
        "minItems": lambda: (
            {"type": "array", "items": whole, "minItems": n // 4},
            list(range(n // 4 + 3)),
        ),
        "maxItems of objects": lambda: (
            {
                "type": "array",
                "maxItems": n,
                "items": {
                    "type": "object",
                    "properties": {"id": whole, "name": {**text, "maxLength": n}},
                    "required": ["id", "name"],
                    "additionalProperties": False,
                },
            },
            [{"id": place, "name": letters(8)} for place in range(min(long, 40))],
        ),
        "maxProperties": lambda: (
            {"type": "object", "additionalProperties": whole, "maxProperties": n},
            {f"key{place}": place for place in range(min(long, 60))},
        ),
        "pattern [a-z]{1,n}": lambda: (
            {**text, "pattern": f"^[a-z]{{1,{n}}}$"},
            letters(long, "abcdefghijklm"),
        ),
        "pattern (ab|cd){n/4,n}": lambda: (
            {**text, "pattern": f"^(ab|cd){{{n // 4},{n}}}$"},
            "abcd" * (n // 8 + 2),
        ),
        "pattern ([a-f0-9]{1,n}-){0,n}z": lambda: (
            {**text, "pattern": f"^([a-f0-9]{{1,{n}}}-){{0,{n}}}z$"},
            "deadbeef-" * 10 + "z",
        ),
    }
