"""What the tiles of a genome cost with a given model, predicted in a given way.

Knows models, tracks and approaches; how many tiles there are is the job's business.
"""

from dataclasses import dataclass
from functools import cached_property

from cisray.inference.choose import fast_configuration
from cisray.inference.fast.costs import TileFlops, copied_bytes, tile_flops, working_bytes
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.tracks import TrackSet
from cisray_jobs.plan import Resources, plain_bytes, speed, worker_bytes
from cisray_jobs.scoring_job import Approach


@dataclass(frozen=True)
class TileCosts:
    """What a model's tiles cost in the chosen way: operations, and the memory of a worker."""

    checkpoint: Checkpoint
    tracks: TrackSet
    approach: Approach

    @property
    def is_fast(self) -> bool:
        """Tell whether tiles are predicted the fast way."""
        return self.approach.predictor.method == "fast"

    @property
    def plain_flops(self) -> float:
        """Operations of a plain pass."""
        return self.checkpoint.config.forward_flops(self.tracks.head)

    @cached_property
    def tile(self) -> TileFlops:
        """Operations of tiles; the plain way shares nothing between them."""
        if self.is_fast:
            return tile_flops(fast_configuration(self.checkpoint.config), len(self.tracks))
        return TileFlops(self.plain_flops, self.plain_flops)

    def speed(self, resources: Resources) -> float:
        """Operations that a worker does in a second."""
        chosen = self.approach
        method, precision = chosen.predictor.method, chosen.precision.precision
        return speed(resources, method, precision, native=chosen.native)

    def worker_bytes(self, resources: Resources, rows: int, *, checks: bool) -> int:
        """Estimate the memory of a worker whose largest shard has so many rows.

        One that checks itself does a plain pass of a single window, after the fast one. A batch
        that the worker is to choose counts as one window.
        """
        config, precision = self.checkpoint.config, self.approach.precision.precision
        batch = resources.batch_size or 1
        passing = plain_bytes(
            batch=1 if self.is_fast else batch,
            input_bp=config.input_bp,
            base_channels=config.base_channels,
        )
        copied = 0
        if self.is_fast:
            fast = fast_configuration(config)
            working = working_bytes(fast, precision, batch)
            passing = max(working, passing) if checks else working
            copied = copied_bytes(fast, len(self.tracks), precision)
        return worker_bytes(
            weights=sum(tensor.numel() for tensor in self.checkpoint.state.values()),
            copied=copied,
            passing=passing,
            shard_values=rows * len(self.tracks),
        )
