"""Blocks of the documents that are marked `run` do run, in the order of their page.

The page keeps the reader's file names; the files are small ones of the same names, and places of
the human genome become places of the small one. What needs a network, a GPU or a cluster is not
marked, and only parsed (`test_document_commands`).
"""

from pathlib import Path
from typing import Any

import pytest
from documented_world import in_small
from documents import DOCS, Block, blocks, commands, pages
from effect_jobs import command

RUN = "run"
# They train a model, or lead gradients back.
SLOW = {"how-to/fine-tune.md", "how-to/saturation.md"}
NEEDS_TRACKS = "how-to/fine-tune.md"
# In the folder that the demo makes, and of a chromosome that is longer than the quick demo's.
TUTORIAL = "tutorial.md"
QUICK_DEMO = ("chr5:117,065-117,314", "chr5:17,065-17,104")


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if RUN in block.marks]


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS)) if page.is_relative_to(DOCS) else page.name


def cases() -> list[Any]:
    names = [name_of(page) for page in pages() if runnable(page)]
    marks = {name: [pytest.mark.slow] if name in SLOW else [] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names if name != TUTORIAL]


def run_page(page: Path, *places: tuple[str, str]) -> int:
    """Run the marked blocks of a page in the current folder; give how many there were.

    Each of `places` is a text of the page and what stands in for it here.
    """
    names: dict[str, Any] = {}
    found = runnable(page)
    for block in found:
        text = in_small(block.text)
        for place, other in places:
            text = text.replace(place, other)
        if block.language == "python":
            exec(compile(text, block.place, "exec"), names)
        else:
            run_shell(block, text)
    return len(found)


def run_shell(block: Block, text: str) -> None:
    assert block.language == "bash", block.place
    words = list(commands(text))
    assert words, f"{block.place} has no command"
    for one in words:
        assert command(*one) == 0, f"{block.place}: cisray {' '.join(one)}"


@pytest.mark.parametrize("name", cases())
def test_the_page_runs(name: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    if name == NEEDS_TRACKS:
        size = ("--chromosomes", 3, "--chromosome-bp", 60_000, "--individuals", 20)
        assert command("dataset", "synthetic", "--out", "my", *size) == 0
    assert run_page(DOCS / name) > 0


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("demo", "--quick", "--workers", 0, "--quiet") == 0
    assert run_page(DOCS / TUTORIAL, QUICK_DEMO) == 8


def test_marks_are_known() -> None:
    marked = {mark for page in pages() for block in blocks(page) for mark in block.marks}
    assert marked <= {RUN}
