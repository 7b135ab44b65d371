import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import CoordinateError
from cisray.genome.interval import Interval
from cisray.genome.variant import Variant

ALLELES = st.text("ACGTN", min_size=1, max_size=6)
CHROMS = st.sampled_from(["1", "chrX", "chrUn_KI270742v1", "HLA-A*01:01:01:01", "a-b_c:1:A"])


@given(CHROMS, st.integers(1, 10**9), ALLELES, ALLELES)
def test_every_spelling_is_read_back(chrom: str, pos: int, ref: str, alt: str) -> None:
    variant = Variant(chrom, pos, ref, alt)
    for text in (
        f"{chrom}:{pos}:{ref}:{alt}",
        f"{chrom}:{pos}:{ref}>{alt}",
        f"{chrom}_{pos}_{ref}_{alt}",
        f"{chrom}_{pos}_{ref}_{alt}_b38",
        f"{chrom}-{pos}-{ref}-{alt}",
        str(variant),
    ):
        assert Variant.from_id(text) == variant


@pytest.mark.parametrize(
    ("variant", "start", "end"),
    [
        (Variant("chr1", 1, "A", "G"), 0, 1),  # the first base of a chromosome
        (Variant("chr1", 25_000_001, "A", "G"), 25_000_000, 25_000_001),
        (Variant("chr1", 101, "ACG", "A"), 100, 103),  # deletion: all three reference bases
        (Variant("chr1", 101, "A", "ACG"), 100, 101),  # insertion: its anchor
    ],
)
def test_interval_is_the_reference_bases(variant: Variant, start: int, end: int) -> None:
    assert variant.interval == Interval("chr1", start, end)


def test_kinds_and_swap() -> None:
    assert Variant("chr1", 9, "A", "G").is_snv
    assert not Variant("chr1", 9, "AC", "GT").is_snv
    assert not Variant("chr1", 9, "A", "AT").is_snv
    assert Variant("chr1", 9, "AC", "G").swapped() == Variant("chr1", 9, "G", "AC")


@pytest.mark.parametrize("allele", ["", "a", "R", "*", ".", "-", "<DEL>", "A,C", "A ", "A\n"])
def test_alleles_outside_the_alphabet_are_refused(allele: str) -> None:
    with pytest.raises(CoordinateError, match="ref allele"):
        Variant("chr1", 9, allele, "G")
    with pytest.raises(CoordinateError, match="alt allele"):
        Variant("chr1", 9, "G", allele)


@pytest.mark.parametrize("pos", [0, -1])
def test_positions_count_from_one(pos: int) -> None:
    with pytest.raises(CoordinateError, match="count from 1"):
        Variant("chr1", pos, "A", "G")


@pytest.mark.parametrize(
    "text", ["", "rs123", "chr1:100", "chr1:A:100:G", "chr1:100:A", "chr1:1,000:A:G", "100:A:G"]
)
def test_unreadable_ids_are_named(text: str) -> None:
    with pytest.raises(CoordinateError, match="1-based position"):
        Variant.from_id(text)


def test_lower_case_alleles_in_an_id_are_refused() -> None:
    with pytest.raises(CoordinateError, match="upper-case"):
        Variant.from_id("chr1:100:a:g")
