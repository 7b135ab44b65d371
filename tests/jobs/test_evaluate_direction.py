"""The commands direction and compare: from tables to numbers whose answer is known."""

from pathlib import Path

import made_up_eqtls as made
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

KEY = ["chrom", "pos", "ref", "alt"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores that follow the effects, with noise and without; every third allele exchanged."""
    folder = tmp_path_factory.mktemp("tables")
    labels = made.associations(genes=40)
    made.write(folder / "labels.tsv", labels)
    dice = np.random.default_rng(4)
    effects = labels.select(*KEY, "effect")
    noisy = effects.with_columns(s=pl.col("effect") + pl.Series(dice.normal(size=labels.height)))
    made.write(folder / "noisy.tsv", noisy.drop("effect"))
    made.write(folder / "exact.tsv", effects.rename({"effect": "s"}))
    return folder


def direction(tables: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("evaluate", "direction", "--labels", tables / "labels.tsv", "--out", out, *more)


def test_the_sign_is_judged_tissue_by_tissue(tables: Path, tmp_path: Path, cisray) -> None:
    both = ("--external", f"noisy={tables}/noisy.tsv", "--external", f"exact={tables}/exact.tsv")
    answer = cisray(*direction(tables, tmp_path / "o", *both))
    assert answer.code == 0, answer.err
    assert "480 rows read, 80 used" in answer.out
    assert "400 left out: PIP not above the bound" in answer.out
    assert "Tissue_1 in exact: 1 by only column, such as s" in answer.out
    metrics = pl.read_parquet(tmp_path / "o/metrics.parquet")
    rows = pl.read_parquet(tmp_path / "o/rows.parquet").filter(tissue="Tissue_0")
    value = {
        (row["scores"], row["metric"]): row["value"]
        for row in metrics.filter(task="Tissue_0", control="").iter_rows(named=True)
    }
    assert value["exact", "auroc"] == 1.0
    assert value["exact", "spearman_r"] == pytest.approx(1.0)
    expected = roc_auc_score(rows["effect"].to_numpy() > 0, rows["score noisy"])
    assert value["noisy", "auroc"] == pytest.approx(expected)
    assert 0.6 < expected < 0.95
    control = metrics.filter(pl.col("control") != "", pl.col("task") != "all tissues")
    assert ((control["ci_low"] < 0.5) & (control["ci_high"] > 0.5)).all()
    compared = pl.read_parquet(tmp_path / "o/comparisons.parquet").filter(test="DeLong")
    assert compared["difference"].to_list() == pytest.approx(
        [value["noisy", "auroc"] - 1.0, compared["difference"][1]]
    )
    assert (tmp_path / "o/auroc.png").stat().st_size > 5_000


def test_small_tissues_are_named_and_not_judged(tables: Path, tmp_path: Path, cisray) -> None:
    more = ("--external", f"exact={tables}/exact.tsv", "--min-variants", 41)
    answer = cisray(*direction(tables, tmp_path / "o", *more))
    assert "undefined" in answer.out
    metrics = pl.read_parquet(tmp_path / "o/metrics.parquet").filter(task="Tissue_0")
    assert set(metrics["reason"]) == {"too few variants: 40, and 41 are asked for"}
    assert metrics["value"].null_count() == metrics.height


def test_two_evaluations_are_compared_on_the_same_rows(
    tables: Path, tmp_path: Path, cisray
) -> None:
    for name in ("noisy", "exact"):
        one = ("--external", f"{name}={tables}/{name}.tsv")
        assert cisray(*direction(tables, tmp_path / name, *one)).code == 0
    command = ("evaluate", "compare", tmp_path / "exact", tmp_path / "noisy")
    answer = cisray(*command, "--out", tmp_path / "c")
    assert answer.code == 0, answer.err
    assert "the same rows, paired tests" in answer.out
    found = pl.read_parquet(tmp_path / "c/comparisons.parquet")
    assert set(found["first"]) == {"exact"}
    row = found.filter(task="Tissue_0", metric="auroc").row(0, named=True)
    assert row["test"] == "DeLong"
    assert row["difference"] > 0
    assert row["p_value"] < 0.05
    swapped = cisray("evaluate", "compare", tmp_path / "noisy", tmp_path / "exact")
    assert f"Tissue_0: auroc {-row['difference']:+.4f}" in swapped.out
    fewer = ("--external", f"noisy={tables}/noisy.tsv", "--pip-positive", 0.0005)
    assert cisray(*direction(tables, tmp_path / "fewer", *fewer)).code == 0
    other = cisray("evaluate", "compare", tmp_path / "exact", tmp_path / "fewer")
    assert "other rows, no paired tests" in other.out
    assert "DeLong" not in other.out


def test_what_cannot_be_compared_is_refused(tables: Path, tmp_path: Path, cisray) -> None:
    one = ("--external", f"exact={tables}/exact.tsv")
    assert cisray(*direction(tables, tmp_path / "d", *one)).code == 0
    eqtl = ("evaluate", "eqtl", "--labels", tables / "labels.tsv", *one, "--score", "max-abs")
    assert cisray(*eqtl, "--out", tmp_path / "e").code == 0
    cisray("evaluate", "compare", tmp_path / "d", tmp_path / "e").assert_one_paragraph(
        "only two of one kind can be compared"
    )
    cisray("evaluate", "compare", tmp_path / "d", tmp_path).assert_one_paragraph(
        "is no folder of an evaluation"
    )


def test_forests_are_compared_over_the_same_folds(tmp_path: Path, cisray) -> None:
    labels = made.associations(tissues=1, genes=12)
    made.write(tmp_path / "labels.tsv", labels)
    for name, strength in (("a", 4), ("b", 0)):
        made.write(tmp_path / f"{name}.tsv", made.scores(labels, strength, features=2))
        assert (
            cisray(
                "evaluate", "eqtl", "--labels", tmp_path / "labels.tsv", "--repeats", 1,
                "--folds", 3, "--external", f"{name}={tmp_path}/{name}.tsv", "--workers", 0,
                "--out", tmp_path / name, "--quiet",
            ).code == 0
        )  # fmt: skip
    answer = cisray("evaluate", "compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert answer.code == 0, answer.err
    row = pl.read_parquet(tmp_path / "c/comparisons.parquet").filter(
        task="Tissue_0", metric="auroc", folds="shuffled"
    ).row(0, named=True)  # fmt: skip
    assert (row["test"], row["pairs"]) == ("corrected resampled t", 3)
    values = [
        pl.read_parquet(tmp_path / name / "folds.parquet").filter(folds="shuffled")["auroc"].mean()
        for name in ("a", "b")
    ]
    assert row["difference"] == pytest.approx(values[0] - values[1])
