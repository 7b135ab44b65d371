"""How a run of a schedule differs, taken as a whole, from the one before it.

Knows finished runs; knows nothing of ledgers. Run as a command after each success:

    python -m cisray_jobs.schedule.drift RUN REPORT [REPORT_OF_THE_RUN_BEFORE]

Of each run: entries, rows, what is linked and rejected by reason, and quantiles of each statistic
over all tracks and the run's own rows (of a run along the genome, of each assay's bins). Rows that
are linked to are the other run's. Values are counted in classes of a width of 2 %, so that a run of
any size is read once, a chromosome and 64 tracks at a time.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cisray.errors import CisrayError, StorageError
from cisray.store.files import make_folder, publish
from cisray.store.layout import value_columns
from cisray.store.scan import Run, open_run
from cisray.tracks import column_name
from cisray_jobs.assays import rows_by_assay
from cisray_jobs.run_facts import RunFacts, describe_run

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TRACKS_AT_ONCE = 64
# Classes of sizes: 120 for each factor of ten are steps of 1.9 %.
_PER_DECADE, _SMALLEST, _LARGEST = 120, -12, 9
_EDGES = np.logspace(_SMALLEST, _LARGEST, (_LARGEST - _SMALLEST) * _PER_DECADE + 1)

Floats = npt.NDArray[np.float64]


class Spread(BaseModel):
    """How values lie: how many, how many are missing, the extremes, exact, and quantiles."""

    model_config = ConfigDict(frozen=True)

    values: int
    missing: int
    lowest: float | None
    highest: float | None
    quantiles: dict[str, float]


class RunSummary(BaseModel):
    """A run in a few numbers; `spreads` by statistic, or by assay of a run along the genome."""

    model_config = ConfigDict(frozen=True)

    run: str
    run_id: str
    created: str
    entries: int | None
    rows: int
    linked: int
    rejected: dict[str, int]
    spreads: dict[str, Spread]


class Change(BaseModel):
    """A number of two runs; None where a run has no such number."""

    model_config = ConfigDict(frozen=True)

    what: str
    before: float | None
    after: float | None


class Report(BaseModel):
    """The summary of a run, and in what it differs from the run before, which `before` names."""

    model_config = ConfigDict(frozen=True)

    summary: RunSummary
    before: str | None = None
    changes: tuple[Change, ...] = Field(())


class Spreading:
    """Counts values by class as they come."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts = np.zeros((2, len(_EDGES) + 1), np.int64)
        self._missing = 0
        self._low, self._high = np.inf, -np.inf

    def add(self, values: Floats) -> None:
        """Count values; NaN is missing."""
        held = values[~np.isnan(values)]
        self._missing += values.size - held.size
        if held.size:
            self._low = min(self._low, float(held.min()))
            self._high = max(self._high, float(held.max()))
            classes = np.searchsorted(_EDGES, np.abs(held), side="right")
            for sign, of_sign in enumerate((held < 0, held >= 0)):
                self._counts[sign] += np.bincount(classes[of_sign], minlength=len(_EDGES) + 1)

    def result(self) -> Spread:
        """Give what was counted. A quantile is the middle of its class, within the extremes."""
        sizes = np.concatenate([[0.0], np.sqrt(_EDGES[:-1] * _EDGES[1:]), [_EDGES[-1]]])
        middles = np.concatenate([-sizes[::-1], sizes])
        upto = np.concatenate([self._counts[0][::-1], self._counts[1]]).cumsum()
        total = int(upto[-1])
        if total == 0:
            return Spread(values=0, missing=self._missing, lowest=None, highest=None, quantiles={})
        ranks = [int(np.ceil(share * total)) for share in QUANTILES]
        found = np.clip(middles[np.searchsorted(upto, ranks)], self._low, self._high)
        return Spread(
            values=total,
            missing=self._missing,
            lowest=self._low,
            highest=self._high,
            quantiles=dict(zip(map(str, QUANTILES), found.tolist(), strict=True)),
        )


def summarise_run(path: str) -> RunSummary:
    """Read a sealed run once. Raises RunNotFound when there is none, StorageError when damaged."""
    facts = describe_run(path)
    run = open_run(path)
    entries = run.manifest.config.get("entries")
    return RunSummary(
        run=path,
        run_id=facts.run_id,
        created=facts.created,
        entries=entries if isinstance(entries, int) else None,
        rows=facts.rows,
        linked=sum(facts.linked.values()),
        rejected=dict(facts.rejected or {}),
        spreads={name: _spread(run, tracks, name) for name, tracks in _groups(run, facts).items()},
    )


def _groups(run: Run, facts: RunFacts) -> dict[str, list[int]]:
    """Say which tracks each spread is of."""
    tracks: list[int] = run.tracks.indices.tolist()
    if facts.statistics is not None:
        return dict.fromkeys(facts.statistics, tracks)
    by_assay = rows_by_assay(run.tracks)
    return {assay: [tracks[row] for row in rows] for assay, rows in by_assay.items()}


def _spread(run: Run, tracks: list[int], name: str) -> Spread:
    spreading = Spreading()
    for values in _pieces(run, tracks, name):
        spreading.add(values)
    return spreading.result()


def _pieces(run: Run, tracks: list[int], name: str) -> Iterator[Floats]:
    statistics = None if run.statistics is None else [name]
    for chrom in run.chromosomes:
        for first in range(0, len(tracks), TRACKS_AT_ONCE):
            some = tracks[first : first + TRACKS_AT_ONCE]
            names = value_columns(statistics, [column_name(track) for track in some])
            query = ",".join(map(str, some))
            frame = run.scan(query, chrom, statistics, linked=False).select(names).collect()
            yield frame.to_numpy().astype(np.float64).ravel()


def changes(before: RunSummary, after: RunSummary) -> tuple[Change, ...]:
    """List the numbers that differ between two runs, in the order of a summary."""
    a, b = _numbers(before), _numbers(after)
    return tuple(
        Change(what=what, before=a.get(what), after=b.get(what))
        for what in dict.fromkeys([*a, *b])
        if a.get(what) != b.get(what)
    )


def _numbers(summary: RunSummary) -> Mapping[str, float]:
    told: dict[str, float | None] = {
        "entries": summary.entries,
        "rows": summary.rows,
        "linked": summary.linked,
        **{f"rejected {reason}": count for reason, count in summary.rejected.items()},
    }
    for name, spread in summary.spreads.items():
        told |= {
            f"{name} values": spread.values,
            f"{name} missing": spread.missing,
            f"{name} lowest": spread.lowest,
            **{f"{name} {share}": value for share, value in spread.quantiles.items()},
            f"{name} highest": spread.highest,
        }
    return {what: number for what, number in told.items() if number is not None}


def read_report(path: Path) -> Report | None:
    """Read a report; None where there is none. Raises StorageError when it is damaged."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"{path} is no report of a run: {error}. Remove it; the next success writes its own."
        ) from error


def main(run: str, report: str, before: str | None = None) -> None:
    """Write the report of a run, beside what it differs in from the report of the run before."""
    summary = summarise_run(run)
    earlier = None if before is None else read_report(Path(before))
    told = Report(summary=summary)
    if earlier is not None:
        told = Report(
            summary=summary,
            before=earlier.summary.run,
            changes=changes(earlier.summary, summary),
        )
    path = Path(report)
    make_folder(path.parent)
    publish(told.model_dump_json(indent=2).encode(), path, staging=path.parent, exclusive=False)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except CisrayError as error:
        sys.exit(f"No drift report: {error}")
