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
    command,
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


Given = tuple[str, int, str, str, str]
Becomes = tuple[str, int, str, str] | str
Entry = tuple[Given, list[Becomes]]


def snv(
    texts: dict[str, str], name: str, pos: int, label: str = ".", *, chrom: str | None = None
) -> Entry:
    ref = texts[name][pos - 1]
    return (chrom or name, pos, label, ref, other(ref)), [(name, pos, ref, other(ref))]


def substitutions(texts: dict[str, str]) -> Iterator[Entry]:
    one, two = texts["chr1"], texts["chr2"]
    yield snv(texts, "chr1", 1_000, "rs1")
    yield snv(texts, "chr2", 700)
    # An alias of each kind, and a chromosome that is shorter than the window.
    yield snv(texts, "chr1", 1_000, "again", chrom="1")
    yield snv(texts, "chrM", 150, chrom="MT")
    # The first and the last base of a chromosome, and the bases beside a gap (1,501 to 1,800).
    for name, pos in (("chr1", 1), ("chr1", 3_000), ("chr2", 1_200), ("chr1", 1_500)):
        yield snv(texts, name, pos)
    yield snv(texts, "chr1", 1_801)
    # Cells of the grid are [8 k - 4, 8 k + 4): bases 803 (0-based) and 804 lie in two of them.
    for pos in (804, 805, 806, 812, 813):
        yield snv(texts, "chr1", pos)
    # Lower case in the file, and in the FASTA.
    ref = one[1_099]
    stated = ("chr1", 1_100, ".", ref.lower(), other(ref).lower())
    yield stated, [("chr1", 1_100, ref, other(ref))]
    ref = one[2_249]
    assert ref.islower()
    alt = other(ref.upper())
    yield ("chr1", 2_250, ".", ref, alt), [("chr1", 2_250, ref.upper(), alt)]
    ref = two[399:401]
    alt = "".join(map(other, ref))
    yield ("chr2", 400, ".", ref, alt), [("chr2", 400, ref, alt)]
    # Several alleles in one record, two of them none, the others written with too many bases.
    ref = two[799:803]
    alts = (other(ref[0]) + ref[1:], ref[:2] + other(ref[2]) + ref[3:], "<DEL>", "*")
    first = ("chr2", 800, ref[0], other(ref[0]))
    third = ("chr2", 802, ref[2], other(ref[2]))
    no_alleles: list[Becomes] = ["symbolic_alt", "spanning_deletion"]
    yield ("chr2", 800, "rs4", ref, ",".join(alts)), [first, third, *no_alleles]


def indels(texts: dict[str, str]) -> Iterator[Entry]:
    one, two, short = texts["chr1"], texts["chr2"], texts["chrM"]
    # A deletion cannot move left where its last base is not the one before it; 40 bp are five bins.
    for near, size in ((500, 4), (517, 4), (900, 40)):
        first = next(i for i in range(near, near + 20) if two[i] != two[i + size])
        text = two[first : first + size + 1]
        yield ("chr2", first + 1, ".", text, text[0]), [("chr2", first + 1, text, text[0])]
    anchor, after = two[599], two[600]
    alt = anchor + other(after) + "CG" + other(anchor)
    yield ("chr2", 600, ".", anchor, alt), [("chr2", 600, anchor, alt)]
    ref = short[200]
    alt = ref + "ACGTTGCAAC" * 2 + other(ref)
    yield ("chrM", 201, ".", ref, alt), [("chrM", 201, ref, alt)]
    # One A of 40 goes, named in the middle: the canonical form has the base before them.
    yield ("chr1", 320, ".", "AA", "A"), [("chr1", 300, "CA", "C")]
    # Two CA come at the end of 30 of them.
    assert one[698:702] + one[757:760] == one[698] + "GCA" + "ACA"
    yield ("chr1", 760, ".", "A", "ACACA"), [("chr1", 700, "G", "GCACA")]
    # Both ends of a chromosome; of five T at its beginning one goes: no base is before them.
    yield ("chr2", 3, ".", "TT", "T"), [("chr2", 1, "TT", "T")]
    yield ("chr2", 1_200, ".", "G", "GG"), [("chr2", 1_195, "C", "CG")]
    # Two bases for three, none of them shared.
    ref = two[300:302]
    alt = other(ref[0]) + "A" + other(ref[1])
    yield ("chr2", 301, ".", ref, alt), [("chr2", 301, ref, alt)]


def no_variants(texts: dict[str, str]) -> Iterator[Entry]:
    two = texts["chr2"]
    wrong = other(texts["chr1"][1_199])
    yield ("chr1", 1_200, ".", wrong, other(wrong)), ["reference_mismatch"]
    yield ("chrX", 100, ".", "A", "G"), ["unknown_chromosome"]
    yield ("chr2", 1_201, ".", "A", "G"), ["position_out_of_range"]
    for alt, reason in (
        (".", "missing_alt"),
        (two[299], "same_as_reference"),
        ("R", "non_acgt_allele"),
        ("G]chr1:5]", "breakend"),
    ):
        yield ("chr2", 300, ".", two[299], alt), [reason]
    yield ("chr1", 1_600, ".", "N", "A"), ["non_acgt_allele"]
    # Half of the target, 96 bp, is the limit.
    yield ("chr2", 300, ".", two[299:396], two[299]), ["too_long"]


def records_of(texts: dict[str, str]) -> Iterator[Entry]:
    """Give records and what becomes of each of their alleles."""
    yield from substitutions(texts)
    yield from no_variants(texts)
    yield from indels(texts)
    yield snv(texts, "chr2", 700, "the same as the second")


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
    moved = StringScores({**case.texts, chrom: case.texts[chrom][1:]}, case.model).scores(
        (chrom, pos - 1, *variant[2:]), Look(placement="grid")
    )
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
        (pos, ref, alt) for _, pos, _, ref, alts in case.records for alt in str(alts).split(",")
    ]


def keyed(run: Run) -> pl.DataFrame:
    """Rows by what is scored, whatever the entry's number: duplicates once."""
    keys = ["chrom", "pos", "ref", "alt"]
    return run.scan().select(*keys, "missing_bp", pl.col("^[A-Za-z0-9]+_t.*$")).unique().sort(
        keys
    ).collect()  # fmt: skip


@pytest.mark.parametrize("form", ["shuffled", "bgzip", "bcf", "list", "ids"])
def test_other_files_of_the_same_variants(
    case: Case, reference: Run, tmp_path: Path, form: str
) -> None:
    """Bit for bit: rows are sorted and grouped by window before anything is computed."""
    file = tmp_path / f"v.{form}"
    scored = list(case.scored.values())
    if form == "shuffled":
        write_vcf(file, random.Random(4).sample(case.records, len(case.records)))
    elif form == "bgzip":
        with pysam.BGZFile(str(file), "wb") as packed:
            packed.write(case.vcf.read_bytes())
    elif form == "bcf":
        write_bcf(file, case)
    elif form == "list":
        file.write_text("".join(f"{c}\t{p}\t{r}\t{a}\n" for c, p, r, a in reversed(scored)))
    else:
        file.write_text("".join(f"{c}:{p}:{r}:{a}\n" for c, p, r, a in scored))
    run = score("variants", tmp_path / "run", *case.given, *ALL, "--vcf", file)
    assert_frame_equal(keyed(run), keyed(reference), check_exact=True)
    entries = len(case.expected) if form in ("shuffled", "bgzip") else len(scored)
    assert run.manifest.config["entries"] == entries


def write_bcf(file: Path, case: Case) -> None:
    header = pysam.VariantHeader()
    for name, text in case.texts.items():
        header.contigs.add(name, length=len(text))
    with pysam.VariantFile(str(file), "wb", header=header) as bcf:
        for chrom, pos, ref, alt in case.scored.values():
            bcf.write(bcf.new_record(contig=chrom, start=pos - 1, alleles=(ref, alt)))


@pytest.mark.long
def test_batches_and_shards_change_nothing_but_rounding(
    case: Case, reference: Run, tmp_path: Path
) -> None:
    """Batches of another size multiply other matrices; a shard begins its stretch of trunk anew.

    Where the grouping is the same, so are the bits.
    """
    expected = values(reference)
    for name, options, exact in (
        ("same", (), True),
        ("threads", ("--batch-size", 4), True),  # what auto is on a CPU
        ("one", ("--batch-size", 1), False),
        ("seven", ("--batch-size", 7), False),
        ("rows", ("--rows-per-shard", 5), False),
    ):
        run = score("variants", tmp_path / name, *case.given, *ALL, *options)
        found = values(run)
        tolerance = {"check_exact": True} if exact else {"rel_tol": SHARE, "abs_tol": 1e-5}
        assert_frame_equal(found, expected, **tolerance)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("embedded_ray")
def test_a_pool_of_workers_changes_no_bit(case: Case, tmp_path: Path) -> None:
    """Each shard is scored whole, with a thread per process, wherever it is scored."""
    options = (*case.given, *ALL, "--rows-per-shard", 10)
    alone = score("variants", tmp_path / "alone", *options)
    pool = score("variants", tmp_path / "pool", *options, "--workers", 2)
    assert alone.manifest.num_shards > 4
    assert_frame_equal(values(pool), values(alone), check_exact=True)
    assert_scores(case, pool, Look())


@pytest.mark.parametrize("text", ["header", "rejects", "nothing"])
def test_no_variants_make_an_empty_sealed_run(case: Case, tmp_path: Path, text: str) -> None:
    vcf = tmp_path / "v.vcf"
    entries = 0
    if text == "nothing":
        vcf.write_text("")
    elif text == "header":
        write_vcf(vcf, [])
    else:
        entries = 2
        write_vcf(vcf, [("chr2", 300, ".", "A", "<DEL>,*")])
    out = tmp_path / "run"
    run = score("variants", out, *case.given, *ALL, "--vcf", vcf)
    assert (run.sealed, run.manifest.num_shards) == (True, 0)
    assert run.scan().collect().shape == (0, 11 + 9 * 5)
    assert run.scan(tracks=2, stats="SAD").collect().columns[-1] == "SAD_t0002"
    assert run.rejects.collect().height == entries
    assert run.variants.collect().height == 0
    for form in ("vcf", "hdf5"):
        written = tmp_path / {"vcf": "scores.vcf.gz", "hdf5": "scores.h5"}[form]
        genome = ("--fasta", case.fasta) if form == "vcf" else ()
        export = ("runs", "export", out, "--format", form, "--out", written, *genome)
        assert command(*export) == 0, form
        assert written.exists()
    # And again: nothing to do, nothing said to be wrong.
    assert score("variants", out, *case.given, *ALL, "--vcf", vcf).sealed
