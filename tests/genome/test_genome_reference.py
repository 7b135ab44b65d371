import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfaidx import Fasta

from cisray.errors import CoordinateError, FastaError, UnknownChromosome
from cisray.genome.encode import decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec, tiles

FastaMaker = Callable[..., Path]
ENFORMER = WindowSpec()


def as_read(bases: str) -> str:
    """What a reader should see of FASTA text: upper case, N for all that is not ACGT."""
    return "".join(base if base in "ACGT" else "N" for base in bases.upper())


@pytest.fixture
def genome(make_fasta: FastaMaker) -> Genome:
    return Genome.open(make_fasta({"chr1": "ACGTNacgtnRYKM", "chr2": "GGGCC"}, line=4))


@settings(max_examples=60, deadline=None)
@given(
    sequences=st.lists(st.text("ACGTNacgtnRykB", min_size=1, max_size=80), min_size=1, max_size=3),
    line=st.integers(1, 30),
    newline=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([None, 1, 7, 64, 1000]),
    data=st.data(),
)
def test_fetch_agrees_with_slicing(
    make_fasta: FastaMaker,
    sequences: list[str],
    line: int,
    newline: str,
    block: int | None,
    data: st.DataObject,
) -> None:
    named = {f"chr{i + 1}": bases for i, bases in enumerate(sequences)}
    with Genome.open(make_fasta(named, line=line, newline=newline, block=block)) as genome:
        assert genome.chromosomes == {name: len(bases) for name, bases in named.items()}
        for name, bases in named.items():
            start = data.draw(st.integers(0, len(bases)))
            end = data.draw(st.integers(start, len(bases)))
            interval = Interval(name, start, end)
            assert decode(genome.fetch(interval)) == as_read(bases[start:end])
            assert genome.letters(interval).decode() == bases[start:end]
            letters = as_read(bases[start:end])
            assert genome.acgt_count(interval) == len(letters) - letters.count("N")


@settings(max_examples=40, deadline=None)
@given(
    bases=st.text("ACGTN", min_size=1, max_size=60),
    start=st.integers(-80, 59),
    overhang=st.integers(0, 80),
    block=st.sampled_from([None, 16]),
)
def test_fetch_padded_agrees_with_padding_by_hand(
    make_fasta: FastaMaker, bases: str, start: int, overhang: int, block: int | None
) -> None:
    interval = Interval("chr9", start, max(start, 0) + 1 + overhang)
    padded = "N" * 80 + bases + "N" * 200
    with Genome.open(make_fasta({"chr9": bases}, line=11, block=block)) as genome:
        if start >= len(bases):
            with pytest.raises(CoordinateError, match="no base"):
                genome.fetch_padded(interval)
            return
        codes_L = genome.fetch_padded(interval)
        assert decode(codes_L) == padded[80 + start : 80 + interval.end]
        on_chromosome = bases[max(start, 0) : interval.end]
        assert genome.acgt_count(interval) == len(on_chromosome) - on_chromosome.count("N")


@pytest.mark.parametrize("block", [None, 700, 65_536])
def test_pyfaidx_reads_the_same(make_fasta: FastaMaker, block: int | None) -> None:
    generator = np.random.default_rng(7)
    bases = "".join(generator.choice(list("ACGTNacgtn"), size=200_000))
    path = make_fasta({"chr8": "ACGT" * 9, "chr9": bases}, line=70, block=block)
    with Genome.open(path) as genome, Fasta(str(path), as_raw=True, rebuild=False) as oracle:
        for start in generator.integers(1, 190_000, size=40):
            interval = Interval("chr9", int(start), int(start) + 5_000)
            expected = as_read(oracle["chr9"][interval.start : interval.end])
            assert decode(genome.fetch(interval)) == expected


def test_a_fetch_may_begin_at_a_block_of_the_largest_size(make_fasta: FastaMaker) -> None:
    # Biopython writes blocks of 65,536 bytes; pyfaidx fails at a base that begins such a block.
    bases = "ACGT" * 40_000
    path = make_fasta({"c": bases}, line=200_000, block=65_536)
    start = 65_536 - len(">c a description\n")
    with Genome.open(path) as genome:
        assert decode(genome.fetch(Interval("c", start, start + 9))) == bases[start : start + 9]
        assert decode(genome.fetch(Interval("c", start - 1, start))) == bases[start - 1]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (10, 15), (15, 15), (20, 30)])
def test_fetch_never_clips(genome: Genome, start: int, end: int) -> None:
    with pytest.raises(CoordinateError, match="14 bases"):
        genome.fetch(Interval("chr1", start, end))


def test_codes_of_every_letter(genome: Genome) -> None:
    assert genome.fetch(Interval("chr1", 0, 14)).tolist() == [0, 1, 2, 3, 4] * 2 + [4] * 4
    assert genome.fetch(Interval("chr1", 14, 14)).size == 0


def test_acgt_counts_keep_the_order_of_the_intervals(genome: Genome) -> None:
    asked = [
        Interval("chr1", 4, 10),  # N acgt N: 4
        Interval("2", -3, 2),  # GG, by an alias: 2
        Interval("chr1", 10, 30),  # RYKM, then nothing: 0
        Interval("chr1", 2, 4),  # GT: 2
        Interval("chr1", 50, 60),  # off the chromosome: 0
        Interval("chr2", 3, 3),  # no bases: 0
    ]
    counts = genome.acgt_counts(asked)
    assert counts.tolist() == [4, 2, 0, 2, 0, 0]
    assert counts.dtype == np.int64


def test_names_go_through_the_alias_table(genome: Genome) -> None:
    assert genome.resolve("1") == "chr1"
    assert decode(genome.fetch(Interval("2", 2, 4))) == "GC"
    with pytest.raises(UnknownChromosome) as caught:
        genome.resolve("chr11")
    assert "it has chr1, chr2." in str(caught.value)
    assert "Did you mean chr1" in str(caught.value)


def test_many_names_are_not_all_shown(make_fasta: FastaMaker) -> None:
    genome = Genome.open(make_fasta({f"scaffold_{i}": "ACGT" for i in range(30)}))
    with pytest.raises(UnknownChromosome, match="scaffold_7 and 22 more"):
        genome.resolve("chrX")


def test_the_digest_is_of_the_stored_file(make_fasta: FastaMaker) -> None:
    path = make_fasta({"chr1": "ACGT" * 100_000}, block=1000)
    assert Genome.open(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pickled_genome_is_opened_anew(genome: Genome) -> None:
    with pickle.loads(pickle.dumps(genome)) as copy:
        genome.close()
        assert copy.path == genome.path
        assert decode(copy.fetch(Interval("chr2", 1, 4))) == "GGC"
    with pytest.raises(ValueError, match="closed"):
        genome.fetch(Interval("chr2", 1, 4))


def test_letters_that_are_no_dna_are_located(make_fasta: FastaMaker) -> None:
    genome = Genome.open(make_fasta({"chr1": "ACGTACGTAC" * 3 + "ACJTACGTAC"}, line=10))
    with pytest.raises(FastaError, match=r"b'J' at chr1:33-33"):  # 30 bases, then the third
        genome.fetch(Interval("chr1", 5, 40))
    assert genome.fetch(Interval("chr1", 33, 40)).size == 7


def test_a_chromosome_longer_than_one_step(
    make_fasta: FastaMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cisray.genome.reference._STEP_BP", 13)
    bases = "ACGGTTACN" * 50
    genome = Genome.open(make_fasta({"chr1": bases}, line=17))
    assert decode(genome.fetch(Interval("chr1", 3, 441))) == bases[3:441]


@pytest.mark.realdata
def test_whole_chr20(shared: Path) -> None:
    path = shared / "data/chr20_hg19/hg19_chr20.whole.fa.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genome = Genome.open(path)
    assert genome.chromosomes == {"20": 63_025_520}
    grid = list(tiles("20", genome.chromosomes["20"], ENFORMER))
    assert len(grid) == 550
    counts = genome.acgt_counts([tile.window.target for tile in grid])
    unknown = 63_025_520 - int(counts.sum())
    assert unknown == 3_520_000  # 5.59 % of the chromosome, as the UCSC gap table sums to
    assert round(100 * unknown / 63_025_520, 2) == 5.59
    # The first 60 kb are telomere and gap: 114,688 - 60,000 bases of tile 0 are known.
    assert counts[0] == 54_688
    first = genome.fetch_padded(grid[0].window.input)
    assert (first[: 40_960 + 60_000] == 4).all()
    assert (first[40_960 + 60_000 :] < 4).all()


@pytest.mark.realdata
def test_the_chr22_gap_is_where_the_assembly_has_it(shared: Path) -> None:
    genome = Genome.open(shared / "data/chr22_hg19/hg19_chr22_20000001-21000000.fa.gz")
    chrom = "chr22_20000001_21000000"
    # chr22:20,509,432-20,609,431 (1-based), less 20,000,000: 0-based 509,431 to 609,431.
    gap = Interval(chrom, 509_431, 609_431)
    assert genome.acgt_count(gap) == 0
    assert genome.acgt_count(Interval(chrom, 0, 1_000_000)) == 900_000
    assert (genome.fetch(Interval(chrom, 509_430, 509_431)) < 4).all()
    assert (genome.fetch(Interval(chrom, 609_431, 609_432)) < 4).all()


@pytest.mark.realdata
def test_pyfaidx_reads_chr21_the_same(shared: Path) -> None:
    path = shared / "data/chr21_hg38/GRCh38_chr21_24985581-26000306.fa.gz"
    genome = Genome.open(path)
    (chrom,) = genome.chromosomes
    assert genome.chromosomes[chrom] == 26_000_306 - 24_985_581 + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pyfaidx compares times of change
        oracle = Fasta(str(path), as_raw=True, rebuild=False)
    for start in (1, 59, 60, 61, 65_255, 500_003, 1_014_726 - 196_608):
        interval = Interval(chrom, start, start + 196_608)
        expected = as_read(oracle[chrom][interval.start : interval.end])
        assert decode(genome.fetch(interval)) == expected
