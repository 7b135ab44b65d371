"""What every job that writes a dataset is told, and how it goes from shards to a sealed one.

Knows the engine and a dataset's writer; knows nothing of where examples come from.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.writer import DatasetWriter, lock
from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.executors import executor_for
from cisray.engine.progress import Display
from cisray.engine.task import PoolPolicy, RunLabel, ShardTask
from cisray_jobs.config import JobConfig, WorkerCount
from cisray_jobs.execute import EMBEDDED_CPUS, run_shards, shards_failed

HEAD_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class WritesDataset(JobConfig):
    """What every job that writes a dataset is told."""

    out: Path
    margin_bp: Annotated[int, Field(ge=0)] = 3
    workers: WorkerCount = "auto"
    allow_empty_tracks: bool = False
    restart: bool = False
    address: str | None = None

    def write_all(
        self,
        heads: Mapping[str, HeadContent],
        layout: Layout,
        task: ShardTask,
        display: Display,
    ) -> None:
        """Begin or go on, do the shards that are left, and seal. Raises ShardsFailed."""
        held = lock(self.out)
        try:
            writer = DatasetWriter.begin(self.out, heads, layout, restart=self.restart)
            if writer is None:
                return
            pending = writer.pending()
            policy = self._policy(len(pending))
            with executor_for(policy, address=self.address) as executor:
                label = RunLabel(self.out.name, "dataset")
                outcome = run_shards(executor, task, pending, label=label, display=display)
            if outcome.failed:
                raise shards_failed(outcome, self.out)
            writer.seal(allow_empty_tracks=self.allow_empty_tracks)
        finally:
            held.release()

    def _policy(self, shards: int) -> PoolPolicy:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        wanted = (cores or 1) if self.workers == "auto" else self.workers
        embedded = choose_address(self.address) == EMBEDDED
        return PoolPolicy(
            workers=min(wanted, shards), num_cpus=EMBEDDED_CPUS if embedded else 1.0, threads=1
        )
