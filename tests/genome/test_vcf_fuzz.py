"""Mutated VCF text: nothing crashes, no row is lost, and no accepted allele differs from the FASTA.

The generator counts rows as it writes them, and the sequence is a string that it holds itself.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import VariantsError
from cisray.genome.alleles import Allele, AlleleChecker, Reject, Tally, read_alleles
from cisray.genome.reference import Genome
from cisray.genome.vcf import read_records
from cisray_schemas import Reason

FastaMaker = Callable[..., Path]

HEADER = b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ODD_ALTS = ["<DEL>", "*", ".", "", "A[chr1:5[", "]chr1:5]A", "N", "R", "A.", "<*>", "acgt", "é"]
ODD_TEXT = [b"", b"\t", b"\x00", b"\xff", b"-1", b"1e5", b"#", b",", b" ", b"\r", b"99999999999"]

# Reasons that only planning finds, which knows windows and sites.
FOUND_WHEN_PLANNED = {Reason.REPEAT_TOO_LONG, Reason.NO_SITE_IN_REACH}


def sequences(random_: random.Random) -> dict[str, str]:
    """Two repetitive chromosomes with stretches of N and lower case."""
    units = ["A", "CA", "GATTACA", "acg", "NNN", "T", "CCG"]
    return {
        name: "".join(random_.choice(units) * random_.randint(1, 9) for _ in range(300))
        for name in ("chr1", "chrX")
    }


def good_row(random_: random.Random, genome: dict[str, str]) -> list[bytes]:
    chrom = random_.choice(list(genome))
    start = random_.randrange(len(genome[chrom]))
    ref = genome[chrom][start : start + random_.choice([1, 1, 1, 2, 5, 40])]
    alts = ["".join(random_.choices("ACGT", k=random_.choice([1, 1, 1, 2, 6]))) for _ in range(3)]
    alts[2] = random_.choice([ref[:1], ref + ref, *ODD_ALTS])
    alt = ",".join(random_.sample(alts, random_.randint(1, 3)))
    spelling = random_.choice([chrom, chrom.removeprefix("chr"), chrom.upper()])
    columns = [spelling, str(start + 1), ".", ref, alt, ".", "PASS", "."]
    return [column.encode() for column in columns]


def mutated(random_: random.Random, columns: list[bytes]) -> bytes:
    """One line, in three of four cases with a column or a byte changed, added or taken away."""
    columns = list(columns)
    column = random_.randrange(len(columns))
    match random_.randrange(8):
        case 0:
            columns[column] = random_.choice(ODD_TEXT)
        case 1:
            columns.pop(column)
        case 2:
            columns.insert(column, random_.choice(ODD_TEXT))
        case 3:
            columns[1] = str(random_.choice([0, 1, 10**6, 10**17, 10**30])).encode()
        case 4:
            columns[3] = random_.choice([b"A", b"T", b"N", b"ACGT" * 60, b"*", b"."])
        case 5:
            line = bytearray(b"\t".join(columns))
            line[random_.randrange(len(line))] = random_.randrange(256)
            return bytes(line).replace(b"\n", b"?")
    return b"\t".join(columns)


def check_file(path: Path, genome: Genome, truth: dict[str, str], lines: list[bytes]) -> Tally:
    """Hold what is read to what was written."""
    tally = Tally()
    entries = list(read_alleles(path, AlleleChecker(genome, "f", max_allele_bp=30), tally))
    line_of = [n for n, line in enumerate(lines, start=3) if line.strip()]
    assert tally.records == len(line_of)
    assert sorted({(e.record, e.line) for e in entries}) == list(enumerate(line_of))
    by_record: dict[int, list[Allele | Reject]] = {}
    for entry in entries:
        by_record.setdefault(entry.record, []).append(entry)
    for record, found in by_record.items():
        line = lines[line_of[record] - 3].removesuffix(b"\r")
        malformed = [isinstance(e, Reject) and e.reason is Reason.MALFORMED_LINE for e in found]
        alts = 1 if any(malformed) else len(line.split(b"\t")[4].split(b","))
        assert [e.alt_index for e in found] == list(range(alts))
    for entry in entries:
        if isinstance(entry, Allele):
            check_allele(entry, lines[(entry.line or 0) - 3], truth)
    return tally


def check_allele(entry: Allele, line: bytes, truth: dict[str, str]) -> None:
    """Its variant is in the FASTA, and writes the sequence that the line's own columns write."""
    variant, sequence = entry.variant, truth[entry.variant.chrom].upper()
    place = variant.interval
    assert sequence[place.start : place.end] == variant.ref
    columns = line.decode("latin-1").split("\t")
    start, ref = int(columns[1]) - 1, columns[3].upper()
    alt = columns[4].split(",")[entry.alt_index].upper()
    assert sequence[start : start + len(ref)] == ref
    assert (
        sequence[: place.start] + variant.alt + sequence[place.end :]
        == sequence[:start] + alt + sequence[start + len(ref) :]
    )


def fuzz(make_fasta: FastaMaker, folder: Path, seed: int, rows: int) -> Tally:
    random_ = random.Random(seed)
    truth = sequences(random_)
    lines = [mutated(random_, good_row(random_, truth)) for _ in range(rows)]
    path = folder / "fuzzed"
    path.write_bytes(HEADER + b"".join(line + b"\n" for line in lines))
    with Genome.open(make_fasta(truth, line=61)) as genome:
        return check_file(path, genome, truth, lines)


def test_ten_thousand_mutated_records(make_fasta: FastaMaker, tmp_path: Path) -> None:
    tally = fuzz(make_fasta, tmp_path, seed=1, rows=10_000)
    # The fuzz is worth something only if it takes many ways: all reasons but the caller's.
    assert tally.alleles > 3000
    assert set(tally.rejects) == set(Reason) - FOUND_WHEN_PLANNED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_half_a_million_mutated_records(make_fasta: FastaMaker, tmp_path: Path, seed: int) -> None:
    assert fuzz(make_fasta, tmp_path, seed, rows=50_000).alleles > 15_000


@given(
    beginning=st.sampled_from(
        [b"", HEADER, b"##x\n", b"\x1f\x8b\x08\x04", b"BCF\x02\x02", b"1:5:A:G\n"]
    ),
    rest=st.binary(max_size=200),
)
def test_any_bytes_are_records_or_one_named_error(
    tmp_path_factory: pytest.TempPathFactory, beginning: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(beginning + rest)
    with suppress(VariantsError):
        records = list(read_records(path))
        assert [r.record for r in records] == list(range(len(records)))
