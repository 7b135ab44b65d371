"""Every allele comes back in its place, with its own scores or with the reason for none."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import store_variants as world

from cisray.errors import AssemblyMismatch, EvaluationError, StatisticError, TrackError
from cisray.evaluation.scores import SIGNED, UNSIGNED, RunScores, TableScores, require_found
from cisray.evaluation.tables import require_columns, scan_table, with_keys
from cisray.scoring.statistics import STATISTICS
from cisray.store.scan import Run, open_run

SCHEMA = {"chrom": pl.String, "pos": pl.Int64, "ref": pl.String, "alt": pl.String}


def alleles(*rows: tuple[str, int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "run"
    world.finish(path)
    return open_run(path)


def test_a_run_gives_every_allele_its_own_values(run: Run) -> None:
    asked = alleles(
        ("2", 600, "g", "T"),
        ("chr2", 100, "C", "A"),  # exchanged
        ("chr2", 100, "A", "G"),
        ("chr9", 5, "A", "*"),  # rejected
        ("chr2", 101, "A", "G"),  # not there
        ("chr2", 140, "CTT", "C"),  # exchanged, but no single bases
    )
    joined = RunScores("model", run, "SAD").join(asked)
    # The run has one variant twice; its first row counts.
    rows = list(run.scan(stats="SAD").collect().iter_rows(named=True))
    truth = {(row["chrom"], row["pos"], row["alt"]): row for row in reversed(rows)}
    columns = [f"SAD_{name}" for name in joined.features]
    expected = {
        0: [truth["chr2", 600, "T"][name] for name in columns],
        1: [-truth["chr2", 100, "C"][name] for name in columns],
        2: [truth["chr2", 100, "G"][name] for name in columns],
    }
    assert joined.status == (
        "scored",
        "scored with swapped alleles",
        "scored",
        "rejected: spanning_deletion",
        "not in run",
        "not in run",
    )
    for row, values in expected.items():
        np.testing.assert_array_equal(joined.values_VT[row], np.float32(values))
    assert np.isnan(joined.values_VT[3:]).all()
    assert joined.counts() == {
        "not in run": 2,
        "scored": 2,
        "rejected: spanning_deletion": 1,
        "scored with swapped alleles": 1,
    }
    assert sum(joined.counts().values()) == asked.height


def test_a_run_is_asked_for_what_it_has(run: Run) -> None:
    with pytest.raises(StatisticError, match="no statistic 'SADR'"):
        RunScores("model", run, "SADR")
    with pytest.raises(TrackError):
        RunScores("model", run, "SAD", tracks="no such track")


def test_labels_of_another_assembly_are_refused(run: Run) -> None:
    asked = alleles(("chr2", 600, "G", "T"), ("chr2", 7, "G", "T"), ("chr2", 8, "G", "T"))
    joined = RunScores("model", run, "SAD").join(asked)
    with pytest.raises(AssemblyMismatch, match=r"only 1 of 3 alleles .* chr2:7 G>T"):
        require_found(joined, asked, 0.5)
    require_found(joined, asked, 1 / 3)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_is_joined_by_alleles_in_any_spelling(tmp_path: Path) -> None:
    path = write(
        tmp_path / "cadd.tsv",
        "variant\tphred\tname\tother\n1_5_A_G_b38\t2.5\tx\t1\nchr1:9:c:T\tNA\ty\t2\n"
        "chr1_11_C_T\tinf\tz\t3\n2-7-G-T\t0.5\tw\t4\n",
    )
    source = TableScores.read("cadd", path)
    assert source.columns == ("phred", "other")
    joined = TableScores.read("cadd", path, ["phred"]).join(
        alleles(
            ("chr2", 7, "G", "T"),
            ("1", 9, "C", "T"),
            ("1", 11, "C", "T"),
            ("chr1", 5, "G", "A"),
            ("chr1", 6, "A", "G"),
            ("chr1", 5, "A", "G"),
        )
    )
    assert joined.status == (
        "scored", "no value", "value not finite", "alleles swapped", "not in table", "scored",
    )  # fmt: skip
    np.testing.assert_array_equal(joined.values_VT[:, 0], [0.5, *[np.nan] * 4, 2.5])


def test_bad_tables_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is no file"):
        scan_table(tmp_path / "none.tsv")
    frame = pl.DataFrame({"chrom": ["1"], "position": [1], "ref": ["A"], "alt": ["C"]})
    with pytest.raises(EvaluationError, match=r"lacks the columns chrm, pos. Did you mean chrom"):
        require_columns(frame, ("chrm", "pos"), tmp_path / "x.tsv")
    with pytest.raises(EvaluationError, match=r"row 2 after the header names no variant .'rs12'"):
        with_keys(pl.DataFrame({"variant": ["1_5_A_G", "rs12"]}), tmp_path / "x.tsv")
    twice = write(tmp_path / "twice.csv", "variant,s\n1_5_A_G,1\nchr1_5_A_G,2\n")
    with pytest.raises(EvaluationError, match="twice, with different values"):
        TableScores.read("s", twice)
    with pytest.raises(EvaluationError, match="no column of numbers t; those it has are s"):
        TableScores.read("s", write(tmp_path / "one.csv", "variant,s\n1_5_A_G,1\n"), ["t"])


def test_statistics_turn_with_their_alleles_as_scoring_says() -> None:
    swaps = {name: statistic.swap for name, statistic in STATISTICS.items()}
    assert {name for name, swap in swaps.items() if swap == "flips"} == set(SIGNED)
    assert {name for name, swap in swaps.items() if swap == "keeps"} == set(UNSIGNED)


def test_types_of_columns_that_are_not_there_change_nothing(tmp_path: Path) -> None:
    """As many of them as there are columns: some versions of Polars rename these."""
    path = tmp_path / "t.tsv"
    path.write_text("variant\tpip\n1_5_A_G\t0.5\n")
    frame = scan_table(path, {"chrom": pl.String, "chromosome": pl.String}).collect()
    assert frame.to_dicts() == [{"variant": "1_5_A_G", "pip": 0.5}]
