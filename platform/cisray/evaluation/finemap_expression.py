"""Expression of genes in people whose genotypes are known, as evidence for fine-mapping.

Knows expression in BED (as FastQTL and GTEx have it), tables of covariates, and which people are in
all of them; knows no fine-mapping. Starts are 0-based, as in BED.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.finemap import GeneVariants
from cisray.evaluation.finemap_rows import GENOTYPES, RowCounts
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.tables import read_table, scan_table
from cisray.genome.genotypes import GenotypeFile, Genotypes, frequencies, standardised
from cisray.genome.variant import starts_at
from cisray.locus import Locus

FEWEST_PEOPLE = 20
NOT_FINITE = "expression not finite"
CONSTANT = "expression constant"
EXPLAINED = "explained by covariates"
_PLACES = ("chrom", "start", "end", "gene")
_SHOWN = 5
_FLAT = 1e-10
# A variant of which covariates leave a smaller part of the deviation is theirs.
_EXPLAINED = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Expression of G genes in I people; `covariates_IC` is what is taken out, none of 0 columns.

    `genes` has chrom, start (0-based, the start of transcription), end and gene. `lacking` are
    columns of people without genotypes.
    """

    tissue: str
    genes: pl.DataFrame
    values_GI: Doubles
    samples: tuple[str, ...]
    covariates_IC: Doubles
    lacking: tuple[str, ...]

    def of_genes(self, wanted: Collection[str]) -> "Expression":
        """Leave the genes of `wanted`. Raises EvaluationError where there is none."""
        kept_G = self.genes["gene"].is_in(list(wanted))
        if not kept_G.any():
            raise EvaluationError(
                f"no gene of the expression is {', '.join(list(wanted)[:_SHOWN])}; it has genes "
                f"such as {', '.join(self.genes['gene'].head(_SHOWN).to_list())}."
            )
        return replace(
            self, genes=self.genes.filter(kept_G), values_GI=self.values_GI[kept_G.to_numpy()]
        )

    def without_covariates(self, values_IV: Doubles) -> Doubles:
        """Take means and covariates out of columns."""
        left_IV: Doubles = values_IV - values_IV.mean(axis=0)
        if not self.covariates_IC.shape[1]:
            return left_IV
        centred_IC = self.covariates_IC - self.covariates_IC.mean(axis=0)
        basis_IC, singular_K, _ = np.linalg.svd(centred_IC, full_matrices=False)
        basis_IC = basis_IC[:, singular_K > _FLAT * max(float(singular_K[0]), 1.0)]
        return left_IV - basis_IC @ (basis_IC.T @ left_IV)


def read_expression(
    path: Path, covariates: Path | None, known: Sequence[str], tissue: str
) -> Expression:
    """Read genes and the people of `known`; the tissue is named by the file where nothing is given.

    The first four columns are chrom, start, end and gene, the others people. Covariates have a name
    in the first column and people in the others. Raises EvaluationError for other tables, for
    fewer than 20 people with genotypes, and for people without covariates.
    """
    table = read_table(scan_table(path), path)
    if table.width < 5 or not table.columns[0].lstrip("#").lower().startswith("chr"):
        raise EvaluationError(
            f"{path} is no BED of expression: it needs a header with #chr, start, end, the gene's "
            f"name and people; it has {', '.join(table.columns[:_SHOWN])}."
        )
    people, genotyped = table.columns[4:], set(known)
    kept = [name for name in people if name in genotyped]
    lacking = tuple(name for name in people if name not in genotyped)
    if len(kept) < FEWEST_PEOPLE:
        raise EvaluationError(
            f"{len(kept):,} of {len(people):,} people of {path} have genotypes, and fine-mapping "
            f"needs {FEWEST_PEOPLE}: people are called {', '.join(people[:_SHOWN])} there, "
            f"{', '.join(list(known)[:_SHOWN])} in the genotypes."
        )
    genes = table.select(
        pl.col(old).cast(pl.Int64 if new in ("start", "end") else pl.String).alias(new)
        for old, new in zip(table.columns[:4], _PLACES, strict=True)
    )
    return Expression(
        tissue or path.name.split(".")[0],
        genes,
        _numbers(table.select(kept), path),
        tuple(kept),
        _covariates(covariates, kept),
        lacking,
    )


def _numbers(frame: pl.DataFrame, path: Path) -> Doubles:
    try:
        values = frame.select(pl.all().cast(pl.Float64)).to_numpy()
    except pl.exceptions.PolarsError as error:
        told = " ".join(str(error).split())[:200]
        raise EvaluationError(f"{path} has people with values that are no numbers: {told}.") from (
            error
        )
    return np.asarray(values, dtype=np.float64)


def _covariates(path: Path | None, people: Sequence[str]) -> Doubles:
    if path is None:
        return np.empty((len(people), 0))
    table = read_table(scan_table(path), path)
    lacking = [name for name in people if name not in table.columns[1:]]
    if lacking:
        raise EvaluationError(
            f"{path} has no covariates of {', '.join(lacking[:_SHOWN])} ({len(lacking):,} of "
            f"{len(people):,} people): give them, or leave these people out of the expression."
        )
    values_IC = _numbers(table.select(people), path).T
    if not np.isfinite(values_IC).all():
        raise EvaluationError(f"{path} has covariates that are missing or not finite: fill them.")
    if values_IC.shape[1] >= len(people) - 3:
        raise EvaluationError(
            f"{path} has {values_IC.shape[1]:,} covariates for {len(people):,} people: too many to "
            f"leave anything."
        )
    return values_IC


def expressed_variants(
    expression: Expression, genotypes: GenotypeFile, window_bp: int, counts: RowCounts
) -> Iterator[tuple[GeneVariants, str]]:
    """Give each gene's variants within so many bases of its start, and why it cannot be tried.

    Genotypes and expression have covariates taken out; every covariate takes one off the number of
    people. A row is a gene with an entry of the genotypes. What does not count of the genotypes is
    counted as left out; what is given is not counted.
    """
    for at, place in enumerate(expression.genes.iter_rows(named=True)):
        start = place["start"]
        region = Locus(place["chrom"], max(start - window_bp, 0), start + window_bp + 1)
        there = genotypes.read(region)
        counts.read += there.read
        counts.left_out.update(f"{GENOTYPES}{entry.reason}" for entry in there.left_out)
        trait_I = expression.values_GI[at]
        problem, left_I = _left_of(expression, trait_I)
        variants, explained = _of_gene(expression, place, left_I, there)
        counts.left_out.update([EXPLAINED] * explained)
        yield variants, problem


def _left_of(expression: Expression, trait_I: Doubles) -> tuple[str, Doubles]:
    """Take covariates out of a trait; where nothing is left, give the reason and ones."""
    nothing_I = np.ones_like(trait_I)
    if not np.isfinite(trait_I).all():
        return NOT_FINITE, nothing_I
    left_I = expression.without_covariates(trait_I[:, None])[:, 0]
    if float(np.abs(left_I).max()) <= _FLAT * max(float(np.abs(trait_I).max()), 1.0):
        return CONSTANT, nothing_I
    return "", left_I


def _of_gene(
    expression: Expression, place: dict[str, Any], left_I: Doubles, there: Genotypes
) -> tuple[GeneVariants, int]:
    """Put one gene's evidence together, and count the variants that covariates explain."""
    genotypes_IV, deviation_V = standardised(there.counts_VI)
    left_IV = expression.without_covariates(genotypes_IV)
    length_V = np.sqrt((left_IV**2).sum(axis=0))
    kept_V = length_V > _EXPLAINED
    rows = [row for row, kept in zip(there.rows, kept_V.tolist(), strict=True) if kept]
    genotypes_IV = left_IV[:, kept_V] / length_V[kept_V]
    share_V = frequencies(there.counts_VI)[kept_V]
    people = len(left_I) - expression.covariates_IC.shape[1]
    correlation_V = genotypes_IV.T @ (left_I / np.linalg.norm(left_I))
    pos_V = np.array([row.pos for row in rows], dtype=np.int64)
    frame = pl.DataFrame(
        {
            "chrom": [row.chrom for row in rows],
            "pos": pos_V,
            "ref": [row.ref for row in rows],
            "alt": [row.alt for row in rows],
            "tss_distance": starts_at(pos_V) - place["start"],
            "maf": np.minimum(share_V, 1 - share_V),
        },
        schema_overrides={"chrom": pl.String, "ref": pl.String, "alt": pl.String},
    )
    variants = GeneVariants(
        expression.tissue,
        place["gene"],
        frame,
        _t_of(correlation_V, people, place["gene"]),
        correlation_V,
        np.zeros(len(rows), dtype=np.bool_),
        genotypes_IV,
        (deviation_V * length_V)[kept_V],
        people,
        there.read - len(rows),
        int((there.counts_VI[kept_V] < 0).sum()),
        float(np.linalg.norm(left_I)) / math.sqrt(len(left_I) - 1),
    )
    return variants, len(there.rows) - len(rows)


def _t_of(correlation_V: Doubles, people: int, gene: str) -> Doubles:
    """Give the t statistic of each variant's regression alone."""
    rest_V = 1 - correlation_V**2
    if (rest_V <= _FLAT).any():
        raise EvaluationError(
            f"the expression of {gene} is the same as a genotype, to the last digit: that is no "
            f"measurement. Is a column of genotypes among the genes?"
        )
    t_V: Doubles = correlation_V * np.sqrt((people - 2) / rest_V)
    return t_V
