"""Every page can be reached from the index, by lists of links alone; nothing is listed twice.

The site's navigation is made of these lists (docs/conf.py).
"""

import conf
from documents import DOCS, pages


def listed(name: str) -> list[str]:
    """List the pages that a page of lists leads to by the first link of each entry."""
    page = DOCS / f"{name}.md"
    entries = conf._ENTRY.findall(page.read_text(encoding="utf-8"))
    return [str((page.parent / entry).resolve().relative_to(DOCS.resolve())) for entry in entries]


def test_every_page_is_listed_once() -> None:
    found = ["index", *(entry for name in sorted(conf.LISTS) for entry in listed(name))]
    assert len(found) == len(set(found))
    assert set(found) == {
        str(page.relative_to(DOCS).with_suffix("")) for page in pages() if page.is_relative_to(DOCS)
    }


def test_sections_become_navigation() -> None:
    text = "# Title\n\n- [a](a.md)\n\n## One\n\n- [b](b.md): why\n- not [c](c.md)\n\n## None\n"
    assert conf.tables_of_contents(text) == [
        "\n```{toctree}\n:hidden:\n\na\n```\n",
        "\n```{toctree}\n:hidden:\n:caption: One\n\nb\n```\n",
    ]


def test_links_out_of_the_site_become_downloads() -> None:
    text = "[a](../variants.md) and [b](../../benchmarks/results/x.md)"
    assert conf.with_downloads(text, DOCS / "how-to") == (
        "[a](../variants.md) and {download}`b <../../benchmarks/results/x.md>`"
    )
