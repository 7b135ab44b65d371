"""The job `cisray evaluate all`: evaluations of one file after another, and what they came to.

Knows outcomes and the tables of all; knows nothing of what an evaluation computes. One that fails
does not stop the others. Each has its folder, so that the same command goes on where it stopped.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cisray.engine.progress import Display
from cisray.errors import CisrayError, EvaluationsFailed, InputError
from cisray.store.files import make_folder, publish, publish_written
from cisray.store.lock import RunLock
from cisray.store.place import run_root
from cisray_jobs.evaluation_output import METRICS_FILE, RECORD, read_metrics
from cisray_jobs.evaluation_page import OUTCOMES, Outcome, write_page
from cisray_jobs.evaluation_plan import Planned, chosen, read_plan
from cisray_jobs.provenance import file_facts, now
from cisray_schemas import NAMED_METRICS

FORMAT = "cisray.evaluations/1"
_LOCK = ".lock"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvaluatedAll:
    """What became of every evaluation, how many numbers there are, and where the page lies."""

    path: str
    evaluations: tuple[Outcome, ...]
    numbers: int
    page: str

    @property
    def failure(self) -> CisrayError | None:
        """What the command ends with where evaluations failed: bad input, if all of them say so."""
        failed = [one for one in self.evaluations if one.state == "failed"]
        if not failed:
            return None
        told = "; ".join(f"{one.name}: {one.problem}" for one in failed)
        kind = InputError if all(one.bad_input for one in failed) else EvaluationsFailed
        return kind(
            f"{len(failed)} of {len(self.evaluations)} evaluations failed, the others are in "
            f"{self.path}. {told}"
        )


def evaluate_all(
    file: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    workers: str | None = None,
    display: Display = Display.AUTO,
) -> EvaluatedAll:
    """Do the evaluations of a file that are not done, and write the table and the page of all.

    Raises ConfigError before anything is done, RunConflict while another process works in `out`.
    What an evaluation raises is in its outcome.
    """
    root = run_root(out)
    planned = read_plan(file, root, workers)
    asked = chosen(planned, tuple(only))
    make_folder(root)
    lock = RunLock(root / _LOCK)
    try:
        outcomes = tuple(
            _done(one, display) if one in asked else _not_asked_for(one) for one in planned
        )
        numbers = _write_metrics(root, outcomes)
        _write_outcomes(root, file, outcomes)
        page = write_page(root)
    finally:
        lock.release()
    return EvaluatedAll(str(root), outcomes, numbers, str(page))


def _done(one: Planned, display: Display) -> Outcome:
    """Do an evaluation, and say how it went. An error of ours is logged with its traceback."""
    there = (one.out / RECORD).exists()
    log.info("%s: an evaluation of the kind %s", one.name, one.kind)
    try:
        one.how.evaluate(one.job, display)
    except CisrayError as error:
        return _failed(one, str(error), bad_input=error.exit_code == InputError.exit_code)
    except Exception as error:
        log.exception("%s failed in a way that nobody foresaw", one.name)
        return _failed(one, f"{type(error).__name__}: {error}", bad_input=False)
    return Outcome(one.name, one.kind, "there already" if there else "new")


def _failed(one: Planned, problem: str, *, bad_input: bool) -> Outcome:
    return Outcome(one.name, one.kind, "failed", " ".join(problem.split()), bad_input)


def _not_asked_for(one: Planned) -> Outcome:
    there = (one.out / RECORD).exists()
    return Outcome(one.name, one.kind, "not asked for" if there else "not done")


def _write_metrics(root: Path, outcomes: Sequence[Outcome]) -> int:
    """Put the numbers of all finished evaluations into one table, sorted as its schema says."""
    tables = [NAMED_METRICS.schema.empty_table()]
    for one in outcomes:
        if one.finished:
            metrics = read_metrics(root / one.name)
            names = pa.array([one.name] * metrics.num_rows, pa.string())
            tables.append(metrics.add_column(0, "name", names).cast(NAMED_METRICS.schema))
    frame = pl.concat([pl.DataFrame(table) for table in tables]).sort(NAMED_METRICS.sort_by)
    table = frame.to_arrow().cast(NAMED_METRICS.schema)
    metadata = {b"cisray.format": NAMED_METRICS.format.encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    publish_written(
        lambda stream: pq.write_table(table, stream, compression="zstd"),
        root / METRICS_FILE,
        staging=root,
    )
    return frame.height


def _write_outcomes(root: Path, file: Path, outcomes: Sequence[Outcome]) -> None:
    told = {
        "format": FORMAT,
        "config": file_facts({"config": file}, {})["config"],
        "evaluations": [asdict(one) for one in outcomes],
        "created": now(),
    }
    text = json.dumps(told, indent=2) + "\n"
    publish(text.encode(), root / OUTCOMES, staging=root, exclusive=False)
