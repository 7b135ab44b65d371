"""A command of a schedule as a cluster gets it: parsed, rehearsed, its places made absolute.

Knows what `cisray submit` knows of commands; knows no cluster. What it reads, as a file of
settings, is read in the current folder.
"""

from collections.abc import Sequence
from typing import Any

from cisray_jobs.schedule.backend import Settled
from cisray_jobs.submit.command import parse
from cisray_jobs.submit.places import SharedPaths
from cisray_jobs.submit.shipment import prepare


def settled(root: Any, arguments: Sequence[str], paths: SharedPaths) -> Settled:
    """Settle a command below `root`, the command line.

    Raises what `submit` raises for it: ConfigError and what the parser raises, PathNotShared for a
    place that the machines of the cluster may not have.
    """
    shipment = prepare(parse(root, arguments), paths.resolve, ())
    return Settled(shipment.words, shipment.settings)
