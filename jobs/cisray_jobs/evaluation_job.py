"""What every evaluation on eQTLs is told, and how its rows are accounted for.

Knows options, labels and scores; knows no statistics.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, JsonValue

from cisray.errors import EvaluationError, ResultsError
from cisray.evaluation.eqtl_labels import SUSIE, LabelOptions, Labels, read_labels
from cisray.evaluation.eqtl_rows import Choice, Chosen
from cisray.evaluation.over_tissues import ALL_TISSUES
from cisray.evaluation.scored_rows import USED, ScoredRows
from cisray_jobs.config import JobConfig
from cisray_jobs.evaluation_sources import Sources, open_sources, pairs_of

Given = tuple[str, ...]
NOT_ASKED_FOR = "of tissues that were not asked for"
_SHOWN = 10


class JudgesEqtls(JobConfig):
    """Which scores are judged, by which labels, and where the result goes."""

    labels: Path
    out: Path
    run: Given = ()
    external: Given = ()
    layout: str = "auto"
    column: Given = ()
    tissue: str = ""
    only: Given = ()
    method: str = SUSIE
    variant: str = ""
    pip_positive: Annotated[float, Field(ge=0, le=1)] = Choice().pip_positive
    seed: Annotated[int, Field(ge=0)] = Choice().seed
    statistic: str = "SAD"
    tracks: Given = ()
    min_scored: Annotated[float, Field(ge=0, le=1)] = 0.5

    def open_sources(self) -> Sources:
        """Open runs and tables. Raises what `evaluation_sources.open_sources` raises."""
        return open_sources(
            self.run, self.external, statistic=self.statistic, tracks=self.tracks or None
        )

    def read_labels(self) -> Labels:
        """Read the labels of the tissues that are asked for.

        The others are not among the rows, but among those that were read. Raises EvaluationError.
        """
        found = read_labels(
            self.labels,
            LabelOptions(
                layout=self.layout,
                columns=pairs_of(self.column, "column"),
                tissue=self.tissue,
                method=self.method,
                variant=self.variant,
            ),
        )
        if not self.only:
            return found
        frame = found.frame.filter(pl.col("tissue").is_in(list(self.only)))
        if not frame.height:
            known = ", ".join(found.frame["tissue"].unique().sort().head(_SHOWN).to_list())
            raise EvaluationError(
                f"no row is of --only {', '.join(self.only)}: the labels have tissues such as "
                f"{known}."
            )
        others = {NOT_ASKED_FOR: found.frame.height - frame.height}
        return Labels(frame, found.layout, found.read, {**found.left_out, **others})

    def label_files(self) -> dict[str, Path]:
        """Name the files of the labels for a record."""
        if not self.labels.is_dir():
            return {"labels": self.labels}
        return {f"labels {path.name}": path for path in sorted(self.labels.glob("*.vcf"))}

    def settings(self, *places: str) -> dict[str, JsonValue]:
        """Tell the options that decide numbers, leaving out those in `places` as well."""
        left_out = {"labels", "out", "run", "external", *places}
        return self.model_dump(mode="json", exclude=left_out)


def rows_told(labels: Labels, chosen: Chosen, scored: ScoredRows) -> dict[str, JsonValue]:
    """Account for every row of the labels that was read."""
    status = scored.counts()
    used = status.pop(USED, 0)
    left_out = {**labels.left_out, **chosen.left_out, **status}
    lost = labels.read - used - sum(left_out.values())
    if lost:
        raise ResultsError(
            f"{labels.read:,} rows of labels were read, {used:,} used and "
            f"{sum(left_out.values()):,} left out: {lost:,} are not accounted for. Please report "
            f"this with the command and its labels."
        )
    return {
        "layout": labels.layout,
        "read": labels.read,
        "used": used,
        "left out": dict(left_out),
        "grouped by": chosen.grouped_by,
        "scores": {source.name: dict(source.counts()) for source in scored.sources},
    }


@dataclass(frozen=True, slots=True)
class Headline:
    """A mean area over the tissues that have one, how many these are, and their rows."""

    value: float | None
    tissues: int
    rows: int


def headline(table: pl.DataFrame) -> dict[str, Headline]:
    """Take the mean areas over tissues out of a table of metrics, by scores and folds."""
    areas = table.filter(metric="auroc", stratum="all", control="")
    of_one = areas.filter(pl.col("task") != ALL_TISSUES, pl.col("value").is_not_null())
    counted = of_one.group_by("scores", "folds").len("tissues")
    means = areas.filter(task=ALL_TISSUES).join(counted, on=("scores", "folds"), how="left")
    means = means.sort("scores", "folds", descending=[False, True])
    columns = ("scores", "folds", "value", "tissues", "n")
    return {
        f"{scores}, {folds} folds" if folds else scores: Headline(value, tissues or 0, n)
        for scores, folds, value, tissues, n in means.select(columns).iter_rows()
    }
