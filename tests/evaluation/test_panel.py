"""Blocks of a panel: which block a variant is in, and that none is lost at a border."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from genotype_files import lines_of, made_up_counts, write_vcf
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import EvaluationError
from cisray.evaluation.panel import EXCLUDED, OUTSIDE, Blocks, PanelCounts, panel_blocks
from cisray.evaluation.sldp_panel import background
from cisray.genome.genotypes import GenotypeFile
from cisray.locus import parse_locus


@given(st.integers(0, 10_000), st.integers(1, 3_000))
def test_windows_hold_every_position_once(start: int, block_bp: int) -> None:
    first, end = Blocks(block_bp).find("chr1", start)
    assert first <= start < end
    assert first % block_bp == 0
    assert end - first == block_bp


def test_blocks_of_a_bed_are_half_open(tmp_path: Path) -> None:
    bed = tmp_path / "b.bed"
    bed.write_text("chr\tstart\tstop\nchr1\t100\t200\nchr1\t200\t250\nchr2\t0\t10\n")
    blocks = Blocks.read(bed, [parse_locus("1:201-201")])
    found = [blocks.find("1", start) for start in (99, 100, 199, 200, 249, 250)]
    assert found == [OUTSIDE, (100, 200), (100, 200), EXCLUDED, EXCLUDED, OUTSIDE]
    assert blocks.find("chr3", 5) == OUTSIDE
    # 1-based 200 is the last base of the first block, 0-based 199.
    other = Blocks.read(bed, [parse_locus("1:200-200")])
    assert other.find("1", 150) == EXCLUDED
    assert other.find("1", 220) == (200, 250)


@pytest.mark.parametrize("text", ["chr1\t5\t5\n", "chr1\t0\t10\nchr1\t9\t20\n"])
def test_blocks_that_are_empty_or_overlap_are_refused(tmp_path: Path, text: str) -> None:
    bed = tmp_path / "b.bed"
    bed.write_text(text)
    with pytest.raises(EvaluationError, match="blocks of 1 that are empty or overlap"):
        Blocks.read(bed)
    bed.write_text("chr1\tx\ty\n")
    with pytest.raises(EvaluationError, match="has no blocks"):
        Blocks.read(bed)


def test_a_panel_has_every_variant_in_its_block(tmp_path: Path) -> None:
    counts_VI = made_up_counts(60, 25, 1)
    # Positions 901, 1001, ... : the second begins the block from 0-based 1,000 on.
    lines = [*lines_of(counts_VI, 901, 100), (9_000, "A", "C,G", "GT", " ".join(["0|1"] * 60))]
    people = [f"p{at}" for at in range(60)]
    file = GenotypeFile.open(write_vcf(tmp_path / "x.vcf", lines, people))
    counts = PanelCounts()
    found = list(panel_blocks(file, Blocks(1_000), counts))
    blocks = [block for block, _ in found if block is not None]
    assert [(b.chrom, b.start, b.end, b.variants.height) for b in blocks] == [
        ("20", 0, 1_000, 1), ("20", 1_000, 2_000, 10), ("20", 2_000, 3_000, 10),
        ("20", 3_000, 4_000, 4),
    ]  # fmt: skip
    assert blocks[1].variants["pos"].to_list() == list(range(1_001, 2_001, 100))
    np.testing.assert_array_equal(np.concatenate([b.counts_VI for b in blocks]), counts_VI)
    left_out = pl.concat([left for _, left in found])
    assert left_out.rows() == [
        ("20", 9_000, "A", "C", "more than two alleles"),
        ("20", 9_000, "A", "G", "more than two alleles"),
    ]
    assert (counts.read, counts.used, counts.left_out.total()) == (27, 25, 2)


def test_background_has_a_bin_a_sign_and_the_deviation() -> None:
    share_V = np.array([0.02, 0.98, 0.1, 0.5, 0.7])
    deviation_V = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = background(share_V, deviation_V, np.array([0.05, 0.1, 0.2, 0.4]))
    expected = np.zeros((5, 5))
    # In bins below 0.05, below 0.1, below 0.2, below 0.4, and from 0.4 on; 0.1 begins a bin.
    for at, (place, value) in enumerate([(0, 1.0), (0, -2.0), (2, 3.0), (4, 4.0), (3, -5.0)]):
        expected[at, place] = value
    np.testing.assert_array_equal(found, expected)
