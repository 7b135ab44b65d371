"""cisray: sequence-to-function models over genomes at scale, into tables that people query.

Knows the names of the public surface and where each one lives; imports none of it until it is
asked for, so that `import cisray` stays quick and works without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cisray.version import __version__

if TYPE_CHECKING:
    from cisray.genome.encode import onehot
    from cisray.genome.interval import Interval
    from cisray.genome.reference import Genome
    from cisray.genome.variant import Variant
    from cisray.genome.windows import Window, WindowSpec
    from cisray.model.registry import load_model
    from cisray.store.queries.several import scan_runs
    from cisray.store.scan import Run, open_run
    from cisray.tracks import TrackSet

_HOMES = {
    "Genome": "cisray.genome.reference",
    "Interval": "cisray.genome.interval",
    "Run": "cisray.store.scan",
    "TrackSet": "cisray.tracks",
    "Variant": "cisray.genome.variant",
    "Window": "cisray.genome.windows",
    "WindowSpec": "cisray.genome.windows",
    "load_model": "cisray.model.registry",
    "onehot": "cisray.genome.encode",
    "open_run": "cisray.store.scan",
    "scan_runs": "cisray.store.queries.several",
}

__all__ = [
    "Genome",
    "Interval",
    "Run",
    "TrackSet",
    "Variant",
    "Window",
    "WindowSpec",
    "__version__",
    "load_model",
    "onehot",
    "open_run",
    "scan_runs",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cisray' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
