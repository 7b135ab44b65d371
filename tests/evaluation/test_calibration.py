"""A background out of a run, and a run told by it: row by row, and only what is of one kind."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import store_variants as made
from store_runs import TRACKS_HELD
from store_runs import finish as finish_bins

from cisray.errors import EvaluationError, StatisticError, TrackError, WrongRun
from cisray.evaluation import calibrated, calibration_rows
from cisray.evaluation.calibrated import write_calibrated
from cisray.evaluation.calibration import (
    describe_background,
    read_calibration,
    require_statistic,
)
from cisray.evaluation.calibration_rows import left_out, rows_of, select_table, used_of
from cisray.store.scan import Run, open_run

ROWS = 9
BINS = {"bins": [10, 14]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("run") / "run"
    made.finish(path, config=BINS)
    return open_run(path)


def background(run: Run, folder: Path, used_V: np.ndarray | None = None, stat: str = "SAD") -> Path:
    used = np.ones(ROWS, np.bool_) if used_V is None else used_V
    table = describe_background(run, stat, run.tracks, used)
    pq.write_table(table, folder / "calibration.parquet")
    return folder


def quantiles_by_hand(values: list[float], sizes: bool = False) -> list[float]:
    held = [abs(value) for value in values] if sizes else values
    return [(sum(b < v for b in held) + sum(b == v for b in held) / 2) / len(held) for v in held]


def test_each_row_has_its_own_quantile_and_z_score(run: Run, tmp_path: Path) -> None:
    """Nine values, of which two variants are the same allele with values of their own."""
    calibration = read_calibration(background(run, tmp_path, stat="logSAD"))
    out = tmp_path / "o.parquet"
    assert write_calibrated(run, run.tracks, calibration, "signed", out, {"a": "b"}) == ROWS
    told = pl.read_parquet(out)
    scan = run.scan(stats="logSAD").collect()
    keys = [name for name in scan.columns if not name.startswith("logSAD")]
    assert told.columns == [
        *keys,
        *(f"logSAD_q_t{t:04d}" for t in TRACKS_HELD),
        *(f"logSAD_z_t{t:04d}" for t in TRACKS_HELD),
    ]
    assert told.select(keys).equals(scan.select(keys).with_columns(pl.col("chrom").cast(pl.String)))
    for track in TRACKS_HELD:
        values = [float(made.value(v, "logSAD", track)) for v in told["variant"].to_list()]
        found = told[f"logSAD_q_t{track:04d}"].to_list()
        assert found == pytest.approx(quantiles_by_hand(values), abs=0.01)
        z = (np.array(values) - np.mean(values)) / np.std(values, ddof=1)
        assert told[f"logSAD_z_t{track:04d}"].to_list() == pytest.approx(z.tolist(), rel=2e-4)
    assert pq.read_schema(out).metadata[b"a"] == b"b"


@pytest.mark.parametrize("held", [1, 25, 10**6])
def test_batches_do_not_change_anything(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    calibration = read_calibration(background(run, tmp_path))
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    write_calibrated(run, run.tracks, calibration, "signed", whole, {})
    monkeypatch.setattr(calibrated, "_HELD", held)
    assert write_calibrated(run, run.tracks, calibration, "signed", cut, {}) == ROWS
    assert pl.read_parquet(cut).equals(pl.read_parquet(whole))


def test_only_rows_that_are_used_are_in_a_background(run: Run, tmp_path: Path) -> None:
    used = np.arange(ROWS) % 2 == 0
    calibration = read_calibration(background(run, tmp_path, used))
    variants = run.scan(stats="SAD").select("variant").collect().to_series().to_numpy()[used]
    for track in TRACKS_HELD:
        values = np.array([made.value(v, "SAD", track) for v in variants], np.float64)
        signed = calibration.distributions["signed", track]
        assert (signed.n, signed.least, signed.largest) == (5, values.min(), values.max())
        assert signed.mean == pytest.approx(values.mean())
        sizes = calibration.distributions["absolute", track]
        assert sizes.mean == pytest.approx(np.abs(values).mean())


def test_a_table_selects_alleles_under_either_name(run: Run) -> None:
    rows = rows_of(run, "SAD")
    table = pl.DataFrame(
        {"chrom": ["2", "chr2", "chr2", "chr9"], "pos": [100, 600, 600, 1],
         "ref": ["A", "G", "T", "A"], "alt": ["c", "T", "G", "C"]}
    )  # fmt: skip
    chosen, missing = select_table(run, rows, table)
    # A>C at 100 is there twice, as 3 and 8; the third row has its alleles swapped.
    used = used_of(chosen).filter(status="used")["variant"].to_list()
    assert (sorted(used), missing) == ([1, 3, 8], 2)
    nothing = left_out(rows, "why", np.ones(ROWS, np.bool_))
    with pytest.raises(EvaluationError, match="no variant is left for a background: why 9"):
        used_of(nothing)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_sha256": "ef" * 32, "config": BINS}, "model_sha256 abab.* there, efef.* here"),
        ({"genome_sha256": "ef" * 32, "config": BINS}, "genome_sha256"),
        ({"config": {"bins": [0, 24]}}, r"bins \[10, 14\] there, \[0, 24\] here"),
        ({"config": {**BINS, "window_placement": "grid"}}, "window_placement None there, grid"),
        ({"config": {**BINS, "shifts": [0, 1]}}, "shifts"),
    ],
)
def test_scores_of_another_kind_are_refused(
    run: Run, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    calibration = read_calibration(background(run, tmp_path))
    made.finish(tmp_path / "other", **changes)
    other = open_run(tmp_path / "other")
    with pytest.raises(EvaluationError, match=told):
        calibration.check(other, other.tracks)


def test_other_rows_rounding_and_versions_are_no_other_kind(run: Run, tmp_path: Path) -> None:
    calibration = read_calibration(background(run, tmp_path))
    made.finish(tmp_path / "other", mantissa_bits=10, code_version="9", config=BINS)
    other = open_run(tmp_path / "other")
    calibration.check(other, other.tracks)


def test_tracks_and_statistics_must_be_there(run: Run, tmp_path: Path) -> None:
    table = describe_background(run, "SAD", run.tracks.select("3,8"), np.ones(ROWS, np.bool_))
    pq.write_table(table, tmp_path / "calibration.parquet")
    calibration = read_calibration(tmp_path)
    calibration.check(run, run.tracks.select("8"))
    with pytest.raises(TrackError, match=r"no track t0005 \(CHIP:CTCF"):
        calibration.check(run, run.tracks)
    renamed = calibration.tracks.with_columns(
        description=pl.when(pl.col("track") == 8).then(pl.lit("x")).otherwise("description")
    )
    other = type(calibration)(
        calibration.statistic, calibration.facts, "r", renamed, calibration.distributions
    )
    with pytest.raises(TrackError, match="t0008 is 'x'"):
        other.check(run, run.tracks.select("8"))
    with pytest.raises(StatisticError, match="no statistic 'SADR'"):
        require_statistic(run, "SADR")
    finish_bins(tmp_path / "bins")
    with pytest.raises(WrongRun, match="bins along the genome"):
        require_statistic(open_run(tmp_path / "bins"), "SAD")


def test_what_is_no_calibration_is_told(run: Run, tmp_path: Path) -> None:
    for name, content in (("a.parquet", b"x"), ("b.parquet", None)):
        path = tmp_path / name
        if content is None:
            pl.DataFrame({"a": [1]}).write_parquet(path)
        else:
            path.write_bytes(content)
        with pytest.raises(EvaluationError, match="is no calibration that can be read"):
            read_calibration(path)
    with pytest.raises(EvaluationError, match="is no calibration that can be read"):
        read_calibration(tmp_path / "absent")


def test_frequencies_are_those_of_each_allele(tmp_path: Path) -> None:
    """Of several alternatives each has its own; what is missing or no share is none."""
    vcf = tmp_path / "v.vcf"
    vcf.write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "1\t5\t.\tA\tC,G,T\t.\t.\tAN=4;AF=0.1,.,0.3\tGT\t0|1\n"
        "1\tx\t.\tA\tC\t.\t.\tAF=0.5\n"
        "1\t6\t.\tA\tC\t.\t.\tMAF=0.5;AFR=0.2\n"
        "1\t7\t.\tA\tC\t.\t.\tAF=1.5\n"
        "1\t8\t.\tAC\tA\t.\t.\tAF=1\n"
    )
    assert list(calibration_rows._frequencies(vcf)) == [
        ("1", 5, "A", "C", 0.1),
        ("1", 5, "A", "T", 0.3),
        ("1", 8, "AC", "A", 1.0),
    ]
