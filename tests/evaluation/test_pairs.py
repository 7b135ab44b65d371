"""Element-gene pairs: which count, where scores of others meet them, and what is judged."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cisray.errors import EvaluationError
from cisray.evaluation.enhancers import (
    EDGES_BP,
    EnhancerSettings,
    baselines,
    judge_pairs,
    strata_names,
    stratum_of,
)
from cisray.evaluation.pairs import PairTable, read_pairs

HEADER = (
    "chrom chromStart chromEnd chrTSS startTSS endTSS measuredGeneSymbol Regulated "
    "ValidConnection CellType H3K27ac.RPM ABC.Score"
)


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    lines = [header, *rows]
    path.write_text("".join("\t".join(line.split()) + "\n" for line in lines))
    return path


def test_every_pair_stays_with_one_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.tsv",
        "1 100 201 1 500 501 A TRUE TRUE K562 2.5 0.1",
        "1 100 201 1 500 510 A false true K562 NA 0.1",
        "1 100 201 1 500 501 A maybe TRUE K562 1 0.1",
        "1 NA 201 1 500 501 A TRUE TRUE K562 1 0.1",
        "1 201 201 1 500 501 A TRUE TRUE K562 1 0.1",
        "1 100 201 2 500 501 A TRUE TRUE K562 1 0.1",
        "1 100 201 1 500 501 A TRUE overlaps_TSS K562 1 0.1",
        "1 100 201 1 500 501 A TRUE TRUE WTC11 1 0.1",
    )
    frame = read_pairs(path, "K562")
    assert frame["left_out"].to_list() == [
        "", "", "no label", "no coordinates or gene", "no coordinates or gene",
        "gene on another chromosome", "connection not valid: overlaps_TSS", "other cell type",
    ]  # fmt: skip
    assert frame.row(0) == (1, "1", 100, 201, "A", 500, True, 2.5, 0.1, "")
    assert frame["tss"][1] == 504
    assert frame["regulated"][1] is False
    assert read_pairs(path)["left_out"][7] == ""
    with pytest.raises(EvaluationError, match=r"cell type 'HepG2'; it has K562, WTC11"):
        read_pairs(path, "HepG2")
    with pytest.raises(EvaluationError, match="lacks the columns startTSS, Regulated"):
        read_pairs(write(tmp_path / "q.tsv", header="chrom chromStart chromEnd endTSS "
                         "measuredGeneSymbol"))  # fmt: skip


def pairs_of(count: int = 300, seed: int = 1) -> pl.DataFrame:
    dice = np.random.default_rng(seed)
    distance = np.exp(dice.uniform(5, 13, count)).astype(int)
    return pl.DataFrame(
        {
            "row": range(1, count + 1),
            "chrom": ["chr1"] * count,
            "start": 1_000_000 + distance,
            "end": 1_000_500 + distance,
            "gene": [f"G{k}" for k in range(count)],
            "regulated": dice.random(count) < 0.3,
            "h3k27ac": dice.random(count) * 5,
            "distance_bp": distance,
            "left_out": [""] * count,
        }
    )


def test_scores_of_others_meet_their_pairs_by_any_name_of_the_chromosome(tmp_path: Path) -> None:
    pairs = pairs_of(4)
    path = tmp_path / "s.csv"
    rows = pairs.select(
        chrom=pl.lit("1"),
        chromStart="start",
        chromEnd="end",
        measuredGeneSymbol="gene",
        score=pl.Series([1.5, None, 2.5, 3.5]),
        main_tss=pl.lit(7),
    )
    rows.reverse().head(3).write_csv(path)
    values, reasons = PairTable.read("x", path).join(pairs)
    assert reasons == ["not in table", "no value", "", ""]
    np.testing.assert_array_equal(values["x"], [math.nan, math.nan, 2.5, 3.5])
    pl.concat([rows, rows.with_columns(score=9.0)]).write_csv(path)
    with pytest.raises(EvaluationError, match=r"1:\d+-\d+ \(0-based\) and G0 twice"):
        PairTable.read("x", path)
    rows.drop("score").write_csv(path)
    with pytest.raises(EvaluationError, match="no column of numbers"):
        PairTable.read("x", path)


def test_bins_hold_their_lower_edge() -> None:
    names = [stratum_of(at, EDGES_BP) for at in (0, 2_999, 3_000, 34_500, 130_999, 131_000)]
    assert names == [
        "0-3 kb", "0-3 kb", "3-12.5 kb", "34.5-131 kb", "34.5-131 kb", "131 kb and more",
    ]  # fmt: skip
    assert set(names) < set(strata_names(EDGES_BP))
    for edges in ((0,), (0, 5, 5), (1, 5)):
        with pytest.raises(EvaluationError, match="make no bins"):
            EnhancerSettings(edges_bp=edges)


def test_numbers_are_scikit_learns_in_every_bin() -> None:
    pairs = pairs_of()
    score = np.random.default_rng(5).random(300) + 0.3 * pairs["regulated"].to_numpy()
    frame = pairs.select("chrom", "start", "end", "gene").with_columns(pl.Series("s", score))
    # Row 9 has no score, row 4 is left out before.
    pairs = pairs.with_columns(
        left_out=pl.when(pl.col("row") == 4).then(pl.lit("why")).otherwise(pl.lit(""))
    )
    frame = frame.with_row_index().filter(pl.col("index") != 8).drop("index")
    judged = judge_pairs(
        pairs, [PairTable.of("m", frame, "here")], EnhancerSettings(bootstraps=20, control=True)
    )
    assert judged.counts() == {"m: not in table": 1, "why": 1}
    assert judged.used == 298
    numbers = {(m.scores, m.stratum, m.metric, m.control): m.estimate for m in judged.metrics}
    kept = np.array([row not in (4, 9) for row in pairs["row"]])
    distance = pairs["distance_bp"].to_numpy()
    activity = pairs["h3k27ac"].to_numpy() / (distance + 1_000)
    parts = {"all": kept, "3-12.5 kb": kept & (distance >= 3_000) & (distance < 12_500)}
    labels = pairs["regulated"].to_numpy()
    for stratum, part in parts.items():
        for name, values in (("m", score), ("distance", -distance), ("H3K27ac/distance", activity)):
            found = numbers[name, stratum, "auprc", ""]
            assert found.value == pytest.approx(average_precision_score(labels[part], values[part]))
            assert found.n == part.sum()
            found = numbers[name, stratum, "auroc", ""]
            assert found.value == pytest.approx(roc_auc_score(labels[part], values[part]))
    assert sum(numbers["m", s, "auroc", ""].n for s in strata_names(EDGES_BP)) == 298
    assert numbers["m", "all", "auroc", ""].ci_low > 0.5
    assert numbers["m", "all", "auroc", "shuffled labels"].ci_low < 0.5
    assert numbers["random", "all", "auroc", ""].ci_low < 0.5


def test_one_class_has_a_reason_and_no_number() -> None:
    pairs = pairs_of().with_columns(regulated=pl.lit(value=False))
    for metric in judge_pairs(pairs, [], EnhancerSettings(bootstraps=5)).metrics:
        assert metric.estimate.value is None
        assert metric.estimate.reason.startswith("no ")
    with pytest.raises(EvaluationError, match="no pair counts"):
        judge_pairs(pairs.with_columns(left_out=pl.lit("x")), [], EnhancerSettings())
    table = PairTable.of("random", pairs.select("chrom", "start", "end", "gene", "row"), "")
    with pytest.raises(EvaluationError, match="two scores are called random"):
        judge_pairs(pairs, [table], EnhancerSettings())


def test_baselines_are_there_if_their_columns_are() -> None:
    pairs = pairs_of(5).with_columns(abc=pl.Series([0.1, 0.2, None, 0.4, 0.5]))
    found = dict(baselines(pairs, 3))
    assert list(found) == ["distance", "H3K27ac/distance", "ABC", "random"]
    assert np.isnan(found["ABC"][2])
    assert list(dict(baselines(pairs.drop("abc", "h3k27ac"), 3))) == ["distance", "random"]
    judged = judge_pairs(pairs, [], EnhancerSettings(bootstraps=5))
    assert judged.counts() == {"ABC: no value": 1}
