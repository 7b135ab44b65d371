"""A job over variants whose inputs are open and whose rows are planned.

Knows plans, costs, manifests and samples; knows nothing of where variants come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from cisray.genome.windows import Placement
from cisray.scoring.planned import Planned, SiteCount
from cisray.scoring.variants import EffectOptions
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.layout import assign_blocks
from cisray_jobs.effect_costs import EffectCosts
from cisray_jobs.effect_settings import EffectSettings
from cisray_jobs.gradient_costs import GradientCosts, GradientPlan
from cisray_jobs.plan import speed
from cisray_jobs.prepared import Forecast, Prepared
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import RowTask


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a shard may hold: so much work, so many rows."""

    gigaflop: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectPlan(Forecast):
    """What a run over variants will do. Rows and windows are counted exactly, the rest estimated.

    `windows` are reference passes, `alternates` distinct alleles; rows of one allele share both.
    `gradients` are there where alleles are scored by them, `sites` where rows are of sites.
    """

    statistics: tuple[str, ...]
    entries: int
    scored: int
    rejected: Mapping[str, int]
    sites: SiteCount | None
    windows: int
    alternates: int
    gradients: GradientPlan | None
    members: int
    placement: Placement
    indels: str
    rows_to_check: int


@dataclass(frozen=True)
class PreparedEffects(Prepared):
    """A job whose inputs are open and whose rows are planned."""

    config: EffectSettings
    costs: EffectCosts
    planned: Planned
    bins: range
    cut: Cut

    @property
    def plan(self) -> KeyedPlan:
        """The rows that are scored."""
        return self.planned.plan

    @property
    def table(self) -> str:
        """The format of the run's data."""
        return self.plan.data.format

    @cached_property
    def options(self) -> EffectOptions:
        """What is computed of every variant."""
        return self.config.options()

    @property
    def rejected(self) -> dict[str, int]:
        """Count rejects by reason."""
        return {str(reason): count for reason, count in self.planned.rejected.items()}

    def history(self) -> dict[str, JsonValue]:
        """Tell what was rejected, and how much is checked."""
        return {
            "rejected": dict(self.rejected),
            "self_check": self.config.told_check(self.sample),
        }

    def settings(self) -> dict[str, JsonValue]:
        """Tell what is computed of every row, and which rows there are."""
        ensemble = self.options.ensemble
        return {
            "statistics": list(self.config.columns),
            "partial": list(self.config.partial),
            "bins": self.config.counted_bins(self.bins),
            "window_placement": self.config.window_placement,
            "indels": self.options.policy.value,
            "reverse_complement": ensemble.reverse_complement,
            "shifts": list(ensemble.shifts),
            "gigaflop_per_shard": self.cut.gigaflop,
            "rows_per_shard": self.cut.rows,
            "entries": self.planned.entries,
            "scored": self.planned.scored,
            "rows": self.plan.rows,
            "rejected": self.planned.entries - self.planned.scored,
            "rejects_sha256": self.planned.rejects_sha256,
            **self.config.own_settings(),
        }

    @cached_property
    def sample(self) -> RowSample:
        """The rows that are checked; none where the plain way itself is used."""
        return RowSample.draw(
            self.plan,
            self.costs.checkpoint.digest,
            self.config.self_check if self.costs.is_fast else "off",
            self.approach.precision.precision,
        )

    @cached_property
    def sampled(self) -> Mapping[int, int]:
        """Count the rows to check of each shard that has some."""
        return self.sample.by_shard

    def task(self, session: str) -> RowTask:
        """What the workers do for a driver that began then."""
        return self.config.task_type(
            place=self.config.place(session),
            method=self.approach.predictor.method,
            precision=self.approach.precision.precision,
            batch_size=self.resources.batch_size,
            options=self.options,
            bins=self.bins,
            sample=self.sample,
        )

    @property
    def worker_bytes(self) -> int:
        """Estimate the memory of one worker, which holds the model, a window and a shard."""
        rows = max((span.rows for span in self.plan.spans.values()), default=0)
        columns = len(self.config.columns)
        checks = bool(self.sample.rows)
        return self.costs.worker_bytes(self.resources, rows, columns, checks=checks)

    def summary(self) -> EffectPlan:
        """State what the run will do and roughly what it will cost.

        Raises RunConflict where the run itself would: for a directory of something else.
        """
        done = self.config.shards_done(self.manifest, self.sampled)
        pending = [shard for shard in self.plan.spans if shard not in done]
        left = sum(self.plan.spans[shard].rows for shard in pending) / max(1, self.plan.rows)
        checks = sum(count for shard, count in self.sampled.items() if shard not in done)
        work = (self.planned.windows, self.planned.alternates, self._covered_bp())
        passes = checks * self.costs.check_flops
        checking = passes / speed(self.resources, "plain", "float32")
        forecast = self.forecast(
            done,
            flops=left * self.costs.work(*work) + passes,
            seconds=left * self.costs.seconds(self.resources, *work) + checking,
        )
        return EffectPlan(
            **forecast.told(),
            statistics=self.config.columns,
            entries=self.planned.entries,
            scored=self.planned.scored,
            rejected=self.rejected,
            sites=self.planned.sites,
            windows=self.planned.windows,
            alternates=self.planned.alternates,
            gradients=self.costs.told if isinstance(self.costs, GradientCosts) else None,
            members=self.costs.members,
            placement=self.config.window_placement,
            indels=self.options.policy.value,
            rows_to_check=checks,
        )

    def _covered_bp(self) -> int:
        """Estimate the bases under all windows: what the shards span, and a window for each."""
        input_bp = self.costs.checkpoint.config.input_bp
        return sum(span.end - span.start + input_bp for span in self.plan.spans.values())

    @property
    def blocks(self) -> dict[str, list[int]]:
        """The tracks of each file of a shard."""
        return assign_blocks(self.tracks, len(self.config.columns))
