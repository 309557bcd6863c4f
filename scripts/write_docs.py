"""Writes the generated pages of docs/; --check compares instead.

configuration.md comes from the option and limit declarations, the others as their modules say.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import docs_differences
import docs_keywords
import docs_speed
import docs_states
from msgspec import structs

from treadle import config
from treadle.limits import GrammarLimits, Limits

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = (
    config.RunConfig,
    config.ChatConfig,
    config.ServeConfig,
    config.BenchDecodeConfig,
    config.PullConfig,
    config.DoctorConfig,
)
HEAD = """# Configuration

Written by `scripts/write_docs.py` from the declarations; edit those instead.

Every option has a flag, an environment variable and, under its plain name, a key in a YAML or TOML
file given by `--config FILE` or `TREADLE_CONFIG`. Flags win over variables, variables over the
file, the file over defaults. `--print-config` shows every value with its origin. Unknown flags and
keys are refused with the nearest name. Secrets come from variables and files only.

Other variables: `TREADLE_DEBUG` (comma-separated: graph, plan, schedule, apply), `TREADLE_CACHE`
(where models are kept), `TREADLE_CONFIG`.
"""


def limits_table(limits: type) -> str:
    """Fields of a limits class with their defaults and the comments beside them."""
    comments = dict(re.findall(r"^    (\w+): .*?#\s*(.+)$", inspect.getsource(limits), re.M))
    rows = ["| limit | default | meaning |", "|---|---|---|"]
    for field in structs.fields(limits):
        if isinstance(field.default, int | float):
            rows.append(f"| `{field.name}` | {field.default:,} | {comments.get(field.name, '')} |")
    return "\n".join(rows)


def configuration() -> str:
    """The page of options and limits."""
    parts = [HEAD]
    for command in COMMANDS:
        title, _, text = (command.__doc__ or "").partition(": ")
        parts.append(f"## {title}\n\n{text[:1].upper()}{text[1:]}\n\n{config.markdown(command)}\n")
    parts.append(f"## Limits\n\nSizes in bytes, times in seconds.\n\n{limits_table(Limits)}\n")
    parts.append(f"### Grammars\n\n{limits_table(GrammarLimits)}\n")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str | None]] = {
    "configuration.md": configuration,
    "grammar-differences.md": docs_differences.document,
    "grammar-keywords.md": docs_keywords.document,
    "grammar-speed.md": docs_speed.document,
    "grammar-states.svg": docs_states.picture,
}


def main() -> int:
    """Writes the pages, or with --check says which are out of date."""
    old: list[str] = []
    for name, make in PAGES.items():
        target, text = DOCS / name, make()
        if text is None or (target.exists() and target.read_text("utf-8") == text):
            continue
        old.append(f"docs/{name}")
        if "--check" not in sys.argv:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
    if old and "--check" in sys.argv:
        print(f"{', '.join(old)}: out of date; run scripts/write_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
