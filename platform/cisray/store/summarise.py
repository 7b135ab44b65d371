"""The strongest track of each row of a sealed run, for groups of tracks, kept beside the run.

Knows how rows are read in parts and how the largest of them is found; `group_summary` knows what
is kept. Ranking variants by a group of tracks then reads two columns instead of one per track.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa

from cisray.errors import ConfigError
from cisray.store.directory import run_metadata
from cisray.store.encode import encode_pieces
from cisray.store.group_summary import GroupSummary, Tracks, Values, track_column, value_column
from cisray.store.keyed_plan import as_keyed
from cisray.store.kinds import kind_of
from cisray.store.layout import RunLayout, value_columns
from cisray.store.locate import locate
from cisray.store.place import RunPlace
from cisray.store.queries.parts import require_own_rows
from cisray.store.scan import Run, open_layout
from cisray.tracks import column_name
from cisray_schemas.summaries import GROUP_SUMMARY

PART_ROWS = 65_536
PART_TRACKS = 128
UNNAMED = "other"  # the group of tracks without an assay

Groups = Mapping[str, Sequence[int]]
OnPart = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Summarised:
    """What was summarised: how many tracks each group has, and what the table takes."""

    path: RunPlace
    file: str
    rows: int
    statistics: tuple[str, ...]
    groups: Mapping[str, int]
    bytes: int


def summarise_run(
    path: str | Path,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    stats: Sequence[str] | None = None,
    on_part: OnPart = lambda *_: None,
) -> Summarised:
    """Find, of each row, the track of each group whose value is largest, and keep it with the run.

    Groups are queries of tracks by name, the run's assays unless given. A table that is there is
    replaced, at once. `on_part` is told how many shards were read, of how many, and the rows of the
    last ones.

    Raises RunNotFound for a run that is not sealed, WrongRun for one along the genome or with
    links, TrackError, StatisticError and ConfigError for groups and statistics that cannot be,
    RunConflict while another process writes the run, and StorageError.
    """
    layout = RunLayout(locate(path))
    # Before the lock, which would make a folder where there is none.
    found = open_layout(layout)
    as_keyed(found.plan)
    require_own_rows(found)
    lock = layout.folder.lock()
    try:
        run = open_layout(layout)
        members = _members(run, groups)
        statistics = _statistics(run, stats)
        schema = _schema(run, statistics, members)
        pieces = _pieces(run, statistics, members, schema, on_part)
        notes = run_metadata(run.manifest, GROUP_SUMMARY)
        pages = kind_of(run.manifest).pages
        data = memoryview(encode_pieces(pieces, schema, run.plan.rows, pages, notes))
        record = GroupSummary(
            begun=run.layout.begun,
            statistics=tuple(statistics),
            groups={name: tuple(tracks) for name, tracks in members.items()},
            rows=run.plan.rows,
            path=f"{run.layout.summaries}/groups.{uuid4().hex[:8]}.parquet",
            bytes=data.nbytes,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        _publish(run.layout, record, data)
    finally:
        lock.release()
    return Summarised(
        path=run.path,
        file=record.path,
        rows=record.rows,
        statistics=record.statistics,
        groups={name: len(tracks) for name, tracks in members.items()},
        bytes=record.bytes,
    )


def _statistics(run: Run, stats: Sequence[str] | None) -> list[str]:
    run.scan(stats=stats)  # raises for what the run does not have
    return [name for name in run.statistics or [] if stats is None or name in stats]


def _members(run: Run, groups: Mapping[str, Sequence[str]] | None) -> dict[str, list[int]]:
    if groups is not None:
        if not groups or not all(groups):
            raise ConfigError("a group of tracks needs a name and at least one query of tracks.")
        return {name: run.tracks.select(of).indices.tolist() for name, of in groups.items()}
    members: dict[str, list[int]] = {}
    assays = run.tracks.table["assay"].to_pylist()
    for track, assay in zip(run.tracks.indices.tolist(), assays, strict=True):
        members.setdefault(assay or UNNAMED, []).append(track)
    return members


def _schema(run: Run, statistics: Sequence[str], groups: Groups) -> pa.Schema:
    data = kind_of(run.manifest).data
    further = [name for name in data.sort_by if name not in GROUP_SUMMARY.schema.names]
    fields = [*GROUP_SUMMARY.schema, *(data.schema.field(name) for name in further)]
    for statistic in statistics:
        for group in groups:
            fields.append(pa.field(value_column(statistic, group), pa.float32()))
            fields.append(pa.field(track_column(statistic, group), pa.int32()))
    names = [field.name for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"groups must be named so that columns differ; {twice[0]} comes twice.")
    return pa.schema(fields)


def _pieces(
    run: Run, statistics: Sequence[str], groups: Groups, schema: pa.Schema, on_part: OnPart
) -> Iterator[pa.Table]:
    """Summarise the run part by part, in its order."""
    keys = [name for name in kind_of(run.manifest).data.schema.names if name in schema.names]
    done = 0
    for part, shards in _parts(run):
        one = part.scan(int(run.tracks.indices[0]), stats=statistics[0])
        rows = one.select(keys).with_columns(pl.col("chrom").cast(pl.String)).collect().to_arrow()
        columns = dict(zip(rows.column_names, rows.columns, strict=True))
        for statistic in statistics:
            for group, tracks in groups.items():
                values, which = _strongest(part, statistic, tracks, rows.num_rows)
                columns[value_column(statistic, group)] = pa.array(values, from_pandas=True)
                columns[track_column(statistic, group)] = pa.array(which, mask=which < 0)
        yield pa.table([columns[name] for name in schema.names], schema.names).cast(schema)
        done += shards
        on_part(done, len(run.shards), rows.num_rows)


def _parts(run: Run) -> Iterator[tuple[Run, int]]:
    """Cut a run into parts of whole files, of about `PART_ROWS` rows; count the shards of each."""
    of_block = run.files.filter(pl.col("block") == next(iter(run.blocks)))
    before = pl.col("n_rows").cum_sum() - pl.col("n_rows")
    numbered = of_block.with_columns(part=before // PART_ROWS)
    for (_,), files in numbered.group_by(["part"], maintain_order=True):
        first, last = files["shard"][0], files["last_shard"][-1]
        held = run.files.filter(pl.col("shard").is_between(first, last))
        shards = sum(first <= shard <= last for shard in run.shards)
        yield replace(run, files=held), shards


def _strongest(
    part: Run, statistic: str, tracks: Sequence[int], rows: int
) -> tuple[Values, Tracks]:
    """Find the track with the largest size in each row, the first of equals; NaN for none."""
    best, values = np.full(rows, -1, np.float32), np.full(rows, np.nan, np.float32)
    which = np.full(rows, -1, np.int32)
    for first in range(0, len(tracks), PART_TRACKS):
        piece = np.array(tracks[first : first + PART_TRACKS], np.int32)
        names = value_columns([statistic], [column_name(track) for track in piece.tolist()])
        frame = part.scan(",".join(map(str, piece)), stats=statistic).select(names).collect()
        held = frame.to_numpy()
        sizes = np.where(np.isnan(held), np.float32(-1), np.abs(held))
        at = sizes.argmax(axis=1)
        largest = sizes[np.arange(rows), at]
        better = largest > best
        best[better] = largest[better]
        values[better] = held[np.arange(rows), at][better]
        which[better] = piece[at][better]
    return values, which


def _publish(layout: RunLayout, record: GroupSummary, data: memoryview) -> None:
    """Let readers in to a new table, and remove what is there besides."""
    folder = layout.folder
    folder.publish_new(record.path, data, begun=None)
    text = record.model_dump_json(indent=2).encode() + b"\n"
    folder.publish(layout.summary_record, text, exclusive=False, begun=None)
    others = folder.below(layout.summaries).keys() - {record.path, layout.summary_record}
    folder.remove(*others)
    folder.sweep()
