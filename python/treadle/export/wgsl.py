"""Complete WGSL modules from the texts in `wgsl/`: a printed header, directives, includes.

A text knows names only. The header prints what they mean for one kernel: storage buffers, the
uniform block of run-time sizes, constants, and how weight rows are unpacked. Five directives, each
on its own line: `//#if NAME`, `//#else`, `//#end`, `//#use LIB` (once a module), `//#for I NAME`,
which repeats the lines up to its `//#end` as often as the integer NAME says, with 0, 1 ... for
each `#I` in them: variables by number stay in registers where arrays may not.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from treadle.errors import KernelError, Unsupported

RUN = ("T", "S", "R", "L", "P", "ids", "pos", "slots", "starts", "lens", "rows", "table")
"""Words of the uniform block: run-time dims, then where in `batch` each input starts."""

FORMATS: Mapping[str, tuple[int, int]] = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2),
    "q4_0": (32, 18), "q4_1": (32, 20), "q8_0": (32, 34), "q4_k": (256, 144), "q6_k": (256, 210),
}  # fmt: skip
"""Weight formats with a kernel: weights and bytes of a block."""

ALIGN = 256
"""Where a matrix starts inside a weight buffer."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One storage buffer of a kernel. type: WGSL element type; write: the kernel writes it too."""

    name: str
    type: str
    write: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of a weight buffer that lie together in one format; `offset` in bytes."""

    rows: int
    format: str
    offset: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """A printed module with its entry `main` and its storage buffers in binding order."""

    name: str
    text: str
    bindings: tuple[Binding, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the buffers that are only read."""
        return tuple(b.name for b in self.bindings if not b.write)


def row_bytes(format: str, columns: int) -> int:
    """Bytes of a row. Raises Unsupported for a format without a kernel, or columns that are no
    whole number of blocks."""
    if format not in FORMATS:
        raise Unsupported(
            f"no WGSL kernel reads {format}",
            hint=f"requantise to one of {', '.join(FORMATS)}",
        )
    weights, size = FORMATS[format]
    if columns % weights:
        raise Unsupported(f"{columns} columns are no whole {format} blocks of {weights}")
    return columns // weights * size


def module(
    name: str,
    bindings: Sequence[Binding],
    consts: Mapping[str, int | float],
    flags: Collection[str] = (),
    segments: Sequence[Segment] = (),
    columns: int = 0,
    enables: Sequence[str] = (),
) -> Kernel:
    """The module of `wgsl/{name}.wgsl`.

    consts: integers print as u32, floats as f32; every const and binding is a flag too. segments:
    the weight buffer `w` of rows of `columns` weights, if the kernel has one. enables: language
    extensions (`subgroups` must be named for Tint and must not be for naga). Raises KernelError
    for a text that breaks the rules of directives.
    """
    known = {*flags, *consts, *(b.name for b in bindings)}
    half = "HALF" in known
    parts = [f"enable {feature};" for feature in (*enables, *(("f16",) if half else ()))]
    if "subgroups" in enables:  # kernels branch by subgroup_id, which Tint does not take as uniform
        parts.append("diagnostic(off, subgroup_uniformity);")
    parts += [f"// {name}: printed by treadle.export.wgsl"]
    parts += [
        f"@group(0) @binding({i}) var<storage, {'read_write' if b.write else 'read'}> "
        f"{b.name}: array<{b.type}>;"
        for i, b in enumerate(bindings)
    ]
    body = _expand(name, known, consts)
    if "run." in body:
        fields = ", ".join(f"{field}: u32" for field in RUN)
        parts.append(f"struct Run {{ {fields} }}")
        parts.append(f"@group(0) @binding({len(bindings)}) var<uniform> run: Run;")
    parts += [f"const {key}: {_type(value)} = {_literal(value)};" for key, value in consts.items()]
    if segments or "PLANES" in known:
        parts.append(f"alias real = {'f16' if half else 'f32'};")
    if "PLANES" in known:
        parts += [_expand("lib/bytes", known), _expand("lib/planes", known)]
    elif segments:
        parts.append(_unpack(segments, columns, columns % 32 == 0, known))
    return Kernel(name, "\n".join([*parts, body]), tuple(bindings))


def _type(value: float) -> str:
    return "u32" if isinstance(value, int) else "f32"


def _literal(value: float) -> str:
    return f"{value}u" if isinstance(value, int) else repr(float(value))


def _unpack(segments: Sequence[Segment], columns: int, blocks: bool, flags: set[str]) -> str:
    """`block(row, b)` or `weight(row, i)` over the segments, with the formats they need."""
    formats = sorted({segment.format for segment in segments})
    texts = [_expand("lib/bytes", flags), *(_expand(f"lib/{f}", flags) for f in formats)]
    kind, result, at = ("block", "Block", "b") if blocks else ("weight", "f32", "i")
    lines = [f"fn {kind}(row: u32, {at}: u32) -> {result} {{"]
    first = 0
    for index, segment in enumerate(segments):
        size = row_bytes(segment.format, columns)
        start = f"{segment.offset}u + (row - {first}u) * {size}u"
        call = f"return {kind}_{segment.format}({start}, {at});"
        first += segment.rows
        last = index == len(segments) - 1
        lines.append(f"  {call}" if last else f"  if (row < {first}u) {{ {call} }}")
    return "\n".join([*texts, *lines, "}"])


def _expand(
    name: str, flags: Collection[str], consts: Mapping[str, int | float] = MappingProxyType({})
) -> str:
    """A text with its directives carried out."""
    lines = _lines(name, flags, set())
    while (last := max((i for i, line in enumerate(lines) if _word(line) == FOR), default=-1)) >= 0:
        _repeat(lines, last, consts, name)  # the last one holds no other
    return "\n".join(lines)


def _repeat(lines: list[str], first: int, consts: Mapping[str, int | float], name: str) -> None:
    """Carries out the //#for of line `first`."""
    _, variable, count = lines[first].split()
    end = next(i for i in range(first, len(lines)) if _word(lines[i]) == END)
    if not isinstance(times := consts.get(count), int):
        _broken(f"//#for {variable} over {count}, which is no integer", f"wgsl/{name}.wgsl")
    body = lines[first + 1 : end]
    lines[first : end + 1] = [
        line.replace(f"#{variable}", str(i)) for i in range(times) for line in body
    ]


FOR, END = "//#for", "//#end"


def _word(line: str) -> str:
    return line.strip().partition(" ")[0]


def _lines(name: str, flags: Collection[str], used: set[str]) -> list[str]:
    """With the lines of //#for and their ends left in."""
    out: list[str] = []
    kept: list[bool | None] = []  # one entry an open //#if; None: a //#for
    for number, line in enumerate(_source(name).splitlines(), 1):
        word, _, argument = line.strip().partition(" ")
        at = f"wgsl/{name}.wgsl:{number}"
        live = False not in kept
        if word == "//#if":
            kept.append(argument.strip() in flags)
        elif word == FOR and len(argument.split()) == 2:
            kept.append(None)
            out += [line] if live else []
        elif word == "//#else" and kept and kept[-1] is not None:
            kept[-1] = not kept[-1]
        elif word == END and kept:
            out += [line] if kept.pop() is None and live else []
        elif word.startswith("//#") and word != "//#use":
            _broken(f"directive {word} means nothing here", at)
        elif live:
            if word != "//#use":
                out.append(line)
            elif argument not in used:
                used.add(argument)
                out += _lines(f"lib/{argument}", flags, used)
    if kept:
        _broken("//#if or //#for without //#end", f"wgsl/{name}.wgsl")
    return out


def _broken(message: str, at: str) -> NoReturn:
    raise KernelError(message, at=at, hint="directives are //#if //#else //#for //#end //#use")


@cache
def _source(name: str) -> str:
    path = folder() / f"{name}.wgsl"
    if not path.is_file():
        raise KernelError("no such kernel text", at=f"wgsl/{name}.wgsl", hint="see wgsl/")
    return path.read_text()


def folder() -> Path:
    """Where the texts lie: inside the installed package, else `wgsl/` of the repository."""
    here = Path(__file__).resolve().parent
    for path in (here / "wgsl", here.parents[2] / "wgsl"):
        if path.is_dir():
            return path
    raise KernelError(
        "the WGSL texts are not installed", at=os.fspath(here), hint="reinstall treadle"
    )
