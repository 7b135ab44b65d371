"""A background out of a run of variants, and its file: the distribution of each track's scores.

Knows runs, statistics and the table of calibrations; what a quantile is, is the business of
`cisray.evaluation.background`. A file says what its scores depend on, so that scores of another
kind are refused.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cisray.errors import EvaluationError, StatisticError, TrackError, WrongRun, near_matches
from cisray.evaluation.background import Distribution
from cisray.store.layout import value_columns
from cisray.store.manifest import RunManifest
from cisray.store.queries.parts import query_of
from cisray.store.scan import Run
from cisray.tracks import TrackSet, column_name
from cisray_schemas import CALIBRATIONS
from cisray_schemas.calibrations import ABSOLUTE, SIGNED

# Values of the background that are held at once, 128 MB.
_HELD = 1 << 25
_MOST_TRACKS = 128
_SETTINGS = b"cisray.calibration"
# What a value depends on, of a manifest and of its `config`; how it was computed and rounded, and
# by which version, moves it within what docs/accuracy.md says.
_FACTS = ("model_sha256", "genome_sha256", "bin_bp")
_FACTS_OF_CONFIG = (
    "head", "bins", "window_placement", "indels", "reverse_complement", "shifts",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A background: its statistic, what its scores depend on, and each track's distributions.

    `distributions` are by form (signed, absolute) and index of the track on its head.
    """

    statistic: str
    facts: Mapping[str, Any]
    run_id: str
    tracks: pl.DataFrame
    distributions: Mapping[tuple[str, int], Distribution]

    def check(self, run: Run, tracks: TrackSet) -> None:
        """Refuse a run whose scores are not of the background's kind.

        Raises StatisticError, TrackError for a track that the background lacks or calls
        otherwise, and EvaluationError that names every setting which differs.
        """
        require_statistic(run, self.statistic)
        here = facts_of(run.manifest)
        differing = [
            f"{name} {self.facts.get(name)} there, {value} here"
            for name, value in here.items()
            if self.facts.get(name) != value
        ]
        if differing:
            raise EvaluationError(
                f"the scores of {run.path} are not of the background's kind ({self.run_id}): "
                f"{'; '.join(differing)}. A background has to be scored as the variants are."
            )
        known = {row["track"]: row for row in self.tracks.iter_rows(named=True)}
        for row in tracks.table.to_pylist():
            there = known.get(row["track"])
            if there is None:
                raise TrackError(
                    f"the background has no track {row['column']} ({row['description']}): choose "
                    f"by --tracks those that it has, {len(known):,}, or score it with all."
                )
            if any(there[name] != row[name] for name in ("identifier", "description")):
                raise TrackError(
                    f"track {row['column']} is {there['description']!r} ({there['identifier']}) in "
                    f"the background and {row['description']!r} ({row['identifier']}) in "
                    f"{run.path}: their tables of tracks differ."
                )


def facts_of(manifest: RunManifest) -> dict[str, Any]:
    """Tell what the scores of a run depend on, besides the variants."""
    told = {name: getattr(manifest, name) for name in _FACTS}
    return told | {name: manifest.config.get(name) for name in _FACTS_OF_CONFIG}


def require_statistic(run: Run, statistic: str) -> None:
    """Raise WrongRun for a run without statistics, StatisticError for one that lacks this one."""
    known = run.statistics
    if known is None:
        raise WrongRun(f"{run.path} holds bins along the genome: calibrations are of variants.")
    if statistic not in known:
        raise StatisticError(
            f"{run.path} has no statistic {statistic!r}.{near_matches(statistic, known)} It has "
            f"{', '.join(known)}."
        )


def describe_background(
    run: Run, statistic: str, tracks: TrackSet, used_V: NDArray[np.bool_]
) -> pa.Table:
    """Describe each track's scores of the rows that are `used_V`, in the order of a scan.

    Gives the table of `cisray_schemas.CALIBRATIONS`. So many tracks are held at once as fit into
    128 MB. Raises EvaluationError for a track without any value.
    """
    rows: list[dict[str, Any]] = []
    about = tracks.table.select(["track", "column", "identifier", "description"]).to_pylist()
    for first, values_VT in _pieces(run, statistic, tracks.indices.tolist(), used_V):
        for place in range(values_VT.shape[1]):
            facts = {"statistic": statistic, **about[first + place]}
            signed_V = values_VT[:, place]
            for form, values_V in ((SIGNED, signed_V), (ABSOLUTE, np.abs(signed_V))):
                rows.append({**facts, "form": form, **_told(Distribution.of(values_V))})
    rows.sort(key=lambda row: (row["form"], row["track"]))
    table = pa.Table.from_pylist(rows, schema=CALIBRATIONS.schema)
    content = {"facts": facts_of(run.manifest), "run_id": run.manifest.run_id}
    return table.replace_schema_metadata({_SETTINGS: json.dumps(content).encode()})


def read_calibration(path: Path) -> Calibration:
    """Read a calibration, a file or the folder that has it. Raises EvaluationError."""
    file = path / "calibration.parquet" if path.is_dir() else path
    try:
        table = pq.read_table(file)
        told = json.loads((table.schema.metadata or {})[_SETTINGS])
        rows = table.cast(CALIBRATIONS.schema).to_pylist()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise EvaluationError(
            f"{file} is no calibration that can be read ({error}): make one with `cisray evaluate "
            f"calibration`."
        ) from error
    distributions = {
        (row["form"], row["track"]): Distribution(
            n=row["n"], mean=row["mean"], sd=row["sd"], least=row["least"],
            largest=row["largest"], quantiles=np.array(row["quantiles"]),
        )
        for row in rows
    }  # fmt: skip
    signed = pl.DataFrame(table.select(["form", "track", "identifier", "description"])).filter(
        form=SIGNED
    )
    return Calibration(
        rows[0]["statistic"], told["facts"], told["run_id"], signed.drop("form"), distributions
    )


def _pieces(
    run: Run, statistic: str, tracks: Sequence[int], used_V: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Give the scores of some tracks of all rows that are used, (V, T), then of the next tracks."""
    size = max(1, min(_MOST_TRACKS, _HELD // max(1, len(used_V))))
    for first in range(0, len(tracks), size):
        piece = tracks[first : first + size]
        columns = value_columns([statistic], [column_name(track) for track in piece])
        frame = run.scan(tracks=query_of(piece), stats=statistic).select(columns).collect()
        yield first, frame.to_numpy().astype(np.float32, copy=False)[used_V]


def _told(one: Distribution) -> dict[str, Any]:
    return {
        "n": one.n,
        "mean": one.mean,
        "sd": one.sd,
        "least": one.least,
        "largest": one.largest,
        "quantiles": one.quantiles.tolist(),
    }
