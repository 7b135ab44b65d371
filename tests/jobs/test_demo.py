"""`cisray demo`: what a newcomer sees, and, at its whole size, what its model has learnt."""

import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pybigtools
import pytest
from scipy import stats

from cisray.store.scan import open_run


@pytest.mark.long
def test_the_quick_demo_runs_every_step_and_is_done_the_second_time(cisray, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    answer = cisray("demo", "--out", out, "--quick", "--workers", 0)
    assert answer.code == 0
    for command in (
        "dataset synthetic", "dataset split", "dataset build", "train", "score genome",
        "score saturation", "score variants", "evaluate all",
    ):  # fmt: skip
        assert f"$ cisray {command} --" in answer.out
    truth = pl.read_parquet(out / "made-up/truth/variants.parquet")
    scores = open_run(out / "variant-run").scan(stats="SAD").collect()
    assert scores["id"].to_list() == truth["id"].to_list()
    # 60,000 / 128 = 468.75: so many bins on each of five chromosomes.
    assert open_run(out / "genome-run").scan().select(pl.len()).collect().item() == 5 * 469
    assert open_run(out / "saturation-run").scan().select(pl.len()).collect().item() == 3 * 256
    assert len(re.findall(r"AUROC 0\.\d{3}", answer.out)) == 2
    assert_expression_is_evaluated(cisray, out)
    before = written(out)
    again = cisray("demo", "--out", out, "--quick", "--workers", 0)
    assert re.findall(r"AUROC.*", again.out) == re.findall(r"AUROC.*", answer.out)
    assert written(out) == before


def written(out: Path) -> dict[Path, int]:
    """When each table was written, but for the one that gathers the numbers of evaluations."""
    tables = set(out.rglob("*.parquet")) - {out / "evaluations/metrics.parquet"}
    return {path: path.stat().st_mtime_ns for path in tables}


def assert_expression_is_evaluated(cisray, out: Path) -> None:
    """A model of four steps knows no gene; all starts and bins count; loops find the same."""
    made, evaluated = out / "made-up", out / "expression"
    starts = ("--starts", made / "genes.bed", "--fasta", made / "genome.fa")
    measured = ("--targets", made / "targets.txt", "--tracks", "*")
    run = ("--run", f"demo={out / 'genome-run'}", "--out", evaluated)
    answer = cisray("evaluate", "expression", *starts, *measured, *run)
    assert answer.code == 0, answer.err
    assert "65 read = 65 used + 0 not" in answer.out
    assert "2,340 asked for, 2,340 used" in answer.out
    metrics = pl.read_parquet(evaluated / "metrics.parquet").filter(control="")
    for value, high in metrics.filter(task="all tracks").select("value", "ci_high").iter_rows():
        assert abs(value) < 0.4
        assert high < 0.6
    told = metrics.filter(task="t0003", metric="gene_pearson_r")["value"][0]
    assert told == pytest.approx(expression_by_loops(out), abs=1e-6)


def expression_by_loops(out: Path) -> float:
    """R across genes of CAGE:alpha: Parquet and bigWig, three bins of 128 bp around each start."""
    predicted = {}
    for path in (out / "genome-run/data/tracks").rglob("*.parquet"):
        chrom = path.parent.name.removeprefix("chrom=")
        columns = pl.read_parquet(path, columns=["start", "t0003"], hive_partitioning=False)
        predicted |= {(chrom, start): value for start, value in columns.iter_rows()}
    measured = pybigtools.open(str(out / "made-up/tracks/CAGE_alpha.bw"))
    x, y = [], []
    for line in (out / "made-up/genes.bed").read_text().splitlines():
        chrom, tss = line.split()[0], int(line.split()[1])
        starts = [(tss // 128 + side) * 128 for side in (-1, 0, 1)]
        bins = [sum(measured.values(chrom, start, start + 128, fillna=0)) for start in starts]
        x.append(math.log1p(sum(predicted[chrom, start] for start in starts)))
        y.append(math.log1p(sum(float(np.float16(min(value, 384))) for value in bins)))
    return float(stats.pearsonr(x, y).statistic)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3_600)
def test_the_demo_finds_causal_variants(cisray, tmp_path: Path) -> None:
    answer = cisray("demo", "--out", tmp_path / "demo")
    assert answer.code == 0
    hits, share = re.search(r"(\d+) of the 20 largest .* sites, (\d+)%", answer.out).groups()
    assert int(hits) > 2 * 20 * int(share) / 100
    every, unseen = (float(x) for x in re.findall(r"AUROC (0\.\d{3})", answer.out))
    assert every > 0.9
    assert unseen > 0.9
