"""The job `cisray evaluate expression`: genome runs held against measured tracks.

Knows which files belong together and in which order they are asked; what counts and what numbers
are is the business of `cisray.evaluation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl
from pydantic import Field, JsonValue, model_validator

from cisray.errors import ConfigError, EvaluationError, ResultsError
from cisray.evaluation.expression import (
    ACROSS_GENES,
    ACROSS_TRACKS,
    ALL_GENES,
    ALL_TRACKS,
    EVALUATION,
    OVER_BINS,
    ExpressionSettings,
    GeneTable,
    JudgedBins,
    JudgedGenes,
    judge_bins,
    judge_genes,
)
from cisray.evaluation.expression_compared import compare_expression
from cisray.evaluation.expression_figure import draw_expression
from cisray.evaluation.expression_starts import (
    USED,
    counts_of,
    leave_out_genes,
    start_frame,
    whole_genes,
    with_status,
)
from cisray.evaluation.expression_sums import (
    bin_moments,
    observed_sums,
    predicted_sums,
    shared,
)
from cisray.evaluation.gene_table import GenePredictions
from cisray.evaluation.metrics import BOOTSTRAPS
from cisray.evaluation.paired import comparisons_table
from cisray.genome.gene_starts import GeneStarts, read_gene_starts
from cisray.genome.reference import Genome
from cisray.store.scan import Run, open_run
from cisray_jobs.config import JobConfig, expanded
from cisray_jobs.evaluation_output import (
    EvaluationFolder,
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_jobs.evaluation_sources import named_places
from cisray_jobs.expression_material import (
    Material,
    MeasuredExamples,
    MeasuredFiles,
    Question,
    open_material,
    paired_targets,
)
from cisray_schemas import METRIC_COMPARISONS

PROTEIN_CODING, EVERY_KIND = "protein_coding", "all"
MEASURED = "measured"
_ONE_MEASURE = "give what was measured: either --targets or --dataset."
_RECALLED = {
    "bins": "three bins at a start; those that starts of a gene share count once",
    "strata": "quartiles of the variance over tracks of the standardised, measured values",
}
_NOT_SETTINGS = {
    "starts", "fasta", "out", "run", "targets", "bigwig_dir", "dataset", "regions", "unmappable",
    "blacklist", "external",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExpressionEvaluation:
    """Where the numbers lie, what was used, and the mean R by score and kind."""

    path: str
    rows: JsonValue
    means: dict[str, dict[str, float | None]]
    already_there: bool


class EvaluateExpression(JobConfig):
    """Runs as NAME=RUN, starts of genes, and what is measured: bigWigs or a dataset."""

    starts: Path
    fasta: Path
    out: Path
    run: tuple[str, ...]
    targets: Path | None = None
    bigwig_dir: Path | None = None
    dataset: Path | None = None
    head: str = "human"
    split: str = "test"
    regions: Path | None = None
    tracks: tuple[str, ...] = ("CAGE",)
    gene_type: str | None = None
    unmappable: Path | None = None
    blacklist: Path | None = None
    allow_missing_chromosomes: bool = False
    external: tuple[str, ...] = ()
    genes_only: bool = False
    min_genes: int = Field(30, ge=3)
    bootstraps: int = Field(BOOTSTRAPS, ge=2)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if self.targets is not None and self.dataset is not None:
            raise ConfigError(_ONE_MEASURE)
        self._question()
        if not self.run:
            raise ConfigError("there is nothing to evaluate: give --run.")
        for_targets = ("bigwig_dir", "blacklist", "allow_missing_chromosomes")
        if self.dataset is not None:
            given = [name for name in for_targets if getattr(self, name)]
            if given:
                option = given[0].replace("_", "-")
                raise ConfigError(f"--{option} is for --targets, which is not given.")
        return self

    def evaluate(self) -> ExpressionEvaluation:
        """Evaluate, or read what the same evaluation wrote before.

        Raises RunConflict for an `out` of anything else, and what reading and judging raise.
        """
        runs = {name: open_run(place) for name, place in named_places(self.run).items()}
        externals = {name: expanded(Path(at)) for name, at in named_places(self.external).items()}
        _refuse_same_names(runs, externals)
        with Genome.open(self.fasta) as genome:
            record = self._record(runs, externals)
            if is_finished(self.out, record):
                return _finished(self.out, already_there=True)
            return self._evaluated(runs, externals, genome, record)

    def _evaluated(
        self,
        runs: Mapping[str, Run],
        externals: Mapping[str, Path],
        genome: Genome,
        record: EvaluationRecord,
    ) -> ExpressionEvaluation:
        material = open_material(self._question(), runs, genome)
        pairs = material.pairs
        others = [GenePredictions.read(name, path, pairs) for name, path in externals.items()]
        found = read_gene_starts(self.starts, genome)
        kinds = self._kinds(found)
        starts = with_status(start_frame(found, material.bin_bp), material.rules(genome, kinds))
        for other in others:
            used = starts.filter(status=USED)["gene"].unique(maintain_order=True)
            starts = whole_genes(leave_out_genes(starts, other.reasons(used)))
        table = _gene_table(starts, material, others)
        settings = ExpressionSettings(self.bootstraps, self.seed, self.min_genes)
        judged = judge_genes(table, settings)
        over_bins: dict[str, JudgedBins] = {}
        bins: dict[str, JsonValue] = {}
        if not self.genes_only:
            over_bins, bins = _judge_bins(material, settings)
        metrics = [*judged.metrics, *(m for one in over_bins.values() for m in one.metrics)]
        means = {name: one.mean for name, one in over_bins.items()}
        compared = comparisons_table(compare_expression(judged, means))
        with evaluation_folder(self.out, record) as folder:
            folder.write_metrics(metrics)
            folder.write_table("comparisons.parquet", compared, METRIC_COMPARISONS)
            _write_tables(folder, starts, table, judged, material)
            descriptions = pairs.tracks.table["description"].to_pylist()
            draw_expression(table, judged, descriptions, folder.path / "expression.png")
            folder.finish(_rows(starts, table, material, kinds, bins))
        return _finished(self.out, already_there=False)

    def _question(self) -> Question:
        measured: MeasuredFiles | MeasuredExamples
        if self.targets is not None:
            lacking = self.allow_missing_chromosomes
            measured = MeasuredFiles(self.targets, self.bigwig_dir, self.blacklist, lacking)
        elif self.dataset is not None:
            measured = MeasuredExamples(self.dataset, self.split)
        else:
            raise ConfigError(_ONE_MEASURE)
        return Question(self.head, self.tracks, measured, self.regions, self.unmappable)

    def _kinds(self, found: GeneStarts) -> tuple[str, ...]:
        """Say which types of genes count; empty for all, or where the file tells none."""
        if self.gene_type is None:
            return (PROTEIN_CODING,) if found.has_kinds else ()
        if self.gene_type == EVERY_KIND:
            return ()
        if not found.has_kinds:
            raise EvaluationError(
                f"{self.starts} does not say which type genes have, and --gene-type asks for "
                f"{self.gene_type}: give a GTF with gene_type or gene_biotype."
            )
        return (self.gene_type,)

    def _record(self, runs: Mapping[str, Run], externals: Mapping[str, Path]) -> EvaluationRecord:
        files = {"starts": self.starts, "fasta": self.fasta}
        for name in ("targets", "regions", "unmappable", "blacklist"):
            if path := getattr(self, name):
                files[name] = path
        question, first = self._question(), next(iter(runs.values()))
        if isinstance(question.measured, MeasuredFiles):
            chosen = first.tracks.select(self.tracks)
            _, measured = paired_targets(question, question.measured, chosen)
            files |= {f"bigwig {t.identifier}": t.path for t in measured if t.path.is_file()}
        if self.dataset is not None:
            files["dataset"] = self.dataset / "dataset.json"
        files |= {f"external {name}": path for name, path in externals.items()}
        inputs = input_facts(files, {f"run {name}": run for name, run in runs.items()})
        settings = self.model_dump(mode="json", exclude=_NOT_SETTINGS)
        return EvaluationRecord(
            evaluation=EVALUATION, settings=settings, inputs=inputs, recalled=_RECALLED
        )


def _gene_table(
    starts: pl.DataFrame, material: Material, others: list[GenePredictions]
) -> GeneTable:
    """Sum over the bins of the genes that count, what is predicted and what is measured."""
    used = starts.filter(status=USED)
    genes = used["gene"].unique(maintain_order=True).to_list()
    pairs = material.pairs
    predicted = {
        name: predicted_sums(run, used, genes, pairs.indices) for name, run in material.runs.items()
    }
    predicted |= {other.name: other.sums(genes) for other in others}
    observed_GT = observed_sums(material.observed, used, genes, pairs.rows)
    return GeneTable(tuple(genes), pairs.columns, observed_GT, predicted)


def _judge_bins(
    material: Material, settings: ExpressionSettings
) -> tuple[dict[str, JudgedBins], dict[str, JsonValue]]:
    """Correlate over all bins that are predicted, measured and in the regions; count the others."""
    everywhere = shared(list(material.held.values()))
    asked = material.regions if material.regions is not None else everywhere
    bins = shared([asked, everywhere, material.observed.mask])
    moments = bin_moments(
        material.runs, material.observed, bins, material.pairs.indices, material.pairs.rows
    )
    judged = {
        name: judge_bins(name, held, material.pairs.columns, settings)
        for name, held in moments.items()
    }
    lacking = asked.minus(everywhere)
    left = {"not in every run": len(lacking), "not measured": len(asked) - len(lacking) - len(bins)}
    told: dict[str, JsonValue] = {
        "read": len(asked),
        "used": len(bins),
        "left out": {reason: count for reason, count in left.items() if count},
    }
    return judged, told


def _write_tables(
    folder: EvaluationFolder,
    starts: pl.DataFrame,
    table: GeneTable,
    judged: JudgedGenes,
    material: Material,
) -> None:
    folder.write_table("starts.parquet", starts.to_arrow())
    genes = pl.DataFrame(
        {
            "gene": pl.Series(table.genes, dtype=pl.String),
            "variance": pl.Series(judged.variance_G),
            "stratum": pl.Series(judged.stratum, dtype=pl.String),
        }
    ).with_columns(
        pl.Series(f"{ACROSS_TRACKS} {name}", r_G).fill_nan(None) for name, r_G in judged.r_G.items()
    )
    folder.write_table("genes.parquet", genes.to_arrow())
    parts = [
        pl.DataFrame(sums_GT, schema=list(table.tracks)).select(
            pl.lit(name).alias("values"),
            pl.Series("gene", table.genes, dtype=pl.String),
            *table.tracks,
        )
        for name, sums_GT in {MEASURED: table.observed_GT, **table.predicted}.items()
    ]
    folder.write_table("sums.parquet", pl.concat(parts).to_arrow())
    tracks = material.pairs.table(material.observed.tracks).with_columns(
        pl.Series(f"{ACROSS_GENES} {name}", r_T).fill_nan(None) for name, r_T in judged.r_T.items()
    )
    folder.write_table("tracks.parquet", tracks.to_arrow())


def _rows(
    starts: pl.DataFrame,
    table: GeneTable,
    material: Material,
    kinds: tuple[str, ...],
    bins: dict[str, JsonValue],
) -> dict[str, JsonValue]:
    """Account for starts, genes, tracks and bins. Raises ResultsError for any that is lost."""
    used, left = starts.filter(status=USED).height, counts_of(starts)
    if used + sum(left.values()) != starts.height:
        raise ResultsError(f"{starts.height:,} starts were read, {used:,} used and others lost.")
    genes = starts["gene"].n_unique()
    off_grid = getattr(material.observed, "off_grid", 0)
    return {
        "read": starts.height,
        "used": used,
        "left out": dict(left),
        "genes": {"read": genes, "used": len(table.genes), "left out": genes - len(table.genes)},
        "gene types": list(kinds) or "all",
        "tracks": {
            "chosen": len(table.tracks) + material.pairs.unmeasured,
            "used": len(table.tracks),
            "not measured": material.pairs.unmeasured,
            "paired by": material.pairs.paired_by,
        },
        "bins": bins,
        "examples off the grid": off_grid,
    }


def _refuse_same_names(runs: Mapping[str, Run], externals: Mapping[str, Path]) -> None:
    twice = [name for name in externals if name in runs]
    if twice:
        raise ConfigError(f"two scores are called {twice[0]}: name them apart.")
    if MEASURED in {**runs, **externals}:
        raise ConfigError(f"no score can be called {MEASURED}: so are the measures in the output.")


def _finished(out: Path, *, already_there: bool) -> ExpressionEvaluation:
    means: dict[str, dict[str, float | None]] = {ACROSS_GENES: {}, ACROSS_TRACKS: {}, OVER_BINS: {}}
    for row in read_metrics(out).to_pylist():
        is_mean = row["task"] in (ALL_TRACKS, ALL_GENES) and row["stratum"] == "all"
        if is_mean and not row["control"]:
            means[row["metric"]][row["scores"]] = row["value"]
    return ExpressionEvaluation(str(out), read_record(out)["rows"], means, already_there)
