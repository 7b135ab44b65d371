"""The job `cisray runs compact`: many small files of a sealed run into few.

Knows what it is told and how progress is shown; how files are rewritten is the store's business.
"""

from cisray.engine.progress import Display
from cisray.store.compact import Compacted, CompactionPlan, compact_run, plan_compaction
from cisray_jobs.config import JobConfig, RunLocation
from cisray_jobs.shown import shards_shown


class CompactRun(JobConfig):
    """Which run."""

    run: RunLocation

    def foresee(self) -> CompactionPlan:
        """Say what will be rewritten. Raises what `compact` raises."""
        return plan_compaction(self.run)

    def compact(self, display: Display) -> Compacted:
        """Rewrite what is smaller than recommended.

        Raises RunNotFound, RunConflict and StorageError; the run then is as it was.
        """
        with shards_shown(display) as on_merged:
            return compact_run(self.run, on_merged=on_merged)
