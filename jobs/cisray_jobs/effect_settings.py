"""The options of all jobs that score effects of variants, and what such a job says of itself.

Knows options and what contradicts itself; knows nothing of inputs, plans or runs.
"""

import re
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.genome.reference import Genome
from cisray.genome.windows import Placement
from cisray.inference.ensemble import Ensemble
from cisray.inference.precision import Purpose
from cisray.scoring.alignment import Policy
from cisray.scoring.shards import MAX_ROWS
from cisray.scoring.statistics import find
from cisray.scoring.variants import EffectOptions
from cisray_jobs.config import split_names
from cisray_jobs.effect_costs import EffectCosts
from cisray_jobs.effect_task import EffectTask
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import RowTask
from cisray_jobs.scoring_job import (
    Auto,
    ScoringJob,
    at_least_one,
    one_or_several,
    whole_or_auto,
)

DEFAULT_STATISTICS = ("SAD", "SADR")


class EffectSettings(ScoringJob):
    """Which numbers to compute for every variant, besides what every scoring job is told.

    A job says besides what its rows hold, and what else is part of a run.
    """

    narrowed_by: ClassVar[str] = "--tracks or --stats"

    stats: tuple[str, ...] = DEFAULT_STATISTICS
    bins: int | Literal["all"] = "all"
    window_placement: Placement = "centered"
    indels: str = Policy.STITCH.value
    rc: bool = False
    shifts: tuple[int, ...] = (0,)
    std: bool = False
    strict: bool = False
    rows_per_shard: Annotated[int, Field(le=MAX_ROWS)] | Auto = "auto"

    @field_validator("stats", mode="before")
    @classmethod
    def _names_of_statistics(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else one_or_several(value)

    @field_validator("stats")
    @classmethod
    def _known_statistics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        find(value)
        return value

    @field_validator("bins", mode="before")
    @classmethod
    def _number_or_all(cls, value: object) -> object:
        if value == "all" or (isinstance(value, str | int) and str(value).isdigit()):
            return value
        raise ValueError("must be an even number of bins around the variant, or all")

    @field_validator("shifts", mode="before")
    @classmethod
    def _numbers_with_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return (value,) if type(value) is int else value
        parts = [part.strip() for part in value.split(",")]
        if not all(re.fullmatch(r"[+-]?\d+", part) for part in parts):
            raise ValueError("must be whole numbers of bases with commas between, as 0,-43,43")
        return tuple(int(part) for part in parts)

    @field_validator("indels")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return Policy.named(value).value

    @field_validator("rows_per_shard", mode="before")
    @classmethod
    def _whole_rows(cls, value: object) -> object:
        return whole_or_auto(value)

    @field_validator("rows_per_shard")
    @classmethod
    def _a_row_at_least(cls, value: int | str) -> int | str:
        return at_least_one(value)

    @model_validator(mode="after")
    def _options_that_fit(self) -> Self:
        self.options()
        return self

    def options(self) -> EffectOptions:
        """Say what is computed of every variant; raise ConfigError for what contradicts itself."""
        return EffectOptions(
            stats=self.stats,
            placement=self.window_placement,
            policy=Policy.named(self.indels),
            ensemble=Ensemble(self.rc, self.shifts),
            spread=self.std,
        )

    def counted_bins(self, bins: range) -> JsonValue:
        """Tell for the manifest in which of a window's bins all rows count."""
        return [bins.start, bins.stop]

    @property
    def purpose(self) -> Purpose:
        """What the model is run for."""
        return "effects"

    @property
    def columns(self) -> tuple[str, ...]:
        """Name what every row gets for each track."""
        return self.options().columns

    @property
    def partial(self) -> tuple[str, ...]:
        """Name the columns that not every row has a value in."""
        return ()

    @property
    def task_type(self) -> Callable[..., RowTask]:
        """Give what makes the workers' task out of the fields that all tasks have."""
        return EffectTask

    @property
    def checked_unit(self) -> str:
        """Say what the self-check takes samples of."""
        return "variant"

    def told_check(self, sample: RowSample) -> dict[str, JsonValue]:
        """Describe the self-check for the manifest's provenance."""
        return sample.told()

    def own_settings(self) -> dict[str, JsonValue]:
        """Tell what else is part of the run's identity."""
        return {}

    def costs(self, effects: EffectCosts, genome: Genome) -> EffectCosts:
        """Say what the job costs, given what its effects would."""
        return effects

    @property
    @abstractmethod
    def source(self) -> str:
        """What the inputs are called in the table of rejects."""
