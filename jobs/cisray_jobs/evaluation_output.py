"""What an evaluation leaves: a folder with its metrics, further tables, figures and a record.

Knows files and the record; knows no evaluation. The folder appears whole or not at all. One that is
there is accepted if the same evaluation of the same inputs wrote it, and refused otherwise.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from cisray.errors import RunConflict, StorageError
from cisray.evaluation.metrics import Metric, metrics_table
from cisray.store.export.staging import staged_folder
from cisray.store.folder import StoredFile
from cisray.store.scan import Run
from cisray_jobs import marks
from cisray_jobs.provenance import file_facts, library_versions, now
from cisray_schemas import METRICS, Table

RECORD = marks.EVALUATION
METRICS_FILE = "metrics.parquet"
FORMAT = "cisray.evaluation/1"
_LIBRARIES = ("scikit-learn", "scipy")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """What an evaluation is made from.

    `settings` decide the numbers, and so do `inputs`, by their digests; `recalled` says by setting
    what of the protocol is not published and stands there as remembered.
    """

    evaluation: str
    settings: Mapping[str, JsonValue]
    inputs: Mapping[str, JsonValue]
    recalled: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, JsonValue]:
        """What must agree for numbers to agree: settings, and inputs by digest, not by place."""
        digests: dict[str, JsonValue] = {
            name: facts["sha256"] if isinstance(facts, dict) else facts
            for name, facts in self.inputs.items()
        }
        return {"evaluation": self.evaluation, "settings": dict(self.settings), "inputs": digests}

    @property
    def digest(self) -> str:
        """SHA-256 of the identity, hexadecimal."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """A folder that is being written."""

    path: Path
    record: EvaluationRecord

    def write_metrics(self, metrics: Iterable[Metric]) -> pa.Table:
        """Write metrics.parquet, and give its rows."""
        table = metrics_table(metrics)
        self.write_table(METRICS_FILE, table, METRICS)
        return table

    def write_table(self, name: str, table: pa.Table, kind: Table | None = None) -> None:
        """Write a table as Parquet, with the format of its kind and this evaluation's digest.

        What its own metadata say is kept.
        """
        kept = table.schema.metadata or {}
        if kind is not None:
            table = table.cast(kind.schema)
        told = {"cisray.evaluation": self.record.digest}
        told |= {"cisray.format": kind.format} if kind is not None else {}
        metadata = {
            **kept,
            **{k.encode(): v.encode() for k, v in told.items()},
        }
        pq.write_table(
            table.replace_schema_metadata(metadata), self.path / name, compression="zstd"
        )

    def finish(self, rows: Mapping[str, JsonValue]) -> None:
        """Write the record; `rows` counts what came in, was used, and was left out, by reason."""
        told = {
            "format": FORMAT,
            "digest": self.record.digest,
            **self.record.identity,
            "inputs": dict(self.record.inputs),
            "recalled": dict(self.record.recalled),
            "rows": dict(rows),
            "versions": {**library_versions(), **{name: version(name) for name in _LIBRARIES}},
            "created": now(),
        }
        (self.path / RECORD).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


@contextmanager
def evaluation_folder(out: Path, record: EvaluationRecord) -> Iterator[EvaluationFolder]:
    """Give a folder to write into, which becomes `out` when the block ends with its record there.

    Raises ConfigError where `out` is there (`is_finished` says whether by the same evaluation).
    """
    with staged_folder(out) as path:
        yield EvaluationFolder(path, record)


def is_finished(out: Path, record: EvaluationRecord) -> bool:
    """Tell whether `out` is there, of the same evaluation, settings and inputs.

    Raises RunConflict for a folder of anything else, naming what differs.
    """
    if not out.exists():
        return False
    old = read_record(out)
    new = record.identity
    if old.get("digest") == record.digest:
        return True
    differing = [f"evaluation {old.get('evaluation')} there, {record.evaluation} now"]
    if old.get("evaluation") == record.evaluation:
        differing = list(_differences(old, new))
    raise RunConflict(
        f"{out} holds another evaluation: {'; '.join(differing[:_SHOWN])}. Choose another "
        f"--out, or remove it."
    )


def read_record(out: Path) -> dict[str, JsonValue]:
    """Read the record of an evaluation. Raises RunConflict where there is none."""
    path = out / RECORD
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise RunConflict(f"{out} is no folder of an evaluation: it has no {RECORD} that tells.")
    return told


def read_metrics(out: Path) -> pa.Table:
    """Read the metrics of an evaluation. Raises RunConflict, and StorageError if damaged."""
    read_record(out)
    try:
        return pq.read_table(out / METRICS_FILE).cast(METRICS.schema)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{out / METRICS_FILE} cannot be read ({error}): evaluate again."
        ) from error


def input_facts(files: Mapping[str, Path], runs: Mapping[str, Run]) -> dict[str, JsonValue]:
    """Describe inputs for a record: files by the digest of their bytes, and sealed runs.

    The digest of a run is that of its list of files, which has the digest of every one.
    """
    told = file_facts(files, {})
    for name, run in runs.items():
        told[name] = {
            "path": str(run.path),
            "run_id": run.manifest.run_id,
            "sha256": _digest(run.layout.file(run.layout.files)),
        }
    return told


def _digest(file: StoredFile) -> str:
    with file.open() as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> Iterator[str]:
    for part in ("settings", "inputs"):
        there, given = old.get(part), new[part]
        there = there if isinstance(there, dict) else {}
        current = given if isinstance(given, dict) else {}
        for name in sorted({*there, *current}):
            before, after = there.get(name), current.get(name)
            if isinstance(before, dict) and "sha256" in before:
                before = before["sha256"]
            if before != after:
                yield f"{name} {before} there, {after} now"
