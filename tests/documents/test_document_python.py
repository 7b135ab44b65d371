"""Every block of Python in a document is Python."""

import ast
from pathlib import Path

import pytest
from documents import ROOT, blocks, pages

WITH_PYTHON = [page for page in pages() if any(b.language == "python" for b in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_compile(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, block.place)


def test_there_are_blocks_to_see() -> None:
    assert len(WITH_PYTHON) > 5
    assert {page.name for page in WITH_PYTHON} >= {"README.md", "queries.md", "variants.md"}
