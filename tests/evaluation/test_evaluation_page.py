"""Pages: what stands in them, that nothing breaks out of its place, and that nothing is loaded."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import polars as pl
import pytest

from cisray.evaluation.metrics import Estimate, Metric, metrics_table
from cisray.evaluation.page.evaluated import Shown, overview_of, rows_told, section_of
from cisray.evaluation.page.interval_plot import IntervalPlot, Point, draw
from cisray.page import document
from cisray.page.document import Cell, Column, DataTable, Page, Section, render

NASTY = "<script>alert('x')</script> & \"quoted\" $1$"
VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Elements with their attributes, the text of cells, and whether tags close as they open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def metric(task: str, value: float | None, scores: str = "model", **more: str) -> Metric:
    interval = {} if value is None else {"ci_low": value - 0.1, "ci_high": value + 0.1}
    reason = "no positives among 3 rows" if value is None else ""
    estimate = Estimate(value, 30, 10, ci_method="DeLong, logit", reason=reason, **interval)
    return Metric(
        evaluation="eqtl", task=task, scores=scores, metric="auroc", estimate=estimate, **more
    )


def shown(metrics: list[Metric], name: str = "gtex", **more: object) -> Shown:
    record = {
        "inputs": {"labels": {"path": "/data/labels.tsv", "sha256": "abc123"}},
        "settings": {"seed": 44, "tracks": []},
        "recalled": {"forest": "parameters of a script"},
        "rows": {"read": 40, "used": 30, "left out": {"rejected: <N>": 10}},
        "versions": {"cisray": "1"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Shown(name, "e-1", "eqtl", pl.DataFrame(metrics_table(metrics)), record, **more)


def page_of(*every: Shown) -> str:
    overview = Section(title="Overview", anchor="overview", tables=[overview_of(every)])
    return render(Page("Evaluations", ["In short."], [overview, *map(section_of, every)]))


def test_names_of_users_stay_text_wherever_they_stand() -> None:
    found = shown([metric(NASTY, 0.7, NASTY), metric("all tissues", 0.7, NASTY)], NASTY)
    plain = page_of(shown([metric("T", 0.7), metric("all tissues", 0.7)]))
    text = page_of(found)
    nasty, harmless = Reader(text), Reader(plain)
    assert [tag for tag, _ in nasty.elements if tag == "script"] == ["script"]
    assert len(nasty.of("table")) == len(harmless.of("table"))
    assert any(NASTY in cell for cell in nasty.texts["td"])
    assert any(NASTY in head for head in nasty.texts["h2"])
    assert NASTY not in text
    # Also where matplotlib could take it for mathematics, or XML for a tag.
    (drawing,) = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    words = " ".join(ElementTree.fromstring(drawing).itertext())
    assert NASTY in words


def test_a_page_needs_nothing_but_itself_and_is_the_same_each_time() -> None:
    found = shown([metric("A", 0.7), metric("B", 0.4)], pictures=[("a.png", b"\x89PNG")])
    text = page_of(found)
    assert text == page_of(found)
    page = Reader(text)
    for tag, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "action"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert not re.findall(r"url\((?!#)", text)
    (policy,) = [m["content"] for m in page.of("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.of("a")]
    assert set(links) <= set(ids)


def test_every_number_stands_in_the_table_with_what_it_is_sorted_by() -> None:
    metrics = [metric("A", 0.71234), metric("B", None), metric("A", 0.5, control="shuffled labels")]
    page = Reader(page_of(shown(metrics)))
    tables = page.texts["span"]
    assert any("every number" in caption for caption in tables)
    keys = [td["data-key"] for td in page.of("td") if "data-key" in td]
    assert "0.71234" in keys  # all digits, though three are shown
    assert "" in keys  # what is undefined has no key
    cells = page.texts["td"]
    assert {"0.712", "undefined", "0.612 to 0.812", "no positives among 3 rows"} <= set(cells)
    assert "shuffled labels" in cells
    assert all(th.get("scope") in {"col", "row"} for th in page.of("th"))
    assert len(page.of("caption")) == len(tables) > 0
    assert all(tables)
    assert {"abc123", "/data/labels.tsv"} <= set(cells)
    assert "parameters of a script" in page.texts["dd"]


def test_the_headline_is_over_all_tasks_without_controls() -> None:
    every = [
        metric("A", 0.9),
        metric("all tissues", 0.7),
        metric("all tissues", 0.1, control="shuffled labels"),
        metric("all tissues", 0.2, stratum="near"),
    ]
    assert shown(every).headline["value"].to_list() == [0.7]
    assert shown(every[:1]).headline["value"].to_list() == [0.9]
    overview = overview_of([shown(every)])
    assert overview.rows[0][-1].text == "model: auroc 0.700"
    assert [cell.text for cell in overview.rows[0][3:6]] == ["30", "40", "4"]


def test_rows_are_accounted_for_in_words() -> None:
    told = rows_told({"rows": {"read": 12_000, "used": 11_990, "left out": {"no label": 10}}})
    assert told == "Of 12,000 rows read, 11,990 are used; left out: 10 no label."
    assert rows_told({}) == ""


def test_a_failed_evaluation_says_why_and_has_no_numbers() -> None:
    failed = Shown("x", "e-1", "mpra", shown([]).metrics, {}, state="failed", problem="a < b.")
    page = Reader(page_of(failed))
    assert any("a < b." in text for text in page.texts["p"])
    assert not page.of("svg")


def test_rows_beyond_what_a_browser_takes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_ROWS", 2)
    rows = [[Cell(str(n), n)] for n in range(3)]
    table = DataTable("Numbers.", [Column("n", numeric=True)], rows, "metrics.parquet")
    assert table.told == "The first 2 of 3 rows are here. All are in metrics.parquet."
    assert len(table.shown) == 2


def test_points_stand_at_their_numbers_and_say_them() -> None:
    """Positions in the drawing are a straight line of the values."""
    values = [0.2, 0.5, 0.9]
    points = [Point(f"row {v}", "s", v, v - 0.1, v + 0.1, f"told {v}") for v in values]
    svg = draw(IntervalPlot("Title & more", "value", points), "p1")
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("aria-label") == "Title & more"
    at = []
    for number, value in enumerate(values):
        (group,) = [g for g in root.iter(f"{space}g") if g.get("id") == f"p1-point-{number}"]
        assert group.find(f"{space}title").text == f"told {value}"
        (use,) = group.iter(f"{space}use")
        at.append((float(use.get("x")), float(use.get("y"))))
    (x0, y0), (x1, y1), (x2, y2) = at
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.3 / 0.7, abs=1e-3)
    assert y0 < y1 < y2  # the first row on top
    texts = ["".join(text.itertext()) for text in root.iter(f"{space}text")]
    assert {"row 0.2", "row 0.5", "row 0.9", "value"} <= set(texts)
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_rows_stand_in_the_order_of_their_numbers() -> None:
    """Bins of distance by distance, tissues of which the tenth comes last."""
    names = ["0-3 kb", "12.5-34.5 kb", "131 kb and more", "3-12.5 kb"]
    metrics = [metric("all pairs", 0.5, stratum=name) for name in names]
    text = page_of(shown([*metrics, metric("all pairs", 0.6)]))
    expected = ["0-3 kb", "3-12.5 kb", "12.5-34.5 kb", "131 kb and more"]
    cells = [cell for cell in Reader(text).texts["td"] if cell in names]
    assert cells == expected
    (drawing,) = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    drawn = re.findall(r">([^<>]*kb[^<>]*)</text>", drawing)
    assert drawn == expected


def test_what_is_too_dense_to_read_is_named_and_stays_in_the_tables() -> None:
    many = [metric(f"T{number}", 0.5) for number in range(61)]
    text = page_of(shown([*many, metric("all tissues", 0.5)]))
    assert "too many to read: auroc." in text
    assert "<svg" not in text
    assert "T60" in Reader(text).texts["th"]
    assert "too many" not in page_of(shown([*many[:60], metric("all tissues", 0.5)]))
