"""Genotypes of VCF and BCF: every entry counted, left out with its reason, or refused."""

from pathlib import Path

import numpy as np
import pysam
import pytest
from genotype_files import write_vcf

from cisray.errors import VariantsError
from cisray.genome import genotypes as g
from cisray.genome.genotypes import GenotypeFile, GenotypeLimits, standardised
from cisray.locus import Locus

EVERY = GenotypeLimits(min_maf=0.0, max_missing=0.5)
PEOPLE = ("a", "b", "c", "d")


@pytest.mark.parametrize("kind", ["vcf", "vcf.gz", "bcf"])
def test_each_entry_is_counts_or_a_reason(tmp_path: Path, kind: str) -> None:
    lines = [
        (10, "A", "G", "GT", "0|0 0|1 1|0 1|1"),
        (10, "A", "T", "GT", "0|0 0|1 .|. 1|1"),
        (10, "A", "G", "GT", "1|1 0|1 1|0 1|1"),
        (11, "C", "CAT", "GT:DP", "0/1:3 ./1:4 0/0:1 0/0:2"),
        (12, "C", "A,G", "GT", "0|1 0|2 0|0 0|0"),
        (13, "C", "<DEL>", "GT", "0|1 0|1 0|0 0|0"),
        (14, "C", "T", "DP", "1 2 3 4"),
        (15, "C", "T", "GT", "0 1 0|1 0|0"),
        (16, "C", "T", "GT", ".|. .|. .|. 0|1"),
        (17, "C", "T", "GT", "0|1 0|1 0|1 1|0"),
        (18, "C", "T", "GT", "1|1 1|1 1|1 1|1"),
    ]
    found = GenotypeFile.open(write_vcf(tmp_path / f"x.{kind}", lines, PEOPLE), EVERY).read()
    assert found.samples == PEOPLE
    assert found.read == 12
    assert [row.counts_I.tolist() for row in found.rows] == [
        [0, 1, 1, 2], [0, 1, -1, 2], [1, -1, 0, 0],
    ]  # fmt: skip
    assert found.counts_VI.dtype == np.int8
    assert [(e.pos, e.alt, e.reason) for e in found.left_out] == [
        (10, "G", g.TWICE),
        (12, "A", g.MULTIALLELIC),
        (12, "G", g.MULTIALLELIC),
        (13, "<DEL>", g.NOT_BASES),
        (14, "T", g.NO_GENOTYPES),
        (15, "T", g.NOT_DIPLOID),
        (16, "T", g.MISSING),
        (17, "T", g.RARE),
        (18, "T", g.RARE),
    ]


def test_limits_of_frequency_and_missing_genotypes(tmp_path: Path) -> None:
    # Of 8 known copies 1: 0.125. Of 6 known 1, with one person of 4 unknown: 0.1667 and 0.25.
    lines = [(1, "A", "C", "GT", "0|1 0|0 0|0 0|0"), (2, "A", "C", "GT", "1|1 0|1 1|1 .|.")]
    path = write_vcf(tmp_path / "x.vcf", lines, PEOPLE)

    def kept(maf: float, missing: float) -> list[int]:
        found = GenotypeFile.open(path, GenotypeLimits(maf, missing)).read()
        return [row.pos for row in found.rows]

    assert kept(0.125, 0.25) == [1, 2]
    assert kept(0.126, 0.25) == [2]
    assert kept(0.125, 0.24) == [1]
    assert kept(0.17, 0.25) == []


@pytest.mark.parametrize("kind", ["vcf", "vcf.gz", "bcf"])
@pytest.mark.parametrize("indexed", [False, True])
def test_a_region_has_its_positions_and_no_others(tmp_path: Path, kind: str, indexed: bool) -> None:
    lines = [(pos, "ACCC", "A", "GT", "0|1 0|0 0|0 0|0") for pos in range(5, 15)]
    path = write_vcf(tmp_path / f"x.{kind}", lines, PEOPLE, index=indexed and kind != "vcf")
    file = GenotypeFile.open(path, EVERY)
    # 0-based 8 to 11 are the positions 9, 10 and 11; a deletion at 7 reaches into them.
    assert [row.pos for row in file.read(Locus("chr20", 8, 11)).rows] == [9, 10, 11]
    assert [row.pos for row in file.read(Locus("20", 12, None)).rows] == [13, 14]
    assert file.read(Locus("chr2", 0, None)).read == 0


def test_people_are_chosen_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "x.vcf", [(1, "A", "C", "GT", "0|0 0|1 1|1 ./.")], PEOPLE)
    found = GenotypeFile.open(path, EVERY, ["c", "a"]).read()
    assert found.counts_VI.tolist() == [[2, 0]]
    with pytest.raises(VariantsError, match=r"no genotypes of x, y \(2 of 3 .*such as a, b"):
        GenotypeFile.open(path, EVERY, ["x", "a", "y"])


def test_what_is_damaged_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "x.vcf", [(5, "A", "C", "GT", "0|0 0|1 1|1 0|0")], PEOPLE)
    text = path.read_text()
    lines = text.count("\n")
    path.write_text(text + text.splitlines()[-1].replace("\t5\t", "\t4\t") + "\n")
    with pytest.raises(VariantsError, match=rf"x.vcf:{lines + 1}: position 4 of 20 comes after 5"):
        GenotypeFile.open(path).read()
    path.write_text(text + "20\t6\t.\tA\tC\t.\t.\t.\tGT\t0|0\t0|1\n")
    with pytest.raises(VariantsError, match=rf"x.vcf:{lines + 1}: .* 11 columns .* 13"):
        GenotypeFile.open(path).read()
    path.write_text("20\t6\t.\tA\tC\n")
    with pytest.raises(VariantsError, match="no line #CHROM"):
        GenotypeFile.open(path)
    path.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    with pytest.raises(VariantsError, match="has no genotypes"):
        GenotypeFile.open(path)


def test_columns_of_length_one_have_correlations_as_products() -> None:
    dice = np.random.default_rng(1)
    counts_VI = dice.integers(0, 3, (6, 40)).astype(np.int8)
    columns_IV, deviation_V = standardised(counts_VI)
    np.testing.assert_allclose(columns_IV.T @ columns_IV, np.corrcoef(counts_VI), atol=1e-12)
    np.testing.assert_allclose(deviation_V, counts_VI.std(axis=1, ddof=1))
    counts_VI[2, :5] = -1
    filled = counts_VI.astype(float)
    filled[2, :5] = filled[2, 5:].mean()
    columns_IV, _ = standardised(counts_VI)
    np.testing.assert_allclose(columns_IV.T @ columns_IV, np.corrcoef(filled), atol=1e-12)


@pytest.mark.realdata
def test_the_real_file_is_read_as_htslib_reads_it(shared: Path) -> None:
    path = shared / "data/chr20_hg19/1000g_phase3_300samples_chr20_1-4Mb.hg19.vcf.gz"
    found = GenotypeFile.open(path, GenotypeLimits(0.05)).read(Locus("chr20", 1_500_000, 1_510_000))
    with pysam.VariantFile(str(path)) as file:
        expected = {}
        for record in file.fetch("20", 1_500_000, 1_510_000):
            counts = [sum(sample["GT"]) for sample in record.samples.values()]
            share = sum(counts) / (2 * len(counts))
            if min(share, 1 - share) >= 0.05:
                expected[record.pos, record.ref, record.alts[0]] = counts
    assert len(expected) > 10
    assert {(r.pos, r.ref, r.alt): r.counts_I.tolist() for r in found.rows} == expected
