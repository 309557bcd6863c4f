"""Builds the WebAssembly modules: core.wasm, the grammar engine (cpp/{support,tokens,grammar} and
its C ABI), and cpu-simd.wasm and cpu-relaxed.wasm, the model runtime (cpp/cpu) for one worker.

The compiler is clang from the PyPI package `ziglang`; its libc++ is built once (a minute or two of
CPU) and kept in the user's cache, and only objects whose sources changed are built again. A front
end that a page does not need can be left out: each is a set of objects of its own, and what takes
its place refuses that kind of grammar by name.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
CPP = ROOT / "cpp"
WORK = ROOT / "build" / "wasm"
FRONT_ENDS = ("ebnf", "lark", "tag")

STACK = 1 << 20  # bytes; the core keeps explicit stacks where a source decides on the depth
MEMORY = 1 << 30  # bytes; an allocation beyond them ends the instance, and the page makes a new one

COMPILE = [
    *("-target", "wasm32-wasi", "-std=c++20", "-msimd128", "-DNDEBUG", f"-I{CPP}"),
    *("-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-ffunction-sections"),
]
# Headers of the standard library that most sources want.
LIBRARY = [
    *("algorithm", "array", "bit", "cstdint", "cstring", "list", "map", "memory", "optional"),
    *("span", "string", "string_view", "unordered_map", "unordered_set", "utility", "variant"),
    "vector",
]
# What runs a step is made fast; what runs once a grammar is made small, for it has to be fetched.
SMALL, FAST = "-Os", "-O2"
HOT = ("support", "tokens", "grammar/run", "grammar/ir", "grammar/typed", "cpu/body", "cpu/sample")
# The link also builds libc++, once for each set of machine flags.
LINK = [
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-msimd128", FAST),
    *("-fno-exceptions", "-fno-rtti", "-Wl,--strip-all", "-Wl,--gc-sections"),
    f"-Wl,-z,stack-size={STACK}",
]
# Weights and KV pages: all that 32-bit addresses reach, less a page.
CPU_MEMORY = (1 << 32) - (1 << 16)
KERNELS = "dot_"  # compiled for speed, with the instructions of their module
CPU_NOT = ("pool.cc", "wait.cc")  # threads and futexes; bind/wasm_cpu_host.cc stands in


def sources(without: list[str]) -> list[Path]:
    """All files of core.wasm, with refusals in the place of the front ends left out."""
    files = [
        path for part in ("support", "tokens", "grammar") for path in (CPP / part).rglob("*.cc")
    ]
    files += (
        path
        for path in (CPP / "bind").glob("wasm*.cc")
        if "_without_" not in path.name and not path.name.startswith("wasm_cpu")
    )
    for name in without:
        files = [path for path in files if not _belongs(path, name)]
        files.append(CPP / "bind" / f"wasm_without_{name}.cc")
    return sorted(files)


def cpu_sources() -> list[Path]:
    """All files of the CPU modules."""
    files = [path for path in (CPP / "cpu").glob("*.cc") if path.name not in CPU_NOT]
    files += [CPP / "bind" / "wasm_heap.cc", CPP / "support" / "result.cc"]
    return sorted([*files, *(CPP / "bind").glob("wasm_cpu*.cc")])


def _belongs(path: Path, front_end: str) -> bool:
    ours = path.stem == front_end or path.stem.startswith(f"{front_end}_")
    return ours and path.parent == CPP / "grammar" / "front"


def _zig(arguments: list[str]) -> None:
    environment = dict(os.environ)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "treadle" / "zig"
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache))
    environment.setdefault("ZIG_LOCAL_CACHE_DIR", str(WORK / "cache"))
    command = [sys.executable, "-m", "ziglang", "c++", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)  # noqa: S603


def _is_fresh(target: Path, dependencies: Path) -> bool:
    """Whether `target` is newer than all files that `dependencies` (of make's form) names."""
    if not target.exists() or not dependencies.exists():
        return False
    names = dependencies.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    built = target.stat().st_mtime_ns
    return all(Path(name).exists() and Path(name).stat().st_mtime_ns < built for name in names)


def _flags(source: Path, relaxed: bool = False) -> list[str]:
    place = source.relative_to(CPP)
    if place.parts[0] == "cpu" and place.name.startswith(KERNELS):
        # No contraction: a fused multiply-add stands in the source or is none.
        more = ["-mrelaxed-simd"] if relaxed else []
        return [*COMPILE, "-O3", "-ffp-contract=off", *more]
    exact = ["-ffp-contract=off"] if place.parts[0] == "cpu" else []
    return [*COMPILE, FAST if place.as_posix().startswith(HOT) else SMALL, *exact]


def _folder(flags: list[str]) -> Path:
    return WORK / hashlib.sha256(" ".join(flags).encode()).hexdigest()[:8]


def precompile(flags: list[str]) -> Path:
    """The library's headers, read once for all sources with these flags."""
    folder = _folder(flags)
    text = "".join(f"#include <{name}>\n" for name in LIBRARY)
    header, out = folder / "library.h", folder / "library.pch"
    if not out.exists() or header.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        header.write_text(text)
        _zig([*flags, "-x", "c++-header", str(header), "-o", str(out)])
    return out


def compile_one(source: Path, flags: list[str]) -> Path:
    """The object of one source, built unless it is fresh."""
    out = _folder(flags) / source.relative_to(CPP).with_suffix(".o")
    dependencies = out.with_suffix(".d")
    if not _is_fresh(out, dependencies):
        out.parent.mkdir(parents=True, exist_ok=True)
        library = ["-include-pch", str(_folder(flags) / "library.pch")]
        target = ["-MMD", "-MF", str(dependencies), "-c", str(source), "-o", str(out)]
        _zig([*flags, *library, *target])
    return out


def build(out: Path, files: list[Path], memory: int, jobs: int, relaxed: bool = False) -> None:
    """Compiles and links; raises CalledProcessError after the compiler's words on stderr."""
    flags = {file: _flags(file, relaxed) for file in files}
    for one in {tuple(each) for each in flags.values()}:
        precompile(list(one))
    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(lambda file: compile_one(file, flags[file]), files))
    out.parent.mkdir(parents=True, exist_ok=True)
    _zig([*map(str, objects), "-o", str(out), *LINK, f"-Wl,--max-memory={memory}"])
    print(f"{out}: {out.stat().st_size} bytes")


def main() -> int:
    """Builds, and prints the sizes of what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=WORK / "core.wasm", help="of the core")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--without", choices=FRONT_ENDS, nargs="*", default=[], help="front ends to leave out"
    )
    parser.add_argument("--only", choices=("core", "cpu"), help="one part instead of both")
    given = parser.parse_args()
    out = given.out.resolve()
    try:
        if given.only != "cpu":
            build(out, sources(given.without), MEMORY, given.jobs)
        if given.only != "core":
            for name, relaxed in (("simd", False), ("relaxed", True)):
                to = out.with_name(f"cpu-{name}.wasm")
                build(to, cpu_sources(), CPU_MEMORY, given.jobs, relaxed)
    except subprocess.CalledProcessError as error:
        print(f"build_wasm: the compiler ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
