"""The beginning of a run directory: claiming a folder, refusing others', starting afresh.

Knows which names belong to a run and in which order they must come and go, so that a crash
between any two of them leaves a folder that the next attempt understands; knows nothing of
shards. `run.json` is the last thing written at the start and the last one removed at a restart.
"""

import json
from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from cisray.errors import CoordinateError, RunConflict, RunNotFound, StorageError
from cisray.store.encode import encode_small
from cisray.store.folder import StoredFile
from cisray.store.kinds import PLAN_TABLES, kind_of
from cisray.store.layout import RunLayout, table_file
from cisray.store.manifest import RUN_FAMILY, RunManifest, manifest_differences
from cisray.store.plan import Plan, ShardSpan
from cisray.tracks import TrackSet
from cisray_schemas.runs import RUN_FILES, RUN_TRACKS
from cisray_schemas.table import Table
from cisray_schemas.tracks import TRACKS

Blocks = Mapping[str, list[int]]
_ANY_TIME = {"_lock", "_staging", "tracks.parquet"}
_BEFORE_RUN_JSON = _ANY_TIME | {table_file(table) for table in PLAN_TABLES}
_OURS = _ANY_TIME | {
    "run.json", "data", "_commits", "_failed", "_closed", "_manifest.parquet", "_history.jsonl",
    "summary", "summary.json", "_SUCCESS",
}  # fmt: skip

_WAY_OUT = "Bring the file back from a copy, or start again with --restart."


def check_free(layout: RunLayout) -> None:
    """Refuse a path that holds anything other than a run or the torso of one. Touches nothing.

    Raises RunConflict.
    """
    try:
        found = layout.folder.names()
    except NotADirectoryError:
        found = ["a file"]
    if found and _kind(layout, set(found)) == "foreign":
        found.sort()
        raise RunConflict(
            f"{layout.root} is not a cisray run and is left as it is (it holds "
            f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}); choose another --out."
        )


def has_run(layout: RunLayout) -> bool:
    """Tell whether the folder holds a run, begun, finished or sealed."""
    return layout.has(layout.run_json)


def create(
    layout: RunLayout, manifest: RunManifest, plan: Plan, tracks: TrackSet, blocks: Blocks
) -> None:
    """Write what a run is made from; afterwards, and not before, the folder is a run."""
    # Of a beginning, or of a restart, that was killed: perhaps of a run of another kind.
    folder = layout.folder
    folder.sweep()
    folder.remove(*map(layout.table, PLAN_TABLES))
    folder.admit(layout.begun)
    block_of = {track: block for block, members in blocks.items() for track in members}
    names = pa.array([block_of[int(track)] for track in tracks.indices], pa.string())
    table = tracks.table.cast(TRACKS.schema).append_column(RUN_TRACKS.schema.field("block"), names)
    for name, kind, rows in (
        (layout.tracks, RUN_TRACKS, table),
        *((layout.table(kind), kind, rows) for kind, rows in plan.parts),
    ):
        if isinstance(rows, StoredFile):
            folder.publish_file(name, rows, begun=layout.begun)
        else:
            notes = run_metadata(manifest, kind) | {"cisray.head": tracks.head}
            data = memoryview(encode_small(rows, notes))
            folder.publish(name, data, exclusive=False, begun=layout.begun)
    text = manifest.model_dump_json(indent=2).encode() + b"\n"
    if not folder.publish(layout.run_json, text, exclusive=True, begun=layout.begun):
        raise RunConflict(
            f"another cisray process has begun a run in {layout.root} at the same time. Wait for "
            f"it to end, or choose another --out."
        )


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
    folder = layout.folder
    folder.remove(layout.success)
    folder.remove(layout.summary, layout.files)
    folder.remove(layout.history)
    folder.shut_out()
    for tree in (layout.summaries, layout.commits, layout.failures, layout.data):
        folder.remove_tree(tree)
    folder.sweep()
    for name in (layout.run_json, layout.tracks, *map(layout.table, tables)):
        folder.remove(name)


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
    rows = read_files(layout).to_pylist()
    sizes = layout.folder.sizes_of(row["path"] for row in rows)
    for row in rows:
        if sizes.get(row["path"]) != row["bytes"]:
            raise StorageError(
                f"{layout.root} is sealed, but its file {row['path']} is missing or is not of the "
                f"recorded {row['bytes']:,} bytes. {_WAY_OUT}"
            )


def read_manifest(layout: RunLayout) -> RunManifest:
    """Read `run.json`. Raises RunNotFound without one, StorageError when it is damaged."""
    text = layout.folder.read(layout.run_json)
    if text is None:
        raise RunNotFound(
            f"{layout.root} holds no cisray run (no run.json in it); give the folder that was the "
            f"--out of a run."
        )
    try:
        manifest = RunManifest.model_validate_json(text)
        kind_of(manifest).statistics(manifest)  # a kind that it does not fit is damage as well
        return manifest
    except ValidationError as error:
        raise StorageError(
            f"{layout.tell(layout.run_json)} is damaged or was written by another version of "
            f"cisray: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}. Read it with that "
            f"version, or start again with --restart."
        ) from error


def read_plan(layout: RunLayout, manifest: RunManifest) -> Plan:
    """Read the shard plan and check that it is the one of the manifest.

    Raises StorageError when it is missing, damaged or another one.
    """
    kind = kind_of(manifest)
    table = layout.file(layout.table(kind.tables[0]))
    try:
        plan = kind.read_plan(layout, manifest)
    except (OSError, ValueError, CoordinateError) as error:
        raise StorageError(f"{table} is missing or damaged: {error}. {_WAY_OUT}") from error
    _require_digest(table, plan.sha256, manifest.plan_sha256)
    return plan


def read_tracks(layout: RunLayout, manifest: RunManifest) -> tuple[TrackSet, dict[str, list[int]]]:
    """Read the tracks and their blocks and check that they are those of the manifest.

    Raises StorageError when they are missing, damaged or others.
    """
    file = layout.file(layout.tracks)
    table = read_table(file)
    if table.schema.names != RUN_TRACKS.schema.names:
        raise StorageError(
            f"{file} has the columns {table.schema.names}, a run's has "
            f"{RUN_TRACKS.schema.names}. {_WAY_OUT}"
        )
    blocks: dict[str, list[int]] = {}
    for track, block in zip(table["track"].to_pylist(), table["block"].to_pylist(), strict=True):
        blocks.setdefault(block, []).append(track)
    head = (table.schema.metadata or {}).get(b"cisray.head", b"").decode()
    columns = table.select(TRACKS.schema.names).cast(TRACKS.schema)
    tracks = TrackSet(head, columns)
    _require_digest(file, tracks.sha256, manifest.tracks_sha256)
    return tracks, blocks


def read_table(file: StoredFile) -> pa.Table:
    """Read a table about the run. Raises StorageError when it is missing or damaged."""
    try:
        with file.open() as stream:
            return pq.ParquetFile(stream).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{file} cannot be read ({error}); the run is damaged. {_WAY_OUT}"
        ) from error


def read_files(layout: RunLayout) -> pa.Table:
    """Read the list of data files of a sealed run.

    In lists of before there was compaction a file holds one shard. Raises StorageError.
    """
    table = read_table(layout.file(layout.files))
    if "last_shard" not in table.column_names:
        table = table.append_column("last_shard", table["shard"])
    try:
        return table.cast(RUN_FILES.schema)
    except (ValueError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{layout.tell(layout.files)} is not a list of files ({error}). {_WAY_OUT}"
        ) from error


def run_metadata(manifest: RunManifest, table: Table) -> dict[str, str]:
    """List what every Parquet file of a run says about where it comes from."""
    return {
        "cisray.format": table.format,
        "cisray.run_id": manifest.run_id,
        "cisray.manifest_sha256": manifest.digest,
        "cisray.bin": str(manifest.bin_bp),
        "cisray.mantissa_bits": str(manifest.mantissa_bits),
        "cisray.max_relative_error": str(manifest.max_relative_error),
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


def _kind(layout: RunLayout, names: set[str]) -> Literal["free", "run", "foreign"]:
    """Tell what a folder is by the names in it."""
    run_json = layout.folder.read(layout.run_json) if layout.run_json in names else None
    if run_json is not None:
        return "run" if _is_ours(run_json) else "foreign"
    is_torso = "_lock" in names and names <= _BEFORE_RUN_JSON
    return "free" if is_torso else "foreign"


def _is_ours(run_json: bytes) -> bool:
    """Tell our run.json from a stranger's, of whatever version; a run's is never half written."""
    try:
        content = json.loads(run_json)
    except ValueError:
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
    foreign = [name for name in layout.folder.names() or [] if name not in ours]
    for tree, ending in (
        (layout.data, ".parquet"),
        (layout.commits, ".json"),
        (layout.failures, ".json"),
    ):
        foreign += layout.folder.foreign_below(tree, ending)
    others = layout.folder.foreign_below(layout.summaries, ".parquet")
    return sorted({*foreign, *others} - {layout.summary_record})


def _require_digest(file: StoredFile, found: str, recorded: str) -> None:
    if found != recorded:
        raise StorageError(
            f"{file} is not the one that the run was begun with (digest {found[:12]}, recorded "
            f"{recorded[:12]}). {_WAY_OUT}"
        )
