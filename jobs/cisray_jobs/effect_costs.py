"""What effects of variants cost with a given model, computed in a given way: time and memory.

Knows models, tracks, bins and approaches; how many variants there are is the job's business.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from cisray.genome.windows import WindowSpec
from cisray.inference.batching import CPU_LANES
from cisray.inference.choose import fast_configuration
from cisray.inference.fast.costs import EffectFlops, effect_bytes, effect_flops
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.scoring.planned import Planned
from cisray.scoring.variants import EffectOptions, scorer_bytes
from cisray.tracks import TrackSet
from cisray_jobs.plan import Resources, plain_bytes, speed, worker_bytes
from cisray_jobs.scoring_job import Approach

# What a window and an alternate cost beside their products, in operations of the same time: some
# 15 and 10 ms of a CPU. Nothing at the published size; all there is to a tiny model.
WINDOW_FLOPS = 3e9
ALTERNATE_FLOPS = 2e9


@dataclass(frozen=True)
class EffectCosts:
    """What the windows and alternates of a run cost; every member of an ensemble costs the same.

    `bins` are computed of an alternate, on average, and `widest` at most.
    """

    checkpoint: Checkpoint
    tracks: TrackSet
    approach: Approach
    options: EffectOptions
    bins: int
    widest: int

    def at(self, planned: Planned) -> Self:
        """Take in place of all bins those that the rows of a plan ask for, where it knows them."""
        if planned.bins is None:
            return self
        mean = max(1, round(planned.bins.of_alternates / planned.alternates))
        return replace(self, bins=mean, widest=planned.bins.widest)

    @property
    def members(self) -> int:
        """How often everything is read."""
        return len(self.options.ensemble.members)

    @property
    def is_fast(self) -> bool:
        """Tell whether effects are carried, or subtracted."""
        return self.approach.predictor.method == "fast"

    @property
    def check_flops(self) -> float:
        """Operations of checking a row, at least: two plain passes for each member."""
        return 2 * self.members * self.plain_flops

    @property
    def plain_flops(self) -> float:
        """Operations of a plain pass."""
        return self.checkpoint.config.forward_flops(self.tracks.head)

    @cached_property
    def flops(self) -> EffectFlops:
        """Operations of the fast way."""
        return effect_flops(fast_configuration(self.checkpoint.config), len(self.tracks), self.bins)

    def references(self, windows: int, covered_bp: int) -> float:
        """Count the operations of reference passes, of windows that cover so many bases together.

        Windows on the grid share their trunk; centred ones have it each to itself.
        """
        return self.members * (self._passes(windows, covered_bp) + windows * WINDOW_FLOPS)

    def _passes(self, windows: int, covered_bp: int) -> float:
        if not self.is_fast:
            return windows * self.plain_flops
        whole = windows * self.flops.reference
        if self.options.placement == "centered":
            return whole
        config = self.checkpoint.config
        new_tokens = max(0, covered_bp - config.input_bp) // config.bin_bp
        known = (windows - 1) * self.flops.known_trunk + new_tokens * self.flops.token
        return min(whole, self.flops.reference + known)

    def alternates(self, count: int) -> float:
        """Count the operations of so many distinct alternates."""
        each = self.flops.alternate if self.is_fast else self.plain_flops
        return self.members * count * (each + ALTERNATE_FLOPS)

    def work(self, windows: int, alternates: int, covered_bp: int) -> float:
        """Count the operations of a shard, whatever their type: what its size is measured by."""
        return self.references(windows, covered_bp) + self.alternates(alternates)

    def seconds(
        self, resources: Resources, windows: int, alternates: int, covered_bp: int
    ) -> float:
        """Estimate the time that one worker takes."""
        method, precision = self.approach.predictor.method, self.approach.precision.precision
        return self.references(windows, covered_bp) / speed(
            resources, method, "float32"
        ) + self.alternates(alternates) / speed(
            resources, method, precision, native=self.approach.native
        )

    def worker_bytes(self, resources: Resources, rows: int, columns: int, *, checks: bool) -> int:
        """Estimate the memory of a worker whose largest shard has so many rows and statistics."""
        copied, passing = self.pass_bytes(resources, rows, checks=checks)
        return worker_bytes(
            weights=sum(tensor.numel() for tensor in self.checkpoint.state.values()),
            copied=copied,
            passing=passing,
            shard_values=rows * columns * len(self.tracks),
        )

    def pass_bytes(self, resources: Resources, rows: int, *, checks: bool) -> tuple[int, int]:
        """Estimate the bytes of copied weights, and of the passes and what they give, at most.

        A worker that checks itself, or subtracts, does plain passes of a single window.
        """
        precision = self.approach.precision.precision
        batch = (resources.batch_size or CPU_LANES["effects"]) if self.is_fast else 1
        given = scorer_bytes(
            self.options,
            window_spec_of(self.checkpoint),
            tracks=len(self.tracks),
            bins=self.widest,
            rows=rows,
            carried=batch,
        )
        if not self.is_fast:
            return 0, self.plain_pass_bytes + given
        config = fast_configuration(self.checkpoint.config)
        parts = effect_bytes(config, len(self.tracks), self.widest, precision, batch=batch)
        plain = self.plain_pass_bytes if checks else 0
        return parts.copied, parts.reference + max(parts.working, plain) + given

    @property
    def plain_pass_bytes(self) -> int:
        """Estimate the bytes of the activations of a plain pass."""
        config = self.checkpoint.config
        return plain_bytes(batch=1, input_bp=config.input_bp, base_channels=config.base_channels)


def window_spec_of(checkpoint: Checkpoint) -> WindowSpec:
    """State a checkpoint's geometry as windows on a genome."""
    config = checkpoint.config
    return WindowSpec(config.input_bp, config.bin_bp, config.target_bins)
