"""Evaluations of reporter assays and of enhancers compared: the same rows, each its own test."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

HEADER = "Chrom\tPos\tRef\tAlt\tBarcodes\tDNA\tRNA\tCoefficient\tpValue\tElement\tRelease\n"
PAIRS = "chrom\tchromStart\tchromEnd\tmeasuredGeneSymbol\tstartTSS\tendTSS\tRegulated\n"


def comparisons(cisray, first: Path, second: Path, out: Path) -> pl.DataFrame:
    told = cisray("evaluate", "compare", first, second, "--out", out)
    assert told.code == 0, told.err
    return pl.read_parquet(out / "comparisons.parquet")


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 pairs, and two tables of scores with a name each; the second knows more."""
    home, dice = tmp_path_factory.mktemp("screens"), np.random.default_rng(5)
    label_V = dice.random(200) < 0.25
    place_V = np.arange(200) * 50 + 1_000
    lines = [
        f"1\t{at}\t{at + 101}\tG\t500\t501\t{label}\n"
        for at, label in zip(place_V, label_V, strict=True)
    ]
    (home / "pairs.tsv").write_text(PAIRS + "".join(lines))
    for name, strength in (("old", 0.3), ("new", 2.0)):
        value_V = dice.normal(size=200) + strength * label_V
        frame = pl.DataFrame({"chrom": "1", "start": place_V, "end": place_V + 101, "gene": "G",
                              "gradient": value_V, "other": -value_V})  # fmt: skip
        frame.write_csv(home / f"{name}.tsv", separator="\t")
    return home


def judge_screens(cisray, home: Path, out: Path, name: str, *more: object) -> Path:
    given = ("--pairs", home / "pairs.tsv", "--external", f"x={home}/{name}.tsv", "--out", out)
    edges = ("--edges", 0, "--edges", 4_000, "--bootstraps", 200)
    told = cisray("evaluate", "enhancers", *given, *edges, *more)
    assert told.code == 0, told.err
    return out


def test_scores_of_pairs_are_compared_on_the_same_pairs(cisray, screens, tmp_path) -> None:
    new, old = (judge_screens(cisray, screens, tmp_path / n, n) for n in ("new", "old"))
    found = comparisons(cisray, new, old, tmp_path / "compared")
    key = {"first": "x gradient", "second": "x gradient"}
    near = pl.read_parquet(new / "pairs.parquet").filter(stratum="0-4 kb")
    other = pl.read_parquet(old / "pairs.parquet").filter(stratum="0-4 kb")
    areas = [
        average_precision_score(side["regulated"], side["score x gradient"])
        for side in (near, other)
    ]
    (precision,) = found.filter(stratum="0-4 kb", metric="auprc", **key).to_dicts()
    assert precision["difference"] == pytest.approx(areas[0] - areas[1])
    assert (precision["test"], precision["pairs"]) == ("bootstrap within classes", near.height)
    (area,) = found.filter(stratum="all", metric="auroc", **key).to_dicts()
    assert (area["test"], area["pairs"]) == ("DeLong", 200)
    assert area["p_value"] < 0.01
    (baseline,) = found.filter(stratum="all", metric="auprc", first="distance").to_dicts()
    assert (baseline["difference"], baseline["reason"]) == (0.0, "equal in every draw")
    assert set(found["task"]) == {"all pairs"}  # and no test over tasks that are not there


def test_other_pairs_have_a_difference_and_no_test(cisray, screens, tmp_path) -> None:
    new = judge_screens(cisray, screens, tmp_path / "new", "new")
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    lines = (screens / "pairs.tsv").read_text().splitlines(keepends=True)
    (shorter / "pairs.tsv").write_text("".join(lines[:-1]))
    (shorter / "old.tsv").write_text((screens / "old.tsv").read_text())
    old = judge_screens(cisray, shorter, tmp_path / "old", "old")
    found = comparisons(cisray, new, old, tmp_path / "compared")
    assert set(found["test"]) == {"none"}
    assert set(found["reason"]) == {"the rows differ"}
    assert found["difference"].null_count() == 0


@pytest.fixture(scope="module")
def assay(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 substitutions of 80 bases whose effects go by blocks, and two tables of scores."""
    home, dice = tmp_path_factory.mktemp("assay"), np.random.default_rng(6)
    text = "".join(inputs.fasta.read_text().split(">")[1].split("\n")[1:])
    keys, effects, lines = [], [], []
    for pos in range(4_000, 4_080):
        ref = text[pos - 1]
        for alt in "ACGT".replace(ref, ""):
            effect = dice.normal() + np.sin(pos / 3)
            keys.append((pos, ref, alt))
            effects.append(effect)
            lines.append(f"A\t{pos}\t{ref}\t{alt}\t20\t1\t1\t{effect}\t0.5\tE\tGRCh38\n")
    (home / "assay.tsv").write_text(HEADER + "".join(lines))
    for name, noise in (("old", 3.0), ("new", 1.0)):
        frame = pl.DataFrame(keys, schema=["pos", "ref", "alt"], orient="row").with_columns(
            chrom=pl.lit("chrA"), score=pl.Series(effects) + noise * dice.normal(size=len(keys))
        )
        frame.write_csv(home / f"{name}.csv")
    return home


def judge_assay(cisray, inputs, home: Path, out: Path, name: str, *more: object) -> Path:
    given = ("--table", home / "assay.tsv", "--fasta", inputs.fasta, "--out", out)
    told = cisray("evaluate", "mpra", *given, "--external", f"{name}={home}/{name}.csv",
                  "--block-bp", 4, "--bootstraps", 200, *more)  # fmt: skip
    assert told.code == 0, told.err
    return out


def test_correlations_with_an_assay_are_compared_by_blocks(cisray, inputs, assay, tmp_path) -> None:
    new, old = (judge_assay(cisray, inputs, assay, tmp_path / n, n) for n in ("new", "old"))
    found = comparisons(cisray, new, old, tmp_path / "compared")
    rows = [pl.read_parquet(side / "variants.parquet") for side in (new, old)]
    for split in ("", "shuffled", "grouped"):
        used = [r.filter(~pl.col(f"train, {split}")) if split else r for r in rows]
        r = [
            stats.pearsonr(side["effect"], side[name]).statistic
            for side, name in zip(used, ("new", "old"), strict=True)
        ]
        (one,) = found.filter(task="E", folds=split).to_dicts()
        assert one["difference"] == pytest.approx(r[0] - r[1])
        assert (one["test"], one["pairs"]) == ("bootstrap of blocks", used[0].height)
        assert one["p_value"] < 0.05
    over = found.filter(task="all elements")
    assert set(over["reason"]) == {"fewer than 6 tasks that differ"}
    # Parts drawn by another seed are other rows, but all rows are the same.
    other = judge_assay(cisray, inputs, assay, tmp_path / "seed", "old", "--seed", 9)
    again = comparisons(cisray, new, other, tmp_path / "again")
    tests = dict(again.filter(task="E").select("folds", "reason").iter_rows())
    assert tests[""] == ""
    assert tests["shuffled"] == "other rows were for training"
