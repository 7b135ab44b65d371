"""How the documents become a site: Sphinx with MyST and furo. `make docs` builds it.

Pages are Markdown that reads the same on a code host. The navigation is made of the lists of links
in `index.md` and in the other pages that list pages, so that it stands in one place.
"""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("platform", "jobs", "schemas")]

from cisray.version import __version__  # noqa: E402 - the path is set above

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "cisray"
author = "The cisray authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
highlight_language = "none"  # of blocks that name no language
html_theme = "furo"
html_title = f"cisray {release}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

myst_heading_anchors = 4  # as code hosts make them
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# `name` in a docstring is code, as in Markdown.
default_role = "literal"

# Pages whose lists of links are the navigation.
LISTS = {"index", "decisions/README", "reference/cli/README"}
_ENTRY = re.compile(r"^- \[[^]]*\]\(([^)#:]+)\.md\)", re.MULTILINE)
_UPWARDS = re.compile(r"\[([^]]*)\]\((\.\./[^)#:]*\.md)\)")
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


def prepare(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Append the navigation to pages that list pages; let links out of the site lead to files."""
    if docname in LISTS:
        source[0] += "\n".join(tables_of_contents(source[0]))
    source[0] = with_downloads(source[0], (HERE / docname).parent)


def with_downloads(text: str, folder: Path) -> str:
    """Make links to Markdown outside of the documents downloads: there is no page of it here."""

    def linked(found: re.Match[str]) -> str:
        inside = (folder / found[2]).resolve().is_relative_to(HERE)
        return found[0] if inside else f"{{download}}`{found[1]} <{found[2]}>`"

    return _UPWARDS.sub(linked, text)


def tables_of_contents(text: str) -> list[str]:
    """Write a toctree for each section of a page, of the pages that its list leads to."""
    pieces = _SECTION.split("## \n" + text)
    tables = []
    for title, section in zip(pieces[1::2], pieces[2::2], strict=True):
        if entries := _ENTRY.findall(section):
            caption = f":caption: {title}\n" if title else ""
            listed = "\n".join(entries)
            tables.append(f"\n```{{toctree}}\n:hidden:\n{caption}\n{listed}\n```\n")
    return tables


def keep_stars(
    app: "Sphinx", what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Let a star in the text of a docstring be a star; code stands between backticks."""
    lines[:] = [line if "`" in line else line.replace("*", r"\*") for line in lines]


def setup(app: "Sphinx") -> None:
    """Let Sphinx call what is above for pages and docstrings that it reads."""
    app.connect("source-read", prepare)
    app.connect("autodoc-process-docstring", keep_stars)
