"""Where the commands of schedules run: on this machine, or on a cluster, which may be far away.

Knows which backend a schedule has, and how its command is checked for it when it is added. Ray, and
all that `submit` needs, is imported for the first schedule of a cluster: a pass without one is
light.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cisray.errors import ConfigError, near_matches

if TYPE_CHECKING:
    from cisray_jobs.schedule.backend import JobBackend
    from cisray_jobs.schedule.definition import Cluster, Schedule
    from cisray_jobs.schedule.ray_backend import Reached

# Of typer's own command line library, whichever it is: its releases have another each.
_USAGE_ERROR: Any = typer.BadParameter.__base__


def settled_cluster(address: str | None, shared: Sequence[str], env: Sequence[str]) -> "Cluster":
    """Settle the cluster of a schedule now: what ticks later may have other variables.

    Raises ConfigError for an address, a folder or a variable that cannot be.
    """
    from cisray.engine.job_server import job_server
    from cisray_jobs.schedule.definition import Cluster
    from cisray_jobs.submit.places import shared_folders
    from cisray_jobs.submit.request import ADDRESS
    from cisray_jobs.submit.shipment import read_variables

    return Cluster(
        address=job_server(address or os.environ.get(ADDRESS)).url,
        shared=tuple(map(str, shared_folders(shared))),
        variables=read_variables(env),
    )


def parser_for(root: Any, cluster: "Cluster | None") -> Callable[[Sequence[str]], None]:
    """Make what raises ConfigError or PathNotShared for a command that cannot run where it is to.

    Raises what `jobs_at` raises: a cluster must answer.
    """
    if cluster is None:
        return lambda arguments: check_command(root, arguments)
    from cisray_jobs.schedule.settling import settled
    from cisray_jobs.submit.places import SharedPaths
    from cisray_jobs.submit.request import jobs_at

    all_here = jobs_at(cluster.address).is_on_this_machine()
    paths = SharedPaths(tuple(map(Path, cluster.shared)), all_here=all_here)

    def parse(arguments: Sequence[str]) -> None:
        check_command(root, arguments)
        settled(root, arguments, paths)

    return parse


def check_command(root: Any, arguments: Sequence[str]) -> None:
    """Raise ConfigError unless these arguments are a command below `root` and options of its own.

    Nothing is run: what the command itself finds wrong with its values is found when it runs.
    """
    words, command, path = list(arguments), root, "cisray"
    while (children := getattr(command, "commands", None)) is not None:
        word = words.pop(0) if words else ""
        if word not in children:
            raise ConfigError(
                f"{path} has no command {word!r}.{near_matches(word, children)} There are: "
                f"{', '.join(children)}."
            )
        command, path = children[word], f"{path} {word}"
    given = shlex.join(["cisray", *arguments])
    try:
        with redirect_stdout(StringIO()):
            command.make_context(path, words)
    except _USAGE_ERROR as error:
        raise ConfigError(f"{given} cannot be run: {error.format_message()}") from None
    except typer.Exit:
        raise ConfigError(f"{given} prints its help and does nothing else.") from None


def backends(folder: Path) -> "Callable[[Schedule], JobBackend]":
    """Make what tells where the commands of a schedule run; jobs are kept in `folder`.

    Ray is imported for the first schedule of a cluster.
    """
    from cisray_jobs.schedule.local_backend import LocalBackend

    local, reached = LocalBackend(folder), dict[str, "Reached"]()

    def backend_of(schedule: "Schedule") -> "JobBackend":
        if schedule.cluster is None:
            return local
        from cisray_jobs.schedule.ray_backend import RayBackend, Reached

        address = schedule.cluster.address
        return RayBackend(folder, schedule.cluster, reached.setdefault(address, Reached(address)))

    return backend_of
