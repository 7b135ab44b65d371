"""`cisray runs report`: every number on a page is one of the run, and pages answer in a browser."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from damage import record_of
from report_pages import ReportPage
from reported_runs import Runs

from cisray.store.scan import open_run
from cisray_jobs.report import spread
from cisray_jobs.report.options import MOST_SHOWN_VALUES, ReportOptions, choose_tracks
from cisray_jobs.report.write import write_report


def reported(runs: Runs, name: str, tmp_path: Path, **options: Any) -> ReportPage:
    out = write_report([runs.path(name)], tmp_path / f"{name}.html", ReportOptions(**options))
    return ReportPage(out)


# along the genome


def test_tracks_of_a_region_are_those_of_the_run(runs, tmp_path) -> None:
    # 8 bp a bin: 1-based 1,004 to 1,500 is in bins 125 (from 1,000, 0-based) to 187 (to 1,504).
    page = reported(runs, "genome", tmp_path, region=["1:1,004-1,500"], tracks=["CAGE:*", "0"])
    (figures,) = [chart for chart in page.charts if ("chr1:1,001-1,504",) in chart]
    view = figures["chr1:1,001-1,504",]
    assert view["bins"] == {"chrom": "chr1", "start": 1_000, "bp": 8, "count": 63}
    run = runs.open("genome")
    stored = run.scan(region="chr1:1,001-1,504").collect()
    assert stored["start"].to_list() == list(range(1_000, 1_504, 8))
    # In the order of the head, whatever the order of the queries.
    for trace, column in zip(view["data"], ("t0000", "t0002", "t0004"), strict=True):
        assert np.array_equal(np.float32(trace["values"]), stored[column].to_numpy())
    assert len(page.charts[0]) == 1


def test_bins_that_are_not_there_are_gaps_and_counted(runs, tmp_path) -> None:
    copy = tmp_path / "partly"
    shutil.copytree(runs.path("genome"), copy)
    (copy / "_SUCCESS").unlink()
    record_of(copy, 1).unlink()
    page = ReportPage(write_report([copy], tmp_path / "p.html", ReportOptions(region=["chr1"])))
    there = open_run(copy, allow_unsealed=True).scan(region="chr1").collect()
    run = runs.open("genome")
    owed = run.scan(region="chr1").collect()
    missing = owed.height - there.height
    assert missing > 0
    (view,) = page.charts[0].values()
    values = view["data"][0]["values"]
    holes = [8 * place for place, value in enumerate(values) if value is None]
    assert set(holes) >= set(owed["start"]) - set(there["start"])
    assert len(values) - len(holes) == there.height
    assert f"{len(holes)} bins of them the run does not have" in page.text
    rows = run.plan.rows
    done = open_run(copy, allow_unsealed=True).scan().select(pl.len()).collect().item()
    assert page.facts["rows"] == f"{rows} bins of 8 bp owed = {done} stored + {rows - done} missing"
    assert "The run is not sealed" in page.text
    assert "allow_unsealed=True" in page.text


def test_without_a_region_the_strongest_bins_are_shown(runs, tmp_path) -> None:
    page = reported(runs, "genome", tmp_path)
    frame = runs.open("genome").scan().collect()
    shown = [figure["bins"] for figure in page.charts[0].values()]
    for column in ("t0000", "t0001", "t0002", "t0003", "t0004"):
        best = frame.filter(pl.col(column) == frame[column].max())[0]
        chrom, start = str(best["chrom"][0]), best["start"][0]
        assert any(
            view["chrom"] == chrom and view["start"] <= start < view["start"] + 8 * view["count"]
            for view in shown
        ), column


def test_every_bin_is_counted(runs, tmp_path) -> None:
    page = reported(runs, "genome", tmp_path)
    frame = runs.open("genome").scan().collect()
    rows, keys = page.table("All bins of the run")
    for row, key in zip(rows, keys, strict=True):
        values = frame[row[0]].cast(pl.Float64)
        assert row[2] == f"{frame.height:,}"
        assert key[3:7] == pytest.approx(
            [values.mean(), values.std(), values.min(), values.max()], rel=1e-12
        )
        best = frame.filter(pl.col(row[0]) == frame[row[0]].max())[0]
        assert row[7] == f"{best['chrom'][0]}:{best['start'][0] + 1:,}-{best['end'][0]:,}"
    (figure,) = page.charts[1].values()
    for line, row in zip(figure["data"], rows, strict=True):
        counted = [int((frame[row[0]].cast(pl.Float64) >= edge).sum()) for edge in line["x"]]
        assert line["y"] == counted
        assert counted[0] == frame.height
        assert counted[-1] > 0


def test_genes_are_drawn_where_they_lie(runs, tmp_path) -> None:
    options = {"genes": runs.path("genes.gtf"), "region": ["chr1:1,001-1,096", "chr2:1-96"]}
    page = reported(runs, "genome", tmp_path, **options)
    first, second = page.charts[0].values()
    told = {gene["name"]: (gene["start"], gene["end"], gene["strand"])
            for gene in first["genes"]["every"]}  # fmt: skip
    # Exons of both transcripts, first base and last, but not the one that begins with base 1,151.
    assert [gene["exons"] for gene in first["genes"]["every"]] == [[[800, 1_010]]]
    assert "Boxes are exons" in page.text
    # The other gene begins with base 1,101 (1-based), right after the last bin of the region.
    assert told == {"FIRST": (800, 1_200, "+")}
    assert "genes" not in second
    assert "Of 2 genes" in page.text
    wide = reported(runs, "genome", tmp_path, overwrite=True, **{**options, "region": ["chr1"]})
    (view,) = wide.charts[0].values()
    assert [g["name"] for g in view["genes"]["every"]] == ["FIRST", "&lt;b&gt;SECOND&lt;/b&gt;"]
    assert view["genes"]["every"][0]["exons"] == [[800, 1_010], [1_150, 1_200]]
    assert "exons" not in view["genes"]["every"][1]


# variants


def test_the_table_has_the_strongest_of_every_track(runs, tmp_path) -> None:
    page = reported(runs, "variants", tmp_path, top=2, stats=["SADR"])
    run = runs.open("variants")
    rows, keys = page.table("rows: those that are among")
    frame = run.scan(stats="SADR").collect()
    best = run.top(2, by="SADR")
    wanted = best.select("chrom", "pos", "ref", "alt").unique()
    assert {row[0].split()[0] for row in rows} == {
        f"{chrom}:{pos:,}" for chrom, pos, *_ in wanted.iter_rows()
    }
    assert len(rows) == wanted.height < frame.height
    values = {f"{c}:{p:,}": v for c, p, *v in frame.select(
        "chrom", "pos", *(f"SADR_t000{n}" for n in range(5))).iter_rows()}  # fmt: skip
    for row, key in zip(rows, keys, strict=True):
        assert np.array_equal(np.float32(key[-5:]), np.float32(values[row[0].split()[0]]))
        ranks = best.filter(
            (pl.col("chrom") == row[0].split(":")[0]) & (pl.col("pos") == _position(row[0]))
        )
        assert key[2] == ranks["rank"].min()
    # Two of each track along the genome.
    along = page.charts[0]
    assert len(along) == 5
    drawn = sum(len(trace["x"]) for trace in next(iter(along.values()))["data"])
    assert drawn == 2


def _position(told: str) -> int:
    return int(told.split()[0].rpartition(":")[2].replace(",", ""))


def test_entries_add_up_and_rejects_have_examples(runs, tmp_path) -> None:
    page = reported(runs, "variants", tmp_path)
    assert page.facts["entries"] == "16 read = 10 with rows here + 6 rejected"
    assert page.facts["rows"] == "10 rows owed = 10 stored + 0 missing"
    every, _ = page.table("10 of 10 rows")
    assert [row[0].partition(">")[2] for row in every if row[1] == "ins"] == [
        f"{_inserted(runs)[:12]}... (15 bases)"
    ]
    rows, _ = page.table("6 rejected")
    assert rows == [["spanning_deletion", "5"], ["symbolic_alt", "1"]]
    examples, _ = page.table("The first 3 of each reason")
    assert [row[5] for row in examples] == ["bad0", "bad1", "bad2", "dup"]
    assert examples[-1][7] == "<DUP>"
    assert "&lt;DUP&gt;" in page.text


def _inserted(runs: Runs) -> str:
    """The longest alternative allele, as it is stored."""
    return max(runs.open("variants").scan().collect()["alt"].to_list(), key=len)


def test_sizes_of_both_signs_are_counted(runs, tmp_path) -> None:
    page = reported(runs, "variants", tmp_path)
    frame = runs.open("variants").scan(stats="SAD").collect()
    spreads = page.charts[1]
    for (label,), figure in spreads.items():
        values = frame[f"SAD_{label.split()[0]}"].cast(pl.Float64)
        lowers, raises = figure["data"]
        assert raises["y"] == [int((values >= edge).sum()) for edge in raises["x"]]
        assert lowers["y"] == [int((-values >= edge).sum()) for edge in lowers["x"]]
        known = sum(line["y"][0] for line in (lowers, raises) if line["y"])
        assert known == values.len() - (values == 0).sum()


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_spread_is_the_same_in_pieces(pieces: int) -> None:
    values = np.random.default_rng(1).normal(3, 2, 1_000).astype(np.float32)
    values[::97] = np.nan
    whole = spread.Spread()
    for part in np.array_split(values, pieces):
        whole.add(part)
    known = values[~np.isnan(values)].astype(np.float64)
    assert (whole.count, whole.missing) == (len(known), len(values) - len(known))
    assert whole.mean == pytest.approx(known.mean(), rel=1e-12)
    assert whole.deviation == pytest.approx(known.std(ddof=1), rel=1e-12)


# saturation


def test_the_heat_map_is_the_matrix_of_the_run(runs, tmp_path) -> None:
    page = reported(runs, "saturation", tmp_path)
    frame = runs.open("saturation").scan().collect()
    (figures,) = [chart for chart in page.charts if any(len(key) == 3 for key in chart)]
    assert len(figures) == 2 * 5 * 2
    for (region, track, stat), figure in figures.items():
        number = int(re.findall(r"region (\d+)", region)[0])
        rows = frame.filter(region=number)
        heat, told = figure["data"][0], figure["bases"]
        assert told["first"] == rows["pos"].min()
        value = f"{stat}_{track.split()[0]}"
        cells = {(p, r, a): v for p, r, a, v in rows.select("pos", "ref", "alt", value).iter_rows()}
        shown = {
            (told["first"] + at, told["reference"][at], base): np.float32(number)
            for base, line in zip(heat["y"], heat["z"], strict=True)
            for at, number in enumerate(line)
            if number is not None
        }
        assert shown == {key: np.float32(v) for key, v in cells.items()}
        mean = rows.group_by("pos").agg(-pl.col(value).cast(pl.Float64).mean()).sort("pos")
        assert told["heights"] == pytest.approx(mean[value].to_list(), rel=1e-6)


def test_a_region_is_chosen_by_a_locus(runs, tmp_path) -> None:
    page = reported(runs, "saturation", tmp_path, region=["chr2:112-500"], stats=["SADR"], top=4)
    assert {key[0] for key in page.charts[0]} == {"chr2:101-112 (region 1)"}
    rows, keys = page.table("SADR of the 4 of 36")
    frame = runs.open("saturation").scan(stats="SADR", region="chr2").collect()
    sizes = frame.select(pl.max_horizontal(pl.selectors.float().abs())).to_series()
    found = [max(abs(value) for value in key[2:]) for key in keys]
    assert np.array_equal(np.float32(found), sizes.sort(descending=True).head(4).to_numpy())
    assert len(rows) == 4


# training and evaluations


def test_curves_of_training_average_what_is_too_much(runs, tmp_path) -> None:
    page = reported(runs, "training", tmp_path)
    (figure,) = page.charts[0].values()
    loss, mean, valid = figure["data"]
    # 2,500 steps in 834 points of 3, the last of one.
    assert len(loss["x"]) == 834
    assert loss["x"][:2] == [3, 6]
    assert loss["y"][0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert loss["y"][-1] == 1 / 2_500
    assert "A point is the mean of 3 records" in page.text
    assert len(mean["x"]) == 40
    assert (valid["x"], valid["y"]) == ([1_000, 2_000], [0.5, 0.5])
    assert page.facts["steps"] == "2,500 of 2500"
    assert page.facts["best"] == "step 2,000 of head human: Pearson R 0.2000"
    assert "not finished" not in page.text


def test_a_training_run_that_goes_on_is_told(runs, tmp_path) -> None:
    copy = tmp_path / "going"
    shutil.copytree(runs.path("training"), copy)
    (copy / "model.safetensors").unlink()
    assert "not finished" in ReportPage(write_report([copy], tmp_path / "t.html")).text


def test_evaluations_have_their_own_page(runs, tmp_path, cisray) -> None:
    page = reported(runs, "evaluation", tmp_path)
    other = tmp_path / "page.html"
    assert cisray("evaluate", "page", runs.path("evaluation"), "--out", other).code == 0
    assert page.text == other.read_text()


# options, and what is refused


def test_the_command_writes_beside_you_and_never_over_a_file(
    runs, tmp_path, cisray, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = runs.path("variants")
    answer = cisray("runs", "report", run, "--top", 3)
    assert (answer.code, answer.out) == (0, f"{tmp_path}/variants.report.html\n")
    cisray("runs", "report", run).assert_one_paragraph("exists already", "--overwrite")
    assert cisray("runs", "report", run, "--overwrite").code == 0
    inside = cisray("runs", "report", run, "--out", run / "r.html")
    inside.assert_one_paragraph("lies in the run")
    assert not (run / "r.html").exists()


def test_several_runs_go_into_one_file_and_options_where_they_mean_something(
    runs, tmp_path, cisray
) -> None:
    names = ("genome", "variants", "training", "evaluation")
    places = [runs.path(name) for name in names]
    out = tmp_path / "all.html"
    answer = cisray("runs", "report", *places, "--out", out, "--genes", runs.path("genes.gtf"))
    assert (answer.code, answer.out) == (0, f"{out}\n")
    page = ReportPage(out)
    alone = []
    for name, place in zip(names, places, strict=True):
        genes = ReportOptions(genes=runs.path("genes.gtf") if name == "genome" else None)
        alone.append(ReportPage(write_report([place], tmp_path / f"{name}.html", genes)))
    assert page.charts == [chart for one in alone for chart in one.charts]
    assert page.words["h2"] == [one.words["h1"][0] for one in alone]
    assert page.words["h3"] == [title for one in alone for title in one.words["h2"]]
    anchors = re.findall(r' id="([^"]+)"', page.text)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r'href="#([^"]+)"', page.text)) <= set(anchors)
    refused = cisray("runs", "report", *places[1:], "--out", tmp_path / "x", "--genes", "g.gtf")
    refused.assert_one_paragraph("--genes means nothing for the report of a run of variants and of")
    cisray("runs", "report", *places).assert_one_paragraph("--out", "4 runs")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("variants", ("--genes", "x.gtf"), "--genes means nothing for the report of a run of"),
        ("variants", ("--region", "chr1"), "--region means nothing"),
        ("genome", ("--stats", "SAD"), "--stats means nothing"),
        ("training", ("--tracks", "CAGE"), "--tracks means nothing for the report of a training"),
        ("evaluation", ("--top", 5), "--top means nothing for the report of evaluations"),
        ("genome", ("--region", "chr1:900,001-900,100"), "begins beyond the last bin of chr1"),
        ("saturation", ("--region", "chr1:1-5"), "meets no region of the run"),
        ("saturation", ("--stats", "SAX"), "has no statistic 'SAX'"),
        ("variants", ("--top", 5_000), "--top"),
        ("none", (), "holds no cisray run"),
    ],
)
def test_what_means_nothing_is_refused(runs, tmp_path, cisray, name, options, told) -> None:
    out = tmp_path / "r.html"
    cisray("runs", "report", runs.path(name), "--out", out, *options).assert_one_paragraph(told)
    assert not out.exists()


def test_a_page_has_bounds(runs, tmp_path, cisray, monkeypatch) -> None:
    monkeypatch.setattr("cisray_jobs.report.options.MOST_SHOWN_VALUES", 100)
    answer = cisray("runs", "report", runs.path("genome"), "--out", tmp_path / "r.html")
    answer.assert_one_paragraph("up to 100", "choose fewer with --region and --tracks")
    # Of a region that was asked for, before the run is read.
    monkeypatch.setattr("cisray_jobs.report.genome.pieces", None)
    asked = ("runs", "report", runs.path("genome"), "--out", tmp_path / "r.html")
    cisray(*asked, "--region", "chr1").assert_one_paragraph("up to 100")
    cisray(*asked, "--region", "chr1:900,001-900,100").assert_one_paragraph("begins beyond")
    assert MOST_SHOWN_VALUES <= 500_000


def test_tracks_are_chosen_of_each_assay_in_turn(runs) -> None:
    run = runs.open("genome")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cisray_jobs.report.options.MOST_TRACKS", 4)
        # The first of DNASE, CAGE and CHIP, then the second DNASE; shown in the head's order.
        shown = choose_tracks(run, ())
        assert shown.tracks.columns == ("t0000", "t0001", "t0002", "t0003")
        patch.setattr("cisray_jobs.report.options.MOST_TRACKS", 3)
        assert choose_tracks(run, ()).tracks.columns == ("t0000", "t0002", "t0003")
        # As many as can be read within the bound, but one.
        patch.setattr("cisray_jobs.report.options.READ_VALUES", 2 * run.plan.rows)
        assert choose_tracks(run, ()).tracks.columns == ("t0000", "t0002")
        patch.setattr("cisray_jobs.report.options.READ_VALUES", 1)
        assert choose_tracks(run, ()).tracks.columns == ("t0000",)
    assert choose_tracks(run, ["CHIP"]).tracks.columns == ("t0003",)
