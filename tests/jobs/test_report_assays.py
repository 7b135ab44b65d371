"""Curves by assay in the report of a training run, out of records that are written by hand."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_pages import ReportPage

from cisray.page.colours import series_colour, series_dash
from cisray_jobs.report.write import write_report


def told(r: float | None, tracks: int, undefined: int = 0) -> dict[str, Any]:
    return {"pearson_r": r, "tracks": tracks, "undefined": undefined}


def reported(folder: Path, *checks: tuple[int, str, dict[str, Any] | None]) -> ReportPage:
    """The page of a run with these validations: step, head and assays, None for an old one."""
    whole = {"kind": "valid", "loss": 0.5, "pearson_r": 0.1, "r2": None, "tracks": 3, "examples": 7}
    records = [
        {**whole, "step": step, "head": head}
        | ({} if assays is None else {"assays": assays, "undefined": 4})
        for step, head, assays in checks
    ]
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (folder / "settings.json").write_text(json.dumps({"steps": 9}))
    return ReportPage(write_report([folder], folder.parent / "page.html"))


def figures(page: ReportPage) -> list[dict[str, Any]]:
    """The figures by assay: those between that of validation and the three of speed."""
    return [figure for chart in page.charts[2:-3] for figure in chart.values()]


def test_each_assay_has_a_line_of_its_own_and_each_head_a_figure(tmp_path: Path) -> None:
    page = reported(
        tmp_path / "run",
        (2, "human", {"DNASE": told(0.2, 3), "CAGE": told(None, 0, 1)}),
        (2, "mouse", {"CHIP": told(0.7, 2)}),
        (4, "human", {"DNASE": told(0.4, 3), "CAGE": told(0.3, 1)}),
        (6, "human", {"DNASE": told(0.5, 2, 1), "CAGE": told(-0.1, 1)}),
    )
    human, mouse = figures(page)
    dnase, cage = human["data"]
    assert dnase["name"] == "DNASE, 3 tracks"
    assert (dnase["x"], dnase["y"]) == ([2, 4, 6], [0.2, 0.4, 0.5])
    # Not a zero where no track has a correlation.
    assert (cage["name"], cage["x"], cage["y"]) == ("CAGE, 1 track", [4, 6], [0.3, -0.1])
    assert human["layout"]["showlegend"] is True
    (chip,) = mouse["data"]
    assert (chip["name"], chip["x"], chip["y"]) == ("CHIP, 2 tracks", [2], [0.7])
    rows, keys = page.table("by assay, with")
    assert rows[:3] == [
        ["human", "DNASE", "2", "0.2", "3", "0"],
        ["human", "CAGE", "2", "none", "0", "1"],
        ["mouse", "CHIP", "2", "0.7", "2", "0"],
    ]
    assert keys[-1][2:] == [6, -0.1, 1, 0]
    assert len(rows) == 7
    # Tracks without a correlation are counted in the table of all as well.
    assert {row[-2] for row in page.table("Every validation.")[0]} == {"4"}


def test_old_records_and_heads_without_names_have_words_in_their_place(tmp_path: Path) -> None:
    page = reported(
        tmp_path / "run",
        (2, "human", None),
        (2, "mouse", {}),
        (4, "human", None),
        (6, "human", {"CAGE": told(0.3, 1)}),
    )
    assert "2 validations of head human, up to step 4, did not record assays" in page.text
    assert "No track of head mouse has a name that tells its assay" in page.text
    (figure,) = figures(page)
    assert [line["x"] for line in figure["data"]] == [[6]]
    rows, _ = page.table("Every validation.")
    assert [row[-2] for row in rows] == ["none", "4", "none", "4"]


def test_of_many_assays_those_with_the_most_tracks_are_drawn(tmp_path: Path) -> None:
    every = {f"A{n}": told(n / 100, 20 - n) for n in range(14)}
    page = reported(tmp_path / "run", (2, "human", dict(reversed(every.items()))))
    (figure,) = figures(page)
    names = {line["name"].partition(",")[0] for line in figure["data"]}
    assert names == {f"A{n}" for n in range(12)}
    assert "Of 14 assays the 12 with the most tracks are drawn" in page.text
    assert len(page.table("by assay, with")[0]) == 14


@pytest.mark.parametrize("count", [12, 24])
def test_no_two_lines_look_alike(count: int) -> None:
    looks = [(series_colour(number), series_dash(number)) for number in range(count)]
    assert len(set(looks)) == count
    assert all(one[1] != other[1] for one, other in pairwise(looks[:6]))
