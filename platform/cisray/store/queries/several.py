"""Several runs in one frame: what must agree between them, and their scans below one another.

Knows what makes runs comparable; knows nothing of what their values mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from cisray.errors import ConfigError, WrongRun
from cisray.locus import match_chromosome, parse_locus
from cisray.store.scan import Run, open_run
from cisray.store.selection import Region, TrackQuery
from cisray.tracks import TrackSet

RUN = "run"
Paths = Sequence[str | Path] | Mapping[str, str | Path]
_SHOWN = 5


def scan_runs(
    paths: Paths,
    *,
    tracks: TrackQuery | None = None,
    region: Region | None = None,
    stats: str | Sequence[str] | None = None,
    allow_other_genomes: bool = False,
) -> pl.LazyFrame:
    """Query several runs as `Run.scan` does one: its columns after `run`, the runs in their order.

    `run` is an Enum of the names that a mapping gives, or of the runs' ids. The runs are of one
    kind with the same bins, statistics and genome, and the tracks asked for are the same in each:
    head, index, identifier, description and all else that their table says. A run that lacks the
    chromosome of a region adds no rows. `allow_other_genomes` lets runs of other sequences stand
    below one another, where the same coordinates may be other places.

    Raises WrongRun with the differences where runs are not comparable, ConfigError for no runs or
    two of one name, UnknownChromosome for a region on a chromosome of no run, and what `open_run`
    and `Run.scan` raise.
    """
    runs = _opened(paths)
    (name, run), *others = runs.items()
    for other_name, other in others:
        differences = list(_differences(run, other, tracks, stats))
        if run.manifest.genome_sha256 != other.manifest.genome_sha256 and not allow_other_genomes:
            differences.append("other genomes (allow_other_genomes=True lets that pass)")
        if differences:
            raise WrongRun(
                f"the runs {name} ({run.path}) and {other_name} ({other.path}) cannot be scanned "
                f"as one; they have {'; '.join(differences)}."
            )
    chroms = [chrom for run in runs.values() for chrom in run.chromosomes]
    chrom_type, name_type = pl.Enum(list(dict.fromkeys(chroms))), pl.Enum(list(runs))
    covering = {name: run for name, run in runs.items() if _covers(run, region)} or runs
    parts = []
    for name, run in covering.items():
        frame = run.scan(tracks=tracks, region=region, stats=stats)
        columns = frame.collect_schema().names()
        parts.append(
            frame.with_columns(pl.col("chrom").cast(pl.String).cast(chrom_type)).select(
                pl.lit(name, dtype=name_type).alias(RUN), *columns
            )
        )
    return pl.concat(parts)


def _opened(paths: Paths) -> dict[str, Run]:
    if isinstance(paths, str | Path):
        raise TypeError(f"scan_runs takes several paths, got {paths!r}; put it in a list.")
    if isinstance(paths, Mapping):
        runs = {name: open_run(path) for name, path in paths.items()}
    else:
        opened = [open_run(path) for path in paths]
        runs = {run.manifest.run_id: run for run in opened}
        if len(runs) < len(opened):
            raise ConfigError(
                f"some of the runs {', '.join(map(str, paths))} are one run, repeated or copied "
                f"({', '.join(runs)}). Leave them out, or give names: {{'a': PATH, 'b': PATH}}."
            )
    if not runs:
        raise ConfigError("no runs are given to scan.")
    return runs


def _differences(
    run: Run, other: Run, tracks: TrackQuery | None, stats: str | Sequence[str] | None
) -> Iterator[str]:
    """Say in what two runs differ that makes their columns another thing."""
    for what, here, there in (
        ("rows", run.manifest.table, other.manifest.table),
        ("bins", run.manifest.bin_bp, other.manifest.bin_bp),
    ):
        if here != there:
            yield f"other {what} ({here}, {there})"
    if stats is None and run.statistics != other.statistics:
        yield f"other statistics ({run.statistics}, {other.statistics}; name those of both)"
    chosen = [one.tracks if tracks is None else one.tracks.select(tracks) for one in (run, other)]
    if chosen[0].sha256 != chosen[1].sha256:
        yield f"other tracks ({_track_differences(*chosen)})"


def _track_differences(here: TrackSet, there: TrackSet) -> str:
    if here.head != there.head:
        return f"head {here.head}, head {there.head}"
    rows, others = (
        {row["column"]: row for row in tracks.table.to_pylist()} for tracks in (here, there)
    )
    only = [sorted(rows.keys() - others.keys()), sorted(others.keys() - rows.keys())]
    changed = [name for name, row in rows.items() if name in others and row != others[name]]
    told = [
        f"only the {which} has {_some(names)}"
        for which, names in zip(("first", "second"), only, strict=True)
        if names
    ]
    if changed:
        name = changed[0]
        pairs = [
            f"{field} {value!r} and {others[name][field]!r}"
            for field, value in rows[name].items()
            if value != others[name][field]
        ]
        told.append(f"{_some(changed)} mean other things: {name} has {', '.join(pairs)}")
    return "; ".join(told)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _covers(run: Run, region: Region | None) -> bool:
    """Tell whether a run has the chromosome of a region at all."""
    if region is None or region in run.chromosomes:
        return True
    if isinstance(region, str):
        chrom = parse_locus(region).chrom
    else:
        chrom = region[0] if isinstance(region, tuple) else region.chrom
    return match_chromosome(chrom, run.chromosomes) is not None
