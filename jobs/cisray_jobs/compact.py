"""The job `cisray runs compact`: many small files of a sealed run into few.

Knows what it is told and how progress is shown; how files are rewritten is the store's business.
"""

import time
from pathlib import Path

from cisray.engine.progress import Display, ProgressReporter
from cisray.engine.task import Progress
from cisray.store.compact import Compacted, CompactionPlan, compact_run, plan_compaction
from cisray_jobs.config import JobConfig


class CompactRun(JobConfig):
    """Which run."""

    run: Path

    def foresee(self) -> CompactionPlan:
        """Say what will be rewritten. Raises what `compact` raises."""
        return plan_compaction(self.run)

    def compact(self, display: Display) -> Compacted:
        """Rewrite what is smaller than recommended.

        Raises RunNotFound, RunConflict and StorageError; the run then is as it was.
        """
        begun = time.monotonic()
        with ProgressReporter(display=display) as shown:

            def on_merged(done: int, total: int, rows: int) -> None:
                shown.on_done(done, {"rows": rows})
                shown.on_progress(Progress(total, done, 0, 0, 1, 0, time.monotonic() - begun))

            return compact_run(self.run, on_merged=on_merged)
