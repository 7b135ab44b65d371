"""All 28,998 sites of the 1000 Genomes on chr20:1,000,001-2,000,000 (hg19), with a small network.

The file and the chromosome are read here with gzip and string slices.
"""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from effect_jobs import EXACT, VERY_SMALL, score, values, write_genome, write_model
from polars.testing import assert_frame_equal
from string_scores import Look, StringScores, assert_canonical

from cisray.store.scan import Run

pytestmark = pytest.mark.realdata

SITES = "1000g_phase3_sites_chr20_1000001-2000000.hg19.vcf.gz"
# 20 sites per 700 bases: windows on the grid that have 32 tokens, of which 8 are predicted.
LONGEST = 32
NARROW = VERY_SMALL.model_copy(update={"input_bp": 256, "target_bins": 8, "heads": {"human": 2}})


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "chr20_hg19"


@pytest.fixture(scope="module")
def texts(folder: Path) -> dict[str, str]:
    """The chromosome from base 1,000,001 on, up to 2,100,000; before it N."""
    packed = (folder / "hg19_chr20_1000001-4000000.fa.gz").read_bytes()
    _, _, text = gzip.decompress(packed).decode().partition("\n")
    return {"20": "N" * 1_000_000 + text.replace("\n", "").upper()[:1_100_000]}


@pytest.fixture(scope="module")
def fasta(texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("genome") / "20.fa", texts)


def alleles(vcf: Path) -> list[tuple[int, str, str]]:
    body = (line for line in gzip.decompress(vcf.read_bytes()).decode().splitlines())
    columns = (line.split("\t") for line in body if not line.startswith("#"))
    return [(int(c[1]), c[3], alt) for c in columns for alt in c[4].split(",")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.safetensors", NARROW)


def scored(fasta: Path, model: Path, out: Path, vcf: Path, *options: object) -> Run:
    given = ("--model", model, "--fasta", fasta, "--vcf", vcf, "--window-placement", "grid")
    return score("variants", out, *given, "--stats", "SAD,SADR", "--bins", 4, *EXACT, *options)


def check(run: Run, texts: dict[str, str], model: Path, given: list, sampled: int) -> None:
    frame, rejects = values(run), run.rejects.collect()
    assert frame.height + rejects.height == len(given)
    # Symbols, and alleles of more than half the target: two of 45 and 88 bases, which share nothing
    # with the other allele but the first.
    reasons = {
        number: "symbolic_alt" if "<" in alt else "too_long"
        for number, (_, ref, alt) in enumerate(given)
        if "<" in alt or max(len(ref), len(alt)) > LONGEST
    }
    assert rejects["reason"].to_list() == list(reasons.values())
    assert frame["variant"].to_list() == [n for n in range(len(given)) if n not in reasons]
    for row in frame.iter_rows(named=True):
        stated = given[row["variant"]]
        assert_canonical(texts["20"], (row["pos"], row["ref"], row["alt"]), stated)
    is_indel = pl.col("ref").str.len_chars() != pl.col("alt").str.len_chars()
    truth = StringScores(texts, model)
    for part in (frame.filter(is_indel), frame.filter(~is_indel)):
        for row in part.sample(min(sampled // 2, part.height), seed=3).iter_rows(named=True):
            variant = ("20", row["pos"], row["ref"], row["alt"])
            expected = truth.scores(variant, Look(placement="grid", bins=4))
            theirs = expected["SAD"]
            ours = np.array([row["SAD_t0000"], row["SAD_t0001"]])
            allowed = 1e-3 * np.abs(theirs) + 2e-6 * expected["REF"]
            assert (np.abs(ours - theirs) <= allowed).all(), variant


@pytest.mark.long
def test_a_part_of_the_sites(folder: Path, fasta, texts, model: Path, tmp_path: Path) -> None:
    """Every 80th site, and of the first 100,000 bases all that are no SNV."""
    lines = gzip.decompress((folder / SITES).read_bytes()).decode().splitlines()
    header = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    some = [
        line
        for number, line in enumerate(body)
        if number % 80 == 0
        or (int(line.split("\t")[1]) < 1_100_000 and max(map(len, line.split("\t")[3:5])) > 1)
    ]
    vcf = tmp_path / "some.vcf.gz"
    vcf.write_bytes(gzip.compress(("\n".join(header + some) + "\n").encode()))
    run = scored(fasta, model, tmp_path / "run", vcf)
    check(run, texts, model, alleles(vcf), sampled=40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_sites_against_strings_and_the_plain_way(
    folder: Path, texts, model: Path, tmp_path: Path
) -> None:
    whole = folder / "hg19_chr20.whole.fa.gz"
    fast = scored(whole, model, tmp_path / "fast", folder / SITES)
    check(fast, texts, model, alleles(folder / SITES), sampled=200)
    plain = scored(whole, model, tmp_path / "plain", folder / SITES, "--predictor", "plain")
    assert fast.verify() == fast.files.height > 0
    ours, theirs = values(fast), values(plain)
    keys = ["variant", "chrom", "pos", "ref", "alt"]
    assert_frame_equal(ours.select(keys), theirs.select(keys))
    sad, other = (frame.select(pl.col("^SAD_t.*$")).to_numpy() for frame in (ours, theirs))
    # Subtracting two float32 predictions leaves some 1e-7 of the signal, which SAD / SADR tells:
    # SADR = log2(1 + SAD / (REF + 1)).
    sadr = ours.select(pl.col("^SADR_t.*$")).to_numpy()
    told = np.abs(sadr) > 1e-4
    signal = np.abs(sad[told] / (np.exp2(sadr[told]) - 1)).max()
    assert told.mean() > 0.5
    assert np.abs(sad - other).max() <= 3e-6 * signal + 1e-3 * np.abs(other).max()
    assert np.median(np.abs(sad - other)[told] / np.abs(other[told])) < 1e-3
