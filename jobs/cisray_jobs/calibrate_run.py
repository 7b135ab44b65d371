"""The job `cisray evaluate calibrate`: scores of a run as quantiles and z-scores of a background.

Knows which files belong together; what a quantile is, is the business of `cisray.evaluation`.
"""

from dataclasses import dataclass
from pathlib import Path

from cisray.errors import StorageError
from cisray.evaluation.calibrated import CalibratedNames, write_calibrated
from cisray.evaluation.calibration import read_calibration
from cisray.store.export.runs import provenance_of
from cisray.store.export.staging import refuse_existing, staged
from cisray.store.scan import open_run
from cisray_jobs.config import JobConfig, RunLocation
from cisray_jobs.provenance import digest_of
from cisray_schemas.calibrations import ABSOLUTE, SIGNED


@dataclass(frozen=True, slots=True)
class CalibratedRun:
    """What was written: rows, columns of values, and of how many variants the background is."""

    path: str
    run: str
    rows: int
    columns: int
    background_n: int
    finest: float


class CalibrateRun(JobConfig):
    """A run, a background, and the file to write."""

    run: RunLocation
    background: Path
    out: Path
    tracks: tuple[str, ...] = ()
    absolute: bool = False
    overwrite: bool = False

    def calibrate(self) -> CalibratedRun:
        """Write the file. Raises what `Calibration.check` raises, ConfigError for an `out` that is
        there, and StorageError.
        """
        refuse_existing([self.out], overwrite=self.overwrite)
        calibration = read_calibration(self.background)
        run = open_run(self.run)
        tracks = run.tracks.select(self.tracks) if self.tracks else run.tracks
        calibration.check(run, tracks)
        form = ABSOLUTE if self.absolute else SIGNED
        n = min(calibration.distributions[form, track].n for track in tracks.indices.tolist())
        file = self.background
        notes = {
            **provenance_of(run.manifest),
            "cisray_background": calibration.run_id,
            "cisray_background_sha256": digest_of(
                file / "calibration.parquet" if file.is_dir() else file
            ),
            "cisray_background_form": form,
        }
        try:
            with staged([self.out], overwrite=self.overwrite) as folder:
                rows = write_calibrated(
                    run, tracks, calibration, form, folder / self.out.name, notes
                )
        except OSError as error:
            raise StorageError(f"cannot write {self.out}: {error}.") from error
        columns = len(CalibratedNames(calibration.statistic).columns(tracks))
        return CalibratedRun(str(self.out), str(run.path), rows, columns, n, 1 / n)
