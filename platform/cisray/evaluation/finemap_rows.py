"""Summary statistics of eQTLs beside genotypes: the same variants, of the same alleles.

Knows columns, keys and which rows count; knows no fine-mapping. Every row of the table is used, or
is left out with its reason.
"""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from cisray.errors import AssemblyMismatch, EvaluationError
from cisray.evaluation.finemap import GeneVariants
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.tables import KEY, read_table, require_columns, scan_table, with_keys
from cisray.genome.genotypes import GenotypeFile, Genotypes, frequencies, standardised
from cisray.genome.variant import starts_at
from cisray.locus import Locus, alias_key

NO_Z = "no z"
NEITHER = "effect is of neither allele"
AGAIN = "twice in the table"
ABSENT = "not in the genotypes"
OTHER_ALLELES = "other alleles in the genotypes"
GENOTYPES = "genotypes: "
_REASON = "__reason"
_NUMBERS = ("z", "beta", "se", "n", "tss_distance")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumstatsOptions:
    """How a table of summary statistics is read where it does not say so itself."""

    columns: Mapping[str, str] = field(default_factory=dict)
    tissue: str = ""
    variant: str = "variant"
    people: int | None = None


def read_sumstats(path: Path, options: SumstatsOptions) -> pl.DataFrame:
    """Read a table whole: tissue, gene, chrom, pos, ref, alt, z, n, tss_distance, __reason.

    z is of alt: that of the table, or beta / se; turned where `effect_allele` is the reference.
    `__reason` says why a row does not count, empty where it does. Raises EvaluationError for
    missing columns, and where nobody says how many people there were.
    """
    scan = scan_table(path, {"chrom": pl.String, "gene": pl.String, "tissue": pl.String})
    require_columns(scan, list(options.columns.values()), path)
    clashing = [here for here in options.columns if here in scan.collect_schema().names()]
    scan = scan.drop(clashing).rename({there: here for here, there in options.columns.items()})
    has = scan.collect_schema().names()
    needed = ["gene", *([] if "z" in has else ["beta", "se"])]
    needed += [] if options.tissue else ["tissue"]
    needed += [] if options.people else ["n"]
    require_columns(scan, needed, path)
    used = {"tissue", "gene", "effect_allele", *_NUMBERS, *KEY, options.variant}
    frame = read_table(scan.select(name for name in has if name in used), path)
    frame = with_keys(frame, path, options.variant)
    frame = frame.with_columns(
        pl.col(name).cast(pl.Float64, strict=False) for name in _NUMBERS if name in frame.columns
    )
    return _reasoned(_completed(frame, options))


def _completed(frame: pl.DataFrame, options: SumstatsOptions) -> pl.DataFrame:
    """Give every column that is needed, from what the table has."""
    sign = pl.lit(1.0)
    if "effect_allele" in frame.columns:
        allele = pl.col("effect_allele").str.to_uppercase()
        sign = pl.when(allele == pl.col("alt")).then(1.0).when(allele == pl.col("ref")).then(-1.0)
    z = pl.col("z") if "z" in frame.columns else pl.col("beta") / pl.col("se")
    n = pl.col("n") if options.people is None else pl.lit(float(options.people))
    distance = pl.col("tss_distance") if "tss_distance" in frame.columns else pl.lit(None)
    told = {"tissue": pl.lit(options.tissue)} if options.tissue else {}
    return frame.with_columns(
        sign.alias("__sign"),
        z.alias("z"),
        n.alias("n"),
        distance.cast(pl.Int64).alias("tss_distance"),
        **told,
    ).with_columns(pl.col("gene").cast(pl.String), pl.col("tissue").cast(pl.String))


def _reasoned(frame: pl.DataFrame) -> pl.DataFrame:
    finite = pl.col("z").is_finite() & pl.col("n").is_finite() & (pl.col("n") >= 3)
    frame = frame.with_columns(
        pl.when(pl.col("__sign").is_null())
        .then(pl.lit(NEITHER))
        .when(~finite.fill_null(value=False))
        .then(pl.lit(NO_Z))
        .otherwise(pl.lit(""))
        .alias(_REASON),
        (pl.col("z") * pl.col("__sign")).alias("z"),
    )
    key = ("tissue", "gene", *KEY)
    again = (pl.col(_REASON) == "") & (pl.int_range(pl.len()).over(*key, _REASON) > 0)
    frame = frame.with_columns(pl.when(again).then(pl.lit(AGAIN)).otherwise(_REASON).alias(_REASON))
    return frame.select("tissue", "gene", *KEY, "z", "n", "tss_distance", _REASON)


@dataclass(slots=True)
class RowCounts:
    """How many rows there were, and what became of them.

    Of `asked` rows the variant was looked for among the genotypes, and `unknown` were not there.
    """

    read: int = 0
    used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    unknown: int = 0
    first_unknown: str = ""

    def note_unknown(self, rows: pl.DataFrame, matched: Sequence["_Matched"]) -> None:
        """Count the rows whose variant the genotypes lack, and keep the first."""
        lacking = [at for at, m in enumerate(matched) if m.reason in (ABSENT, OTHER_ALLELES)]
        self.unknown += len(lacking)
        if lacking and not self.first_unknown:
            chrom, pos, ref, alt = rows.select(KEY).row(lacking[0])
            self.first_unknown = f"{chrom}:{pos} {ref}>{alt}"

    def require_known(self, least: float) -> None:
        """Raise AssemblyMismatch where the genotypes have fewer than a share of the variants."""
        known = self.asked - self.unknown
        if self.asked and known < least * self.asked:
            raise AssemblyMismatch(
                f"the genotypes have {known:,} of {self.asked:,} variants; the first without is "
                f"{self.first_unknown}. They look like those of different assemblies, or of other "
                f"regions: check that, or lower --min-matched (now {least:g})."
            )


def gene_variants(
    frame: pl.DataFrame, genotypes: GenotypeFile, counts: RowCounts
) -> Iterator[GeneVariants]:
    """Give the variants of every gene and tissue of `read_sumstats`, with their genotypes.

    What is left out is counted in `counts`; what is given is not. Raises EvaluationError for a gene
    on several chromosomes.
    """
    for (tissue, gene), rows in frame.group_by("tissue", "gene", maintain_order=True):
        counts.read += rows.height
        good = rows.filter(pl.col(_REASON) == "")
        counts.left_out.update(rows.filter(pl.col(_REASON) != "")[_REASON].to_list())
        counts.asked += good.height
        there = _around(good, genotypes)
        matched = _match(good, there)
        counts.left_out.update(found.reason for found in matched if found.reason)
        counts.note_unknown(good, matched)
        yield _joined((str(tissue), str(gene)), rows.height, good, (there, matched))


def _around(rows: pl.DataFrame, genotypes: GenotypeFile) -> Genotypes:
    """Read the genotypes from the first to the last variant of a gene."""
    if not rows.height:
        return Genotypes(genotypes.samples, ())
    chroms = sorted(rows["chrom"].unique().to_list())
    if len({alias_key(chrom) for chrom in chroms}) > 1:
        raise EvaluationError(
            f"the gene {rows['gene'][0]} has variants on {', '.join(chroms)}: fine-mapping is of "
            f"variants near a gene. Leave the others out."
        )
    start_V = starts_at(rows["pos"].to_numpy())
    return genotypes.read(Locus(chroms[0], int(start_V.min()), int(start_V.max()) + 1))


class _Matched(NamedTuple):
    """Where a row's variant lies among the genotypes, -1 for nowhere, and why not."""

    at: int
    turned: bool
    reason: str


def _match(rows: pl.DataFrame, there: Genotypes) -> list[_Matched]:
    """Find each row's variant, or the one with its alleles exchanged."""
    at = {(row.pos, row.ref, row.alt): number for number, row in enumerate(there.rows)}
    reasons = {(entry.pos, entry.ref, entry.alt): entry.reason for entry in there.left_out}
    positions = {pos for pos, _, _ in (*at, *reasons)}
    taken: set[int] = set()
    found = []
    for pos, ref, alt in rows.select("pos", "ref", "alt").iter_rows():
        match = _found((pos, ref, alt), at, reasons, positions)
        if match.at in taken:
            match = _Matched(-1, turned=False, reason=AGAIN)
        if match.at >= 0:
            taken.add(match.at)
        found.append(match)
    return found


def _found(
    key: tuple[int, str, str],
    at: Mapping[tuple[int, str, str], int],
    reasons: Mapping[tuple[int, str, str], str],
    positions: Container[int],
) -> _Matched:
    pos, ref, alt = key
    for turned, asked in ((False, key), (True, (pos, alt, ref))):
        if asked in at:
            return _Matched(at[asked], turned, "")
        if asked in reasons:
            return _Matched(-1, turned, f"{GENOTYPES}{reasons[asked]}")
    return _Matched(-1, turned=False, reason=OTHER_ALLELES if pos in positions else ABSENT)


def _joined(
    of: tuple[str, str],
    asked: int,
    rows: pl.DataFrame,
    found: tuple[Genotypes, Sequence[_Matched]],
) -> GeneVariants:
    there, matched = found
    rows = rows.filter(pl.Series([match.at >= 0 for match in matched], dtype=pl.Boolean))
    used = [match for match in matched if match.at >= 0]
    counts_VI = there.counts_VI[[match.at for match in used]]
    turned_V = np.array([match.turned for match in used], dtype=np.bool_)
    genotypes_IV, deviation_V = standardised(counts_VI)
    share_V = frequencies(counts_VI)
    z_V = rows["z"].to_numpy().astype(np.float64)
    people = int(middle) if isinstance(middle := rows["n"].median(), float) else 0
    z_of_counted_V = np.where(turned_V, -z_V, z_V)
    return GeneVariants(
        *of,
        rows.select(*KEY, "tss_distance", maf=pl.Series(np.minimum(share_V, 1 - share_V))),
        z_V,
        correlations(z_of_counted_V, people),
        turned_V,
        genotypes_IV,
        deviation_V,
        people,
        asked - len(used),
        int((counts_VI < 0).sum()),
    )


def correlations(z_V: Doubles, people: int) -> Doubles:
    """Turn z-scores of simple regressions, t as it were, into correlations with the trait."""
    correlation_V: Doubles = z_V / np.sqrt(z_V**2 + people - 2)
    return correlation_V
