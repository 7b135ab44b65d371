"""The beginning of a run directory: claiming a folder, refusing others', starting afresh.

Knows which names belong to a run and in which order they must come and go, so that a crash
between any two of them leaves a folder that the next attempt understands; knows nothing of
shards. `run.json` is the last thing written at the start and the last one removed at a restart.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from cisray.errors import CoordinateError, RunConflict, RunNotFound, StorageError
from cisray.store.encode import encode_small
from cisray.store.files import (
    flush_folder,
    make_folder,
    publish,
    publish_copy,
    remove_if_there,
    remove_tree,
    writing_to,
)
from cisray.store.kinds import PLAN_TABLES, kind_of
from cisray.store.layout import RunLayout, table_file
from cisray.store.manifest import RUN_FAMILY, RunManifest, manifest_differences
from cisray.store.plan import Plan, ShardSpan
from cisray.store.receipt import size_of
from cisray.tracks import TrackSet
from cisray_schemas.runs import RUN_TRACKS
from cisray_schemas.table import Table
from cisray_schemas.tracks import TRACKS

Blocks = Mapping[str, list[int]]
_ANY_TIME = {"_lock", "_staging", "tracks.parquet"}
_BEFORE_RUN_JSON = _ANY_TIME | {table_file(table) for table in PLAN_TABLES}
_OURS = _ANY_TIME | {
    "run.json", "data", "_commits", "_failed", "_closed", "_manifest.parquet", "summary.json",
    "_SUCCESS",
}  # fmt: skip

_WAY_OUT = "Bring the file back from a copy, or start again with --restart."


def check_free(layout: RunLayout) -> None:
    """Refuse a path that holds anything other than a run or the torso of one. Touches nothing.

    Raises RunConflict.
    """
    with writing_to(layout.root):
        kind = _kind(layout)
    if kind == "foreign":
        found = sorted(os.listdir(layout.root)) if layout.root.is_dir() else ["a file"]
        raise RunConflict(
            f"{layout.root} is not a cisray run and is left as it is (it holds "
            f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}); choose another --out."
        )


def has_run(layout: RunLayout) -> bool:
    """Tell whether the folder holds a run, begun, finished or sealed."""
    return layout.run_json.exists()


def create(
    layout: RunLayout, manifest: RunManifest, plan: Plan, tracks: TrackSet, blocks: Blocks
) -> None:
    """Write what a run is made from; afterwards, and not before, the folder is a run."""
    # Of a beginning, or of a restart, that was killed: perhaps of a run of another kind.
    remove_tree(layout.all_staging)
    for left in PLAN_TABLES:
        remove_if_there(layout.table(left))
    make_staging(layout)
    block_of = {track: block for block, members in blocks.items() for track in members}
    names = pa.array([block_of[int(track)] for track in tracks.indices], pa.string())
    table = tracks.table.cast(TRACKS.schema).append_column(RUN_TRACKS.schema.field("block"), names)
    for path, kind, rows in (
        (layout.tracks, RUN_TRACKS, table),
        *((layout.table(kind), kind, rows) for kind, rows in plan.parts),
    ):
        if isinstance(rows, Path):
            publish_copy(rows, path, staging=layout.staging)
        else:
            notes = run_metadata(manifest, kind) | {"cisray.head": tracks.head}
            data = memoryview(encode_small(rows, notes))
            publish(data, path, staging=layout.staging, exclusive=False)
    text = manifest.model_dump_json(indent=2).encode() + b"\n"
    publish(text, layout.run_json, staging=layout.staging, exclusive=True)


def make_staging(layout: RunLayout) -> None:
    """Open the run for writing: without a staging folder nothing can be published."""
    with writing_to(layout.staging):
        make_folder(layout.staging)


def close_staging(layout: RunLayout) -> None:
    """Shut out every writer: what is on its way can no longer be published."""
    with writing_to(layout.all_staging):
        if layout.all_staging.exists():
            remove_tree(layout.closed_staging)
            os.rename(layout.all_staging, layout.closed_staging)
            flush_folder(layout.root)


def clear(layout: RunLayout) -> None:
    """Delete a run but for its lock, in an order in which each step leaves a smaller run.

    Workers that outlived their driver are shut out before anything is deleted.

    Raises RunConflict, and deletes nothing, when the folder holds anything that is not of a run.
    """
    foreign = _foreign_names(layout)
    if foreign:
        raise RunConflict(
            f"--restart would delete the run in {layout.root}, but it also holds foreign files "
            f"({', '.join(foreign[:5])}). Move that away, or choose another --out."
        )
    tables = _tables_there(layout)
    for path in (layout.success, layout.summary, layout.files):
        remove_if_there(path)
    close_staging(layout)
    for folder in (layout.commits, layout.failures, layout.data):
        remove_tree(folder)
    remove_tree(layout.closed_staging)
    for path in (layout.run_json, layout.tracks, *map(layout.table, tables)):
        remove_if_there(path)
    with writing_to(layout.root):
        flush_folder(layout.root)


def require_same(layout: RunLayout, old: RunManifest, new: RunManifest) -> None:
    """Refuse to go on with a run of another identity; the message lists the fields that differ.

    Raises RunConflict.
    """
    if old.digest != new.digest:
        differences = "; ".join(manifest_differences(old, new))
        raise RunConflict(
            f"{layout.root} holds another run, which would be mixed with this one. They differ in "
            f"{differences}. Use --restart to discard the old run, or choose another --out."
        )


def require_complete(layout: RunLayout) -> None:
    """Check that a sealed run still has every file, with its size. Raises StorageError."""
    for row in read_table(layout.files).to_pylist():
        if size_of(layout.root / row["path"]) != row["bytes"]:
            raise StorageError(
                f"{layout.root} is sealed, but its file {row['path']} is missing or is not of the "
                f"recorded {row['bytes']:,} bytes. {_WAY_OUT}"
            )


def read_manifest(layout: RunLayout) -> RunManifest:
    """Read `run.json`. Raises RunNotFound without one, StorageError when it is damaged."""
    try:
        manifest = RunManifest.model_validate_json(layout.run_json.read_bytes())
        kind_of(manifest).statistics(manifest)  # a kind that it does not fit is damage as well
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        raise RunNotFound(
            f"{layout.root} holds no cisray run (no run.json in it); give the folder that was the "
            f"--out of a run."
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot read {layout.run_json}: {error.strerror}. Mend that first."
        ) from error
    except ValidationError as error:
        raise StorageError(
            f"{layout.run_json} is damaged or was written by another version of cisray: "
            f"{error.errors()[0]['msg']} at {error.errors()[0]['loc']}. Read it with that version, "
            f"or start again with --restart."
        ) from error


def read_plan(layout: RunLayout, manifest: RunManifest) -> Plan:
    """Read the shard plan and check that it is the one of the manifest.

    Raises StorageError when it is missing, damaged or another one.
    """
    kind = kind_of(manifest)
    path = layout.table(kind.tables[0])
    try:
        plan = kind.read_plan(layout, manifest)
    except (OSError, ValueError, CoordinateError) as error:
        raise StorageError(f"{path} is missing or damaged: {error}. {_WAY_OUT}") from error
    _require_digest(path, plan.sha256, manifest.plan_sha256)
    return plan


def read_tracks(layout: RunLayout, manifest: RunManifest) -> tuple[TrackSet, dict[str, list[int]]]:
    """Read the tracks and their blocks and check that they are those of the manifest.

    Raises StorageError when they are missing, damaged or others.
    """
    table = read_table(layout.tracks)
    if table.schema.names != RUN_TRACKS.schema.names:
        raise StorageError(
            f"{layout.tracks} has the columns {table.schema.names}, a run's has "
            f"{RUN_TRACKS.schema.names}. {_WAY_OUT}"
        )
    blocks: dict[str, list[int]] = {}
    for track, block in zip(table["track"].to_pylist(), table["block"].to_pylist(), strict=True):
        blocks.setdefault(block, []).append(track)
    head = (table.schema.metadata or {}).get(b"cisray.head", b"").decode()
    columns = table.select(TRACKS.schema.names).cast(TRACKS.schema)
    tracks = TrackSet(head, columns)
    _require_digest(layout.tracks, tracks.sha256, manifest.tracks_sha256)
    return tracks, blocks


def read_table(path: Path) -> pa.Table:
    """Read a table about the run. Raises StorageError when it is missing or damaged."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{path} cannot be read ({error}); the run is damaged. {_WAY_OUT}"
        ) from error


def run_metadata(manifest: RunManifest, table: Table) -> dict[str, str]:
    """List what every Parquet file of a run says about where it comes from."""
    return {
        "cisray.format": table.format,
        "cisray.run_id": manifest.run_id,
        "cisray.manifest_sha256": manifest.digest,
        "cisray.bin": str(manifest.bin_bp),
        "cisray.mantissa_bits": str(manifest.mantissa_bits),
        "cisray.model_sha256": manifest.model_sha256,
        "cisray.genome": manifest.genome,
        "cisray.genome_sha256": manifest.genome_sha256,
        "cisray.tracks_sha256": manifest.tracks_sha256,
        "cisray.version": manifest.code_version,
    }


def data_metadata(manifest: RunManifest, block: str, span: ShardSpan) -> dict[str, str]:
    """List what a data file says besides: the block and the shard that it holds."""
    kind = kind_of(manifest)
    statistics = kind.statistics(manifest)
    return run_metadata(manifest, kind.data) | {
        "cisray.block": block,
        "cisray.chrom": span.chrom,
        "cisray.start": str(span.start),
        "cisray.end": str(span.end),
        **({} if statistics is None else {"cisray.statistics": ",".join(statistics)}),
    }


def _kind(layout: RunLayout) -> Literal["free", "run", "foreign"]:
    if not layout.root.exists():
        return "free"
    if not layout.root.is_dir():
        return "foreign"
    if layout.run_json.exists():
        return "run" if _is_ours(layout.run_json) else "foreign"
    names = set(os.listdir(layout.root))
    is_torso = "_lock" in names and names <= _BEFORE_RUN_JSON
    return "free" if is_torso or not names else "foreign"


def _is_ours(run_json: Path) -> bool:
    """Tell our run.json from a stranger's, of whatever version; a run's is never half written."""
    try:
        content = json.loads(run_json.read_bytes())
    except (ValueError, IsADirectoryError):
        return False
    return isinstance(content, dict) and str(content.get("format", "")).startswith(RUN_FAMILY)


def _tables_there(layout: RunLayout) -> tuple[Table, ...]:
    """List the tables of the plan of the run that is there: someone's own may have such a name."""
    try:
        return kind_of(read_manifest(layout)).tables
    except StorageError:
        return PLAN_TABLES


def _foreign_names(layout: RunLayout) -> list[str]:
    ours = _OURS | {table_file(table) for table in _tables_there(layout)}
    foreign = [name for name in os.listdir(layout.root) if name not in ours]
    for folder, suffix in (
        (layout.data, ".parquet"),
        (layout.commits, ".json"),
        (layout.failures, ".json"),
    ):
        if folder.is_symlink():
            foreign.append(folder.name)
            continue
        for path in folder.rglob("*"):
            is_ours = path.suffix == suffix or (path.is_dir() and folder == layout.data)
            if path.is_symlink() or not is_ours:
                foreign.append(str(path.relative_to(layout.root)))
    return sorted(foreign)


def _require_digest(path: Path, found: str, recorded: str) -> None:
    if found != recorded:
        raise StorageError(
            f"{path} is not the one that the run was begun with (digest {found[:12]}, recorded "
            f"{recorded[:12]}). {_WAY_OUT}"
        )
