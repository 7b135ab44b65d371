"""Every link of a document leads somewhere: to a file of the repository, and to a heading of it."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from documents import DOCS, ROOT, anchors, links, pages

PAGES = pages()


def problems(page: Path) -> list[str]:
    """Say what is wrong with the internal links of a page."""
    found = []
    for line, target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = unquote(target).partition("#")
        there = (page.parent / name).resolve() if name else page
        outside = bool(name) and not there.is_relative_to(ROOT)
        if outside or not there.exists():
            found.append(f"{page.name}:{line}: {target}: there is no such file")
        elif anchor and anchor not in anchors(there):
            found.append(f"{page.name}:{line}: {target}: the page has no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert problems(page) == []


def test_the_check_sees_what_is_wrong(tmp_path: Path) -> None:
    page = DOCS / "variants.md"
    assert len(list(links(page))) > 10
    assert "files-that-grow" in anchors(page)
    assert "1-which-variants-change-my-tissue-most" in anchors(DOCS / "queries.md")
    bad = tmp_path / "page.md"
    bad.write_text("# A heading\n\n[a](gone.md) [b](#a-heading) [c](#no-heading)\n")
    found = problems(bad)
    assert [text.split(": ")[1] for text in found] == ["gone.md", "#no-heading"], found


def test_headings_that_repeat_have_anchors_of_their_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c?\n\n## Same\n\n## Same\n")
    assert anchors(page) == {"a-b-c", "same", "same-1"}
