"""Notebooks run on a run of their own kind, cell by cell, and are stored with small text alone.

The quick test executes the cells of one in this process, without Jupyter; the slow one executes all
of them in kernels, as a reader does.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, links

FOLDER = DOCS / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What they read.
DEMO_RUN = "demo-run/variant-run"
LARGEST = 40_000  # bytes


def cells(notebook: Path, kind: str) -> list[dict[str, Any]]:
    book = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the run that notebooks name is one of the small world, of all tracks."""
    from effect_jobs import score

    out = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        given = ("--model", "enformer.safetensors", "--fasta", "hg38.fa", "--vcf", "clinvar_2.vcf")
        score("variants", out / DEMO_RUN, *given, "--stats", "SAD", "--self-check", "off")
    return out


def test_the_cells_of_one_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    source = ["".join(cell["source"]) for cell in cells(FOLDER / "polars.ipynb", "code")]
    text = "\n".join(source).replace('"*:alpha"', '"*K562*"').replace('"*:beta"', '"*liver*"')
    exec(compile(text, "polars.ipynb", "exec"), names)
    assert (names["scored"], names["rejected"]) == (8, 0)
    assert names["top"].height == 6


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_executes(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    paths = [str(DOCS.parent / name) for name in ("platform", "jobs", "schemas")]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    text = notebook.read_text(encoding="utf-8").replace("*:alpha", "*K562*")
    book = nbformat.reads(text.replace("*:beta", "*liver*"), as_version=4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_whole(notebook: Path) -> None:
    assert notebook.stat().st_size < LARGEST
    code = cells(notebook, "code")
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs, "run it, and keep its outputs"
    assert {output["output_type"] for output in outputs} <= {"execute_result", "stream"}
    assert all(set(output.get("data", {})) <= {"text/plain"} for output in outputs)
    for cell in code:
        compile("".join(cell["source"]), notebook.name, "exec")


def test_the_page_lists_all_of_them() -> None:
    listed = {target for _, target in links(FOLDER / "README.md")}
    assert {path.name for path in NOTEBOOKS} <= listed
