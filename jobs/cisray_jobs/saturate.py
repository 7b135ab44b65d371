"""The job `cisray score saturation`: every substitution of some regions, into a sealed run.

Knows the options of regions, and the two methods; how rows are computed and stored is
`effect_job`'s business.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.errors import ConfigError
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed, region_of
from cisray.genome.windows import Placement
from cisray.inference.precision import Purpose
from cisray.scoring.first_order import PREFIX, check_statistics, gradients_per_track
from cisray.scoring.gradient_check import GRADIENT_TOLERANCE
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.saturation_rows import ALTERNATES, Region, plan_saturation
from cisray.scoring.shards import Cutting
from cisray_jobs.effect_costs import EffectCosts
from cisray_jobs.effect_job import EffectJob
from cisray_jobs.effect_task import EffectTask
from cisray_jobs.gradient_costs import GradientCosts
from cisray_jobs.gradient_task import GradientTask
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import RowTask
from cisray_jobs.scoring_job import one_or_several


class Saturate(EffectJob):
    """Which regions to saturate.

    Windows lie on the grid unless asked otherwise: all substitutions of 128 neighbouring bases then
    share one reference pass. The method "ism" computes every effect, "gradient" approximates all to
    first order; of each region the `rank_then_exact` largest are then computed as well.
    """

    job: ClassVar[str] = "score-saturation"
    narrowed_by: ClassVar[str] = "--tracks, --stats or smaller regions"

    window_placement: Placement = "grid"
    bed: Path | None = None
    region: tuple[str, ...] = ()
    method: Literal["ism", "gradient"] = "ism"
    rank_then_exact: int | None = Field(None, ge=1)

    @field_validator("region", mode="before")
    @classmethod
    def _one_or_several_regions(cls, value: object) -> object:
        return one_or_several(value)

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if bool(self.bed) == bool(self.region):
            raise ConfigError(
                "Say what to saturate with --bed, or with --region (repeated for several), not "
                "with both: for example --region chr20:44,355,520-44,355,804."
            )
        return self

    @model_validator(mode="after")
    def _method_that_fits(self) -> Self:
        if self.method == "ism" and self.rank_then_exact is not None:
            raise ConfigError(
                "--rank-then-exact ranks substitutions by their gradients: it needs --method "
                "gradient. Without that every substitution is computed exactly."
            )
        if self.method == "gradient":
            check_statistics(self.stats)
            if self.std:
                raise ConfigError(
                    "--std goes with --method ism only: a gradient is that of the ensemble's mean, "
                    "and the spread over its members is not computed."
                )
            if self.precision == "bfloat16":
                raise ConfigError(
                    "--precision bfloat16 goes with --method ism only: gradients are computed in "
                    "float32, and so are the effects beside them."
                )
        return self

    @property
    def purpose(self) -> Purpose:
        """What the model is run for."""
        return "effects" if self.method == "ism" else "gradients"

    @property
    def columns(self) -> tuple[str, ...]:
        """Name what every row gets: first orders by names of their own, then exact values."""
        if self.method == "ism":
            return super().columns
        return (*(PREFIX + name for name in self.stats), *self.partial)

    @property
    def partial(self) -> tuple[str, ...]:
        """Name the exact statistics where only the largest have them."""
        return () if self.rank_then_exact is None else self.stats

    @property
    def task_type(self) -> Callable[..., RowTask]:
        """Give what makes the workers' task."""
        return (
            EffectTask
            if self.method == "ism"
            else partial(GradientTask, exact=self.rank_then_exact)
        )

    @property
    def checked_unit(self) -> str:
        """Say what the self-check takes samples of."""
        return "variant" if self.method == "ism" else "window's gradients"

    def told_check(self, sample: RowSample) -> dict[str, JsonValue]:
        """Describe the self-check, which has a tolerance of its own for gradients."""
        told = sample.told()
        if self.method == "ism":
            return told
        exact = {} if self.rank_then_exact is None else {"tolerance_exact": told["tolerance"]}
        return {**told, "tolerance": GRADIENT_TOLERANCE, **exact}

    def own_settings(self) -> dict[str, JsonValue]:
        """Tell the method, and how many substitutions of a region are exact as well."""
        return {"method": self.method, "rank_then_exact": self.rank_then_exact}

    def costs(self, effects: EffectCosts, genome: Genome) -> EffectCosts:
        """Say what the job costs; how many rows are exact is counted as if no base were N."""
        if self.method == "ism":
            return effects
        rows = [ALTERNATES * region.interval.width for region in self._regions(genome)]
        exact = self.rank_then_exact
        return GradientCosts(
            effects.checkpoint,
            effects.tracks,
            effects.approach,
            effects.options,
            bins=effects.bins,
            widest=effects.widest,
            per_track=gradients_per_track(self.stats),
            passes_before=int(effects.members > 1 and "logSAD" in self.stats),
            rows=sum(rows),
            exact_rows=None if exact is None else sum(min(exact, count) for count in rows),
        )

    @property
    def source(self) -> str:
        """The file's name, without its folder, or the option."""
        return self.bed.name if self.bed else "--region"

    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Walk the regions; each base is planned three times, or rejected as no A, C, G or T.

        Raises `RegionsError`, `LocusError`, and with --strict `RejectsRefused`.
        """
        return plan_saturation(
            self._regions(genome),
            genome,
            files,
            cutting,
            strict=self.strict,
            whole=self.rank_then_exact is not None,
        )

    def _regions(self, genome: Genome) -> list[Region]:
        if self.bed:
            return [Region(interval) for interval in read_bed(self.bed, genome)]
        return [Region(region_of(text, genome), text) for text in self.region]

    @property
    def files(self) -> dict[str, Path]:
        """The files that go in."""
        return super().files | ({"bed": self.bed} if self.bed else {})
