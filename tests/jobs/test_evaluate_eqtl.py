"""The command from tables to a folder: every row accounted for, whoever computes it."""

import json
from pathlib import Path

import made_up_eqtls as made
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

FEW = ("--repeats", 1, "--folds", 2, "--workers", 0, "--quiet")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    labels = made.associations()
    made.write(folder / "labels.tsv", labels)
    made.write(folder / "good.tsv", made.scores(labels, 4))
    made.write(folder / "bad.parquet", made.scores(labels, 0, seed=3).head(-5))
    return folder


def options(tables: Path, out: Path, *more: object) -> tuple[object, ...]:
    scores = ("--external", f"good={tables}/good.tsv", "--external", f"bad={tables}/bad.parquet")
    return ("evaluate", "eqtl", "--labels", tables / "labels.tsv", *scores, "--out", out, *more)


@pytest.fixture(scope="module")
def evaluated(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("e") / "out"
    assert cli.run(list(map(str, options(tables, out, *FEW)))) == 0
    return out


def test_every_row_that_was_read_is_told_of(evaluated: Path) -> None:
    record = json.loads((evaluated / "evaluation.json").read_text())
    rows = record["rows"]
    assert rows["read"] == 288 == rows["used"] + sum(rows["left out"].values())
    assert rows["left out"]["bad: not in table"] >= 1
    assert record["settings"]["forest"]["n_estimators"] == 100
    assert "pip_positive" in record["recalled"]
    table = pl.read_parquet(evaluated / "rows.parquet")
    assert table.filter(status="used").height == rows["used"]
    assert table.filter(pl.col("status") != "used")["rank good shuffled"].null_count() >= 1
    assert {path.name for path in evaluated.iterdir()} == {
        "auroc.png", "comparisons.parquet", "evaluation.json", "folds.parquet",
        "importance.parquet", "metrics.parquet", "rows.parquet",
    }  # fmt: skip
    assert list(evaluated.parent.iterdir()) == [evaluated]


def test_a_telling_score_is_told_from_chance(evaluated: Path) -> None:
    metrics = pl.read_parquet(evaluated / "metrics.parquet")
    means = metrics.filter(task="all tissues", metric="auroc", stratum="all", control="")
    assert means["folds"].to_list().count("grouped") == 2
    value = {(s, f): v for s, f, v in means.select("scores", "folds", "value").iter_rows()}
    for folds in ("shuffled", "grouped"):
        assert value["good", folds] > 0.9
        assert value["bad", folds] < 0.75
    control = metrics.filter(pl.col("control") != "", pl.col("task") != "all tissues")
    assert control.select("metric", "folds").unique().rows() == [("auroc", "shuffled")]
    assert control["value"].is_between(0.15, 0.85).all()
    assert set(control["reason"]) == {"one value only to average over shuffles"}
    compared = pl.read_parquet(evaluated / "comparisons.parquet")
    assert set(compared["test"]) == {"corrected resampled t", "Wilcoxon signed-rank"}
    assert (compared.filter(metric="auroc")["difference"] > 0).all()


def test_the_number_is_the_mean_of_the_folds(evaluated: Path) -> None:
    folds = pl.read_parquet(evaluated / "folds.parquet")
    assert folds.height == 2 * 2 * 2 * 2  # tissues, kinds, scores, folds
    expected = folds.group_by("tissue", "scores", "folds").agg(pl.col("auroc").mean())
    metrics = pl.read_parquet(evaluated / "metrics.parquet").filter(
        pl.col("task") != "all tissues", metric="auroc", control=""
    )
    both = metrics.join(expected, left_on=["task", "scores", "folds"],
                        right_on=["tissue", "scores", "folds"])  # fmt: skip
    assert both.height == 8
    np.testing.assert_allclose(both["value"], both["auroc"], rtol=1e-12)


@pytest.mark.long
@pytest.mark.ray
def test_the_result_does_not_depend_on_the_workers(
    tables: Path, evaluated: Path, tmp_path: Path, cisray, embedded_ray
) -> None:
    answer = cisray(*options(tables, tmp_path / "o", *FEW, "--workers", 2))
    assert answer.code == 0, answer.err
    for name in ("metrics", "folds", "rows", "comparisons", "importance"):
        one, two = (pl.read_parquet(at / f"{name}.parquet") for at in (evaluated, tmp_path / "o"))
        assert_frame_equal(one, two)
    assert (evaluated / "auroc.png").read_bytes() == (tmp_path / "o/auroc.png").read_bytes()


def test_the_same_again_is_found_and_another_is_refused(
    tables: Path, evaluated: Path, cisray
) -> None:
    again = cisray(*options(tables, evaluated, *FEW))
    assert again.code == 0
    assert "there already" in again.out
    assert "288 rows read" in again.out
    other = cisray(*options(tables, evaluated, *FEW, "--seed", 45))
    other.assert_one_paragraph("seed 44 there, 45 now")


@pytest.mark.long
def test_a_stopped_evaluation_goes_on_from_its_units(
    tables: Path, evaluated: Path, tmp_path: Path, cisray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cisray_jobs import eqtl_task

    done = []
    plain = eqtl_task._write

    def stops_at_the_second(path: Path, arrays: dict) -> None:
        if path.name.startswith("unit") and done:
            raise KeyboardInterrupt
        done.extend([path.name] * path.name.startswith("unit"))
        plain(path, arrays)

    monkeypatch.setattr(eqtl_task, "_write", stops_at_the_second)
    stopped = cisray(*options(tables, tmp_path / "o", *FEW))
    assert stopped.code == 130
    assert "goes on" in stopped.told
    monkeypatch.setattr(eqtl_task, "_write", plain)
    (units,) = tmp_path.glob(".o.*.units")
    assert not (units / "unit_000001.npz").exists()
    written = []
    monkeypatch.setattr(
        eqtl_task, "_write", lambda path, arrays: (written.append(path.name), plain(path, arrays))
    )
    assert cisray(*options(tables, tmp_path / "o", *FEW)).code == 0
    assert written == ["unit_000001.npz"]
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
    one, two = (pl.read_parquet(at / "metrics.parquet") for at in (tmp_path / "o", evaluated))
    assert_frame_equal(one, two)


def test_a_fold_that_trains_on_one_class_leaves_a_reason(tables, tmp_path: Path, cisray) -> None:
    """All negatives share a group: where they are tested, no negative is left to train on."""
    rows = made.associations(tissues=1)
    prepared = rows.filter(pl.col("z").is_in([9.0, 7.0])).with_columns(
        label=pl.col("pip") > 0.5,
        group=pl.when(pl.col("pip") > 0.5).then("gene").otherwise(pl.lit("all negatives")),
    )
    made.write(tmp_path / "labels.tsv", prepared.drop("pip"))
    scores = ("--external", f"good={tables}/good.tsv")
    answer = cisray("evaluate", "eqtl", "--labels", tmp_path / "labels.tsv", *scores, *FEW,
                    "--out", tmp_path / "o")  # fmt: skip
    assert answer.code == 0, answer.err
    metrics = pl.read_parquet(tmp_path / "o/metrics.parquet").filter(task="Tissue_0", control="")
    pooled = metrics.filter(metric="auroc_pooled", stratum="all")
    found = {row["folds"]: row for row in pooled.iter_rows(named=True)}
    assert found["shuffled"]["value"] > 0.9
    assert found["grouped"]["value"] is None
    assert "training rows are of one class" in found["grouped"]["reason"]
    areas = metrics.filter(metric="auroc", folds="grouped").row(0, named=True)
    assert areas["value"] is None
    assert areas["reason"] == "one class only in every fold"


def test_a_single_score_needs_no_classifier(tables: Path, tmp_path: Path, cisray) -> None:
    answer = cisray(*options(tables, tmp_path / "o", "--score", "max-abs"))
    assert answer.code == 0, answer.err
    metrics = pl.read_parquet(tmp_path / "o/metrics.parquet")
    assert set(metrics["folds"]) == {""}
    rows = pl.read_parquet(tmp_path / "o/rows.parquet").filter(status="used", tissue="Tissue_0")
    from sklearn.metrics import roc_auc_score

    found = metrics.filter(
        task="Tissue_0", metric="auroc", stratum="all", control="", scores="good"
    )
    assert found["value"][0] == pytest.approx(roc_auc_score(rows["positive"], rows["score good"]))
    # By hand: every feature over its root mean square, the largest size counts.
    table = pl.read_csv(tables / "good.tsv", separator="\t")
    used = rows.join(table, on=["chrom", "pos", "ref", "alt"], maintain_order="left")
    every = pl.read_parquet(tmp_path / "o/rows.parquet").unique(["chrom", "pos", "ref", "alt"])
    scale = every.join(table, on=["chrom", "pos", "ref", "alt"]).select(
        (pl.selectors.starts_with("s") & pl.selectors.float()).exclude("score good", "score bad")
        .pow(2).mean().sqrt()
    )  # fmt: skip
    names = [f"s{number}" for number in range(6)]
    expected = used.select(pl.max_horizontal(pl.col(n).abs() / scale[n][0] for n in names))
    np.testing.assert_allclose(rows["score good"], expected.to_series(), rtol=1e-5)


def test_tissues_with_too_little_stay_in_the_table(tables: Path, tmp_path: Path, cisray) -> None:
    labels = pl.read_csv(tables / "labels.tsv", separator="\t")
    few = labels.filter((pl.col("tissue") == "Tissue_0") | pl.col("gene").is_in(["G1", "G2"]))
    made.write(tmp_path / "few.tsv", few)
    assert (
        cisray(
            "evaluate", "eqtl", "--labels", tmp_path / "few.tsv", "--out", tmp_path / "o",
            "--external", f"good={tables}/good.tsv", *FEW, "--folds", 4,
        ).code == 0
    )  # fmt: skip
    metrics = pl.read_parquet(tmp_path / "o/metrics.parquet")
    row = metrics.filter(task="Tissue_1", metric="auroc", folds="shuffled", control="").row(
        0, named=True
    )
    assert row["value"] is None
    assert row["reason"] == "too few positives: 2, and 4 folds need as many"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--only", "Nowhere"), "no row is of --only Nowhere: the labels have tissues such as"),
        (("--external", "good=x.tsv"), "is no file"),
        (("--score", "best"), "--score"),
        (("--strata", 1000, "--strata", 10), "distances in bp that rise"),
        (("--column", "pip"), "must be NAME=VALUE"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    tables: Path, tmp_path: Path, cisray, more: tuple, told: str
) -> None:
    cisray(*options(tables, tmp_path / "o", *FEW, *more)).assert_one_paragraph(told)
    assert not list(tmp_path.iterdir())


def test_another_assembly_is_noticed(tables: Path, tmp_path: Path, cisray) -> None:
    labels = pl.read_csv(tables / "labels.tsv", separator="\t")
    made.write(tmp_path / "l.tsv", labels.with_columns(pl.col("pos") + 77))
    answer = cisray(
        "evaluate", "eqtl", "--labels", tmp_path / "l.tsv", "--out", tmp_path / "o",
        "--external", f"good={tables}/good.tsv", *FEW,
    )  # fmt: skip
    answer.assert_one_paragraph("only 0 of", "different assemblies")
