"""The documents build as a site without a warning; `make docs` is the same command."""

import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCS, pages

pytestmark = pytest.mark.slow


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    result = subprocess.run(
        [*build, "-b", "html", "-d", tmp_path / "trees", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    made = {path.relative_to(tmp_path / "html") for path in (tmp_path / "html").rglob("*.html")}
    own = {page.relative_to(DOCS).with_suffix(".html") for page in pages()[2:]}
    assert own <= made
    python = (tmp_path / "html/reference/python.html").read_text(encoding="utf-8")
    assert 'id="cisray.store.scan.Run.join_variants"' in python
    links = (tmp_path / "html/how-to/score-vcf.html").read_text(encoding="utf-8")
    assert 'href="../variants.html"' in links
