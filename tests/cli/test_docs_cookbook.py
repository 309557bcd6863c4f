"""The programs of the documentation run, and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("cookbook.md", "grammar-states.md")
BLOCK = re.compile(
    r"^(?P<fence>`{3,})python\n(?P<code>.*?)^(?P=fence)\n(?:```text\n(?P<out>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def printed(code: str, names: dict[str, object], place: str) -> str:
    """What the block prints; `names` are those of the page so far."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, place, "exec"), names)  # the page's own text
    return out.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_of_a_page_print_what_it_says(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == len(re.findall(r"^`{3,}python$", text, re.MULTILINE)) > 0
    names: dict[str, object] = {"__name__": page}
    for block in blocks:
        line = text[: block.start("code")].count("\n")
        found = printed("\n" * line + block["code"], names, str(DOCS / page))
        assert found == (block["out"] or ""), f"docs/{page}:{line}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
