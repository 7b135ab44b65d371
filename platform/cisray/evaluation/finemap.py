"""Fine-mapping one gene in one tissue: from evidence to probabilities, sets and a summary.

Knows what is known of a gene's variants, SuSiE, and the tables that are left; knows no files of
genotypes and no tables of input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cisray.evaluation.credible_sets import CredibleSet, credible_sets
from cisray.evaluation.linkage_check import LinkageCheck, Spectrum, check_linkage
from cisray.evaluation.metrics import Doubles, Estimate, Metric
from cisray.evaluation.susie import Evidence, SusieFit, SusieSettings, fit_susie

EVALUATION = "finemap"
SCORES = "SuSiE"
COVERAGE, PURITY = 0.95, 0.5
FEWEST_VARIANTS = 10
CONFIDENT = 0.9
NO_RESIDUAL = "no residual variance is left: linkage is not that of the study"
LABELS = {
    "tissue": pl.String,
    "gene": pl.String,
    "chrom": pl.String,
    "pos": pl.Int64,
    "ref": pl.String,
    "alt": pl.String,
    "pip": pl.Float64,
    "z": pl.Float64,
    "effect": pl.Float64,
    "effect_sd": pl.Float64,
    "credible_set": pl.Int64,
    "tss_distance": pl.Int64,
    "maf": pl.Float64,
    "turned": pl.Boolean,
    "expected_z": pl.Float64,
    "outlier": pl.Boolean,
}
SETS = {
    "tissue": pl.String,
    "gene": pl.String,
    "credible_set": pl.Int64,
    "variants": pl.Int64,
    "coverage": pl.Float64,
    "purity": pl.Float64,
    "log_bayes_factor": pl.Float64,
    "chrom": pl.String,
    "pos": pl.Int64,
    "ref": pl.String,
    "alt": pl.String,
    "pip": pl.Float64,
}
GENES = {
    "tissue": pl.String,
    "gene": pl.String,
    "reason": pl.String,
    "variants": pl.Int64,
    "left_out": pl.Int64,
    "turned": pl.Int64,
    "unknown_genotypes": pl.Int64,
    "people": pl.Int64,
    "panel": pl.Int64,
    "credible_sets": pl.Int64,
    "outliers": pl.Int64,
    "mismatch": pl.Float64,
    "ridge": pl.Float64,
    "residual_variance": pl.Float64,
    "iterations": pl.Int64,
    "converged": pl.Boolean,
    "elbo": pl.Float64,
}


@dataclass(frozen=True, slots=True, eq=False)
class GeneVariants:
    """The V variants of a gene in a tissue, and what is known of the trait at them.

    `frame` has chrom, pos (1-based), ref, alt, tss_distance and maf, alleles as the user's table
    has them; `turned_V` tells where the genotypes count the other one. `z_V` is of the user's alt,
    `correlation_V` of the allele that `genotypes_IV` counts. `deviation_V` is of genotypes, in
    alleles; `trait_deviation` is of the trait, 1 where it is not known. `unknown` genotypes took
    their variant's mean.
    """

    tissue: str
    gene: str
    frame: pl.DataFrame
    z_V: Doubles
    correlation_V: Doubles
    turned_V: np.ndarray[tuple[int], np.dtype[np.bool_]]
    genotypes_IV: Doubles
    deviation_V: Doubles
    people: int
    left_out: int
    unknown: int
    trait_deviation: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinemapSettings:
    """How genes are fine-mapped.

    `ridge` is the share of linkage that is replaced by none; None takes the likeliest, as
    `linkage_check.mismatch` finds it. `in_sample` says that linkage is of the people whose trait
    was measured: then the ridge is 0 where none is given, and the residual variance is estimated.
    """

    susie: SusieSettings
    coverage: float = COVERAGE
    purity: float = PURITY
    in_sample: bool = False
    ridge: float | None = None
    fewest: int = FEWEST_VARIANTS


@dataclass(frozen=True, slots=True, eq=False)
class FinemappedGene:
    """The rows of the three tables: one for each variant, each credible set, and the gene."""

    labels: pl.DataFrame
    sets: pl.DataFrame
    gene: dict[str, Any]


def finemap_gene(variants: GeneVariants, settings: FinemapSettings) -> FinemappedGene:
    """Fine-map a gene. One with fewer variants than `fewest` gets a summary with the reason."""
    if len(variants.z_V) < settings.fewest:
        return untried(variants, f"fewer than {settings.fewest} variants")
    sign_V = np.where(variants.turned_V, -1.0, 1.0)
    spectrum = Spectrum.of(variants.genotypes_IV)
    checked = check_linkage(variants.z_V * sign_V, variants.people, spectrum)
    ridge = settings.ridge
    if ridge is None:
        ridge = 0.0 if settings.in_sample else checked.share
    evidence = Evidence(variants.correlation_V, variants.people, variants.genotypes_IV, ridge)
    fit = fit_susie(evidence, settings.susie)
    found = {"outliers": int(checked.outlier_V.sum()), "mismatch": checked.share, "ridge": ridge}
    if fit.residual <= 0:
        gene = untried(variants, NO_RESIDUAL)
        return replace(gene, gene=gene.gene | found)
    sets = list(
        credible_sets(
            fit, variants.genotypes_IV, coverage=settings.coverage, min_purity=settings.purity
        )
    )
    labels = _labels(variants, fit, checked, sets)
    summary = {
        "reason": "" if fit.converged else f"no end after {len(fit.elbo)} iterations",
        "credible_sets": len(sets),
        "residual_variance": fit.residual,
        "iterations": len(fit.elbo),
        "converged": fit.converged,
        "elbo": fit.elbo[-1],
    }
    return FinemappedGene(
        labels, _sets(variants, labels, sets), _counted(variants) | found | summary
    )


def untried(variants: GeneVariants, reason: str) -> FinemappedGene:
    """Give a gene that is not fine-mapped, with the reason."""
    summary = dict.fromkeys(GENES) | _counted(variants) | {"reason": reason}
    return FinemappedGene(pl.DataFrame(schema=LABELS), pl.DataFrame(schema=SETS), summary)


def _counted(variants: GeneVariants) -> dict[str, Any]:
    return {
        "tissue": variants.tissue,
        "gene": variants.gene,
        "variants": len(variants.z_V),
        "left_out": variants.left_out,
        "turned": int(variants.turned_V.sum()),
        "unknown_genotypes": variants.unknown,
        "people": variants.people,
        "panel": variants.genotypes_IV.shape[0],
    }


def _labels(
    variants: GeneVariants, fit: SusieFit, checked: LinkageCheck, sets: Sequence[CredibleSet]
) -> pl.DataFrame:
    """Lay out every variant; effects are of the user's alt, per allele, in the trait's units."""
    sign_V = np.where(variants.turned_V, -1.0, 1.0)
    per_allele_V = variants.trait_deviation / variants.deviation_V
    members: list[int | None] = [None] * len(sign_V)
    for number, found in reversed(list(enumerate(sets, start=1))):
        for at in found.variants.tolist():
            members[at] = number
    frame = variants.frame.with_columns(
        tissue=pl.lit(variants.tissue),
        gene=pl.lit(variants.gene),
        pip=pl.Series(fit.inclusion_V),
        z=pl.Series(variants.z_V),
        effect=pl.Series(fit.effect_V * per_allele_V * sign_V),
        effect_sd=pl.Series(fit.deviation_V * per_allele_V),
        credible_set=pl.Series(members, dtype=pl.Int64),
        turned=pl.Series(variants.turned_V),
        expected_z=pl.Series(checked.expected_V * sign_V),
        outlier=pl.Series(checked.outlier_V),
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in LABELS.items())


def _sets(
    variants: GeneVariants, labels: pl.DataFrame, sets: Sequence[CredibleSet]
) -> pl.DataFrame:
    rows = []
    for number, found in enumerate(sets, start=1):
        likeliest = labels.row(int(found.variants[0]), named=True)
        rows.append(
            {
                "tissue": variants.tissue,
                "gene": variants.gene,
                "credible_set": number,
                "variants": len(found.variants),
                "coverage": found.coverage,
                "purity": found.purity,
                "log_bayes_factor": found.log_bayes_factor,
                **{name: likeliest[name] for name in ("chrom", "pos", "ref", "alt", "pip")},
            }
        )
    return pl.DataFrame(rows, schema=SETS)


def finemap_metrics(labels: pl.DataFrame, sets: pl.DataFrame) -> Iterator[Metric]:
    """Count, in each tissue, sets, their sizes, and variants that are likely to have an effect."""
    for tissue in labels["tissue"].unique(maintain_order=True).to_list():
        rows, found = labels.filter(tissue=tissue), sets.filter(tissue=tissue)
        likely = int((rows["pip"] > CONFIDENT).sum())
        numbers: dict[str, float | None] = {
            "genes": float(rows["gene"].n_unique()),
            "genes with a credible set": float(found["gene"].n_unique()),
            "credible sets": float(found.height),
            "median variants of a set": _median(found["variants"]),
            f"variants of pip > {CONFIDENT:g}": float(likely),
        }
        for name, value in numbers.items():
            reason = "" if value is not None else "no credible set"
            estimate = Estimate(value, rows.height, reason=reason)
            yield Metric(
                evaluation=EVALUATION, task=tissue, scores=SCORES, metric=name, estimate=estimate
            )


def _median(values: pl.Series) -> float | None:
    middle = values.cast(pl.Float64).median()
    return middle if isinstance(middle, float) else None
