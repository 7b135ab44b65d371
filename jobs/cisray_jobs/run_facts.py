"""What can be said of runs without reading their values: which there are, and everything about one.

Knows manifests, records and what jobs write into both; knows nothing of how it is shown.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import JsonValue

from cisray.errors import ConfigError, RunNotFound, StorageError
from cisray.store.directory import read_manifest, require_complete
from cisray.store.failure import ShardFailureRecord, read_failures
from cisray.store.folder import Folder
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.receipt import read_receipts
from cisray.store.scan import Run, open_run
from cisray.store.summary import RunTimes
from cisray.store.worker_time import WorkerTime
from cisray_jobs.assays import rows_by_assay
from cisray_jobs.checks import SelfCheckSummary, summarise

State = Literal["sealed", "unfinished", "failed", "damaged"]
_SHORT = 12


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A line about a run. `failed` shards were given up; of a damaged run little is known."""

    path: str
    name: str
    job: str
    state: State
    shards: int
    done: int
    failed: int
    rows: int
    bytes: int
    created: str
    model: str
    genome: str
    damage: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything about one run; rates and costs are None where not all shards tell of their time.

    `input_wait` is the share of their time that workers waited for input, None where no shard tells
    where it went; `workers` says the rest of it, and stands in `times` as well.

    `rows` are owed, `rows_done` stored, `linked` counts those of other runs, by their ids. `tracks`
    are counted by assay, `rejected` by reason.
    """

    path: str
    run_id: str
    digest: str
    job: str
    table: str
    state: State
    shards: int
    done: int
    failures: tuple[Mapping[str, JsonValue], ...]
    rows: int
    rows_done: int
    linked: Mapping[str, int]
    head: str
    tracks: Mapping[str, int]
    statistics: tuple[str, ...] | None
    rejected: Mapping[str, int] | None
    self_check: SelfCheckSummary
    identity: Mapping[str, JsonValue]
    genome: str
    created: str
    provenance: Mapping[str, JsonValue]
    times: Mapping[str, JsonValue]
    input_wait: float | None
    rows_per_second: float | None
    cost_per_hour: float | None
    cost: float | None
    cost_per_million_rows: float | None

    @property
    def workers(self) -> WorkerTime | None:
        """Tell where workers' time went; None where no shard tells."""
        told = self.times["workers"]
        return None if told is None else WorkerTime.model_validate(told)

    @property
    def files(self) -> int:
        """Count its data files."""
        return int(str(self.times["files"]))


def list_runs(folder: Path | str, depth: int = 1) -> list[ListedRun]:
    """List the runs in a folder and `depth` levels below it, by path; never within a run.

    Raises RunNotFound where there is no such folder.
    """
    root = locate(folder)
    try:
        exists = root.names() is not None
    except NotADirectoryError:
        exists = False
    if not exists:
        raise RunNotFound(f"{root.place} is no folder; give one that holds runs.")
    return [_listed(RunLayout(found)) for found in _runs_in(root, depth)]


def _runs_in(folder: Folder, depth: int) -> Iterator[Folder]:
    # A plain file has no names below it, nor has what no run's place can be called.
    with suppress(NotADirectoryError):
        names = folder.names() or []
        if "run.json" in names:
            yield folder
        elif depth > 0:
            for name in sorted(names):
                with suppress(ConfigError):
                    yield from _runs_in(locate(folder.tell(name)), depth - 1)


def _listed(layout: RunLayout) -> ListedRun:
    path = str(layout.root)
    name = path.rpartition("/")[2]
    try:
        manifest = read_manifest(layout)
    except StorageError as error:
        return ListedRun(path, name, "", "damaged", 0, 0, 0, 0, 0, "", "", "", str(error))
    state: State
    rows = size = done = owed = 0
    damage = ""
    failures = read_failures(layout.of(manifest.begun))
    try:
        run = open_run(path, allow_unsealed=True)
        rows, size = run.plan.rows, int(run.files["bytes"].sum())
        done, owed = len(run.shards), len(run.plan.spans)
        state = _state(run, failures)
        if run.sealed:
            require_complete(layout)
    except StorageError as error:
        state, damage = "damaged", str(error)
    return ListedRun(
        path=path,
        name=name,
        job=manifest.job,
        state=state,
        shards=owed or manifest.num_shards,
        done=done,
        failed=len(failures),
        rows=rows,
        bytes=size,
        created=manifest.created,
        model=manifest.model_sha256[:_SHORT],
        genome=manifest.genome_sha256[:_SHORT],
        damage=damage,
    )


def _state(run: Run, failures: list[ShardFailureRecord]) -> State:
    if run.sealed:
        return "sealed"
    return "failed" if failures else "unfinished"


def describe_run(path: Path | str, cost_per_hour: float | None = None) -> RunFacts:
    """Say everything about a run, sealed or not; `cost_per_hour` is of all that it ran on.

    Raises RunNotFound where there is none, StorageError when its parts are damaged.
    """
    run = open_run(path, allow_unsealed=True)
    manifest = run.manifest
    receipts = read_receipts(run.layout, run.plan.spans, sealed=run.sealed)
    failures = read_failures(run.layout)
    times = RunTimes.of(manifest, receipts)
    price = None if cost_per_hour is None else times.cost_per_million_rows(cost_per_hour)
    return RunFacts(
        path=str(run.path),
        run_id=manifest.run_id,
        digest=manifest.digest,
        job=manifest.job,
        table=manifest.table,
        state=_state(run, failures),
        shards=len(run.plan.spans),
        done=len(receipts),
        failures=tuple(failure.model_dump(mode="json") for failure in failures),
        rows=run.plan.rows,
        rows_done=times.rows,
        linked={} if run.links is None else _counts(run.linked, "since_run"),
        head=run.tracks.head,
        tracks={assay: len(rows) for assay, rows in rows_by_assay(run.tracks).items()},
        statistics=None if run.statistics is None else tuple(run.statistics),
        rejected=None if run.statistics is None else _counts(run.rejects, "reason"),
        self_check=summarise(receipts, manifest, {}, unit=_unit(run)),
        identity=manifest.identity,
        genome=manifest.genome,
        created=manifest.created,
        provenance=manifest.provenance,
        times=times.model_dump(mode="json"),
        input_wait=None if times.workers is None else times.workers.share("input"),
        rows_per_second=times.rows_per_second,
        cost_per_hour=cost_per_hour,
        cost=None if price is None else price * times.rows / 1e6,
        cost_per_million_rows=price,
    )


def _counts(rows: pl.LazyFrame, column: str) -> dict[str, int]:
    counted = rows.group_by(column).agg(pl.len().alias("rows")).sort(column).collect()
    return dict(zip(counted[column].to_list(), counted["rows"].to_list(), strict=True))


def _unit(run: Run) -> str:
    if run.statistics is None:
        return "tile"
    is_gradient = run.manifest.config.get("method") == "gradient"
    return "window's gradients" if is_gradient else "variant"
