"""`cisray score variants` from files of variants to rows, against strings and a plain network.

Every stored score is held against `StringScores`, which edits the chromosome's text itself and
subtracts two passes in float64.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pysam
import pytest
from effect_jobs import (
    EXACT,
    genome_with_traps,
    score,
    values,
    write_genome,
    write_model,
    write_vcf,
)
from polars.testing import assert_frame_equal
from string_scores import NINE, Look, StringScores, assert_canonical

from cisray.store.scan import Run

# What float32 may add to a statistic: a share of it, and a share of the signal that it is made of.
# An alternate of which a flank has moved changes every token, which costs digits.
SHARE = 2e-4
NOISE = 1e-6


@dataclass(frozen=True)
class Case:
    """A genome, a model, a file of variants, and what must become of its entries, in order.

    `expected` has for each entry either (chrom, pos, ref, alt) as it is scored, or a reason.
    """

    fasta: Path
    model: Path
    vcf: Path
    texts: dict[str, str]
    records: list[tuple[str, int, str, str, str]]
    expected: list[tuple[str, int, str, str] | str]
    truth: StringScores

    @property
    def given(self) -> tuple[object, ...]:
        return ("--model", self.model, "--fasta", self.fasta, "--vcf", self.vcf)

    @property
    def scored(self) -> dict[int, tuple[str, int, str, str]]:
        return {i: e for i, e in enumerate(self.expected) if isinstance(e, tuple)}


def other(base: str) -> str:
    return {"A": "G", "C": "A", "G": "T", "T": "C"}[base]


def records_of(texts: dict[str, str]) -> Iterator[tuple[tuple, list]]:
    """Give records and what becomes of each of their alleles."""
    one, two, short = texts["chr1"], texts["chr2"], texts["chrM"]

    def snv(name: str, pos: int, label: str = ".", *, chrom: str | None = None):
        ref = texts[name][pos - 1]
        return (chrom or name, pos, label, ref, other(ref)), [(name, pos, ref, other(ref))]

    yield snv("chr1", 1_000, "rs1")
    yield snv("chr2", 700)
    # An alias of each kind, and a chromosome that is shorter than the window.
    yield snv("chr1", 1_000, "again", chrom="1")
    yield snv("chrM", 150, chrom="MT")
    # The first and the last base of a chromosome, and the bases beside a gap (1,501 to 1,800).
    for name, pos in (("chr1", 1), ("chr1", 3_000), ("chr2", 1_200), ("chr1", 1_500)):
        yield snv(name, pos)
    yield snv("chr1", 1_801)
    # Cells of the grid are [8 k - 4, 8 k + 4): bases 803 (0-based) and 804 lie in two of them.
    for pos in (804, 805, 806, 812, 813):
        yield snv("chr1", pos)
    # Lower case in the file, and in the FASTA.
    ref = one[1_099]
    yield ("chr1", 1_100, ".", ref.lower(), other(ref).lower()), [("chr1", 1_100, ref, other(ref))]
    ref = one[2_249]
    assert ref.islower()
    yield ("chr1", 2_250, ".", ref, other(ref.upper())), [
        ("chr1", 2_250, ref.upper(), other(ref.upper()))
    ]
    # Two bases for two; a deletion, an insertion, a replacement, each at its simplest.
    ref = two[399:401]
    alt = "".join(map(other, ref))
    yield ("chr2", 400, ".", ref, alt), [("chr2", 400, ref, alt)]
    for near in (500, 517):
        # A deletion cannot move left where its last base is not the one before it.
        first = next(i for i in range(near, near + 20) if two[i] != two[i + 4])
        text = two[first : first + 5]
        yield ("chr2", first + 1, ".", text, text[0]), [("chr2", first + 1, text, text[0])]
    anchor, after = two[599], two[600]
    bases = other(after) + "CG" + other(anchor)
    yield ("chr2", 600, ".", anchor, anchor + bases), [("chr2", 600, anchor, anchor + bases)]
    # Several alleles in one record, one of them no allele, the second written with too many bases.
    ref = two[799:803]
    alts = (other(ref[0]) + ref[1:], ref[:2] + other(ref[2]) + ref[3:], "<DEL>", "*")
    yield ("chr2", 800, "rs4", ref, ",".join(alts)), [
        ("chr2", 800, ref[0], other(ref[0])),
        ("chr2", 802, ref[2], other(ref[2])),
        "symbolic_alt",
        "spanning_deletion",
    ]
    # One A of 40 is deleted, named in the middle; the canonical form has the base before them.
    # Two CA are inserted at the end of 30 of them.
    before = one[299]
    assert before != "A"
    yield ("chr1", 320, ".", "AA", "A"), [("chr1", 300, before + "A", before)]
    before, at = one[699], 760
    assert before != "A"
    yield ("chr1", at, ".", one[at - 1], one[at - 1] + "CACA"), [
        ("chr1", 700, before, before + "CACA")
    ]
    # Indels at both ends of a chromosome; of five T at its beginning one goes: no base before them.
    yield ("chr2", 3, ".", "TT", "T"), [("chr2", 1, "TT", "T")]
    before = two[1_194]
    assert before != "G"
    yield ("chr2", 1_200, ".", "G", "GG"), [("chr2", 1_195, before, before + "G")]
    # Longer than a few bins: 40 bp away, 21 in.
    first = next(i for i in range(900, 920) if two[i] != two[i + 40])
    ref = two[first : first + 41]
    yield ("chr2", first + 1, "big", ref, ref[0]), [("chr2", first + 1, ref, ref[0])]
    ref = short[200]
    long = ref + "ACGTTGCAAC" * 2 + other(ref)
    yield ("chrM", 201, ".", ref, long), [("chrM", 201, ref, long)]
    # And what is none.
    wrong = other(one[1_199])
    yield ("chr1", 1_200, ".", wrong, other(wrong)), ["reference_mismatch"]
    yield ("chrX", 100, ".", "A", "G"), ["unknown_chromosome"]
    yield ("chr2", 1_201, ".", "A", "G"), ["position_out_of_range"]
    yield ("chr2", 300, ".", two[299], "."), ["missing_alt"]
    yield ("chr2", 300, ".", two[299], two[299]), ["same_as_reference"]
    yield ("chr2", 300, ".", two[299], "R"), ["non_acgt_allele"]
    yield ("chr2", 300, ".", two[299], "G]chr1:5]"), ["breakend"]
    yield ("chr1", 1_600, ".", "N", "A"), ["non_acgt_allele"]
    # Half of the target, 96 bp, is the limit.
    yield ("chr2", 300, ".", two[299:396], two[299]), ["too_long"]
    yield snv("chr2", 700, "the same as the second")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("variants")
    texts = genome_with_traps()
    found = list(records_of(texts))
    upper = {name: text.upper() for name, text in texts.items()}
    model = write_model(folder / "m.safetensors")
    return Case(
        fasta=write_genome(folder / "g.fa", texts),
        model=model,
        vcf=write_vcf(folder / "v.vcf", [record for record, _ in found]),
        texts=upper,
        records=[record for record, _ in found],
        expected=[entry for _, entries in found for entry in entries],
        truth=StringScores(upper, model),
    )


@pytest.fixture(scope="module")
def reference(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Centred windows, all nine statistics, at full precision."""
    return score("variants", tmp_path_factory.mktemp("reference") / "run", *case.given, *ALL)


ALL = ("--stats", ",".join(NINE), *EXACT)


def assert_scores(case: Case, run: Run, look: Look, names: tuple[str, ...] = NINE) -> None:
    """Hold every stored score against strings; `names` are the statistics that must be there."""
    frame = values(run)
    scored = case.scored
    assert frame["variant"].to_list() == list(scored)
    told = [tuple(row) for row in frame.select("chrom", "pos", "ref", "alt").rows()]
    assert told == list(scored.values())
    tracks = run.tracks.columns
    stored = {name: frame.select([f"{name}_{t}" for t in tracks]).to_numpy() for name in names}
    for row, variant in enumerate(scored.values()):
        expected = case.truth.scores(variant, look)
        for name in names:
            theirs = expected[name][: len(tracks)]
            error = np.abs(stored[name][row] - theirs)
            assert (error <= allowed(name, theirs, expected)).all(), (variant, name, error, theirs)
    missing = [case.truth.missing(v[0], v[1], look.placement) for v in scored.values()]
    assert frame["missing_bp"].to_list() == missing


def allowed(name: str, theirs: np.ndarray, expected: dict[str, np.ndarray]) -> np.ndarray:
    """What rounding may do: to the statistic itself, and to the signal that it is made of."""
    signal = expected["REF"] if name.startswith(("REF", "ALT", "SA", "D")) else 1.0
    signal = 1.0 if name.startswith("SADR") else signal
    return SHARE * np.abs(theirs) + NOISE * signal


def test_every_score_is_that_of_two_strings(case: Case, reference: Run) -> None:
    assert_scores(case, reference, Look())


def test_no_score_could_be_that_of_a_neighbour(case: Case, reference: Run) -> None:
    """The comparison is not blind: one base, one bin or one row away is far outside of it."""
    frame = values(reference)
    rows = [i for i, v in enumerate(case.scored.values()) if len(v[2]) == len(v[3])]
    sad = frame.select(pl.col("^SAD_t.*$")).to_numpy()
    ref = frame.select(pl.col("^REF_t.*$")).to_numpy()
    margin = np.abs(sad) / (NOISE * ref)
    assert np.median(margin[rows]) > 100
    chrom, pos, _, _ = variant = case.scored[0]
    here = case.truth.scores(variant, Look())
    moved = StringScores(
        {**case.texts, chrom: case.texts[chrom][1:]}, case.model
    ).scores((chrom, pos - 1, *variant[2:]), Look(placement="grid"))
    assert (np.abs(moved["SAD"] - here["SAD"]) > 5 * allowed("SAD", here["SAD"], here)).any()


def test_rejects_say_why_and_nothing_is_lost(case: Case, reference: Run) -> None:
    rejects = reference.rejects.collect()
    assert rejects["reason"].to_list() == [e for e in case.expected if isinstance(e, str)]
    config = reference.manifest.config
    assert config["entries"] == len(case.expected)
    assert (config["scored"], config["rejected"]) == (len(case.scored), rejects.height)
    assert set(rejects["file"]) == {"v.vcf"}
    # Two lines of header; the record of several alleles has one line.
    lines = [
        number + 3
        for number, record in enumerate(case.records)
        for entry in range(str(record[4]).count(",") + 1)
    ]
    bad = [line for line, e in zip(lines, case.expected, strict=True) if isinstance(e, str)]
    assert rejects["line"].to_list() == bad


def test_what_the_file_said_is_kept(case: Case, reference: Run) -> None:
    frame = values(reference)
    source = frame.select("source_chrom", "source_pos", "id", "source_ref", "source_alt").rows()
    stated = [
        (chrom, pos, "" if label == "." else label, ref, alt)
        for chrom, pos, label, ref, alts in case.records
        for alt in str(alts).split(",")
    ]
    assert source == [stated[i] for i in case.scored]
    for (chrom, pos, ref, alt), row in zip(case.scored.values(), source, strict=True):
        given = (row[1], row[3].upper(), row[4].upper())
        assert_canonical(case.texts[chrom], (pos, ref, alt), given)


@pytest.mark.parametrize(
    ("options", "look"),
    [
        (("--window-placement", "grid"), Look(placement="grid")),
        (("--bins", 4), Look(bins=4)),
        (("--indels", "left"), Look(policy="left")),
        (
            ("--window-placement", "grid", "--bins", 2, "--indels", "left"),
            Look(placement="grid", bins=2, policy="left"),
        ),
        (("--rc",), Look(rc=True)),
        (
            ("--window-placement", "grid", "--rc", "--shifts", "0,-3,3", "--std"),
            Look(placement="grid", rc=True, shifts=(0, -3, 3)),
        ),
        (("--shifts", "4,-1", "--bins", 6, "--std"), Look(shifts=(4, -1), bins=6)),
    ],
    ids=lambda value: None if isinstance(value, Look) else " ".join(map(str, value)),
)
def test_every_way_to_look(case: Case, tmp_path: Path, options, look: Look) -> None:
    run = score("variants", tmp_path / "run", *case.given, *ALL, *options)
    spreads = tuple(f"{name}_sd" for name in NINE) if "--std" in options else ()
    assert run.statistics == [*NINE, *spreads]
    assert_scores(case, run, look, (*NINE, *spreads))


def test_alleles_as_they_were_given(case: Case, tmp_path: Path) -> None:
    run = score("variants", tmp_path / "run", *case.given, *ALL, "--keep-alleles")
    given = {
        i: (expected[0], pos, ref.upper(), alt.upper())
        for i, (expected, (pos, ref, alt)) in enumerate(
            zip(case.expected, stated_alleles(case), strict=True)
        )
        if isinstance(expected, tuple)
    }
    frame = values(run)
    told = frame.select("chrom", "pos", "ref", "alt").rows()
    assert [tuple(row) for row in told] == list(given.values())
    assert list(given.values()) != list(case.scored.values())
    sad = frame.select(pl.col("^SAD_t.*$")).to_numpy()
    for row, variant in enumerate(given.values()):
        expected = case.truth.scores(variant, Look())
        theirs = expected["SAD"]
        assert (np.abs(sad[row] - theirs) <= allowed("SAD", theirs, expected)).all(), variant


def stated_alleles(case: Case) -> list[tuple[int, str, str]]:
    return [
        (pos, ref, alt)
        for _, pos, _, ref, alts in case.records
        for alt in str(alts).split(",")
    ]
