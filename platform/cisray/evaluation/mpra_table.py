"""Tables of saturation mutagenesis reporter assays, in the layout of Kircher et al. 2019.

Knows their columns, which rows count, and how a deleted base is written as a VCF allele; knows no
scores. Every row of the table stays, and `left_out` says why one does not count, empty where it
does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cisray.errors import AssemblyMismatch, EvaluationError, UnknownChromosome, near_matches
from cisray.evaluation.tables import KEY, read_table, require_columns, scan_table
from cisray.genome.encode import ALPHABET
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant, interval_at
from cisray.store.export.staging import staged

COLUMNS = ("Chrom", "Pos", "Ref", "Alt", "Barcodes", "Coefficient", "Element", "Release")
OTHER_RELEASE = "other release"
OTHER_ELEMENT = "element not asked for"
NO_ALLELE = "no position or alleles"
NO_EFFECT = "no effect"
TWICE = "stated before"
UNKNOWN_CHROMOSOME = "unknown chromosome"
OUT_OF_RANGE = "position out of range"
MISMATCH = "reference mismatch"
INSERTION = "insertion without a place"
_GAP = "-"
# More rows than this disagree with the FASTA only where it is of another assembly.
_MOST_MISMATCHES = 0.05
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class AssayFilter:
    """Which rows count: those of a release and of elements (all if empty), with enough barcodes.

    The authors' own figures use 10 barcodes or more.
    """

    release: str = "GRCh38"
    min_barcodes: int = 10
    elements: tuple[str, ...] = ()

    @property
    def few(self) -> str:
        """The reason of rows with fewer barcodes."""
        return f"fewer than {self.min_barcodes} barcodes"


def read_assay(path: Path, chosen: AssayFilter, train: str | None = None) -> pl.DataFrame:
    """Read a table whole: row, element, chrom, pos, ref, alt, barcodes, effect, part, left_out.

    `row` counts from 1 after the header; alleles are as stated, pos is 1-based, and a deleted base
    has the alternative `-`. `part` is the column `train`, null without one. Raises EvaluationError
    for missing columns, and for a release or an element that the table does not have.
    """
    needed = COLUMNS if train is None else (*COLUMNS, train)
    # Text, so that the type of a column does not depend on the rows at the top.
    scanned = scan_table(path, dict.fromkeys(needed, pl.String))
    require_columns(scanned, needed, path)
    table = read_table(scanned, path)
    _require_values(table, "Release", (chosen.release,), path)
    _require_values(table, "Element", chosen.elements, path)
    frame = table.select(
        row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        element="Element",
        chrom="Chrom",
        pos=pl.col("Pos").cast(pl.Int64, strict=False),
        ref=pl.col("Ref").str.to_uppercase(),
        alt=pl.col("Alt").str.to_uppercase(),
        barcodes=pl.col("Barcodes").cast(pl.Int64, strict=False),
        effect=pl.col("Coefficient").cast(pl.Float64, strict=False),
        part=pl.lit(None, pl.String) if train is None else pl.col(train),
        release="Release",
    )
    told = frame.with_columns(left_out=_reason(chosen)).drop("release")
    first = pl.struct("element", *KEY).is_first_distinct().over("left_out")
    return told.with_columns(
        left_out=pl.when((pl.col("left_out") == "") & ~first)
        .then(pl.lit(TWICE))
        .otherwise("left_out")
    )


def _reason(chosen: AssayFilter) -> pl.Expr:
    elements = pl.col("element").is_in(list(chosen.elements))
    wanted = elements if chosen.elements else pl.lit(value=True)
    no_allele = pl.any_horizontal(pl.col("element", *KEY).is_null())
    no_effect = ~pl.col("effect").is_finite().fill_null(value=False)
    few = (pl.col("barcodes") < chosen.min_barcodes).fill_null(value=True)
    return (
        pl.when((pl.col("release") != chosen.release).fill_null(value=True))
        .then(pl.lit(OTHER_RELEASE))
        .when(~wanted.fill_null(value=False))
        .then(pl.lit(OTHER_ELEMENT))
        .when(no_allele)
        .then(pl.lit(NO_ALLELE))
        .when(no_effect)
        .then(pl.lit(NO_EFFECT))
        .when(few)
        .then(pl.lit(chosen.few))
        .otherwise(pl.lit(""))
    )


def _require_values(table: pl.DataFrame, column: str, wanted: tuple[str, ...], path: Path) -> None:
    known = table[column].drop_nulls().unique().sort().to_list()
    for value in wanted:
        if value not in known:
            shown = ", ".join(known[:_SHOWN]) + (" and more" if len(known) > _SHOWN else "")
            raise EvaluationError(
                f"{path} has no row whose {column} is {value!r}.{near_matches(value, known)} "
                f"It has {shown or 'none'}."
            )


def anchor(assay: pl.DataFrame, genome: Genome) -> pl.DataFrame:
    """Write the alleles of rows that count as a VCF does, chromosomes as the FASTA spells them.

    A deletion takes the base before it along, at the chromosome's start the base after it. Rows
    that the FASTA contradicts are left out. Raises AssemblyMismatch where more than 5 % of the rows
    that meet a chromosome are.
    """
    counts = assay["left_out"] == ""
    chroms = {name: _spelling(genome, name) for name in assay["chrom"].filter(counts).unique()}
    rows = assay.filter(counts).select("row", *KEY)
    written = pl.DataFrame(
        [(row, *_written(genome, chroms, *key)) for row, *key in rows.iter_rows()],
        schema={"row": pl.Int64, **_WRITTEN},
        orient="row",
    )
    _refuse_other_assembly(rows, written, genome)
    told = assay.join(written, on="row", how="left", maintain_order="left")
    done = pl.col("left_out") == ""
    return told.with_columns(
        *(pl.when(done).then(pl.coalesce(f"new_{k}", k)).otherwise(k).alias(k) for k in KEY),
        left_out=pl.when(done).then("new_reason").otherwise("left_out"),
    ).drop(*_WRITTEN)


_WRITTEN = {
    "new_chrom": pl.String,
    "new_pos": pl.Int64,
    "new_ref": pl.String,
    "new_alt": pl.String,
    "new_reason": pl.String,
}
_Row = tuple[str | None, int | None, str | None, str | None, str]


def _written(
    genome: Genome, chroms: dict[str, str | None], chrom: str, pos: int, ref: str, alt: str
) -> _Row:
    spelling = chroms[chrom]
    if spelling is None:
        return None, None, None, None, UNKNOWN_CHROMOSOME
    if ref == _GAP:
        # Before the position or after it: the layout does not say.
        return spelling, None, None, None, INSERTION
    stated = interval_at(spelling, pos, len(ref))
    length = genome.chromosomes[spelling]
    if stated.start < 0 or stated.end > length:
        return spelling, None, None, None, OUT_OF_RANGE
    if _letters(genome, stated) != ref or set(ref) - set(ALPHABET):
        return spelling, None, None, None, MISMATCH
    if alt != _GAP:
        reason = NO_ALLELE if set(alt) - set(ALPHABET) else ""
        return spelling, pos, ref, alt, reason
    # The base before the gap, or at the chromosome's start the one after it, comes along.
    before, after = (1, 0) if stated.start else (0, 1)
    whole = Interval(spelling, stated.start - before, stated.end + after)
    if whole.end > length:
        return spelling, None, None, None, OUT_OF_RANGE
    letters = _letters(genome, whole)
    kept = letters[0] if before else letters[-1]
    written = Variant.from_start(spelling, whole.start, letters, kept)
    return spelling, written.pos, written.ref, written.alt, ""


def _letters(genome: Genome, interval: Interval) -> str:
    return genome.letters(interval).decode("ascii").upper()


def _spelling(genome: Genome, chrom: str) -> str | None:
    try:
        return genome.resolve(chrom)
    except UnknownChromosome:
        return None


def _refuse_other_assembly(rows: pl.DataFrame, written: pl.DataFrame, genome: Genome) -> None:
    met = written.filter(pl.col("new_reason") != UNKNOWN_CHROMOSOME)
    wrong = met.filter(pl.col("new_reason").is_in([MISMATCH, OUT_OF_RANGE]))
    if wrong.height <= _MOST_MISMATCHES * met.height:
        return
    chrom, pos, ref = rows.filter(pl.col("row") == wrong["row"][0]).select(*KEY[:3]).row(0)
    raise AssemblyMismatch(
        f"{wrong.height:,} of {met.height:,} rows contradict {genome.path}, the first with {ref} "
        f"at {chrom}:{pos:,}: the release asked for is not the assembly of this FASTA, or "
        f"positions do not count from 1. Choose another --release or --fasta."
    )


def write_vcf(assay: pl.DataFrame, genome: Genome, path: Path, *, overwrite: bool = False) -> int:
    """Write each allele that counts once, in the order of the FASTA, and tell how many there are.

    ID names the elements that have it. The file appears whole. Raises ConfigError for a file that
    is there, and EvaluationError where no row counts.
    """
    used = assay.filter(pl.col("left_out") == "")
    if not used.height:
        raise EvaluationError(f"no row of the table counts, so {path} would have no variant.")
    order = {name: place for place, name in enumerate(genome.chromosomes)}
    alleles = (
        used.group_by(KEY)
        .agg(pl.col("element").unique().sort())
        .with_columns(place=pl.col("chrom").replace_strict(order, return_dtype=pl.Int64))
        .sort("place", "pos", "ref", "alt")
    )
    with staged([path], overwrite=overwrite) as folder:
        text = "".join(f"{line}\n" for line in _vcf_lines(alleles, genome))
        (folder / path.name).write_text(text, encoding="utf-8")
    return alleles.height


def _vcf_lines(alleles: pl.DataFrame, genome: Genome) -> Iterator[str]:
    yield "##fileformat=VCFv4.2"
    for name in alleles["chrom"].unique(maintain_order=True):
        yield f"##contig=<ID={name},length={genome.chromosomes[name]}>"
    yield "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    for chrom, pos, ref, alt, elements in alleles.select(*KEY, "element").iter_rows():
        yield f"{chrom}\t{pos}\t{';'.join(elements)}\t{ref}\t{alt}\t.\t.\t."
