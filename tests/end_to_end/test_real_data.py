"""Real sequences: an assembly gap, several contigs, copies of one genome in other files.

Reads FASTA files under CISRAY_SHARED with gzip and string slices, never with cisray's reader.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import cisray
from cisray.store.scan import Run
from cisray_jobs.models import init_model

pytestmark = pytest.mark.realdata

# hg19 chr22:20,509,432-20,609,431 is a gap of 100,000 bp; the contig begins at 20,000,001.
GAP_START, GAP_END = 20_509_431 - 20_000_000, 20_609_431 - 20_000_000
TILE, CROP, INPUT = 114_688, 40_960, 196_608


@pytest.fixture(scope="module")
def chr22(shared: Path) -> Path:
    return shared / "data" / "chr22_hg19" / "hg19_chr22_20000001-21000000.fa.gz"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published geometry with a 208th of the arithmetic."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    init_model(path, "small", seed=5, randomise_all=True)
    return path


def contigs(fasta: Path) -> Iterator[tuple[str, str]]:
    for record in gzip.decompress(fasta.read_bytes()).decode().split(">")[1:]:
        header, _, sequence = record.partition("\n")
        yield header.split()[0], sequence.replace("\n", "")


def direct(model: Path, window: str, head: str) -> np.ndarray:
    onehot_LA = np.array(list("ACGT")) == np.array([list(window)]).T
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        pred_BNT = cisray.load_model(model)(torch.from_numpy(onehot_LA[None]).float(), head=head)
    torch.set_num_threads(threads)
    return pred_BNT[0].numpy()


def values(run: Run) -> np.ndarray:
    return run.scan().select(pl.col("^t.*$")).collect().to_numpy()


@pytest.mark.long
def test_an_assembly_gap_at_full_width(score, chr22: Path, small: Path, tmp_path: Path) -> None:
    bed = tmp_path / "gap.bed"
    contig, text = next(contigs(chr22))
    bed.write_text(f"{contig}\t{GAP_START}\t{GAP_END}\tassembly gap\n")
    assert text[GAP_START - 1 : GAP_START + 1].count("N") == 1
    assert text[GAP_END - 1 : GAP_END + 1].count("N") == 1
    run = score(tmp_path / "run", fasta=chr22, model=small, bed=bed, mantissa_bits=23)
    # 509,431 lies in tile 4 (458,752 .. 573,440), 609,430 in tile 5. The window of tile 4,
    # 417,792 .. 614,400, holds the whole gap; that of tile 5, 532,480 .. 729,088, the 76,951 bp
    # of it up to 609,431.
    told = run.windows.select("tile", "start", "missing_bp", "acgt_bp", "bins", "scored")
    assert told.rows() == [
        (4, 4 * TILE, 0, INPUT - 100_000, 896, True),
        (5, 5 * TILE, 0, INPUT - 76_951, 896, True),
    ]
    ours = values(run)
    for index, tile in enumerate((4, 5)):
        first = tile * TILE - CROP
        theirs = direct(small, text[first : first + INPUT], "human")
        np.testing.assert_allclose(ours[896 * index : 896 * (index + 1)], theirs, rtol=1e-5)


def test_windows_inside_a_gap_are_counted_and_not_scored(
    score, chr22: Path, inputs, tmp_path: Path
) -> None:
    contig, _ = next(contigs(chr22))
    bed = tmp_path / "around.bed"
    bed.write_text(f"{contig}\t508500\t610000\n")
    run = score(tmp_path / "run", fasta=chr22, bed=bed)
    # The tiny model reads 2,048 i - 1,024 .. 2,048 i + 3,072 and predicts 2,048 i .. 2,048 (i + 1).
    # 508,500 lies in tile 248, 609,999 in tile 297. Inside 509,431 .. 609,431: from i = 250
    # (510,976) to i = 296 (.. 609,280).
    assert run.windows["tile"].to_list() == list(range(248, 298))
    skipped = run.windows.filter(~pl.col("scored"))
    assert skipped["tile"].to_list() == list(range(250, 297))
    assert set(skipped["acgt_bp"]) == {0}
    # Window of tile 249: 508,928 .. 513,024, of which 503 bp are before the gap.
    before = run.windows.filter(pl.col("tile") == 249)
    assert before["acgt_bp"].to_list() == [509_431 - 508_928]
    starts = run.scan().select("start").collect()["start"].to_list()
    assert starts == [2048 * tile + 128 * i for tile in (248, 249, 297) for i in range(16)]


def test_copies_of_one_genome_give_the_same_values(
    score, chr22: Path, inputs, tmp_path: Path
) -> None:
    """BGZF and plain, other line widths, lower case, Windows line ends, another order."""
    contig, text = next(contigs(chr22))
    bed = tmp_path / "regions.bed"
    bed.write_text(
        f"{contig}\t100000\t104000\n{contig}\t508000\t512000\n{contig}\t998500\t999999\n"
    )
    original = score(tmp_path / "bgzf", fasta=chr22, bed=bed, mantissa_bits=23)

    def wrapped(width: int, end: str) -> str:
        return end.join(text[i : i + width] for i in range(0, len(text), width)) + end

    copies = {
        "plain": f">{contig}\n{wrapped(60, chr(10))}",
        "soft-masked": f">{contig} a comment\n{wrapped(73, chr(10)).lower()}",
        "one-line": f">{contig}\n{text}\n",
        "windows": f">other\r\nACGT\r\n>{contig}\r\n{wrapped(60, chr(13) + chr(10))}",
    }
    for name, content in copies.items():
        fasta = tmp_path / f"{name}.fa"
        fasta.write_bytes(content.encode())
        run = score(tmp_path / name, fasta=fasta, bed=bed, mantissa_bits=23)
        assert_frame_equal(run.scan().collect(), original.scan().collect(), check_exact=True)
        assert run.manifest.genome_sha256 != original.manifest.genome_sha256


def test_one_window_of_chr21(score, shared: Path, small: Path, tmp_path: Path) -> None:
    """The end of the contig, mouse head: a window that overhangs, and rows that stop in time."""
    fasta = shared / "data" / "chr21_hg38" / "GRCh38_chr21_24985581-26000306.fa.gz"
    contig, text = next(contigs(fasta))
    assert len(text) == 1_014_726
    bed = tmp_path / "end.bed"
    bed.write_text(f"{contig}\t1014725\t1014726\n")
    run = score(tmp_path / "run", fasta=fasta, model=small, bed=bed, head="mouse", mantissa_bits=23)
    # 1,014,726 = 8 x 114,688 + 97,222: 760 bins, as 97,222 / 128 = 759.5. The window of tile 8
    # begins at 876,544 and has 138,182 bp on the contig.
    assert run.windows.select("tile", "bins", "missing_bp", "acgt_bp").rows() == [
        (8, 760, INPUT - 138_182, 138_182)
    ]
    window = text[8 * TILE - CROP :].ljust(INPUT, "N")
    ours = values(run)
    assert ours.shape == (760, 8)
    np.testing.assert_allclose(ours, direct(small, window, "mouse")[:760], rtol=1e-5)


@pytest.mark.long
def test_all_contigs_of_a_mouse_genome(score, shared: Path, inputs, tmp_path: Path) -> None:
    """The last 40,000 bases of each, and some more, so that no two end at one place of a tile."""
    whole = shared / "data" / "mouse_mm10" / "GRCm38_ensembl_compara_regions.fa.gz"
    names = {name: text[-40_000 - 213 * n :] for n, (name, text) in enumerate(contigs(whole))}
    fasta = tmp_path / "mouse.fa"
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in names.items()))
    run = score(tmp_path / "run", fasta=fasta, head="mouse", mantissa_bits=23, batch_size=4)
    assert len(names) == 9
    assert run.windows["chrom"].unique(maintain_order=True).to_list() == list(names)
    assert run.windows["scored"].all()
    rows = run.scan().group_by(pl.col("chrom").cast(pl.String)).agg(pl.len(), pl.max("start"))
    assert {name: (n, last) for name, n, last in rows.collect().rows()} == {
        name: (-(-len(text) // 128), (len(text) - 1) // 128 * 128) for name, text in names.items()
    }
    # The last tile of each contig, the place where an off-by-one would be.
    for contig, text in names.items():
        tile = (len(text) - 1) // 2048
        window = ("N" * 1024 + text + "N" * 4096)[2048 * tile : 2048 * tile + 4096]
        theirs = direct(inputs.model, window, "mouse")
        here = (pl.col("chrom") == contig) & (pl.col("start") >= 2048 * tile)
        ours = run.scan().filter(here).select(pl.col("^t.*$")).collect().to_numpy()
        assert 1 <= len(ours) <= 16
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-5)
