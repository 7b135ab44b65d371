"""Signs: which variants have one, which tracks speak for a tissue, and what is made of both."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import store_variants as world

from cisray.errors import EvaluationError
from cisray.evaluation.direction import choose_signs
from cisray.evaluation.eqtl_labels import ASSOCIATIONS, Labels
from cisray.evaluation.scores import RunScores, TableScores
from cisray.evaluation.track_matching import FeatureNames, Matching, matches_table
from cisray.store.scan import open_run

NAMES = FeatureNames(
    ("t0000", "t0001", "t0002", "t0003", "t0004"),
    ("CAGE", "CAGE", "DNASE", "CAGE", "CAGE"),
    (
        "CAGE:liver, adult, pool1",
        "CAGE:Adipose tissue, adult",
        "DNASE:liver",
        "CAGE:Whole blood (ribopure)",
        "CAGE:oliver cells",
    ),
)


def labels(*rows: tuple[str, str, int, float, float | None]) -> Labels:
    frame = pl.DataFrame(
        [(t, g, "chr1", p, "A", "C", pip, e) for t, g, p, pip, e in rows],
        schema=["tissue", "gene", "chrom", "pos", "ref", "alt", "pip", "effect"],
        orient="row",
    )
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in ASSOCIATIONS.items() if n not in frame]
    typed = frame.with_columns(missing).select(pl.col(n).cast(t) for n, t in ASSOCIATIONS.items())
    return Labels(typed, "plain", typed.height, {})


def test_a_variant_counts_once_and_only_with_one_sign() -> None:
    found = choose_signs(
        labels(
            ("L", "g1", 1, 0.95, 0.5),
            ("L", "g2", 1, 0.99, 0.2),  # the same sign: the likelier gene speaks
            ("L", "g1", 2, 0.95, 0.5),
            ("L", "g2", 2, 0.95, -0.1),  # opposite
            ("K", "g2", 2, 0.95, -0.1),  # another tissue has its own sign
            ("L", "g1", 3, 0.9, 0.5),  # not above 0.9
            ("L", "g3", 3, 0.2, -0.5),
            ("L", "g1", 4, 0.99, 0.0),
            ("L", "g1", 5, 0.99, None),
            ("L", "g1", 6, 0.99, -2.0),
        ),
        0.9,
    )
    assert found.frame.select("tissue", "pos", "gene", "effect", "positive").rows() == [
        ("K", 2, "g2", -0.1, False),
        ("L", 1, "g2", 0.2, True),
        ("L", 6, "g1", -2.0, False),
    ]
    assert found.left_out == {
        "PIP not above the bound": 2,
        "no effect, or an effect of zero": 2,
        "opposite effects on different genes": 2,
        "another gene of a variant that counts": 1,
    }
    with pytest.raises(EvaluationError, match="the labels have no effect"):
        choose_signs(labels(("L", "g", 1, 0.95, None)), 0.9)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RunScores:
    path = tmp_path_factory.mktemp("runs") / "run"
    world.finish(path)
    return RunScores("model", open_run(path), "SAD")


@pytest.mark.parametrize(
    ("tissue", "assay", "features", "rule"),
    [
        ("Liver", "CAGE", (0,), "all words"),
        ("Liver", "", (0, 2), "all words"),
        ("Whole_Blood", "cage", (3,), "all words"),
        ("Adipose_Subcutaneous", "CAGE", (1,), "first word"),
        ("Cells_EBV-transformed_lymphocytes", "CAGE", (), "all words"),
    ],
)
def test_words_of_a_tissue_begin_words_of_a_description(
    source: RunScores, tissue: str, assay: str, features: tuple[int, ...], rule: str
) -> None:
    found = Matching({}, assay).match(tissue, source, NAMES)
    assert (found.features, found.rule) == (features, rule)
    assert bool(found.reason) == (not features)


def test_a_table_decides_where_it_is_given(source: RunScores, tmp_path: Path) -> None:
    tracks = source.run.tracks
    about = (tuple(tracks.table[name].to_pylist()) for name in ("assay", "description"))
    names = FeatureNames(tuple(tracks.columns), *about)
    path = tmp_path / "matching.tsv"
    path.write_text(f"tissue\tquery\nLiver\t{tracks.columns[2]}\nLiver\t{tracks.columns[0]}\n")
    matching = Matching.read(path)
    found = matching.match("Liver", source, names)
    assert (found.features, found.rule) == ((0, 2), "table")
    other = matching.match("Lung", source, names)
    assert other.reason == "tissue not in the matching table"
    listed = matches_table([(found, names), (other, names)])
    assert listed["feature"].to_list() == [tracks.columns[0], tracks.columns[2], None]
    with pytest.raises(EvaluationError, match="Liver: Query"):
        Matching({"Liver": ["no such track"]}).match("Liver", source, names)
    path.write_text("tissue\ttrack\nLiver\t1\n")
    with pytest.raises(EvaluationError, match="lacks the columns query"):
        Matching.read(path)


def test_a_table_of_scores_has_columns_for_tissues() -> None:
    frame = pl.DataFrame()
    both = FeatureNames(("Lung", "Liver"), ("", ""), ("Lung", "Liver"))
    one = FeatureNames(("s",), ("",), ("s",))
    source = TableScores("t", frame, ("s",))
    matching = Matching({})
    assert matching.match("Liver", source, both).features == (1,)
    assert matching.match("Skin", source, both).reason == "no column has its name"
    assert matching.match("Skin", source, one).features == (0,)


def test_matched_tracks_are_averaged_over_the_rows_of_the_tissue() -> None:
    from cisray.evaluation.direction import direction_metrics, task_scores
    from cisray.evaluation.scored_rows import ScoredRows
    from cisray.evaluation.scores import Joined
    from cisray.evaluation.track_matching import Matched

    dice = np.random.default_rng(0)
    effect = dice.normal(size=40)
    values = np.stack([effect + 1, effect - 1, -effect], axis=1).astype(np.float32)
    frame = pl.DataFrame(
        {"tissue": ["L"] * 40, "effect": effect, "positive": effect > 0, "group": ["g"] * 40,
         "status": ["used"] * 39 + ["m: not in run"]}
    )  # fmt: skip
    joined = Joined("m", ("a", "b", "c"), ("",) * 3, ("",) * 3, values, ("scored",) * 40)
    scored = ScoredRows(frame, np.arange(40), (joined,))
    (task,) = task_scores(scored, {("L", "m"): Matched("L", "m", (0, 1), "table")}, 33)
    np.testing.assert_allclose(task.scores[0], effect[:39], atol=1e-6)
    found = {(m.metric, m.control): m.estimate for m in direction_metrics([task], ["m"], 1)}
    assert found["auroc", ""].value == 1.0
    assert found["spearman_r", ""].value == pytest.approx(1.0)
    control = found["auroc", "shuffled labels"]
    assert control.ci_low < 0.5 < control.ci_high
    (few,) = task_scores(scored, {("L", "m"): Matched("L", "m", (0,), "table")}, 40)
    assert few.scores == (None,)
    assert few.reasons == ("too few variants: 39, and 40 are asked for",)
