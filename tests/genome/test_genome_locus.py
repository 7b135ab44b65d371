import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import LocusError, UnknownChromosome
from cisray.locus import Locus, format_locus, match_chromosome, parse_locus

NAMES = st.sampled_from(["1", "chr21", "chrUn_KI270742v1", "GL000220.1", "HLA-A*01:01:01:01"])


@given(NAMES, st.integers(0, 10**9), st.integers(1, 10**9))
def test_written_loci_are_read_back(chrom: str, start: int, width: int) -> None:
    assert parse_locus(format_locus(chrom, start, start + width)) == (chrom, start, start + width)


@given(NAMES)
def test_whole_chromosomes_are_read_back(chrom: str) -> None:
    assert parse_locus(format_locus(chrom, 0, None)) == (chrom, 0, None)


@pytest.mark.parametrize(
    ("text", "locus"),
    [
        ("chr21:25,000,001-25,000,002", Locus("chr21", 25_000_000, 25_000_002)),  # two bases
        ("chr21:25000001-25,000,002", Locus("chr21", 25_000_000, 25_000_002)),
        ("  X:7 ", Locus("X", 6, 7)),
        ("chrUn_KI270742v1:10-20", Locus("chrUn_KI270742v1", 9, 20)),
        ("HLA-DRB1*15", Locus("HLA-DRB1*15", 0, None)),
    ],
)
def test_parse(text: str, locus: Locus) -> None:
    assert parse_locus(text) == locus


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1-2",
        "chr1:",
        "chr1:0-10",
        "chr1:20-10",
        "chr1:10-",
        "chr1:-10",
        "chr1:1,00-2,00",
        "chr1:1e6-2e6",
        "chr1:1-2-3",
        "chr1:1.5-2",
        "chr1:a-b",
        "chr 1:1-2",
        "chr1:١-٢",  # noqa: RUF001 - digits that int() would take
        "HLA-A*01:01:01:01",
        "{chr1:1-2",
        "chr1:" + "9" * 5000,
    ],
)
def test_unreadable_loci_are_named(text: str) -> None:
    with pytest.raises(LocusError) as caught:
        parse_locus(text)
    assert repr(text) in str(caught.value)
    assert "chr21:25,000,000-25,100,000" in str(caught.value)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5), (5, None)])
def test_places_without_a_locus_are_refused(start: int, end: int | None) -> None:
    with pytest.raises(LocusError):
        format_locus("chr1", start, end)


UCSC = ["chr1", "chr10", "chrX", "chrM", "chrUn_GL000220"]
ENSEMBL = ["1", "10", "X", "MT", "GL000220.1"]


@pytest.mark.parametrize(
    ("name", "known", "spelling"),
    [
        ("chr1", UCSC, "chr1"),
        ("1", UCSC, "chr1"),
        ("chr1", ENSEMBL, "1"),
        ("CHR10", ENSEMBL, "10"),
        ("Chr10", UCSC, "chr10"),
        ("x", UCSC, "chrX"),
        ("M", UCSC, "chrM"),
        ("MT", UCSC, "chrM"),
        ("chrMT", ENSEMBL, "MT"),
        ("chrM", ENSEMBL, "MT"),
        ("GL000220.1", UCSC, None),
        ("chr01", UCSC, None),
        ("chr", UCSC, None),
        ("", ENSEMBL, None),
        ("chrchr1", UCSC, None),
        ("2", UCSC, None),
    ],
)
def test_match_chromosome(name: str, known: list[str], spelling: str | None) -> None:
    assert match_chromosome(name, known) == spelling


def test_an_exact_name_wins_over_aliases() -> None:
    assert match_chromosome("1", ["chr1", "1"]) == "1"
    assert match_chromosome("chr1", ["1", "chr1"]) == "chr1"


def test_an_ambiguous_name_is_refused() -> None:
    with pytest.raises(UnknownChromosome, match="1, chr1"):
        match_chromosome("Chr1", ["chr1", "1"])
    with pytest.raises(UnknownChromosome, match="MT, chrM"):
        match_chromosome("M", ["chrM", "MT"])
