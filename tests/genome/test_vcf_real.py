"""1000 Genomes sites of chr20, against counts that are taken from the text in the plainest way."""

import gzip
from pathlib import Path

import pytest

from cisray.genome.alleles import Allele, AlleleChecker, Reject, Tally, read_alleles
from cisray.genome.interval import Interval
from cisray.genome.mismatch import MismatchWatch
from cisray.genome.normalise import ReferenceText
from cisray.genome.reference import Genome
from cisray_schemas import Reason

pytestmark = pytest.mark.realdata

SITES = "data/chr20_hg19/1000g_phase3_sites_chr20_1000001-2000000.hg19.vcf.gz"
FASTA = "data/chr20_hg19/hg19_chr20.whole.fa.gz"


def entries_of(shared: Path, *, normalise: bool) -> tuple[list[Allele | Reject], Tally]:
    tally = Tally()
    with Genome.open(shared / FASTA) as genome:
        checker = AlleleChecker(
            genome, "sites", max_allele_bp=1000, normalise=normalise, watch=MismatchWatch()
        )
        return list(read_alleles(shared / SITES, checker, tally)), tally


def test_every_allele_of_the_sites_is_accounted_for(shared: Path) -> None:
    with gzip.open(shared / SITES, "rt") as text:
        rows = [
            (number, line.split("\t")[:5])
            for number, line in enumerate(text, start=1)
            if not line.startswith("#")
        ]
    pairs = [
        (number, index, int(pos), ref, alt)
        for number, (_, pos, _, ref, alts) in rows
        for index, alt in enumerate(alts.split(","))
    ]
    entries, tally = entries_of(shared, normalise=False)
    assert [(e.line, e.alt_index, e.pos, e.ref, e.alt) for e in entries] == pairs
    symbolic = sum("<" in alt for *_, alt in pairs)
    assert (len(rows), len(pairs), symbolic) == (28_998, 29_144, 24)
    assert tally.as_dict() == {
        "records": 28_998,
        "entries": 29_144,
        "alleles": 29_120,  # 29,144 - 24
        "symbolic_alt": 24,
    }
    assert {e.reason for e in entries if isinstance(e, Reject)} == {Reason.SYMBOLIC_ALT}


def test_normalising_keeps_the_haplotypes_of_the_sites(shared: Path) -> None:
    """The file is left-aligned; alleles of its multi-allelic records still carry padding."""
    given, _ = entries_of(shared, normalise=False)
    entries, _ = entries_of(shared, normalise=True)
    changed = 0
    padded = sum(
        min(len(e.ref), len(e.alt)) > 1 and (e.ref[-1] == e.alt[-1] or e.ref[:2] == e.alt[:2])
        for e in given
        if isinstance(e, Allele)
    )
    # The whole chromosome would be slow to write out 29,120 times: 400 bases around each will do.
    with Genome.open(shared / FASTA) as genome:
        reference = ReferenceText(genome)
        for before, after in zip(given, entries, strict=True):
            if isinstance(before, Reject) or isinstance(after, Reject):
                assert before == after
                continue
            changed += before.variant != after.variant
            start = before.variant.interval.start - 200
            around = reference.letters(Interval("20", start, start + 400))
            written = [
                around[: v.interval.start - start] + v.alt + around[v.interval.end - start :]
                for v in (before.variant, after.variant)
            ]
            assert written[0] == written[1]
    assert changed == padded > 0
