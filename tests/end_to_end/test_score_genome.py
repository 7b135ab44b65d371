"""The main job from FASTA and model to rows, against direct calls of the model."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import cisray
from cisray.errors import ConfigError, RunConflict
from cisray.genome.encode import onehot
from cisray.store.scan import Run
from cisray_jobs.models import init_model
from cisray_jobs.score_genome import ScoreGenome

BIN = 128
TILE = 16 * BIN  # 2,048 bp
CROP = (4096 - TILE) // 2  # 1,024 bp on each side
LENGTHS = {"chrA": 150_000, "chrB": 61_234, "chrC": 40_001}
# How far a float32 value may be from one whose sums were taken in another order.
ROUNDING = 1e-5


def direct_call(fasta: Path, model_path: Path, chrom: str, tile: int) -> np.ndarray:
    """What the model says of a tile, fetched and padded here with nothing but string slices."""
    text = "".join(
        record.split("\n", 1)[1].replace("\n", "")
        for record in fasta.read_text().split(">")
        if record.startswith(chrom)
    )
    first = tile * TILE - CROP
    padded = "N" * 4096 + text + "N" * 4096
    window = padded[4096 + first : 4096 + first + 4096]
    codes_L = np.array(["ACGTN".index(base) for base in window], np.uint8)
    model = cisray.load_model(model_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        pred_BNT = model(torch.from_numpy(onehot(codes_L)[None]), head="human")
    torch.set_num_threads(threads)
    return pred_BNT[0].numpy()


@pytest.mark.parametrize(
    ("chrom", "tile", "bins"),
    [
        ("chrA", 0, 16),  # overhangs the start by 1,024 bp
        ("chrA", 31, 16),
        # 150,000 = 73 x 2,048 + 496: the last tile has 496 bp, so 4 bins start on the chromosome.
        ("chrA", 73, 4),
        ("chrB", 29, 15),  # 61,234 - 29 x 2,048 = 1,842 bp: 15 bins
        ("chrC", 5, 16),  # 10,240 .. 12,288 reaches 288 bp into the gap of N
    ],
)
def test_values_are_those_of_a_direct_call(
    inputs, whole: Run, plain: Run, chrom: str, tile: int, bins: int
) -> None:
    here = (
        (pl.col("chrom") == chrom)
        & (pl.col("start") >= tile * TILE)
        & (pl.col("start") < (tile + 1) * TILE)
    )
    frames = [run.scan().filter(here).collect() for run in (plain, whole)]
    for frame in frames:
        assert frame["start"].to_list() == [tile * TILE + i * BIN for i in range(bins)]
    theirs = direct_call(inputs.fasta, inputs.model, chrom, tile)[:bins]
    exact, fast = (frame.select(pl.col("^t.*$")).to_numpy() for frame in frames)
    # Bit for bit: the same arithmetic, the same batch size, the same number of threads.
    np.testing.assert_array_equal(exact, theirs)
    np.testing.assert_allclose(fast, theirs, rtol=ROUNDING)


def test_both_ways_are_told_and_make_different_runs(whole: Run, plain: Run) -> None:
    assert (whole.manifest.config["predictor"], plain.manifest.config["predictor"]) == (
        "fast",
        "plain",
    )
    ours, theirs = whole.scan().collect(), plain.scan().collect()
    assert_frame_equal(ours, theirs, rel_tol=ROUNDING)
    assert not ours.equals(theirs)  # or the fast way was not taken


def test_every_bin_of_the_genome_is_there_or_accounted_for(whole: Run) -> None:
    frame = whole.scan().collect()
    assert frame.select("chrom", "start").is_duplicated().sum() == 0
    # chrC: tile i reads 2,048 i - 1,024 .. 2,048 i + 3,072; inside the gap 12,000 .. 24,000 from
    # i = 7 (13,312) to i = 10 (19,456 .. 23,552): four tiles see no base at all.
    windows = whole.windows
    skipped = windows.filter(~pl.col("scored"))
    assert skipped.select("chrom", "tile").rows() == [("chrC", i) for i in (7, 8, 9, 10)]
    for chrom, length in LENGTHS.items():
        bins = -(-length // BIN)
        absent = 4 * 16 if chrom == "chrC" else 0
        assert frame.filter(pl.col("chrom") == chrom).height == bins - absent
    assert windows.filter("scored")["bins"].sum() == frame.height


def test_rounding_stays_within_its_bound_and_changes_nothing_else(
    score, whole: Run, tmp_path: Path
) -> None:
    rounded = score(tmp_path / "run", tiles_per_shard=4).scan().collect()
    exact = whole.scan().collect()
    assert_frame_equal(
        rounded.select("chrom", "start", "end"), exact.select("chrom", "start", "end")
    )
    ours, theirs = (f.select(pl.col("^t.*$")).to_numpy() for f in (rounded, exact))
    error = np.abs(ours - theirs) / theirs
    assert 1e-5 < error.max() <= 2**-11  # 10 of 23 bits are kept


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"tiles_per_shard": 64}])
def test_batches_and_shards_change_nothing(score, whole: Run, tmp_path: Path, options) -> None:
    run = score(tmp_path / "run", **{"mantissa_bits": 23, "tiles_per_shard": 4, **options})
    assert_frame_equal(run.scan().collect(), whole.scan().collect(), rel_tol=ROUNDING)


def test_a_selection_of_tracks_is_a_slice(score, whole: Run, plain: Run, tmp_path: Path) -> None:
    """Bit for bit the plain way; the fast one computes the selected rows of the head alone."""
    columns = ["chrom", "start", "end", "t0001", "t0003", "t0007"]
    for predictor, every in (("fast", whole), ("plain", plain)):
        options = {"mantissa_bits": 23, "tiles_per_shard": 4, "predictor": predictor}
        run = score(tmp_path / predictor, tracks=("CAGE:*", "1"), **options)
        # The tiny model's assays repeat DNASE, ATAC, CHIP, CAGE: tracks 3 and 7 are CAGE.
        assert run.tracks.indices.tolist() == [1, 3, 7]
        tolerance = 0 if predictor == "plain" else ROUNDING
        expected = every.scan().select(columns).collect()
        assert_frame_equal(run.scan().collect(), expected, rel_tol=tolerance, abs_tol=0)


def test_a_bed_selects_tiles_of_the_same_grid(score, whole: Run, tmp_path: Path) -> None:
    bed = tmp_path / "regions.bed"
    # Bases 2,047 and 2,048 lie in tiles 0 and 1 of chrA, base 60,000 in tile 29 of chrB.
    bed.write_text("# two regions\nchrA\t2047\t2049\tx\nchrB\t60000\t60001\n")
    run = score(tmp_path / "run", mantissa_bits=23, bed=bed)
    assert run.windows.select("chrom", "tile").rows() == [("chrA", 0), ("chrA", 1), ("chrB", 29)]
    expected = whole.scan().filter(
        ((pl.col("chrom") == "chrA") & (pl.col("start") < 2 * TILE))
        | ((pl.col("chrom") == "chrB") & (pl.col("start") >= 29 * TILE))
    )
    ours, theirs = run.scan().collect(), expected.collect()
    assert_frame_equal(ours.drop("chrom"), theirs.drop("chrom"), rel_tol=ROUNDING)
    assert ours["chrom"].cast(str).to_list() == theirs["chrom"].cast(str).to_list()


def test_the_other_head(score, inputs, tmp_path: Path) -> None:
    run = score(tmp_path / "run", head="mouse", chromosomes="chrC")
    assert run.tracks.head == "mouse"
    assert run.scan().collect_schema().names() == [
        "chrom",
        "start",
        "end",
        *(f"t000{i}" for i in range(4)),
    ]


def test_a_region_query_is_one_based_and_inclusive(whole: Run) -> None:
    # Bases 129..256 (1-based) are the second bin, 128..256 (0-based); base 257 begins the third.
    one = whole.scan(region="chrA:129-256").collect()
    two = whole.scan(region="chrA:129-257").collect()
    assert one["start"].to_list() == [128]
    assert two["start"].to_list() == [128, 256]


def test_plain_readers_see_the_same_rows(whole: Run) -> None:
    naive = pl.scan_parquet(whole.path / "data" / "tracks", hive_partitioning=True).collect()
    assert naive.height == whole.scan().collect().height
    sums = naive.group_by("chrom").agg(pl.col("t0000").sum()).sort("chrom")
    ours = whole.scan().group_by(pl.col("chrom").cast(str)).agg(pl.col("t0000").sum()).sort("chrom")
    assert_frame_equal(sums, ours.collect(), rel_tol=1e-6)


@pytest.mark.ray
@pytest.mark.usefixtures("embedded_ray")
def test_a_pool_of_workers_changes_nothing(score, whole: Run, tmp_path: Path) -> None:
    run = score(tmp_path / "run", mantissa_bits=23, tiles_per_shard=4, workers=2)
    assert_frame_equal(run.scan().collect(), whole.scan().collect(), rel_tol=ROUNDING)


def test_a_sealed_run_is_left_as_it_is(score, tmp_path: Path) -> None:
    out = tmp_path / "run"
    score(out, chromosomes="chrC")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "_lock"}
    score(out, chromosomes="chrC")
    assert {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "_lock"
    } == before


def test_a_lost_shard_is_scored_again_and_only_that(score, whole: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    score(out, mantissa_bits=23, tiles_per_shard=4)
    (out / "_SUCCESS").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "_commits").glob("*.json")}
    (lost,) = (out / "_commits").glob("000003.*.json")
    lost.unlink()
    run = score(out, mantissa_bits=23, tiles_per_shard=4)
    assert_frame_equal(run.scan().collect(), whole.scan().collect(), check_exact=True)
    again = {path.name: path.stat().st_mtime_ns for path in (out / "_commits").glob("*.json")}
    assert {name for name in kept if kept[name] != again[name]} == {lost.name}


def test_a_genome_without_any_known_base_is_an_empty_sealed_run(score, tmp_path: Path) -> None:
    fasta = tmp_path / "gap.fa"
    fasta.write_text(">chrN\n" + "N" * 5_000 + "\n")
    run = score(tmp_path / "run", fasta=fasta)
    # 5,000 bp are three tiles of 2,048 bp, none of which sees a base.
    assert run.windows["scored"].to_list() == [False] * 3
    assert run.scan(tracks="CAGE").collect().shape == (0, 5)


def test_the_order_in_which_chromosomes_are_named_makes_no_other_run(score, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = score(out, chromosomes=("chrC", "chrB"))
    again = score(out, chromosomes=("chrB", "chrC", "chrB"))
    assert again.manifest.digest == first.manifest.digest
    assert again.chromosomes == ["chrB", "chrC"]


@pytest.mark.parametrize("changed", ["model", "fasta"])
def test_a_worker_that_sees_another_file_refuses(inputs, tmp_path: Path, changed: str) -> None:
    """Of the same name, and as well-formed: the assembly or the weights of another machine."""
    mine = {"model": tmp_path / "m.safetensors", "fasta": tmp_path / "g.fa"}
    mine["model"].write_bytes(inputs.model.read_bytes())
    mine["fasta"].write_text(inputs.fasta.read_text())
    job = ScoreGenome(**mine, out=tmp_path / "run", workers=0)
    prepared = job.prepare()
    prepared.begin(restart=False).close()
    task = prepared.task("2026-01-01T00:00:00+00:00")
    assert callable(task.open())
    if changed == "model":
        init_model(mine["model"], "tiny", seed=8, randomise_all=True, overwrite=True)
    else:
        mine["fasta"].write_text(inputs.fasta.read_text().replace("ACGT", "ACGA", 1))
    with pytest.raises(RunConflict, match=f"{mine[changed].name} on .* is not what the run began"):
        task.open()


def test_a_time_limit_reaches_the_engine(score, tmp_path: Path, monkeypatch) -> None:
    """Or is refused for this process, which nobody could kill; tests/faults holds the rest."""
    with pytest.raises(ConfigError, match=r"--shard-timeout 60\.0 kills .* --workers 0"):
        score(tmp_path / "run", workers=0, shard_timeout=60)
    policies = []

    def note(policy, *, address):
        policies.append(policy)
        raise ConfigError("noted")

    monkeypatch.setattr("cisray_jobs.execute.executor_for", note)
    with pytest.raises(ConfigError, match="noted"):
        score(tmp_path / "run", workers=1, device="cpu", address="local", shard_timeout=60)
    assert [policy.shard_timeout_s for policy in policies] == [60]
