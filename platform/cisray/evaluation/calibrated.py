"""The scores of a run as quantiles and z-scores of a background, row by row, into one file.

Knows runs, calibrations and Parquet; knows nothing of how a background was chosen. Rows are read
and written a batch at a time, so that memory does not grow with the run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from cisray.errors import ResultsError
from cisray.evaluation.calibration import Calibration
from cisray.store.encode import EFFECT_PAGES, data_writer, round_mantissa
from cisray.store.kinds import kind_of
from cisray.store.layout import value_columns
from cisray.store.queries.parts import Part, in_pieces, parts_with_links, query_of
from cisray.store.scan import Run
from cisray.tracks import TrackSet, column_name
from cisray_schemas.calibrations import ABSOLUTE

# Calibrated values that are held at once, 256 MB.
_HELD = 1 << 26
_MOST_ROWS = 1 << 16
# Finer than a step of the ladder near 1, 7.6e-6; and four times finer than scores are kept.
QUANTILE_BITS, Z_BITS = 16, 12


@dataclass(frozen=True, slots=True)
class CalibratedNames:
    """What the columns of a statistic are called: `SAD_q_t0042` and `SAD_z_t0042`."""

    statistic: str

    @property
    def stems(self) -> list[str]:
        """The statistics that are written, quantiles first."""
        return [f"{self.statistic}_q", f"{self.statistic}_z"]

    def columns(self, tracks: TrackSet) -> list[str]:
        """Name all columns of the tracks, quantiles first."""
        return value_columns(self.stems, tracks.columns)


def write_calibrated(
    run: Run,
    tracks: TrackSet,
    calibration: Calibration,
    form: str,
    path: Path,
    notes: Mapping[str, str],
) -> int:
    """Write the keys of every row of a run, in its order, with quantiles and z-scores; count rows.

    Values are float32, null where the run has none, and z-scores where a background is constant;
    quantiles keep 16 bits of their mantissas and z-scores 12.
    Raises ResultsError unless there are as many rows as the run has.
    """
    names = CalibratedNames(calibration.statistic).columns(tracks)
    schema = kind_of(run.manifest).data.with_values(names, nullable=names)
    size = max(1, min(_MOST_ROWS, _HELD // len(names)))
    rows = 0
    with data_writer(path, schema, size, EFFECT_PAGES) as writer:
        for part in parts_with_links(run):
            for table in _batches(part, tracks, calibration, form, schema, size):
                writer.write_table(table)
                rows += table.num_rows
        writer.add_key_value_metadata(dict(notes))
    owed = run.plan.rows + (run.links.rows if run.links is not None else 0)
    if rows != owed:
        raise ResultsError(f"{run.path} has {owed:,} rows, and {rows:,} were calibrated.")
    return rows


def _batches(
    part: Part, tracks: TrackSet, calibration: Calibration, form: str, schema: pa.Schema, size: int
) -> Iterator[pa.Table]:
    """Calibrate the rows of a part, so many at a time."""
    statistic, indices = calibration.statistic, tracks.indices.tolist()
    value_names = set(CalibratedNames(statistic).columns(tracks))
    key_names = [name for name in schema.names if name not in value_names]
    scan = part.scan(tracks=indices[0], stats=statistic)
    keys = scan.select(key_names).with_columns(pl.col("chrom").cast(pl.String)).collect()
    for first in range(0, keys.height, size):
        rows = min(size, keys.height - first)
        columns: dict[str, pa.Array] = dict(
            zip(key_names, keys.slice(first, rows).to_arrow().columns, strict=True)
        )
        for _, piece in in_pieces(indices):
            names = value_columns([statistic], [column_name(track) for track in piece])
            found = part.scan(tracks=query_of(piece), stats=statistic).select(names)
            values = found.slice(first, rows).collect()
            for track, name in zip(piece, names, strict=True):
                values_V = values[name].to_numpy()
                for stem, told_V in _calibrated(values_V, calibration, form, track).items():
                    columns[f"{stem}_{column_name(track)}"] = pa.array(told_V, from_pandas=True)
        yield pa.table([columns[name] for name in schema.names], schema.names).cast(schema)


def _calibrated(
    values_V: NDArray[np.floating], calibration: Calibration, form: str, track: int
) -> dict[str, NDArray[np.float32]]:
    one = calibration.distributions[form, track]
    x_V = np.abs(values_V) if form == ABSOLUTE else values_V
    quantile, z_score = CalibratedNames(calibration.statistic).stems
    return {
        quantile: round_mantissa(one.quantile(x_V).astype(np.float32), QUANTILE_BITS),
        z_score: round_mantissa(one.z_score(x_V).astype(np.float32), Z_BITS),
    }
