"""What `cisray score variants` and `cisray score saturation` have in common.

Knows how rows are planned into shards and put into a run; knows nothing of where variants come
from. A job adds its inputs, and how they become rows (`plan_rows`).
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from cisray.engine.progress import Display
from cisray.errors import ConfigError
from cisray.genome.reference import Genome
from cisray.genome.windows import central_bins
from cisray.model.registry import read_model
from cisray.scoring.planned import PlanFiles, Planned, SiteCount
from cisray.scoring.shards import MAX_ROWS, Cutting
from cisray.store.directory import check_free
from cisray.store.manifest import RunManifest
from cisray.store.seal import RunSummary
from cisray_jobs.checks import SelfCheckSummary
from cisray_jobs.effect_costs import EffectCosts, window_spec_of
from cisray_jobs.effect_settings import EffectSettings
from cisray_jobs.plan import Resources, fit_memory, speed
from cisray_jobs.prepared import manifest_before_plan
from cisray_jobs.prepared_effects import Cut, EffectPlan, PreparedEffects, settings_of
from cisray_jobs.provenance import now
from cisray_jobs.scoring_job import given
from cisray_jobs.scratch import scratch_folder

SHARD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ScoredEffects(RunSummary):
    """What a sealed run consists of, what was left out and why, and what its self-check found.

    `linked` entries have rows in other runs; None without `--since`.
    """

    entries: int
    scored: int
    linked: int | None
    rejected: Mapping[str, int]
    sites: SiteCount | None
    self_check: SelfCheckSummary


class EffectJob(EffectSettings):
    """Plan rows, score what is pending, seal: in the same way whatever the rows are."""

    @abstractmethod
    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Turn the inputs into a plan of rows and a table of rejects."""

    def check_earlier(self, unplanned: RunManifest) -> None:
        """Refuse finished runs that this one, whose plan is still to be made, cannot build on."""

    @contextmanager
    def prepared(self) -> Iterator["PreparedEffects"]:
        """Open and check every input, and plan all rows, before anything is computed.

        The plan lies in a temporary folder for the length of the block.
        """
        device = self.settled_device()
        check_free(self.layout)
        checkpoint = read_model(self.model)
        checkpoint.config.check_head(self.head)
        tracks = checkpoint.tracks[self.head]
        tracks = tracks.select(self.tracks) if self.tracks else tracks
        spec = window_spec_of(checkpoint)
        options = self.options()
        options.ensemble.check_fits(spec)
        bins = range(spec.target_bins) if self.bins == "all" else central_bins(spec, self.bins)
        genome = Genome.open(self.fasta)
        effects = EffectCosts(
            checkpoint,
            tracks,
            self.approach(checkpoint, device, self.purpose),
            options,
            bins=len(bins),
            widest=len(bins),
        )
        costs = self.costs(effects, genome)
        resources = self.spread_over(device)
        cut = self._cut(costs, resources)
        settings = settings_of(self, bins, cut)
        self.check_earlier(manifest_before_plan(self, genome, costs, settings))
        with scratch_folder() as folder:
            files = PlanFiles(
                folder / "plan.parquet", folder / "rejects.parquet", self.source, folder
            )
            cutting = Cutting(
                chromosomes=genome.chromosomes,
                spec=spec,
                placement=self.window_placement,
                seconds=lambda *work: costs.work(*work) / 1e9,
                shard_seconds=cut.gigaflop,
                max_rows=cut.rows,
            )
            planned = self.plan_rows(genome, files, cutting)
            plan = planned.plan.with_rejects(files.rejects, planned.links)
            planned = replace(planned, plan=plan)
            prepared = PreparedEffects(
                config=self,
                genome=genome,
                costs=costs.at(planned),
                planned=planned,
                resources=resources,
                bins=bins,
                cut=cut,
            )
            if self.workers == "auto" and device == "cpu":
                fitting = fit_memory(resources, prepared.worker_bytes)
                prepared = replace(prepared, resources=fitting)
            yield prepared

    def run(self, display: Display = Display.AUTO) -> ScoredEffects:
        """Score what is pending and seal the run.

        Raises ShardsFailed naming what could not be scored, and SelfCheckFailed.
        """
        session = now()
        with self.prepared() as prepared:
            done = self.carry_out(prepared, display, unit=self.checked_unit, session=session)
            return ScoredEffects(
                **asdict(done.sealed),
                entries=prepared.planned.entries,
                scored=prepared.planned.scored,
                linked=prepared.planned.linked,
                rejected=prepared.rejected,
                sites=prepared.planned.sites,
                self_check=done.self_check,
            )

    def foresee(self) -> EffectPlan:
        """State what the run will do and roughly what it will cost. Writes nothing that stays."""
        with self.prepared() as prepared:
            return prepared.summary()

    def _cut(self, costs: EffectCosts, resources: Resources) -> "Cut":
        """Choose the size of a shard: that of a run that is resumed, or about a minute of work.

        A power of two of operations, so that a small change of the estimate seldom changes the
        plan; the plan of a machine of another speed is another plan, hence the run's own comes
        first.
        """
        rows = given(self.rows_per_shard)
        if rows is not None:
            return Cut(float(2**62), rows)
        work, most = map(self.setting_there, ("gigaflop_per_shard", "rows_per_shard"))
        if isinstance(work, int | float) and isinstance(most, int):
            return Cut(float(work), most)
        method, precision = costs.approach.predictor.method, costs.approach.precision.precision
        slow = min(speed(resources, method, p) for p in ("float32", precision))
        exponent = max(0, round_down_log2(SHARD_SECONDS * slow / 1e9))
        return Cut(float(2**exponent), MAX_ROWS)


def round_down_log2(value: float) -> int:
    """Give the exponent of the largest power of two that is not above `value`, at least 1.

    >>> round_down_log2(1000.0)
    9
    """
    if value < 1:
        raise ConfigError(f"a shard of {value:g} operations has no work in it")
    return int(value).bit_length() - 1
