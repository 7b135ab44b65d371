"""Reports of runs with links, with gaps, in several blocks, approximated, or without any rows."""

from pathlib import Path

import numpy as np
import polars as pl
import store_runs
import store_variants as world
from effect_jobs import score, write_vcf
from report_pages import ReportPage
from reported_runs import Runs
from store_links import Link, Parts, finish

from cisray.store.scan import open_run
from cisray_jobs.report.options import ReportOptions
from cisray_jobs.report.write import write_report


def reported(run: Path, **options: object) -> ReportPage:
    out = run.with_name(f"{run.name}.html")
    return ReportPage(write_report([run], out, ReportOptions.model_validate(options)))


def test_linked_rows_are_shown_and_counted(tmp_path) -> None:
    world.finish(tmp_path / "first")
    first = open_run(tmp_path / "first")
    again = tuple(Link((number, *key), first, number) for number, *key in world.SHARDS[1])
    new = ((20, "chr2", 90, "G", "C"),)
    run = finish(tmp_path / "second", Parts(shards=(new,), links=(again,)))
    page = reported(tmp_path / "second")
    rejected = run.rejects.select(pl.len()).collect().item()
    entries = run.manifest.config["entries"]
    assert page.facts["entries"] == (
        f"{entries} read = 1 with rows here + {rejected} rejected + 2 linked to other runs"
    )
    rows, keys = page.table("3 of 3 rows")
    frame = run.scan(stats="SAD").collect()
    assert {row[0].split()[0] for row in rows} == {"chr2:90", "chr2:140", "chr2:600"}
    held = {f"chr2:{pos}": values for pos, *values in frame.select(
        "pos", pl.selectors.float()).iter_rows()}  # fmt: skip
    for row, key in zip(rows, keys, strict=True):
        assert np.array_equal(
            np.float32(key[-len(run.tracks) :]), np.float32(held[row[0].split()[0]])
        )


def test_blocks_gaps_and_names_like_loci(tmp_path) -> None:
    """Tiles that were not scored are gaps, of every track, whichever block it lies in."""
    store_runs.finish(tmp_path / "run")
    run = open_run(tmp_path / "run")
    frame = run.scan().collect()
    for chrom in run.chromosomes:
        page = reported(tmp_path / "run", region=[chrom], overwrite=True)
        mine = frame.filter(pl.col("chrom") == chrom)
        (figure,) = page.charts[0].values()
        bins = figure["bins"]
        starts = [bins["start"] + bins["bp"] * place for place in range(bins["count"])]
        assert set(mine["start"]) <= set(starts)
        for trace, column in zip(figure["data"], run.tracks.columns, strict=True):
            values = zip(starts, trace["values"], strict=True)
            shown = {start: np.float32(value) for start, value in values if value is not None}
            stored = dict(mine.select("start", column).iter_rows())
            assert shown == {start: np.float32(value) for start, value in stored.items()}


def test_a_run_without_rows_says_so(tmp_path, runs: Runs) -> None:
    vcf = write_vcf(tmp_path / "v.vcf", [("chr1", 600, "x", "A", "<DEL>")])
    given = ("--model", runs.path("m.safetensors"), "--fasta", runs.path("g.fa"))
    score("variants", tmp_path / "none", *given, "--vcf", vcf)
    page = reported(tmp_path / "none")
    assert "There is nothing to show" in page.text
    assert page.facts["entries"] == "1 read = 0 with rows here + 1 rejected"
    assert page.charts == []


def test_statistics_that_some_rows_lack_are_named_and_left_out(tmp_path, runs: Runs) -> None:
    given = ("--model", runs.path("m.safetensors"), "--fasta", runs.path("g.fa"))
    region = ("--region", "chr1:1,001-1,012", "--stats", "SAD")
    approximated = ("--method", "gradient", "--rank-then-exact", 3)
    run = score("saturation", tmp_path / "grad", *given, *region, *approximated)
    assert run.statistics is not None
    assert "SAD" in run.statistics
    page = reported(tmp_path / "grad")
    assert {key[2] for key in page.charts[0]} == {"gradSAD"}
    assert "Not shown: SAD" in page.text
