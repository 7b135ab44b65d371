"""`cisray runs summarise`: groups by assay and by query, and what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest
import store_variants

from cisray.store.scan import open_run


@pytest.fixture
def run(tmp_path) -> Path:
    """Nine variants; tracks 3 and 8 are CAGE:liver and CAGE:brain, 5 CHIP:CTCF, 13 DNASE:K562."""
    store_variants.finish(tmp_path / "run")
    return tmp_path / "run"


def test_assays_are_groups(cisray, run) -> None:
    answer = cisray("runs", "summarise", run, "--stats", "SAD")
    assert (answer.code, "3/3 shards, 9 rows" in answer.err) == (0, True)
    for words in ("CAGE (2 tracks), CHIP (1 track), DNASE (1 track)", "by SAD", ".summary()"):
        assert words in answer.out
    # Values grow with the track: of CAGE track 8 is always the stronger one.
    frame = open_run(run).summary().collect()
    assert frame["SAD_CAGE_track"].to_list() == [8] * 9
    assert frame["SAD_CAGE"].equals(open_run(run).scan(8, stats="SAD").collect()["SAD_t0008"])


def test_groups_are_queries(cisray, run) -> None:
    given = ("--group", "a=*liver*", "--group", "a=5", "--group", "b = CAGE:*", "--quiet")
    told = json.loads(cisray("runs", "summarise", run, *given, "--json").out)
    assert (told["groups"], told["rows"]) == ({"a": 2, "b": 2}, 9)
    frame = open_run(run).summary().collect()
    assert frame.select(pl.col("^logSAD.*_track$")).unique().rows() == [(5, 8)]


@pytest.mark.parametrize("wrong", ["*liver*", "=CAGE", "liver="])
def test_groups_need_names_and_queries(cisray, run, wrong: str) -> None:
    answer = cisray("runs", "summarise", run, "--group", wrong)
    answer.assert_one_paragraph("must be NAME=QUERY", "liver='*liver*'")


def test_genome_runs_have_no_variants(cisray, inputs, tmp_path) -> None:
    assert cisray(*inputs.options(tmp_path / "run", "--quiet")).code == 0
    cisray("runs", "summarise", tmp_path / "run").assert_one_paragraph("This run has no variants")
