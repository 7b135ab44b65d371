"""The published dimensions on real chromosomes: minutes to an hour (`make test-slow`)."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import cisray
from cisray.engine.progress import Display
from cisray.genome.encode import onehot
from cisray.store.scan import Run, open_run
from cisray_jobs.config import load_config
from cisray_jobs.models import init_model
from cisray_jobs.score_genome import ScoreGenome

pytestmark = [pytest.mark.slow, pytest.mark.realdata, pytest.mark.timeout(5400)]

CHR21 = "chr21_hg38/GRCh38_chr21_24985581-26000306.fa.gz"
CHR20 = "chr20_hg19/hg19_chr20.whole.fa.gz"
FIVE_GB = 5e9


@pytest.fixture(scope="module")
def enformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "enformer.safetensors"
    info = init_model(path, "enformer", seed=0, randomise_all=True)
    assert info.parameters == 251_221_292
    return path


def score(**options: object) -> Run:
    load_config(ScoreGenome, options).run(Display.LINES)
    return open_run(Path(str(options["out"])))


def direct_call(model: Path, fasta: Path, run: Run, tile: int, threads: int) -> np.ndarray:
    """Call the model itself on the window of a tile, and keep the run's tracks: (N, T)."""
    row = run.windows.row(tile, named=True)
    window = cisray.Interval(row["chrom"], row["input_start"], row["input_end"])
    with cisray.Genome.open(fasta) as genome:
        codes_L = genome.fetch_padded(window)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.no_grad():
        pred_BNT = cisray.load_model(model)(torch.from_numpy(onehot(codes_L)[None]), head="human")
    torch.set_num_threads(before)
    return pred_BNT[0, : row["bins"]].numpy()[:, run.tracks.indices]


def stored(run: Run, tile: int) -> np.ndarray:
    row = run.windows.row(tile, named=True)
    rows = run.scan().filter(
        (pl.col("chrom") == row["chrom"])
        & (pl.col("start") >= row["start"])
        & (pl.col("start") < row["end"])
    )
    return rows.select(pl.col("^t\\d+$")).collect().to_numpy()


def peak_bytes(run: Run) -> int:
    records = (run.path / "_commits").glob("*.json")
    return max(json.loads(record.read_text())["info"]["peak_rss_bytes"] for record in records)


@pytest.mark.parametrize(
    ("tracks", "count"), [(("4828,5111",), 2), (("CAGE",), 638)], ids=["two tracks", "all CAGE"]
)
def test_the_published_dimensions_on_chr21(
    enformer: Path, shared: Path, tmp_path: Path, tracks: tuple[str, ...], count: int
) -> None:
    fasta = shared / "data" / CHR21
    run = score(
        model=enformer,
        fasta=fasta,
        out=tmp_path / "run",
        tracks=tracks,
        workers=2,
        threads=1,
        mantissa_bits=23,
    )
    # 1,014,726 bp are 9 tiles of 114,688 bp and 7,928 bins of 128 bp.
    assert run.windows.height == 9
    assert len(run.tracks) == count
    assert run.scan().select(pl.len()).collect().item() == 7_928
    for tile in (0, 8):
        theirs = direct_call(enformer, fasta, run, tile, threads=1)
        np.testing.assert_allclose(stored(run, tile), theirs, rtol=1e-4)
    assert peak_bytes(run) < FIVE_GB


def test_a_small_model_on_the_whole_of_chr20(shared: Path, tmp_path: Path) -> None:
    model = tmp_path / "small.safetensors"
    init_model(model, "small", seed=0, randomise_all=True)
    fasta = shared / "data" / CHR20
    run = score(model=model, fasta=fasta, out=tmp_path / "run", workers=2, threads=1)
    # 63,025,520 bp: 550 tiles, of which those with nothing but N under their windows are skipped.
    assert run.windows.height == 550
    bins = run.windows.filter("scored")["bins"].sum()
    assert run.scan().select(pl.len()).collect().item() == bins
    # The assembly begins with 60,000 N; the first tile reads 155,648 bp and is scored.
    assert run.windows.row(0, named=True)["scored"]
    for tile in (0, 217, 549):
        theirs = direct_call(model, fasta, run, tile, threads=1)
        relative = np.abs(stored(run, tile) - theirs) / theirs
        assert relative.max() <= 5e-4  # 4.9e-4 of them by rounding to 10 bits
