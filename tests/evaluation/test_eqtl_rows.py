"""Positives and negatives keep to the published rules, whatever is drawn."""

import made_up_eqtls as made
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cisray.errors import EvaluationError
from cisray.evaluation.eqtl_labels import ASSOCIATIONS, Labels
from cisray.evaluation.eqtl_rows import Choice, choose_rows

KEY = ["chrom", "pos", "ref", "alt"]


def labels(frame: pl.DataFrame, layout: str = "plain") -> Labels:
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in ASSOCIATIONS.items() if n not in frame]
    typed = frame.with_columns(missing).select(pl.col(n).cast(t) for n, t in ASSOCIATIONS.items())
    return Labels(typed, layout, typed.height, {})


def row(tissue: str, gene: str, pos: int, pip: float, z: float, distance: int = 0) -> tuple:
    return tissue, gene, "chr1", pos, "A", "C", pip, z, distance


def frame(*rows: tuple) -> pl.DataFrame:
    names = ("tissue", "gene", *KEY, "pip", "z", "tss_distance")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_each_positive_has_a_strong_negative_of_its_gene() -> None:
    chosen = choose_rows(labels(made.associations()), Choice())
    for (_,), rows in chosen.frame.group_by(["tissue"]):
        positives, negatives = rows.filter("positive"), rows.filter(~pl.col("positive"))
        assert positives.height == negatives.height == 24
        assert (positives["pip"] > 0.9).all()
        assert (negatives["pip"] < 0.01).all()
        assert (negatives["z"].abs() > 4).all()
        assert positives["gene"].to_list() == negatives["gene"].to_list()
        assert set(negatives["rule"]) == {"same gene"}
        assert not rows.select(KEY).is_duplicated().any()
        assert rows["positive"].to_list() == [True] * 24 + [False] * 24
    assert chosen.left_out == {"neither positive nor drawn as a negative": 288 - 96}
    assert chosen.grouped_by == "gene"


def test_draws_depend_on_the_seed_and_not_on_other_tissues() -> None:
    every = made.associations(tissues=3)
    chosen = choose_rows(labels(every), Choice())
    assert_frame_equal(chosen.frame, choose_rows(labels(every.sample(
        fraction=1.0, shuffle=True, seed=5)), Choice()).frame)  # fmt: skip
    alone = choose_rows(labels(every.filter(tissue="Tissue_1")), Choice()).frame
    assert_frame_equal(chosen.frame.filter(tissue="Tissue_1"), alone)
    other = choose_rows(labels(every), Choice(seed=45)).frame
    assert not other.equals(chosen.frame)


def test_without_a_strong_variant_of_the_gene_any_stronger_one_will_do() -> None:
    rows = frame(
        row("L", "g1", 1, 0.95, 9),
        row("L", "g1", 2, 0.001, 4.0),  # not above 4
        row("L", "g2", 3, 0.001, -6.5),
        row("L", "g2", 4, 0.001, 6.0),  # not above 6
        row("L", "g1", 5, 0.01, 8.0),  # PIP not below 0.01
        row("L", "g2", 6, 0.002, 9.0),
        row("L", "g3", 6, 0.5, 9.0),  # the same variant, likely for another gene
        row("K", "g2", 7, 0.001, 9.0),  # another tissue
    )
    chosen = choose_rows(labels(rows), Choice()).frame
    assert chosen.select("pos", "positive", "rule").rows() == [
        (1, True, ""), (3, False, "genome-wide"),
    ]  # fmt: skip


def test_a_positive_without_a_negative_is_counted() -> None:
    rows = frame(row("L", "g1", 1, 0.95, 9), row("L", "g1", 2, 0.99, 9), row("L", "g1", 3, 0, 5))
    chosen = choose_rows(labels(rows), Choice())
    assert chosen.frame.height == 2
    assert chosen.left_out == {"positive without a matching negative": 1}


def test_the_best_gene_speaks_for_a_variant() -> None:
    rows = frame(row("L", "g1", 1, 0.92, 9), row("L", "g2", 1, 0.97, 9), row("L", "g2", 3, 0, 5))
    chosen = choose_rows(labels(rows), Choice()).frame
    assert chosen["gene"].to_list() == ["g2", "g2"]


def test_negatives_can_be_matched_by_distance() -> None:
    rows = frame(
        row("L", "g1", 1, 0.95, 9, -1_000),
        row("L", "g1", 2, 0.001, 0, 100),
        row("L", "g2", 3, 0.001, 0, 900),
        row("L", "g2", 4, 0.001, 0, -5_000),
    )
    chosen = choose_rows(labels(rows), Choice(match="tss-distance")).frame
    assert chosen["pos"].to_list() == [1, 3]
    with pytest.raises(EvaluationError, match="needs the column tss_distance"):
        choose_rows(labels(rows.drop("tss_distance")), Choice(match="tss-distance"))
    with pytest.raises(EvaluationError, match="--match z-score needs the column z"):
        choose_rows(labels(rows.drop("z")), Choice())
    with pytest.raises(EvaluationError, match="in this order"):
        Choice(pip_positive=0.1, pip_negative=0.2)


def test_prepared_labels_stay_as_they_are() -> None:
    given = frame(
        row("L", "g1", 9, 0, 0), row("L", "g2", 3, 0, 0), row("L", "g3", 5, 0, 0),
        row("L", "g3", 5, 0, 0),
    ).with_columns(positive=pl.Series([False, True, True, True]))  # fmt: skip
    chosen = choose_rows(labels(given, "prepared"), Choice())
    assert chosen.frame["pos"].to_list() == [3, 5, 9]
    assert chosen.left_out == {"listed twice": 1}
    assert chosen.grouped_by == "gene"
    blocks = choose_rows(labels(given.drop("gene"), "prepared"), Choice())
    assert blocks.grouped_by == "stretches of 1 Mb"
    assert blocks.frame["group"].to_list() == ["chr1:0"] * 3
    both = given.with_columns(positive=pl.Series([False, True, True, False]))
    with pytest.raises(EvaluationError, match="as positive and as negative"):
        choose_rows(labels(both, "prepared"), Choice())
