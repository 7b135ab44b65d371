"""The job `cisray evaluate finemap`: labels of eQTLs out of summary statistics or expression.

Knows how the parts are put together; what probabilities are, `cisray.evaluation.finemap` knows.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, JsonValue

from cisray.errors import AssemblyMismatch, ConfigError, EvaluationError, ResultsError
from cisray.evaluation import finemap
from cisray.evaluation.finemap import FinemappedGene, FinemapSettings, GeneVariants
from cisray.evaluation.finemap_expression import expressed_variants, read_expression
from cisray.evaluation.finemap_figure import draw_finemap
from cisray.evaluation.finemap_rows import (
    RowCounts,
    SumstatsOptions,
    gene_variants,
    read_sumstats,
)
from cisray.evaluation.susie import SusieSettings
from cisray.genome.genotypes import GenotypeFile, GenotypeLimits
from cisray.store.place import run_root
from cisray_jobs.config import JobConfig
from cisray_jobs.evaluation_output import (
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_jobs.evaluation_sources import pairs_of

LABELS = "labels.parquet"
_NOT_ASKED_FOR = "of genes that were not asked for"
_RECALLED = {
    "effects": "GTEx's tables were made with ten single effects, as susieR does by default",
}


@dataclass(frozen=True, slots=True)
class FinemappedEqtls:
    """Where the labels lie, what became of rows and genes, and the numbers by tissue."""

    path: str
    new: bool
    rows: dict[str, JsonValue]
    numbers: dict[str, float | None]


class FinemapEqtls(JobConfig):
    """Which eQTLs are fine-mapped, over which genotypes, and how."""

    out: Path
    genotypes: Path
    sumstats: Path | None = None
    expression: Path | None = None
    covariates: Path | None = None
    tissue: str = ""
    column: tuple[str, ...] = ()
    variant: str = "variant"
    people: Annotated[int, Field(ge=3)] | None = None
    only: tuple[str, ...] = ()
    window_bp: Annotated[int, Field(ge=1)] = 1_000_000
    min_maf: Annotated[float, Field(ge=0, le=0.5)] = GenotypeLimits().min_maf
    max_missing: Annotated[float, Field(ge=0, lt=1)] = GenotypeLimits().max_missing
    min_matched: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_variants: Annotated[int, Field(ge=2)] = finemap.FEWEST_VARIANTS
    effects: Annotated[int, Field(ge=1)] = SusieSettings().effects
    coverage: Annotated[float, Field(gt=0, lt=1)] = finemap.COVERAGE
    purity: Annotated[float, Field(ge=0, le=1)] = finemap.PURITY
    iterations: Annotated[int, Field(ge=2)] = SusieSettings().iterations
    in_sample: bool = False
    ridge: Annotated[float, Field(ge=0, le=1)] | None = None

    def evaluate(self) -> FinemappedEqtls:
        """Fine-map gene by gene and write the tables, or find them there.

        Raises ConfigError unless there is either summary statistics or expression, RunConflict for
        another evaluation in `out`, and what reading and matching raise.
        """
        if (self.sumstats is None) == (self.expression is None):
            raise ConfigError("give either --sumstats or --expression: one of them has the trait.")
        if self.covariates is not None and self.expression is None:
            raise ConfigError("--covariates are taken out of --expression, which is not given.")
        out = run_root(self.out)
        record = self._record()
        if is_finished(out, record):
            return _told(out, new=False)
        counts, lacking, genes = RowCounts(), 0, list[FinemappedGene]()
        if self.expression is not None:
            genes, lacking = self._of_expression(self.expression, counts)
        if self.sumstats is not None:
            genes = list(self._of_sumstats(self.sumstats, counts))
            counts.require_known(self.min_matched)
        self._write(out, record, genes, counts, lacking)
        return _told(out, new=True)

    @property
    def _limits(self) -> GenotypeLimits:
        return GenotypeLimits(self.min_maf, self.max_missing)

    def _settings(self) -> FinemapSettings:
        in_sample = self.in_sample or self.expression is not None
        return FinemapSettings(
            susie=SusieSettings(
                effects=self.effects, iterations=self.iterations, estimate_residual=in_sample
            ),
            coverage=self.coverage,
            purity=self.purity,
            in_sample=in_sample,
            ridge=self.ridge,
            fewest=self.min_variants,
        )

    def _of_sumstats(self, path: Path, counts: RowCounts) -> Iterator[FinemappedGene]:
        options = SumstatsOptions(
            columns=pairs_of(self.column, "column"),
            tissue=self.tissue,
            variant=self.variant,
            people=self.people,
        )
        frame = read_sumstats(path, options)
        if self.only:
            asked = frame.filter(pl.col("gene").is_in(list(self.only)))
            if others := frame.height - asked.height:
                counts.read += others
                counts.left_out[_NOT_ASKED_FOR] += others
            frame = asked
        if not frame.height:
            raise EvaluationError(f"{path} has no row{', or none of --only' * bool(self.only)}.")
        file = GenotypeFile.open(self.genotypes, self._limits)
        for variants in gene_variants(frame, file, counts):
            yield self._finemapped(variants, "", counts)

    def _of_expression(self, path: Path, counts: RowCounts) -> tuple[list[FinemappedGene], int]:
        everyone = GenotypeFile.open(self.genotypes, self._limits)
        found = read_expression(path, self.covariates, everyone.samples, self.tissue)
        if self.only:
            found = found.of_genes(self.only)
        file = GenotypeFile.open(self.genotypes, self._limits, found.samples)
        given = expressed_variants(found, file, self.window_bp, counts)
        genes = [self._finemapped(variants, problem, counts) for variants, problem in given]
        if not counts.read:
            raise AssemblyMismatch(
                f"{self.genotypes} has no variant within {self.window_bp:,} bp of any gene of "
                f"{path}: are they of one assembly, and is the region there?"
            )
        return genes, len(found.lacking)

    def _finemapped(
        self, variants: GeneVariants, problem: str, counts: RowCounts
    ) -> FinemappedGene:
        gene = (
            finemap.untried(variants, problem)
            if problem
            else finemap.finemap_gene(variants, self._settings())
        )
        if gene.labels.height:
            counts.used += gene.labels.height
        else:
            counts.left_out[f"gene: {gene.gene['reason']}"] += len(variants.z_V)
        return gene

    def _write(
        self,
        out: Path,
        record: EvaluationRecord,
        genes: list[FinemappedGene],
        counts: RowCounts,
        lacking: int,
    ) -> None:
        lost = counts.read - counts.used - counts.left_out.total()
        if lost:
            raise ResultsError(
                f"{counts.read:,} rows were read, {counts.used:,} used and "
                f"{counts.left_out.total():,} left out: {lost:,} are not accounted for. Please "
                f"report this with the command."
            )
        labels = pl.concat([gene.labels for gene in genes])
        sets = pl.concat([gene.sets for gene in genes])
        summary = pl.DataFrame([gene.gene for gene in genes], schema=finemap.GENES)
        with ExitStack() as stack:
            folder = stack.enter_context(evaluation_folder(out, record))
            folder.write_metrics(finemap.finemap_metrics(labels, sets))
            folder.write_table(LABELS, labels.to_arrow())
            folder.write_table("credible_sets.parquet", sets.to_arrow())
            folder.write_table("genes.parquet", summary.to_arrow())
            draw_finemap(labels, sets, folder.path / "finemap.png")
            folder.finish(_rows(counts, summary, lacking))

    def _record(self) -> EvaluationRecord:
        places = ("genotypes", "sumstats", "expression", "covariates")
        files = {name: path for name in places if (path := getattr(self, name)) is not None}
        return EvaluationRecord(
            evaluation=finemap.EVALUATION,
            settings=self.model_dump(mode="json", exclude={"out", *places}),
            inputs=input_facts(files, {}),
            recalled=_RECALLED,
        )


def _rows(counts: RowCounts, summary: pl.DataFrame, lacking: int) -> dict[str, JsonValue]:
    reasons = summary.filter(pl.col("reason") != "")["reason"].value_counts(sort=True)
    untried = summary.filter(pl.col("converged").is_null()).height
    return {
        "read": counts.read,
        "used": counts.used,
        "left out": dict(counts.left_out.most_common()),
        "genes": summary.height,
        "genes fine-mapped": summary.height - untried,
        "genes with a reason": dict(reasons.iter_rows()),
        "variants with exchanged alleles": int(summary["turned"].sum()),
        "genotypes unknown, of people": int(summary["unknown_genotypes"].sum()),
        "outliers of linkage": int(summary["outliers"].sum()),
        "people without genotypes": lacking,
    }


def _told(out: Path, *, new: bool) -> FinemappedEqtls:
    rows = read_record(out)["rows"]
    numbers = {
        f"{row['task']}, {row['metric']}": row["value"] for row in read_metrics(out).to_pylist()
    }
    return FinemappedEqtls(str(out), new, rows if isinstance(rows, dict) else {}, numbers)
