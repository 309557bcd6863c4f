"""Builds the WebAssembly modules: core.wasm, the grammar engine (cpp/{support,tokens,grammar} and
its C ABI), core-json.wasm, the same with fewer front ends, and cpu-{simd,relaxed}[-threads].wasm,
the model runtime (cpp/cpu) for one worker or for several.

The compiler is clang from the PyPI package `ziglang`; its libc++ is built once (a minute or two of
CPU) and kept in the user's cache, and only objects whose sources changed are built again. Each
front end is a set of objects of its own, and what takes the place of one that is left out refuses
that kind of grammar by name.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[1]
CPP = ROOT / "cpp"
WORK = ROOT / "build" / "wasm"
# What core-json.wasm has none of: front ends, and calls of the C ABI (bind/wasm_NAME.cc).
FRONT_ENDS = ("ebnf", "lark", "tag")
CALLS = ("batch", "print")

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
SMALL, FAST = "-Oz", "-O2"
HOT = ("support", "tokens", "grammar/run", "cpu/body", "cpu/sample")
# Workers are threads of the page: they bring their stacks, and share a memory that it has made.
THREADS = ["-matomics", "-mbulk-memory"]
# The link also builds libc++, once for each set of machine flags; a minute or two. So all modules
# take one library, with the instructions for shared memory, which do no harm where none is.
LINK = [
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-msimd128", *THREADS, SMALL),
    *("-fno-exceptions", "-fno-rtti", "-Wl,--strip-all", "-Wl,--gc-sections"),
    f"-Wl,-z,stack-size={STACK}",
]
# Weights and KV pages: all that 32-bit addresses reach, less a page.
CPU_MEMORY = (1 << 32) - (1 << 16)
KERNELS = "dot_"  # compiled for speed, with the instructions of their module
THREADS_LINK = [
    *("-Wl,--import-memory", "-Wl,--shared-memory", "-Wl,--export=__stack_pointer"),
    *("-Wl,--export=__wasm_init_tls", "-Wl,--export=__tls_size"),
    "-Wl,--initial-memory=4194304",
]


# The two parts are built side by side and share a few objects: whoever comes first makes them.
_MAKING: dict[Path, Lock] = {}


def sources(whole: bool) -> list[Path]:
    """All files of core.wasm, or those of core-json.wasm."""
    files = [
        path for part in ("support", "tokens", "grammar") for path in (CPP / part).rglob("*.cc")
    ]
    files += (path for path in (CPP / "bind").glob("wasm*.cc") if _is_shared(path))
    if whole:
        return sorted(files)
    for name in FRONT_ENDS:
        files = [path for path in files if not _belongs(path, name)]
        files.append(CPP / "bind" / f"wasm_without_{name}.cc")
    left_out = {f"wasm_{name}.cc" for name in CALLS}
    return sorted(path for path in files if path.name not in left_out)


def cpu_sources(threads: bool) -> list[Path]:
    """All files of the CPU modules: for one worker, or for several."""
    without = ("pool.cc", "wasm_cpu_alone.cc") if threads else ("pool.cc", "wait.cc")
    files = [*(CPP / "cpu").glob("*.cc"), *(CPP / "bind").glob("wasm_cpu*.cc")]
    files += [CPP / "bind" / "wasm_heap.cc", CPP / "support" / "result.cc"]
    return sorted(path for path in files if path.name not in without)


def _is_shared(path: Path) -> bool:
    return "_without_" not in path.name and not path.name.startswith("wasm_cpu")


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


def _flags(source: Path, relaxed: bool, threads: bool) -> list[str]:
    place = source.relative_to(CPP)
    # The library's own guard of statics would bring a whole stdio along; the host meets them first.
    common = [*COMPILE, *((*THREADS, "-fno-threadsafe-statics") if threads else ())]
    if place.parts[0] == "cpu" and place.name.startswith(KERNELS):
        # No contraction: a fused multiply-add stands in the source or is none.
        more = ["-mrelaxed-simd"] if relaxed else []
        return [*common, "-O3", "-ffp-contract=off", *more]
    exact = ["-ffp-contract=off"] if place.parts[0] == "cpu" else []
    return [*common, FAST if place.as_posix().startswith(HOT) else SMALL, *exact]


def _folder(flags: list[str]) -> Path:
    return WORK / hashlib.sha256(" ".join(flags).encode()).hexdigest()[:8]


def precompile(flags: list[str]) -> Path:
    """The library's headers, read once for all sources with these flags."""
    folder = _folder(flags)
    text = "".join(f"#include <{name}>\n" for name in LIBRARY)
    header, out = folder / "library.h", folder / "library.pch"
    with _MAKING.setdefault(out, Lock()):
        known = header.exists() and header.read_text() == text
        if not known:  # left alone otherwise: every object here is older than a header that is new
            folder.mkdir(parents=True, exist_ok=True)
            header.write_text(text)
        if not known or not out.exists():
            _zig([*flags, "-x", "c++-header", str(header), "-o", str(out)])
    return out


def compile_one(source: Path, flags: list[str]) -> Path:
    """The object of one source, built unless it is fresh."""
    out = _folder(flags) / source.relative_to(CPP).with_suffix(".o")
    dependencies = out.with_suffix(".d")
    with _MAKING.setdefault(out, Lock()):
        if not _is_fresh(out, dependencies):
            out.parent.mkdir(parents=True, exist_ok=True)
            library = ["-include-pch", str(_folder(flags) / "library.pch")]
            target = ["-MMD", "-MF", str(dependencies), "-c", str(source), "-o", str(out)]
            _zig([*flags, *library, *target])
    return out


def build(
    out: Path,
    files: list[Path],
    memory: int,
    jobs: int,
    relaxed: bool = False,
    threads: bool = False,
) -> None:
    """Compiles and links; raises CalledProcessError after the compiler's words on stderr."""
    flags = {file: _flags(file, relaxed, threads) for file in files}
    for one in {tuple(each) for each in flags.values()}:
        precompile(list(one))
    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(lambda file: compile_one(file, flags[file]), files))
    out.parent.mkdir(parents=True, exist_ok=True)
    more = THREADS_LINK if threads else []
    _zig([*map(str, objects), "-o", str(out), *LINK, *more, f"-Wl,--max-memory={memory}"])
    print(f"{out}: {out.stat().st_size} bytes")


def build_core(out: Path, jobs: int) -> None:
    """core.wasm, and core-json.wasm beside it."""
    build(out, sources(whole=True), MEMORY, jobs)
    build(out.with_name(f"{out.stem}-json.wasm"), sources(whole=False), MEMORY, jobs)


def build_cpu(folder: Path, jobs: int) -> None:
    """The four modules that run models."""
    for threads, relaxed in itertools.product((False, True), repeat=2):
        name = f"cpu-{'relaxed' if relaxed else 'simd'}{'-threads' if threads else ''}.wasm"
        build(folder / name, cpu_sources(threads), CPU_MEMORY, jobs, relaxed, threads)


def main() -> int:
    """Builds, and prints the sizes of what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=WORK / "core.wasm", help="of the core")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("core", "cpu"), help="one part instead of both")
    given = parser.parse_args()
    out = given.out.resolve()
    # Side by side, for a link that builds libc++ first keeps one processor busy, not two.
    with ThreadPoolExecutor(2) as pool:
        parts = {
            "core": pool.submit(build_core, out, given.jobs) if given.only != "cpu" else None,
            "cpu": pool.submit(build_cpu, out.parent, given.jobs) if given.only != "core" else None,
        }
    for part in parts.values():
        try:
            if part is not None:
                part.result()
        except subprocess.CalledProcessError as error:
            print(f"build_wasm: the compiler ended with {error.returncode}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
