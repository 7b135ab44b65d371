"""The job `cisray evaluate calibration`: a run of variants as the background of others.

Knows which files belong together; which variants count and what is said of them is the business of
`cisray.evaluation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl
from pydantic import Field, JsonValue, model_validator

from cisray.errors import ConfigError
from cisray.evaluation.calibration import describe_background, require_statistic
from cisray.evaluation.calibration_figure import draw_calibration
from cisray.evaluation.calibration_rows import (
    USED,
    Frequencies,
    counts_of,
    match_distances,
    rows_of,
    select_frequencies,
    select_table,
    used_of,
)
from cisray.evaluation.tables import read_table, scan_table, with_keys
from cisray.genome.gene_starts import read_gene_starts
from cisray.genome.reference import Genome
from cisray.store.scan import Run, open_run
from cisray_jobs.config import JobConfig, RunLocation
from cisray_jobs.evaluation_output import (
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_record,
)
from cisray_schemas import CALIBRATIONS

EVALUATION = "calibration"
_NOT_SETTINGS = {"run", "out", "select", "vcf", "match", "starts", "fasta"}


@dataclass(frozen=True, slots=True)
class CalibrationMade:
    """Where the calibration lies, and what became of the run's variants."""

    path: str
    rows: JsonValue
    already_there: bool


class MakeCalibration(JobConfig):
    """A run whose variants are the background, and which of them."""

    run: RunLocation
    out: Path
    statistic: str = "SAD"
    tracks: tuple[str, ...] = ()
    select: Path | None = None
    vcf: Path | None = None
    min_maf: float = Field(0.0, ge=0, le=0.5)
    max_maf: float = Field(0.5, ge=0, le=0.5)
    match: RunLocation | None = None
    starts: Path | None = None
    fasta: Path | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Self:
        if self.vcf is None and (self.min_maf > 0 or self.max_maf < 0.5):
            raise ConfigError("--min-maf and --max-maf ask for frequencies: give --vcf.")
        if self.vcf is not None and self.min_maf > self.max_maf:
            raise ConfigError(f"--min-maf {self.min_maf} is above --max-maf {self.max_maf}.")
        together = [self.match, self.starts, self.fasta]
        if any(together) and not all(together):
            raise ConfigError("distances are matched by --match, --starts and --fasta together.")
        return self

    def evaluate(self) -> CalibrationMade:
        """Make the calibration, or read what the same command wrote before.

        Raises RunConflict for an `out` of anything else, and what reading raises.
        """
        run = open_run(self.run)
        other = None if self.match is None else open_run(self.match)
        require_statistic(run, self.statistic)
        tracks = run.tracks.select(self.tracks) if self.tracks else run.tracks
        record = self._record(run, other)
        if is_finished(self.out, record):
            return _finished(self.out, already_there=True)
        rows, told = self._chosen(run, other)
        used_V = (rows["status"] == USED).to_numpy()
        table = describe_background(run, self.statistic, tracks, used_V)
        with evaluation_folder(self.out, record) as folder:
            # None of its numbers is a metric; who reads all evaluations finds a table all the same.
            folder.write_metrics([])
            folder.write_table("calibration.parquet", table, CALIBRATIONS)
            folder.write_table("variants.parquet", rows.to_arrow())
            draw_calibration(table, folder.path / "calibration.png")
            left: dict[str, JsonValue] = dict(counts_of(rows))
            counts: dict[str, JsonValue] = {"read": rows.height, "used": int(used_V.sum())}
            folder.finish({**counts, "left out": left, **told})
        return _finished(self.out, already_there=False)

    def _chosen(self, run: Run, other: Run | None) -> tuple[pl.DataFrame, Mapping[str, JsonValue]]:
        """Say of every variant whether it is in the background, and what else was counted."""
        rows = rows_of(run, self.statistic)
        rejected = int(run.rejects.select(pl.len()).collect().item())
        told: dict[str, JsonValue] = {"rejects of the run": rejected}
        if self.select is not None:
            frame = with_keys(
                read_table(scan_table(self.select, {"chrom": pl.String}), self.select), self.select
            )
            rows, missing = select_table(run, rows, frame)
            told["selected alleles not in the run"] = missing
        if self.vcf is not None:
            rows = select_frequencies(run, rows, Frequencies(self.vcf, self.min_maf, self.max_maf))
        if other is not None and self.starts is not None and self.fasta is not None:
            with Genome.open(self.fasta) as genome:
                starts = read_gene_starts(self.starts, genome)
            others = rows_of(other, (other.statistics or [self.statistic])[0])
            rows = match_distances(rows, others, starts, self.seed)
        return used_of(rows), told

    def _record(self, run: Run, other: Run | None) -> EvaluationRecord:
        names = ("select", "vcf", "starts", "fasta")
        files = {name: path for name in names if (path := getattr(self, name))}
        runs = {"run": run} | ({"match": other} if other is not None else {})
        return EvaluationRecord(
            evaluation=EVALUATION,
            settings=self.model_dump(mode="json", exclude=_NOT_SETTINGS),
            inputs=input_facts(files, runs),
        )


def _finished(out: Path, *, already_there: bool) -> CalibrationMade:
    return CalibrationMade(str(out), read_record(out)["rows"], already_there)
