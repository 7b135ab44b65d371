"""The job `cisray evaluate eqtl`: do scores tell fine-mapped eQTLs from matched negatives?

Knows how the parts are put together; rules, forests and statistics are `cisray.evaluation`'s. The
units of an evaluation that was stopped lie in a hidden folder beside OUT, and the same command goes
on from there.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, JsonValue, field_validator

from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.executors import executor_for
from cisray.engine.progress import Display
from cisray.engine.task import PoolPolicy, RunLabel
from cisray.evaluation import eqtl
from cisray.evaluation.eqtl_labels import Labels
from cisray.evaluation.eqtl_rows import (
    RECALLED,
    Choice,
    Chosen,
    Match,
    choose_rows,
    with_tss_distance,
)
from cisray.evaluation.figure import draw_tasks
from cisray.evaluation.forest import FOLDS, FOREST, REPEATS, SEED
from cisray.evaluation.metrics import Metric
from cisray.evaluation.over_tissues import ALL_TISSUES, comparisons_over_tissues, mean_metrics
from cisray.evaluation.paired import Comparison, comparisons_table
from cisray.evaluation.scored_rows import Reduction, ScoredRows, reduced, score_rows
from cisray.store.place import run_root
from cisray_jobs.config import WorkerCount
from cisray_jobs.eqtl_task import ForestTask, write_rows
from cisray_jobs.evaluation_job import Headline, JudgesEqtls, headline, rows_told
from cisray_jobs.evaluation_output import (
    EvaluationFolder,
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_jobs.evaluation_sources import Sources
from cisray_jobs.evaluation_units import units_folder
from cisray_jobs.execute import EMBEDDED_CPUS, run_shards, shards_failed
from cisray_schemas import METRIC_COMPARISONS

STRATA = (1_000, 10_000, 100_000)
_READY = "ready"
_FOLD_TYPES: Any = {  # Polars takes no mapping to classes of data types by name
    **dict.fromkeys(("tissue", "scores", "folds"), pl.String),
    **dict.fromkeys(("repeat", "fold"), pl.Int64),
    **dict.fromkeys(("auroc", "auprc"), pl.Float64),
}
_FOREST_RECALLED = {
    "forest": "parameters and seeds of Basenji's script of the GTEx benchmark",
    "tissues": "48 of 49 in the paper; all that the labels have, here",
}


@dataclass(frozen=True, slots=True)
class EvaluatedEqtls:
    """What was evaluated, and where its tables lie; `rows` counts labels by what became of them."""

    path: str
    new: bool
    rows: dict[str, JsonValue]
    tissues: int
    headline: dict[str, Headline]


class EvaluateEqtl(JudgesEqtls):
    """By which rules rows are chosen, and how they are judged."""

    tss: Path | None = None
    pip_negative: Annotated[float, Field(ge=0, le=1)] = Choice().pip_negative
    z_same_gene: Annotated[float, Field(ge=0)] = Choice().z_same_gene
    z_genome_wide: Annotated[float, Field(ge=0)] = Choice().z_genome_wide
    match: Match = Choice().match
    score: Literal["forest"] | Reduction = "forest"
    repeats: Annotated[int, Field(ge=1)] = REPEATS
    folds: Annotated[int, Field(ge=2)] = FOLDS
    strata: tuple[int, ...] = STRATA
    workers: WorkerCount = "auto"
    address: str | None = None

    @field_validator("strata")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted({edge for edge in value if edge > 0}):
            raise ValueError("must be distances in bp that rise, such as 1000,10000")
        return value

    def evaluate(self, display: Display = Display.AUTO) -> EvaluatedEqtls:
        """Read labels and scores, train and test, and write the tables; or find them there.

        Raises InputErrors before anything is trained, RunConflict for another evaluation in `out`
        and while another process does this one, ShardsFailed.
        """
        out = run_root(self.out)
        sources = self.open_sources()
        record = self._record(sources)
        if is_finished(out, record):
            return self._told(out, new=False)
        labels = self.read_labels()
        chosen = self._chosen(labels)
        scored = score_rows(chosen.frame, sources.scores, least=self.min_scored)
        with ExitStack() as stack:
            results: list[eqtl.TaskResult] = []
            if self.score == "forest":
                work = stack.enter_context(units_folder(out, record))
                results = self._validated(scored, work, display)
            folder = stack.enter_context(evaluation_folder(out, record))
            if self.score == "forest":
                self._forests(folder, scored, results)
            else:
                self._single(folder, scored, self.score)
            folder.finish(rows_told(labels, chosen, scored))
        return self._told(out, new=True)

    def _chosen(self, labels: Labels) -> Chosen:
        if self.tss is not None:
            labels = replace(labels, frame=with_tss_distance(labels.frame, self.tss))
        choice = Choice(**{name: getattr(self, name) for name in Choice.__slots__})
        return choose_rows(labels, choice)

    def _record(self, sources: Sources) -> EvaluationRecord:
        files = self.label_files()
        if self.tss is not None:
            files["tss"] = self.tss
        settings = self.settings("tss", "workers", "address")
        if self.score == "forest":
            settings |= {"forest": FOREST, "forest_seed": SEED}
        return EvaluationRecord(
            evaluation=eqtl.EVALUATION,
            settings=settings,
            inputs=sources.inputs | input_facts(files, {}),
            recalled={**RECALLED, **_FOREST_RECALLED},
        )

    def _validated(self, scored: ScoredRows, work: Path, display: Display) -> list[eqtl.TaskResult]:
        """Do the units that are left, and read what all of them came to."""
        tasks = list(scored.tasks())
        if not (work / _READY).exists():
            write_rows(work, scored, tasks)
            (work / _READY).touch()
        task = ForestTask(work, self.repeats, self.folds, self.seed)
        pending = task.pending(tasks)
        if pending:
            with executor_for(self._policy(len(pending)), address=self.address) as executor:
                label = RunLabel(self.out.name, "evaluate-eqtl")
                outcome = run_shards(executor, task, pending, label=label, display=display)
            if outcome.failed:
                raise shards_failed(outcome, work)
        return list(task.results(tasks, len(scored.sources)))

    def _forests(
        self, folder: EvaluationFolder, scored: ScoredRows, results: Sequence[eqtl.TaskResult]
    ) -> None:
        """Write the tables of cross-validated forests."""
        names = [source.name for source in scored.sources]
        strata = eqtl.strata_of(scored.frame, self.strata)
        found = [
            metric
            for result in results
            for metric in eqtl.forest_metrics(result, names, self.folds, strata)
        ]
        compared = [
            comparison
            for result in results
            for comparison in eqtl.forest_comparisons(result, names, self.folds)
        ]
        predictions = _mean_ranks(results, names, scored.frame.height)
        self._write(folder, scored, found, compared, predictions)
        folder.write_table("importance.parquet", eqtl.importance_table(results, scored).to_arrow())
        folder.write_table("folds.parquet", _folds_table(results, names).to_arrow())

    def _single(self, folder: EvaluationFolder, scored: ScoredRows, rule: Reduction) -> None:
        """Judge one score of each row."""
        names = [source.name for source in scored.sources]
        scores_SU = [reduced(source, rule) for source in scored.sources]
        strata = eqtl.strata_of(scored.frame, self.strata)
        found: list[Metric] = []
        compared: list[Comparison] = []
        for rows in scored.tasks():
            scores_SV = np.array([scores_U[rows.allele_V] for scores_U in scores_SU])
            found.extend(eqtl.single_metrics(rows, scores_SV, names, strata, self.seed))
            compared.extend(eqtl.single_comparisons(rows, scores_SV, names))
        predictions = {
            f"score {name}": scores_U[scored.allele_V]
            for name, scores_U in zip(names, scores_SU, strict=True)
        }
        self._write(folder, scored, found, compared, predictions)

    def _write(
        self,
        folder: EvaluationFolder,
        scored: ScoredRows,
        found: Sequence[Metric],
        compared: Sequence[Comparison],
        predictions: dict[str, NDArray[np.float64]],
    ) -> None:
        names = [source.name for source in scored.sources]
        over = list(comparisons_over_tissues(found, names))
        folder.write_metrics([*found, *mean_metrics(found)])
        folder.write_table(
            "comparisons.parquet", comparisons_table([*compared, *over]), METRIC_COMPARISONS
        )
        columns = [pl.Series(name, values).fill_nan(None) for name, values in predictions.items()]
        folder.write_table("rows.parquet", scored.frame.with_columns(columns).to_arrow())
        kind = "shuffled" if self.score == "forest" else ""
        draw_tasks(
            [m for m in found if _is_headline(m, kind)],
            folder.path / "auroc.png",
            title="Fine-mapped eQTLs against matched negatives",
            label="AUROC, with its interval of 95 %",
            chance=0.5,
        )

    def _policy(self, units: int) -> PoolPolicy:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        wanted = (cores or 1) if self.workers == "auto" else self.workers
        embedded = choose_address(self.address) == EMBEDDED
        return PoolPolicy(
            workers=min(wanted, units), num_cpus=EMBEDDED_CPUS if embedded else 1.0, threads=1
        )

    def _told(self, out: Path, *, new: bool) -> EvaluatedEqtls:
        table = pl.DataFrame(read_metrics(out))
        rows = read_record(out)["rows"]
        tissues = table.filter(pl.col("task") != ALL_TISSUES)["task"].n_unique()
        return EvaluatedEqtls(
            str(out), new, rows if isinstance(rows, dict) else {}, tissues, headline(table)
        )


def _is_headline(metric: Metric, kind: str) -> bool:
    return (metric.metric, metric.stratum, metric.folds, metric.control) == (
        "auroc",
        "all",
        kind,
        "",
    )


def _mean_ranks(
    results: Sequence[eqtl.TaskResult], names: Sequence[str], height: int
) -> dict[str, NDArray[np.float64]]:
    """Lay mean ranks within folds out by the rows of the frame; NaN for the others."""
    found = {
        f"rank {name} {kind}": np.full(height, np.nan) for kind in eqtl.KINDS for name in names
    }
    for result in results:
        for kind, repeats in result.kinds.items():
            for name, rank_V in zip(names, repeats.rank_SV, strict=True):
                if not repeats.reason:
                    found[f"rank {name} {kind}"][result.rows.row_V] = rank_V
    return found


def _folds_table(results: Sequence[eqtl.TaskResult], names: Sequence[str]) -> pl.DataFrame:
    """List the areas of every fold, for paired tests with other evaluations."""
    parts = []
    for result in results:
        for kind, repeats in result.kinds.items():
            r, s, f = repeats.auroc_RSF.shape
            at = np.indices((r, s, f)).reshape(3, -1)
            parts.append(
                pl.DataFrame(
                    {
                        "tissue": np.full(r * s * f, result.rows.tissue),
                        "scores": np.array(names)[at[1]],
                        "folds": np.full(r * s * f, kind),
                        "repeat": at[0],
                        "fold": at[2],
                        "auroc": repeats.auroc_RSF.ravel(),
                        "auprc": repeats.auprc_RSF.ravel(),
                    }
                )
            )
    return pl.concat([part.cast(_FOLD_TYPES) for part in parts]).with_columns(
        pl.col("auroc", "auprc").fill_nan(None)
    )
