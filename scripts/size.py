"""Prints files and lines by folder, the largest files, and fails above 500 lines.

Counts what git tracks or would track. Generated files and data are listed apart.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MAXIMUM = 500
CODE = {".py", ".pyi", ".cc", ".h", ".cuh", ".cu", ".wgsl", ".ts", ".js", ".css", ".html", ".sh"}
GENERATED = (".inc", "_core.pyi")
DEPTH = 3


def tracked() -> list[Path]:
    """Paths of all files in the tree that git does not ignore."""
    out = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [Path(line) for line in out.splitlines() if Path(line).is_file()]


def lines_on_main() -> dict[str, int]:
    """Lines by folder on the branch `main`, empty where there is none."""
    counts: dict[str, int] = defaultdict(int)
    listing = subprocess.run(
        ["git", "grep", "-c", "", "main", "--"],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    for line in listing.splitlines():  # main:path:count
        path, _, count = line.removeprefix("main:").rpartition(":")
        if Path(path).suffix in CODE:
            counts[folder(Path(path))] += int(count)
    return counts


def folder(path: Path) -> str:
    """The folder a file is counted under."""
    return "/".join(path.parts[:-1][:DEPTH]) or "."


def main() -> int:
    """Prints the tables; returns 1 if a hand-written file is over the limit."""
    files: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    sizes: list[tuple[int, Path]] = []
    generated: list[tuple[int, Path]] = []
    for path in tracked():
        if path.suffix not in CODE and not path.name.endswith(GENERATED):
            continue
        count = len(path.read_bytes().splitlines())
        if path.name.endswith(GENERATED):
            generated.append((count, path))
            continue
        sizes.append((count, path))
        files[folder(path)] += 1
        lines[folder(path)] += count
    before = lines_on_main()
    print(f"{'folder':44}{'files':>7}{'lines':>8}{'vs main':>9}")
    for name in sorted(lines):
        print(f"{name:44}{files[name]:7}{lines[name]:8}{lines[name] - before.get(name, 0):+9}")
    print(f"{'total':44}{sum(files.values()):7}{sum(lines.values()):8}")
    print("\nlargest files")
    for count, path in sorted(sizes, reverse=True)[:10]:
        print(f"{count:6}  {path}")
    for count, path in sorted(generated, reverse=True):
        print(f"{count:6}  {path} (generated)")
    over = [(count, path) for count, path in sizes if count > MAXIMUM]
    for count, path in over:
        print(f"over {MAXIMUM} lines: {path} ({count}); split it by job", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
