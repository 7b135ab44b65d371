"""What a person asks of `cisray submit`, and where it goes: a cluster that runs, or a manifest.

Knows the order of things: a command is parsed and its places are checked before anything is sent.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cisray.engine.job_server import job_server
from cisray.engine.jobs import Jobs
from cisray_jobs.submit import kubernetes, submission
from cisray_jobs.submit.command import Parsed
from cisray_jobs.submit.kubernetes import Pods
from cisray_jobs.submit.places import SharedPaths
from cisray_jobs.submit.shipment import SETTINGS, prepare
from cisray_jobs.submit.submission import Submitted

ADDRESS = "RAY_API_SERVER_ADDRESS"  # Ray's own name for it


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed command, the folders that its machines share, variables and a name for it."""

    command: Parsed
    folders: tuple[Path, ...]
    variables: tuple[str, ...] = ()
    name: str | None = None

    def submit(self, jobs: Jobs) -> Submitted:
        """Submit it to a cluster; on one that is this machine, every path is seen."""
        paths = SharedPaths(self.folders, all_here=jobs.is_on_this_machine())
        shipment = prepare(self.command, paths.resolve, self.variables)
        return submission.submit(jobs, shipment, self.name)

    def manifests(self, kind: Literal["job", "cluster"], pods: Pods) -> str:
        """Write it as manifests; pods see the folders of their claims."""
        paths = SharedPaths((*self.folders, *map(Path, pods.claims.values())))
        settings_at = f"{kubernetes.SETTINGS_FOLDER}/{SETTINGS}"
        shipment = prepare(self.command, paths.resolve, self.variables, settings_at)
        workers = kubernetes.workers_of(self.command.job)
        job_id = shipment.job_id(self.name)
        if kind == "cluster":
            return kubernetes.cluster_manifest(job_id, workers, pods)
        return kubernetes.job_manifest(shipment, job_id, workers, pods)


def jobs_at(address: str | None) -> Jobs:
    """Reach a cluster's jobs, by default of the one that RAY_API_SERVER_ADDRESS names, or here.

    Raises what `job_server` and `Jobs` raise.
    """
    return Jobs(job_server(address or os.environ.get(ADDRESS)))
