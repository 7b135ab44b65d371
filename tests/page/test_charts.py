"""Figures: that Plotly knows every word of them, and that no value is lost on the way."""

import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.page.charts import (
    Axis,
    Bases,
    Curve,
    Gene,
    Panel,
    base_view,
    curves,
    numbers,
    plain,
    points,
    track_view,
)
from cisray.page.document import Chart, Page, Section, render

NASTY = "</script><script>alert('x')</script> <b>&amp;</b> %{y}"
# What `charts.js` takes out or completes before Plotly sees a figure.
OURS = {"values"}


def as_plotly_takes_it(figure: Any) -> go.Figure:
    """Let Plotly's Python half check all names and values; it raises for what it does not know."""
    data = [{k: v for k, v in trace.items() if k not in OURS} for trace in figure["data"]]
    return go.Figure(data=data, layout=figure["layout"])


def a_view(genes: tuple[Gene, ...] = ()) -> Any:
    values = np.array([0.1, np.nan, 3.0], np.float32)
    return track_view("chr1", 256, 128, [Panel("one", values), Panel(NASTY, values)], genes)


def some_bases() -> Bases:
    effects = np.array([[np.nan, 1, -2, 0.5], [0.25, np.nan, 0, 1]])
    return Bases("chr1", 11, "AC", effects, np.array([0.5, -1.25]), "SAD", "signal")


@pytest.mark.parametrize(
    "figure",
    [
        a_view(),
        a_view((Gene("G", 300, 600, "+"), Gene(NASTY, 500, 501, "-"))),
        base_view(some_bases()),
        curves([Curve(NASTY, [1, 10], [2, None], ["a", "b"], marked=True)] * 8, Axis("x", log=True),
               Axis("y")),
        points([Curve("p", [1], [2])], Axis("x", ticks=[(1, "chr1")], walls=[2.0]), Axis(NASTY)),
    ],
)  # fmt: skip
def test_plotly_knows_every_word(figure: Any) -> None:
    drawn = as_plotly_takes_it(figure)
    assert len(drawn.data) == len(figure["data"])


@pytest.mark.parametrize(
    ("gene", "row"),
    [
        (Gene("G", 256, 700, "+"), 0), (Gene("G", 255, 700, "+"), 1), (Gene("G", 639, 700, ""), 0),
        (Gene("G", 200, 640, "-"), 0), (Gene("G", 200, 641, "-"), 1), (Gene("G", 255, 640, ""), 1),
    ],
)  # fmt: skip
def test_a_gene_that_starts_beyond_the_region_has_a_row_for_its_name(gene: Gene, row: int) -> None:
    """The region is that of three bins from base 256 on: its last base is 639, 0-based."""
    view = a_view((gene,))
    assert [told["row"] for told in view["genes"]["every"]] == [row]
    assert view["layout"]["yaxis3"]["range"] == [-0.7 - row, 0.7]


def test_the_check_sees_a_word_that_plotly_does_not_know() -> None:
    figure = curves([Curve("a", [1], [1])], Axis("x"), Axis("y"))
    figure["layout"]["no_such_thing"] = 1
    with pytest.raises(ValueError, match="no_such_thing"):
        as_plotly_takes_it(figure)


@given(st.lists(st.floats(width=32, allow_infinity=False), max_size=6))
def test_values_come_back_as_the_same_float32(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    told = json.loads(json.dumps(numbers(given_values)))
    back = np.array([np.nan if v is None else v for v in told], np.float32)
    assert np.array_equal(back, given_values, equal_nan=True)


def test_tracks_say_where_their_bins_are() -> None:
    figure = a_view()
    assert figure["bins"] == {"chrom": "chr1", "start": 256, "bp": 128, "count": 3}
    assert [trace["values"] for trace in figure["data"]] == [[0.1, None, 3.0]] * 2
    # Each has a scale of its own, above one another and apart.
    spans = [figure["layout"][f"yaxis{n}"]["domain"] for n in ("", "2")]
    assert spans[1][0] < spans[1][1] < spans[0][0] < spans[0][1] <= 1


def test_substitutions_stand_in_rows_of_letters() -> None:
    figure = base_view(some_bases())
    heat = figure["data"][0]
    assert dict(zip(heat["y"], heat["z"], strict=True)) == {
        "A": [None, 0.25], "C": [1, None], "G": [-2, 0], "T": [0.5, 1],
    }  # fmt: skip
    assert (heat["x0"], heat["dx"]) == (11, 1)
    assert (heat["zmin"], heat["zmax"]) == (-2, 2)
    told = figure["bases"]
    assert (told["first"], told["reference"], told["heights"]) == (11, "AC", [0.5, -1.25])
    assert {base: len(parts) for base, parts in told["outlines"].items()} == {
        "A": 2, "C": 1, "G": 1, "T": 1,
    }  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 5_000), st.integers(1, 3_000), st.sampled_from(["+", "-", ""])),
        min_size=1,
        max_size=12,
    )
)
def test_genes_of_one_row_do_not_meet(placed: list[tuple[int, int, str]]) -> None:
    genes = tuple(Gene("ABC", start, start + length, strand) for start, length, strand in placed)
    figure = a_view(genes)
    told = figure["genes"]["every"]
    assert [(g["start"], g["end"], g["strand"]) for g in told] == [
        (g.start, g.end, g.strand) for g in genes
    ]
    for row in {gene["row"] for gene in told}:
        mine = sorted((gene["start"], gene["end"]) for gene in told if gene["row"] == row)
        for (_, end), (start, _) in pairwise(mine):
            assert end < start


def test_names_stay_names() -> None:
    assert "<" not in plain(NASTY)
    text = render(Page("p", [], [Section(title="s", anchor="s", charts=[
        Chart(NASTY, {(NASTY,): a_view()}, (NASTY,)),
    ])]))  # fmt: skip
    scripts = re.findall(r"<script[^>]*>", text)
    # The figures, Plotly, and two scripts of the page.
    assert scripts == ['<script type="application/json">', *["<script>"] * 3]
    ((told,),) = [json.loads(part) for part in re.findall(r'json">(.*?)</script>', text, re.DOTALL)]
    assert told[0] == [NASTY]
    assert NASTY not in text


def test_a_choice_that_leads_nowhere_is_refused() -> None:
    figure = curves([Curve("a", [1], [1])], Axis("x"), Axis("y"))
    with pytest.raises(ValueError, match="do not fit"):
        Chart("c", {("a", "x"): figure, ("b", "y"): figure}, ("one", "two"))


def test_a_page_without_figures_has_no_plotly() -> None:
    text = render(Page("p", [], [Section(title="s", anchor="s")]))
    assert len(text) < 30_000
