"""`cisray score saturation` against a file of variants that spells every substitution out."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
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
from string_scores import Look, StringScores

from cisray.store.scan import Run

# 1-based and inclusive. Both ends of a chromosome; into the gap of 1,501 to 1,800; overlaps, of
# which one is whole and one begins within another cell; a chromosome shorter than a window.
LOCI = (
    "chr1:1-12",
    "chr1:2,990-3,000",
    "chr1:1,495-1,506",
    "chr1:5-9",
    "chr1:10-16",
    "M:140-150",
    "chr2:1200-1200",
)
REGIONS = [
    ("chr1", 1, 12),
    ("chr1", 2_990, 3_000),
    ("chr1", 1_495, 1_506),
    ("chr1", 5, 9),
    ("chr1", 10, 16),
    ("chrM", 140, 150),
    ("chr2", 1_200, 1_200),
]
ASKED = ("--stats", "SAD,JS", *EXACT)
NAMED = [word for locus in LOCI for word in ("--region", locus)]


@dataclass(frozen=True)
class Case:
    fasta: Path
    model: Path
    texts: dict[str, str]

    @property
    def given(self) -> tuple[object, ...]:
        return ("--model", self.model, "--fasta", self.fasta)

    @property
    def entries(self) -> list[tuple[int, str, int, str, str | None]]:
        """Every entry in order: region, chrom, pos, ref, alt; of a base that is none, no alt."""
        return [
            (number, chrom, pos, ref, alt)
            for number, (chrom, first, last) in enumerate(REGIONS)
            for pos in range(first, last + 1)
            for ref in self.texts[chrom][pos - 1]
            for alt in ([None] if ref == "N" else [b for b in "ACGT" if b != ref])
        ]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("saturation")
    texts = genome_with_traps()
    fasta, model = write_genome(folder / "g.fa", texts), write_model(folder / "m.safetensors")
    return Case(fasta, model, {name: text.upper() for name, text in texts.items()})


@pytest.fixture(scope="module")
def reference(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return score("saturation", tmp_path_factory.mktemp("run") / "run", *case.given, *ASKED, *NAMED)


def test_rows_are_the_substitutions_in_order(case: Case, reference: Run) -> None:
    numbered = [(number, *entry) for number, entry in enumerate(case.entries)]
    expected = [entry for entry in numbered if entry[-1] is not None]
    keys = ("variant", "region", "chrom", "pos", "ref", "alt")
    assert values(reference).select(keys).rows() == expected
    rejects = reference.rejects.collect()
    # 1,501 to 1,506.
    assert rejects["pos"].to_list() == [1_501, 1_502, 1_503, 1_504, 1_505, 1_506]
    assert set(rejects["reason"]) == {"non_acgt_allele"}
    assert set(rejects["file"]) == {"--region"}
    assert reference.manifest.config["entries"] == len(numbered)


def test_values_are_those_of_the_variants_spelled_out(
    case: Case, reference: Run, tmp_path: Path
) -> None:
    """Bit for bit, on the same grid: every base of two regions has the same value in both."""
    spelled = {entry[1:] for entry in case.entries if entry[-1] is not None}
    vcf = write_vcf(tmp_path / "v.vcf", [(c, p, ".", r, a) for c, p, r, a in sorted(spelled)])
    options = ("--vcf", vcf, "--window-placement", "grid", *ASKED)
    variants = score("variants", tmp_path / "run", *case.given, *options)
    keys = ["chrom", "pos", "ref", "alt"]
    ours = reference.scan().select(*keys, pl.col("^.*_t.*$")).unique().sort(keys)
    theirs = variants.scan().select(*keys, pl.col("^.*_t.*$")).sort(keys)
    assert_frame_equal(ours.collect(), theirs.collect(), check_exact=True)
    assert ours.collect().height == len(spelled)


def test_values_are_those_of_strings(case: Case, reference: Run) -> None:
    truth = StringScores(case.texts, case.model)
    frame = values(reference)
    for row in frame.sample(40, seed=3).iter_rows(named=True):
        variant = (row["chrom"], row["pos"], row["ref"], row["alt"])
        expected = truth.scores(variant, Look(placement="grid"))
        for track in range(5):
            # As in test_score_variants: a share of the effect, and of the signal.
            assert row[f"SAD_t{track:04d}"] == pytest.approx(
                expected["SAD"][track], rel=2e-4, abs=1e-6 * expected["REF"][track]
            ), variant


def test_a_bed_says_the_same(case: Case, reference: Run, tmp_path: Path) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text("".join(f"{chrom}\t{first - 1}\t{last}\n" for chrom, first, last in REGIONS))
    run = score("saturation", tmp_path / "run", *case.given, *ASKED, "--bed", bed)
    assert_frame_equal(values(run), values(reference), check_exact=True)
    assert set(run.rejects.collect()["file"]) == {"regions.bed"}
    told = run.manifest.provenance["files"]["bed"]
    assert told == {
        "path": str(bed),
        "bytes": bed.stat().st_size,
        "sha256": hashlib.sha256(bed.read_bytes()).hexdigest(),
    }


def test_centred_windows_where_they_are_asked_for(case: Case, tmp_path: Path) -> None:
    locus = ("--region", "chr1:100-101", "--window-placement", "centered")
    run = score("saturation", tmp_path / "run", *case.given, *ASKED, *locus)
    truth = StringScores(case.texts, case.model)
    for row in values(run).iter_rows(named=True):
        variant = (row["chrom"], row["pos"], row["ref"], row["alt"])
        expected = truth.scores(variant, Look())
        assert row["SAD_t0003"] == pytest.approx(
            expected["SAD"][3], rel=2e-4, abs=1e-6 * expected["REF"][3]
        )


def test_a_plan_counts_and_sizes(case: Case, tmp_path: Path, capsys) -> None:
    region = ("--region", "chr1:1,901-2,100", "--stats", "SAD,SADR")
    options = ("score", "saturation", *case.given, "--out", tmp_path / "run", *region)
    options = (*options, "--workers", 0, "--threads", 1, "--quiet")
    capsys.readouterr()
    assert command(*options, "--plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    # Cells of 8 bases, [8 k - 4, 8 k + 4): bases 1,900 .. 2,100 (0-based) lie in those of
    # k = 238 (1,900) to 262 (2,092 .. 2,100).
    assert (plan["windows"], plan["alternates"], plan["rows"]) == (25, 600, 600)
    assert (plan["entries"], plan["rejected"]) == (600, {})
    assert command(*options, "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["entries"], done["rows"], done["rejected"]) == (600, 600, {})
    assert plan["estimated_bytes"] == pytest.approx(done["bytes"], rel=0.2)
