"""What first-order scores cost with a given model, computed in a given way: time and memory.

Knows gradients, and the effects that are computed beside them; what effects cost, and how many
windows there are, stands elsewhere.
"""

from dataclasses import dataclass

from cisray.inference.batching import CPU_LANES
from cisray.inference.choose import fast_configuration
from cisray.inference.fast.costs import gradient_bytes, gradient_flops
from cisray_jobs.effect_costs import ALTERNATE_FLOPS, WINDOW_FLOPS, EffectCosts
from cisray_jobs.plan import Resources, speed
from cisray_jobs.window_check import PASSES

# What autograd holds of a plain pass, over what the pass itself does: 20 GB of the published model
# (docs/decisions/0014), extrapolated, where a pass has 3.
RECORDED_PASSES = 7
# Operations of leading a gradient back through all of a network, over those of its pass.
BACKWARD = 2


@dataclass(frozen=True, slots=True)
class GradientPlan:
    """Of a plan: how many gradients each window has, and at most how many rows are exact too."""

    per_window: int
    exact_rows: int | None


@dataclass(frozen=True)
class GradientCosts(EffectCosts):
    """What gradients of windows cost, and the effects of `exact_rows` out of `rows`, if any.

    `per_track` gradients are led back for each track, `passes_before` are done of each window
    beside the one that they are led back through.
    """

    per_track: int
    passes_before: int
    rows: int
    exact_rows: int | None

    @property
    def told(self) -> GradientPlan:
        """Tell what a plan says of gradients."""
        return GradientPlan(self.per_window, self.exact_rows)

    @property
    def per_window(self) -> int:
        """Gradients of a window, each of one statistic and track."""
        return self.per_track * len(self.tracks)

    @property
    def check_flops(self) -> float:
        """Operations of checking a window, and an exact row if there are any."""
        exact = super().check_flops if self.exact_rows else 0.0
        return PASSES * self.members * self.plain_flops + exact

    def gradients(self, windows: int) -> float:
        """Count the operations of so many windows; each has a pass of its own."""
        overhead = (1 + self.passes_before) * WINDOW_FLOPS + self.per_window * ALTERNATE_FLOPS
        return self.members * windows * (self._window_flops + overhead)

    @property
    def _window_flops(self) -> float:
        config, count = self.checkpoint.config, self.per_window
        if not self.is_fast:
            return self.plain_flops * (1 + self.passes_before + BACKWARD * count)
        region_bp = config.bin_bp if self.options.placement == "grid" else 1
        flops = gradient_flops(fast_configuration(config), len(self.tracks), self.bins, region_bp)
        return flops.of(count) + self.passes_before * flops.reference

    def exact_work(self, windows: int, alternates: int) -> tuple[int, int]:
        """Estimate in how many windows how many alternates are exact, as everywhere on average."""
        if not self.exact_rows:
            return 0, 0
        exact = -(-alternates * self.exact_rows // self.rows)
        return min(windows, exact), exact

    def work(self, windows: int, alternates: int, covered_bp: int) -> float:
        """Count the operations of a shard: what its size is measured by."""
        opened, exact = self.exact_work(windows, alternates)
        effects = super().work(opened, exact, covered_bp) if exact else 0.0
        return self.gradients(windows) + effects

    def seconds(
        self, resources: Resources, windows: int, alternates: int, covered_bp: int
    ) -> float:
        """Estimate the time that one worker takes."""
        opened, exact = self.exact_work(windows, alternates)
        effects = super().seconds(resources, opened, exact, covered_bp) if exact else 0.0
        fast = speed(resources, self.approach.predictor.method, "float32")
        return self.gradients(windows) / fast + effects

    def pass_bytes(self, resources: Resources, rows: int, *, checks: bool) -> tuple[int, int]:
        """Estimate the bytes of copied weights, and of the passes at their fullest.

        Where rows are exact too, what the effects keep stays beside the gradients.
        """
        copied, passing = (
            super().pass_bytes(resources, rows, checks=checks) if self.exact_rows else (0, 0)
        )
        if not self.is_fast:
            return 0, max(passing, RECORDED_PASSES * self.plain_pass_bytes)
        batch = resources.batch_size or min(CPU_LANES["gradients"], self.per_window)
        config = fast_configuration(self.checkpoint.config)
        parts = gradient_bytes(config, len(self.tracks), self.bins, batch=batch)
        plain = self.plain_pass_bytes if checks else 0
        return copied + parts.copied, passing + parts.reference + max(parts.working, plain)
