"""`flashinfer_bench.agents`: a solution as a folder of files, and back."""

from __future__ import annotations

from pathlib import Path

import msgspec

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.schema import Solution, Source, Spec, check_solution

__all__ = ["extract_solution_to_files", "pack_solution_from_files"]

ENDINGS = frozenset({".py", ".cu", ".cuh", ".cpp", ".c", ".h", ".hpp", ".cc", ".cxx"})


def extract_solution_to_files(solution: Solution, base_path: str) -> str:
    """Writes the sources below `base_path/<name>`, with SOLUTION.md; returns the folder.

    Raises InvalidRequest for a name or path that leaves the folder, NotFound without a base.
    """
    check_solution(solution)
    base = Path(base_path)
    if not base.is_dir():
        raise NotFound(f"no folder {base}", at="base_path")
    if solution.name != Path(solution.name).name or solution.name in (".", ".."):
        raise InvalidRequest(f"{solution.name!r} is no folder name", at="name")
    folder = base / solution.name
    for source in solution.sources:
        place = folder / source.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(source.content, encoding="utf-8")
    spec = msgspec.json.format(msgspec.json.encode(solution.spec), indent=2).decode()
    files = "\n".join(f"- `{source.path}`" for source in solution.sources)
    text = (
        f"# {solution.name}\n\nFor `{solution.definition}`, by {solution.author}."
        f" {solution.description or ''}\n\n```json\n{spec}\n```\n\n{files}\n"
    )
    (folder / "SOLUTION.md").write_text(text, encoding="utf-8")
    return str(folder)


def pack_solution_from_files(
    path: str, spec: Spec, name: str, definition: str, author: str, description: str = ""
) -> Solution:
    """The source files directly in a folder as a solution. Raises NotFound without sources,
    InvalidRequest for what is no solution."""
    folder = Path(path)
    if not folder.is_dir():
        raise NotFound(f"no folder {folder}", at="path")
    sources = [
        Source(path=p.name, content=p.read_text(encoding="utf-8"))
        for p in sorted(folder.iterdir())
        if p.is_file() and p.suffix in ENDINGS
    ]
    if not sources:
        raise NotFound(f"no source files in {folder}", at="path")
    made = Solution(
        name=name, definition=definition, author=author, spec=spec, sources=sources,
        description=description or None,
    )  # fmt: skip
    check_solution(made)
    return made
