"""Links between the documents lead to existing files and headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_DOCUMENTS: Final = [
    path
    for path in sorted(_ROOT.rglob("*.md"))
    if not any(
        part in {"var", "node_modules"} or part.startswith(".") for part in path.relative_to(_ROOT).parts
    )
]
_LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_each_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = [
        f"{target}#{heading}" if heading else target
        for target, heading in _links(document)
        if not _is_there(document.parent / target if target else document, heading)
    ]

    assert broken == []


def test_each_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    to_visit = {_ROOT / "README.md"}
    while to_visit:
        page = to_visit.pop()
        reached.add(page)
        linked = {(page.parent / target).resolve() for target, _ in _links(page) if target}
        to_visit |= {path for path in linked if path.suffix == ".md"} - reached

    assert set((_ROOT / "docs").glob("*.md")) - reached == set()


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [("What an ECG is", "what-an-ecg-is"), ("`docs/` and *more*, in 2 steps!", "docs-and-more-in-2-steps")],
)
def test_an_anchor_is_made_of_a_heading_as_on_github(heading: str, anchor: str) -> None:
    assert _anchor(heading) == anchor


def _links(document: Path) -> list[tuple[str, str]]:
    return _LINK.findall(_prose(document))


def _is_there(path: Path, heading: str) -> bool:
    if not path.exists():
        return False
    return not heading or heading in map(_anchor, re.findall(r"^#+ (.*?)\s*$", _prose(path), re.MULTILINE))


def _prose(document: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^\s*```.*?^\s*```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
