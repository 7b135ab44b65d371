"""Alleles checked against the reference: each accepted as it is, or rejected with one reason."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cisray.errors import AssemblyMismatch, ConfigError, ResultsError, UnknownChromosome
from cisray.genome.alleles import Allele, AlleleChecker, Reject, Tally, read_alleles
from cisray.genome.mismatch import Mismatch, MismatchWatch
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.vcf import BadLine, Record
from cisray_schemas import REJECTS, Reason

FastaMaker = Callable[..., Path]

# chr2 starts with 1,000 N, so that no position is near 0; 1-based 1001 is the first letter here.
LETTERS = "ACGTTTTTGCANrgattacagattaca"
CHR2 = "N" * 1000 + LETTERS


@pytest.fixture
def genome(make_fasta: FastaMaker) -> Iterator[Genome]:
    with Genome.open(make_fasta({"chr2": CHR2, "chrM": "GATC" * 9, "mt": "A"})) as opened:
        yield opened


def record(pos: int, ref: str, *alts: str, chrom: str = "chr2") -> Record:
    return Record(7, 42, chrom, pos, "rs7", ref, alts)


def only(genome: Genome, given: Record | BadLine, **options: object) -> Allele | Reject:
    checker = AlleleChecker(genome, "a.vcf", **({"max_allele_bp": 50} | options))
    (entry,) = checker.check(given)
    return entry


def test_an_accepted_allele_keeps_what_the_file_states(genome: Genome) -> None:
    # 1004..1008 is TTTTT, after G at 1003: one T less, written at its end, moves to GT at 1003.
    entry = only(genome, record(1007, "tt", "t", chrom="2"))
    assert entry == Allele(
        record=7,
        line=42,
        alt_index=0,
        chrom="2",
        pos=1007,
        id="rs7",
        ref="tt",
        alt="t",
        variant=Variant("chr2", 1003, "GT", "G"),
    )


def test_normalising_can_be_switched_off(genome: Genome) -> None:
    entry = only(genome, record(1007, "tt", "t", chrom="2"), normalise=False)
    assert isinstance(entry, Allele)
    assert entry.variant == Variant("chr2", 1007, "TT", "T")


def test_two_ways_to_write_one_variant_have_one_key(genome: Genome) -> None:
    keys = {
        only(genome, given).variant  # type: ignore[union-attr]  # a reject would raise here
        for given in (record(1007, "TT", "T"), record(1003, "GTT", "GT"), record(1008, "TG", "G"))
    }
    assert keys == {Variant("chr2", 1003, "GT", "G")}


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (record(1001, "A", "G", chrom="chr02"), Reason.UNKNOWN_CHROMOSOME, "'chr02'"),
        (record(1001, "A", "<DEL>", chrom="chr9"), Reason.UNKNOWN_CHROMOSOME, "'chr9'"),
        # M could be chrM or mt, and is neither exactly.
        (record(1, "A", "G", chrom="M"), Reason.UNKNOWN_CHROMOSOME, "chrM, mt"),
        (record(0, "A", "G"), Reason.POSITION_OUT_OF_RANGE, "1 to 1,027"),
        # 11 + 2 + 14 letters after 1,000 N: the last position is 1027.
        (record(1028, "A", "G"), Reason.POSITION_OUT_OF_RANGE, "1 base(s) from 1,028 on"),
        (record(1027, "AA", "G"), Reason.POSITION_OUT_OF_RANGE, "2 base(s) from 1,027 on"),
        (record(10**18 - 1, "A", "G"), Reason.POSITION_OUT_OF_RANGE, "1 to 1,027"),
        (record(1001, "A", "."), Reason.MISSING_ALT, "no alternative allele"),
        (record(1001, "A", ""), Reason.MISSING_ALT, "no alternative allele"),
        (record(1001, "A", "*"), Reason.SPANNING_DELETION, "deletion"),
        (record(1001, "A", "<DEL>"), Reason.SYMBOLIC_ALT, "<DEL>"),
        (record(1001, "A", "<*>"), Reason.SYMBOLIC_ALT, "<*>"),
        (record(1001, "A", "A<CTG1>"), Reason.SYMBOLIC_ALT, "A<CTG1>"),
        (record(1001, "A", "A[chr9:7["), Reason.BREAKEND, "A[CHR9:7["),
        (record(1001, "A", "]<CTG1>:7]A"), Reason.BREAKEND, "]<CTG1>:7]A"),
        (record(1001, "A", ".A"), Reason.BREAKEND, ".A"),
        (record(1001, "A", "A."), Reason.BREAKEND, "A."),
        (record(1001, "A", "N"), Reason.NON_ACGT_ALLELE, "ALT N"),
        (record(1001, "A", "ANA"), Reason.NON_ACGT_ALLELE, "ALT ANA"),
        (record(1012, "N", "A"), Reason.NON_ACGT_ALLELE, "REF N"),
        (record(1013, "r", "A"), Reason.NON_ACGT_ALLELE, "REF R"),
        (record(1001, ".", "A"), Reason.NON_ACGT_ALLELE, "REF ."),
        (record(1001, "A", "-"), Reason.NON_ACGT_ALLELE, "ALT -"),
        (record(1001, "A", "a"), Reason.SAME_AS_REFERENCE, "both A"),
        (record(1001, "ACG", "ACG"), Reason.SAME_AS_REFERENCE, "both ACG"),
        (record(1001, "C", "G"), Reason.REFERENCE_MISMATCH, "REF is C, but genome.fa has A"),
        (record(1001, "ACC", "G"), Reason.REFERENCE_MISMATCH, "REF is ACC, but genome.fa has ACG"),
        (record(1012, "A", "G"), Reason.REFERENCE_MISMATCH, "REF is A, but genome.fa has N"),
        (record(1013, "A", "G"), Reason.REFERENCE_MISMATCH, "REF is A, but genome.fa has N"),
        (record(1001, "A", "A" * 51), Reason.TOO_LONG, "51 bases, and 50"),
    ],
)
def test_every_reason(genome: Genome, given: Record, reason: Reason, detail: str) -> None:
    entry = only(genome, given)
    assert isinstance(entry, Reject)
    assert entry[:8] == (7, 42, 0, given.chrom, given.pos, "rs7", given.ref, given.alts[0])
    assert entry.reason is reason
    assert detail in entry.detail


def test_a_bad_line_is_one_reject(genome: Genome) -> None:
    entry = only(genome, BadLine(7, 42, "It has 3 columns."))
    assert entry == Reject(
        7, 42, 0, None, None, "", None, None, Reason.MALFORMED_LINE, "It has 3 columns."
    )


def test_each_alternative_of_a_record_is_judged_by_itself(genome: Genome) -> None:
    given = record(1003, "GT", "G", "*", "GT", "CT", "GTT", "<DEL>", "GN")
    entries = AlleleChecker(genome, "a.vcf", max_allele_bp=50).check(given)
    assert [entry.alt_index for entry in entries] == list(range(7))
    assert [entry.alt for entry in entries] == list(given.alts)
    assert [e.variant if isinstance(e, Allele) else e.reason for e in entries] == [
        Variant("chr2", 1003, "GT", "G"),
        Reason.SPANNING_DELETION,
        Reason.SAME_AS_REFERENCE,
        Variant("chr2", 1003, "G", "C"),  # CT for GT is a SNV with an unchanged neighbour
        Variant("chr2", 1003, "G", "GT"),
        Reason.SYMBOLIC_ALT,
        Reason.NON_ACGT_ALLELE,
    ]


def test_length_is_that_of_the_alleles_as_they_are_scored(genome: Genome) -> None:
    # ACG is 1001..1003, TTTTTG 1004..1009. Trimmed, it is a SNV: G to C.
    long_snv = record(1004, "TTTTTG", "TTTTTC")
    trimmed = only(genome, long_snv, max_allele_bp=1)
    assert isinstance(trimmed, Allele)
    assert trimmed.variant == Variant("chr2", 1009, "G", "C")
    kept = only(genome, long_snv, max_allele_bp=5, normalise=False)
    assert isinstance(kept, Reject)
    assert kept.reason is Reason.TOO_LONG
    # A deletion of 5 has 6 letters with its anchor: REF counts as ALT does.
    deletion = record(1003, "GTTTTT", "G")
    assert isinstance(only(genome, deletion, max_allele_bp=6), Allele)
    assert isinstance(only(genome, deletion, max_allele_bp=5), Reject)
    with pytest.raises(ConfigError, match="max_allele_bp is 0"):
        only(genome, deletion, max_allele_bp=0)


def test_rejects_are_rows_of_their_table() -> None:
    assert ("file", *Reject._fields) == tuple(REJECTS.schema.names)


TEXT = """#CHROM\tPOS\tID\tREF\tALT
chr2\t1001\t.\tA\tG,T,<DEL>
nonsense
chr2\t1002\t.\tG\tT
chr2\t1001\t.\tA\tG
"""


def test_the_tally_counts_what_came_in_and_what_became_of_it(
    genome: Genome, tmp_path: Path
) -> None:
    path = tmp_path / "a.vcf"
    path.write_text(TEXT)
    tally = Tally()
    entries = list(read_alleles(path, AlleleChecker(genome, "a.vcf", max_allele_bp=50), tally))
    # Records: three and a bad line. Entries: 3 + 1 + 1 + 1, of which G, T and the second G pass.
    assert [(e.record, e.line, e.alt_index) for e in entries] == [
        (0, 2, 0),
        (0, 2, 1),
        (0, 2, 2),
        (1, 3, 0),
        (2, 4, 0),
        (3, 5, 0),
    ]
    assert entries[0].variant == entries[5].variant  # type: ignore[union-attr]  # duplicates stay
    assert tally.as_dict() == {
        "records": 4,
        "entries": 6,
        "alleles": 3,
        "malformed_line": 1,
        "symbolic_alt": 1,
        "reference_mismatch": 1,
    }
    both = Tally()
    both += tally
    both += tally
    both.check()
    assert (both.records, both.entries, both.alleles, both.rejects.total()) == (8, 12, 6, 6)


def test_a_lost_entry_is_an_error() -> None:
    tally = Tally()
    tally.read(record(1001, "A", "G", "T"))
    tally.give(Reject(7, 42, 0, "chr2", 1001, "", "A", "G", Reason.REPEAT_TOO_LONG, ""))
    with pytest.raises(ResultsError, match="2 alleles were read, but 0 accepted and 1 rejected"):
        tally.check()


ODD = Mismatch("a.vcf:9: chr2:5 has REF A, the FASTA G", fits_next=False, fits_alt=False)


def matches_until_stop(watch: MismatchWatch, agreeing: int, most: int) -> int | None:
    """How many mismatches after `agreeing` matches stop the watch, if no more than `most` do."""
    for _ in range(agreeing):
        watch.agree()
    for count in range(1, most + 1):
        try:
            watch.differ(ODD)
        except AssemblyMismatch:
            return count
    return None


@pytest.mark.parametrize(
    ("agreeing", "limit", "mismatches"),
    [
        # Each mismatch weighs ln(0.5 / 0.05) = 2.303, each match -ln(0.95 / 0.5) = -0.642, and
        # ln(10^6) = 13.816 stops: 6 x 2.303 = 13.816; 10 matches: 13.816 + 6.419 = 8.79 x 2.303;
        (0, 0.05, 6),
        (10, 0.05, 9),
        # 100 matches: 13.816 + 64.185 = 33.87 x 2.303.
        (100, 0.05, 34),
        # After 1,000 in all: 960 matches and m mismatches with m / (960 + m) > 0.05, so m > 50.5;
        # the test would need (13.816 + 616.2) / 2.303 = 273.6.
        (960, 0.05, 51),
        # 2,000 matches: m > 0.05 x (2,000 + m), so m > 105.3.
        (2000, 0.05, 106),
        # Limit 0.2: ln(2.5) = 0.916; 13.816 / 0.916 = 15.08.
        (0, 0.2, 16),
        # No test from 0.5 on: the share alone, of 1,000.
        (0, 0.5, 1000),
        (0, 1.0, None),
    ],
)
def test_when_a_watch_stops(agreeing: int, limit: float, mismatches: int | None) -> None:
    assert matches_until_stop(MismatchWatch(limit=limit), agreeing, 3000) == mismatches


def test_a_match_can_complete_the_number_after_which_the_share_counts() -> None:
    watch = MismatchWatch(after=100)
    # 6 of 99 is above 0.05, but 93 matches weigh against it: 6 x 2.303 - 93 x 0.642 < 0.
    assert matches_until_stop(watch, 93, 6) is None
    with pytest.raises(AssemblyMismatch, match="6 of the first 100 reference alleles differ"):
        watch.agree()


@pytest.mark.parametrize(
    ("fitting", "cause"), [(9, "look 0-based"), (8, "another assembly"), (0, "another assembly")]
)
def test_a_cause_is_named_when_it_explains_nine_in_ten(fitting: int, cause: str) -> None:
    watch = MismatchWatch(limit=0.2, after=10)
    for index in range(9):
        watch.differ(ODD._replace(fits_next=index < fitting))
    with pytest.raises(AssemblyMismatch, match=cause):
        watch.differ(ODD)


@pytest.mark.parametrize("options", [{"limit": 0.0}, {"limit": 1.1}, {"after": 0}])
def test_limits_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="the limit on mismatches is"):
        MismatchWatch(**options)  # type: ignore[arg-type]  # after is an int in these


def stopped(genome: Genome, rows: str, tmp_path: Path) -> str:
    path = tmp_path / "b.tsv"
    path.write_text(rows)
    checker = AlleleChecker(genome, "b.tsv", max_allele_bp=50, watch=MismatchWatch())
    with pytest.raises(AssemblyMismatch) as caught:
        list(read_alleles(path, checker, Tally()))
    return str(caught.value)


def test_a_wrong_assembly_is_named(genome: Genome, tmp_path: Path) -> None:
    # The FASTA has N at 101: REF C and A occur neither there nor next to it.
    message = stopped(genome, "chr2\t101\tC\tA\n" * 10, tmp_path)
    assert "6 of the first 6 reference alleles differ" in message
    assert "b.tsv:1: chr2:101 has REF C, the FASTA N; b.tsv:2" in message
    assert "b.tsv:4" not in message
    assert "another assembly" in message


def test_positions_that_count_from_0_are_recognised(genome: Genome, tmp_path: Path) -> None:
    # 1-based 1001.. is ACGTTTTTGCA: a file that counts from 0 has A at 1000, C at 1001, and so on.
    rows = "".join(
        f"chr2\t{1000 + i}\t{LETTERS[i]}\t{'A' if LETTERS[i] != 'A' else 'G'}\n"
        for i in (0, 1, 2, 3, 8, 9, 10)
    )
    assert "6 of them stand one base further on: the positions look 0-based" in stopped(
        genome, rows, tmp_path
    )


def test_swapped_alleles_are_recognised(genome: Genome, tmp_path: Path) -> None:
    # At 1001..1003 and 1009..1011 the FASTA has ACG and GCA; these stand in ALT here.
    rows = "".join(
        f"chr2\t{1001 + i}\t{'T' if i != 2 else 'A'}\t{LETTERS[i]}\n" for i in (0, 1, 2, 8, 9, 10)
    )
    message = stopped(genome, rows, tmp_path)
    assert "In 6 of them the FASTA has the alternative allele: REF and ALT look swapped" in message


def test_an_empty_alternative_explains_no_mismatch(genome: Genome, tmp_path: Path) -> None:
    assert "another assembly" in stopped(genome, "chr2\t101\tC\tA,\n" * 6, tmp_path)


@pytest.mark.parametrize(
    ("limit", "stopping"),
    # As many as stop it when all of them differ: see `test_when_a_watch_stops`.
    [(0.05, 6), (0.2, 16), (0.5, 1000), (1.0, None)],
)
def test_a_file_with_names_of_its_own_is_refused_at_its_end(
    limit: float, stopping: int | None
) -> None:
    for placed in (False, True):
        watch = MismatchWatch(limit=limit)
        for count in range(1, 1101):
            watch.misplace(f"NC_{count % 5}")
            if stopping is None or count < stopping:
                watch.close("a.vcf", "chr1, chr2")
        if placed:
            watch.place()
        if placed or stopping is None:
            watch.close("a.vcf", "chr1, chr2")
        else:
            # The first three names, in the order of the file.
            words = r"none of the 1,100 records of a\.vcf .* 'NC_1', 'NC_2', 'NC_3', .* chr1, chr2"
            with pytest.raises(UnknownChromosome, match=words):
                watch.close("a.vcf", "chr1, chr2")


@pytest.mark.parametrize("known", ["", "2\t1001\tA\t<DEL>\n", "2\t0\tA\tC\n"])
def test_one_record_on_a_known_chromosome_lets_the_others_be_rejects(
    genome: Genome, tmp_path: Path, known: str
) -> None:
    """At the end of the file, and whatever is wrong with that record otherwise."""
    path = tmp_path / "b.tsv"
    path.write_text("NC_2\t101\tC\tA\n" * 6 + known)
    checker = AlleleChecker(genome, "b.tsv", max_allele_bp=50, watch=MismatchWatch())
    entries = read_alleles(path, checker, Tally())
    if known:
        reasons = [entry.reason for entry in entries if isinstance(entry, Reject)]
        assert reasons[:6] == [Reason.UNKNOWN_CHROMOSOME] * 6
        assert len(reasons) == 7
    else:
        with pytest.raises(UnknownChromosome, match=r"the 6 records of b\.tsv .* chr2, chrM"):
            list(entries)


def test_a_record_counts_once_for_the_watch(genome: Genome) -> None:
    watch = MismatchWatch()
    checker = AlleleChecker(genome, "a.vcf", max_allele_bp=50, watch=watch)
    checker.check(record(1001, "A", "C", "G", "T", "*"))
    checker.check(record(1001, "C", "A", "G", "T"))
    checker.check(record(1001, "A", "<DEL>"))  # not compared at all
    assert (watch.compared, watch.differing) == (2, 1)
