"""The job `cisray score saturation`: every substitution of some regions, into a sealed run.

Knows the options of regions; how effects are computed and stored is `effect_job`'s business.
"""

import hashlib
from pathlib import Path
from typing import ClassVar, Self

from pydantic import JsonValue, field_validator, model_validator

from cisray.errors import ConfigError
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed, region_of
from cisray.genome.windows import Placement
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.saturation_rows import Region, plan_saturation
from cisray.scoring.shards import Cutting
from cisray_jobs.effect_job import EffectJob
from cisray_jobs.scoring_job import one_or_several


class Saturate(EffectJob):
    """Which regions to saturate.

    Windows lie on the grid unless asked otherwise: all substitutions of 128 neighbouring bases then
    share one reference pass.
    """

    job: ClassVar[str] = "score-saturation"
    narrowed_by: ClassVar[str] = "--tracks, --stats or smaller regions"
    key_bytes: ClassVar[float] = 1.0

    window_placement: Placement = "grid"
    bed: Path | None = None
    region: tuple[str, ...] = ()

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

    @property
    def source(self) -> str:
        """The file's name, without its folder, or the option."""
        return self.bed.name if self.bed else "--region"

    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Walk the regions; each base is planned three times, or rejected as no A, C, G or T.

        Raises `RegionsError`, `LocusError`, and with --strict `RejectsRefused`.
        """
        return plan_saturation(self._regions(genome), genome, files, cutting, strict=self.strict)

    def _regions(self, genome: Genome) -> list[Region]:
        if self.bed:
            return [Region(interval) for interval in read_bed(self.bed, genome)]
        return [Region(region_of(text, genome), text) for text in self.region]

    def told_inputs(self) -> dict[str, JsonValue]:
        """Name the regions, or the file and its digest."""
        if not self.bed:
            return {"regions": list(self.region)}
        return {
            "bed": self.bed.name,
            "bed_sha256": hashlib.sha256(self.bed.read_bytes()).hexdigest(),
        }
