"""The job `cisray evaluate direction`: does a score's sign tell which way an eQTL goes?

Knows how the parts are put together; rules and statistics are `cisray.evaluation`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field, JsonValue

from cisray.evaluation import direction
from cisray.evaluation.direction import TaskScores
from cisray.evaluation.figure import draw_tasks
from cisray.evaluation.over_tissues import ALL_TISSUES, comparisons_over_tissues, mean_metrics
from cisray.evaluation.paired import comparisons_table
from cisray.evaluation.scored_rows import ScoredRows, score_rows
from cisray.evaluation.scores import ScoreSource
from cisray.evaluation.track_matching import (
    ASSAY,
    FeatureNames,
    Matched,
    Matching,
    matches_table,
)
from cisray.store.place import run_root
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
from cisray_schemas import METRIC_COMPARISONS

_MATCHES = "matches.parquet"


@dataclass(frozen=True, slots=True)
class EvaluatedDirection:
    """What was evaluated, and where its tables lie; `matches` tells the tracks of each tissue."""

    path: str
    new: bool
    rows: dict[str, JsonValue]
    tissues: int
    headline: dict[str, Headline]
    matches: tuple[str, ...]


class EvaluateDirection(JudgesEqtls):
    """Which tracks speak for which tissue, and how many variants a tissue needs."""

    matching: Path | None = None
    assay: str = ASSAY
    min_variants: Annotated[int, Field(ge=2)] = direction.FEWEST

    def evaluate(self) -> EvaluatedDirection:
        """Read labels and scores, judge signs, and write the tables; or find them there.

        Raises InputErrors, and RunConflict for another evaluation in `out`.
        """
        out = run_root(self.out)
        sources = self.open_sources()
        record = self._record(sources)
        if is_finished(out, record):
            return _told(out, new=False)
        labels = self.read_labels()
        chosen = direction.choose_signs(labels, self.pip_positive)
        scored = score_rows(chosen.frame, sources.scores, least=self.min_scored)
        matched = self._matched(scored, sources.scores)
        by_name = {(match.tissue, match.scores): match for match, _ in matched}
        tasks = list(direction.task_scores(scored, by_name, self.min_variants))
        with evaluation_folder(out, record) as folder:
            self._write(folder, scored, tasks)
            folder.write_table(_MATCHES, matches_table(matched).to_arrow())
            folder.finish(rows_told(labels, chosen, scored))
        return _told(out, new=True)

    def _matched(
        self, scored: ScoredRows, sources: Sequence[ScoreSource]
    ) -> list[tuple[Matched, FeatureNames]]:
        matching = Matching({}, self.assay)
        if self.matching is not None:
            matching = Matching.read(self.matching, self.assay)
        found = []
        for tissue in scored.frame["tissue"].unique(maintain_order=True).to_list():
            for source, joined in zip(sources, scored.sources, strict=True):
                names = FeatureNames(joined.features, joined.assays, joined.descriptions)
                found.append((matching.match(tissue, source, names), names))
        return found

    def _record(self, sources: Sources) -> EvaluationRecord:
        files = self.label_files()
        if self.matching is not None:
            files["matching"] = self.matching
        return EvaluationRecord(
            evaluation=direction.EVALUATION,
            settings=self.settings("matching"),
            inputs=sources.inputs | input_facts(files, {}),
            recalled=direction.RECALLED,
        )

    def _write(
        self, folder: EvaluationFolder, scored: ScoredRows, tasks: Sequence[TaskScores]
    ) -> None:
        names = [source.name for source in scored.sources]
        found = list(direction.direction_metrics(tasks, names, self.seed))
        compared = list(direction.direction_comparisons(tasks, names))
        over = comparisons_over_tissues(found, names)
        folder.write_metrics([*found, *mean_metrics(found)])
        folder.write_table(
            "comparisons.parquet", comparisons_table([*compared, *over]), METRIC_COMPARISONS
        )
        folder.write_table("rows.parquet", _with_scores(scored, tasks).to_arrow())
        draw_tasks(
            [m for m in found if m.metric == "auroc" and not m.control],
            folder.path / "auroc.png",
            title="Direction of fine-mapped eQTLs",
            label="AUROC of the sign, with its interval of 95 %",
            chance=0.5,
        )


def _with_scores(scored: ScoredRows, tasks: Sequence[TaskScores]) -> pl.DataFrame:
    """Put the score of each source beside the rows that have one."""
    columns = []
    for number, source in enumerate(scored.sources):
        values = np.full(scored.frame.height, np.nan)
        for task in tasks:
            scores_V = task.scores[number]
            if scores_V is not None:
                values[task.rows.row_V] = scores_V
        columns.append(pl.Series(f"score {source.name}", values).fill_nan(None))
    return scored.frame.with_columns(columns)


def _told(out: Path, *, new: bool) -> EvaluatedDirection:
    table = pl.DataFrame(read_metrics(out))
    rows = read_record(out)["rows"]
    tissues = table.filter(pl.col("task") != ALL_TISSUES)["task"].n_unique()
    matches = pl.read_parquet(out / _MATCHES)
    told = []
    for (tissue, scores), group in matches.group_by("tissue", "scores", maintain_order=True):
        first, rule = group.select("description", "rule").row(0)
        shown = f"{group.height} by {rule}, such as {first}" if first is not None else rule
        told.append(f"{tissue} in {scores}: {shown}")
    return EvaluatedDirection(
        str(out),
        new,
        rows if isinstance(rows, dict) else {},
        tissues,
        headline(table),
        tuple(told),
    )
