"""The jobs `cisray evaluate mpra-variants` and `cisray evaluate mpra`: reporter assays and scores.

Knows which files belong together and what is written; what numbers are, `cisray.evaluation.mpra`
knows.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, JsonValue

from cisray.evaluation.metrics import BOOTSTRAPS
from cisray.evaluation.mpra import (
    EVALUATION,
    FEWEST_TRAINING,
    INNER_FOLDS,
    LAMBDAS,
    SMALLEST_PENALTY,
    MpraSettings,
    judge_element,
)
from cisray.evaluation.mpra_elements import CEILINGS, elements_table, read_matching
from cisray.evaluation.mpra_figure import draw_mpra
from cisray.evaluation.mpra_rows import AssayScores, elements_of, score_assay, variants_table
from cisray.evaluation.mpra_summary import over_elements
from cisray.evaluation.mpra_table import AssayFilter, anchor, read_assay, write_vcf
from cisray.evaluation.scores import RunScores, TableScores
from cisray.genome.reference import Genome
from cisray_jobs.config import JobConfig
from cisray_jobs.evaluation_output import (
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_jobs.evaluation_sources import Sources, open_sources

PUBLISHED_BINS = 4
_RECALLED = {
    "train_share": "about a quarter of an element's variants were for training",
    "penalty": "the penalty of least squared error in ten-fold cross-validation",
    "features": f"alternate less reference, summed over {PUBLISHED_BINS} bins around the variant",
    "PC1": "features standardised; sign as that of the mean over tracks",
    "cells": "which tracks belong to an element, and how well replicates agree",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MpraVariants:
    """What was written: distinct alleles of so many rows, and the rows that are left out."""

    path: str
    rows: int
    used: int
    alleles: int
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class MpraEvaluation:
    """Where the numbers lie, and the means over elements, by score and split."""

    path: str
    rows: JsonValue
    means: dict[str, float | None]
    already_there: bool


class AssayTable(JobConfig):
    """A table of effects, the genome that it is on, and which of its rows count."""

    table: Path
    fasta: Path
    out: Path
    release: str = "GRCh38"
    element: tuple[str, ...] = ()
    min_barcodes: int = Field(10, ge=0)

    @property
    def chosen(self) -> AssayFilter:
        """Which rows count."""
        return AssayFilter(
            release=self.release, min_barcodes=self.min_barcodes, elements=self.element
        )


class MakeMpraVariants(AssayTable):
    """Turn a table of effects into a VCF that `cisray score variants` takes."""

    overwrite: bool = False

    def run(self) -> MpraVariants:
        """Write the VCF. Raises what `read_assay`, `anchor` and `write_vcf` raise."""
        assay = read_assay(self.table, self.chosen)
        with Genome.open(self.fasta) as genome:
            assay = anchor(assay, genome)
            alleles = write_vcf(assay, genome, self.out, overwrite=self.overwrite)
        left = assay.filter(pl.col("left_out") != "")["left_out"].value_counts(sort=True)
        used = assay.height - int(left["count"].sum())
        return MpraVariants(str(self.out), assay.height, used, alleles, dict(left.iter_rows()))


class EvaluateMpra(AssayTable):
    """Hold scores of runs and of tables against measured effects.

    `run` and `external` are NAME=PATH.
    """

    run: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    statistic: Literal["SAD", "SADR", "logSAD"] = "SAD"
    tracks: tuple[str, ...] = ()
    matching: Path | None = None
    train_column: str | None = None
    train_share: float = Field(0.25, gt=0, lt=1)
    block_bp: int = Field(20, ge=1)
    bootstraps: int = Field(BOOTSTRAPS, ge=2)
    control: bool = False
    min_scored: float = Field(0.5, ge=0, le=1)
    seed: int = Field(0, ge=0)

    def evaluate(self) -> MpraEvaluation:
        """Evaluate, or read what the same evaluation wrote before.

        Raises ConfigError where there is nothing to evaluate, RunConflict for an `out` of anything
        else, and what reading, joining and judging raise.
        """
        sources = open_sources(
            self.run, self.external, statistic=self.statistic, tracks=self.tracks or None
        )
        models = [scores for scores in sources.scores if isinstance(scores, RunScores)]
        record = self._record(sources, models)
        if is_finished(self.out, record):
            return _finished(self.out, already_there=True)
        _warn_of_bins(models)
        external = [scores for scores in sources.scores if isinstance(scores, TableScores)]
        self._write(record, self._scored(models, external))
        return _finished(self.out, already_there=False)

    def _scored(self, models: Sequence[RunScores], external: Sequence[TableScores]) -> AssayScores:
        assay = read_assay(self.table, self.chosen, self.train_column)
        with Genome.open(self.fasta) as genome:
            assay = anchor(assay, genome)
        return score_assay(
            assay,
            models,
            external,
            least=self.min_scored,
            parted=self.train_column is not None,
        )

    def _write(self, record: EvaluationRecord, scores: AssayScores) -> None:
        settings = MpraSettings(
            train_share=self.train_share,
            block_bp=self.block_bp,
            bootstraps=self.bootstraps,
            seed=self.seed,
            control=self.control,
        )
        matching = None if self.matching is None else read_matching(self.matching)
        judged, used = [], {}
        for element, row_V in elements_of(scores, matching):
            judged.append((judge_element(element, settings), row_V))
            used[element.name] = len(row_V)
        metrics = [metric for one, _ in judged for metric in one.metrics]
        metrics += over_elements(metrics)
        with ExitStack() as stack:
            folder = stack.enter_context(evaluation_folder(self.out, record))
            folder.write_metrics(metrics)
            folder.write_table("variants.parquet", variants_table(scores, judged).to_arrow())
            folder.write_table("elements.parquet", elements_table(used))
            ceilings = {name: CEILINGS.get(name) for name in used}
            title = "Reporter assays: bars are 95 % intervals, grey lines agreement of replicates"
            draw_mpra(metrics, ceilings, title, folder.path / "mpra.png")
            left: dict[str, JsonValue] = dict(scores.counts())
            folder.finish({"read": scores.frame.height, "used": scores.used, "left out": left})

    def _record(self, sources: Sources, models: Sequence[RunScores]) -> EvaluationRecord:
        files = {"table": self.table, "fasta": self.fasta}
        files |= {"matching": self.matching} if self.matching is not None else {}
        options = self.model_dump(
            mode="json", exclude={"table", "fasta", "out", "run", "external", "matching"}
        )
        bins: JsonValue = {m.name: m.run.manifest.config.get("bins") for m in models}
        fixed = {
            "inner_folds": INNER_FOLDS,
            "penalties": LAMBDAS,
            "smallest_penalty": SMALLEST_PENALTY,
            "fewest": FEWEST_TRAINING,
        }
        return EvaluationRecord(
            evaluation=EVALUATION,
            settings={**options, **fixed, "bins": bins},
            inputs=sources.inputs | input_facts(files, {}),
            recalled=_RECALLED,
        )


def _warn_of_bins(models: Sequence[RunScores]) -> None:
    """Say which runs have features of another width than the published ones."""
    for model in models:
        match model.run.manifest.config.get("bins"):
            case [int() as first, int() as end] if end - first != PUBLISHED_BINS:
                log.warning(
                    "the features of run %s are of %d bins, those of the paper of %d around the "
                    "variant: for its protocol score the variants with --bins %d",
                    model.name,
                    end - first,
                    PUBLISHED_BINS,
                    PUBLISHED_BINS,
                )


def _finished(out: Path, *, already_there: bool) -> MpraEvaluation:
    means = read_metrics(out).to_pylist()
    return MpraEvaluation(
        path=str(out),
        rows=read_record(out)["rows"],
        means={
            f"{row['scores']}, {row['folds'] or 'all rows'}": row["value"]
            for row in means
            if row["metric"] == "mean_pearson_r" and not row["control"]
        },
        already_there=already_there,
    )
