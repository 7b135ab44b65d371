"""The job `cisray score variants`: read a file of variants, score every allele, write a sealed run.

Knows the options of a file of variants; how effects are computed and stored is `effect_job`'s
business. The same configuration, run again, finishes what an earlier run left.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.errors import ConfigError
from cisray.genome.alleles import AlleleChecker, Tally, read_alleles
from cisray.genome.interval import Interval
from cisray.genome.mismatch import MismatchWatch
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features
from cisray.genome.variant import Variant
from cisray.scoring.alignment import fits_window
from cisray.scoring.known_rows import NotKnown
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import Cutting
from cisray.scoring.variant_rows import OneEach, RowsOf, plan_variants
from cisray.scoring.variant_sites import AtSites, check_narrow
from cisray.store.directory import read_manifest
from cisray.store.earlier import open_earlier, require_fitting
from cisray.store.layout import RunLayout
from cisray.store.links import is_same_place
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest
from cisray_jobs.config import RunLocation
from cisray_jobs.effect_job import EffectJob
from cisray_jobs.scoring_job import one_or_several

# A longer allele leaves less than half of the target to compare bin for bin.
_LONGEST_SHARE = 2


class ScoreVariants(EffectJob):
    """Which file of variants to score, in which bins, and what is let pass."""

    job: ClassVar[str] = "score-variants"
    narrowed_by: ClassVar[str] = "--tracks, --stats or a smaller file"

    vcf: Path
    since: tuple[RunLocation, ...] = ()
    at: Path | None = None
    keep_alleles: bool = False
    max_allele_bp: int | None = Field(None, ge=1)
    max_mismatches: float = Field(0.05, gt=0, le=1, allow_inf_nan=False)

    @field_validator("since", mode="before")
    @classmethod
    def _one_or_several_runs(cls, value: object) -> object:
        return tuple(map(str, value)) if isinstance(value, list | tuple) else one_or_several(value)

    @model_validator(mode="after")
    def _runs_to_build_on(self) -> Self:
        if self.since and self.at:
            raise ConfigError(
                "--since links to scores of whole windows, --at scores the bins of sites: leave "
                "out one of the two."
            )
        for place in self.since:
            if is_same_place(locate(place).place, self.layout.root):
                raise ConfigError(
                    f"--since {place} is --out itself: name runs that are finished. The same "
                    f"command without it goes on with the run in {self.out}."
                )
        return self

    @model_validator(mode="after")
    def _bins_told_once(self) -> Self:
        if self.at and "bins" in self.model_fields_set:
            raise ConfigError(
                "--at counts the bins of each site, --bins those around the variant: leave out one "
                "of the two."
            )
        return self

    @property
    def source(self) -> str:
        """The file's name, without its folder."""
        return self.vcf.name

    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Read the file once, from beginning to end; each allele is planned, linked or rejected.

        Raises `RegionsError` for the sites, `VariantsError`, `AssemblyMismatch`, and with --strict
        `RejectsRefused`.
        """
        checker = AlleleChecker(
            genome,
            str(self.vcf),
            max_allele_bp=self.max_allele_bp or cutting.spec.target_bp // _LONGEST_SHARE,
            normalise=not self.keep_alleles,
            watch=MismatchWatch(limit=self.max_mismatches),
        )
        options = self.options()

        def fits(variant: Variant) -> bool:
            windows = options.windows(variant, cutting.spec)
            return all(fits_window(variant, window, genome.fetch_padded) for window in windows)

        entries = read_alleles(self.vcf, checker, Tally())
        plan = partial(plan_variants, entries, cutting=cutting, fits=fits, strict=self.strict)
        if not self.since:
            return plan(files=files, rows=self._rows(genome, cutting))
        earlier = [open_earlier(place) for place in self.since]
        files = replace(files, linked=files.plan.with_name("linked.parquet"))
        rows = NotKnown([known for run in earlier for known in run.known()], files, cutting)
        planned = plan(files=files, rows=rows)
        origins = {run_id: at for run in reversed(earlier) for run_id, at in run.origins.items()}
        return replace(
            planned, origins={run_id: origins[run_id] for run_id in sorted(rows.linked_to)}
        )

    def check_earlier(self, unplanned: RunManifest) -> None:
        """Refuse runs that are not finished, or were scored otherwise.

        Raises what `open_earlier` and `require_fitting` raise.
        """
        for place in self.since:
            require_fitting(open_earlier(place), unplanned, self.layout.root)

    def kept_precision(self) -> tuple[str, str] | None:
        """Look it up in the run that is resumed, then in those that are built on."""
        kept = super().kept_precision()
        if kept is not None or not self.since:
            return kept
        place = self.since[0]
        found = read_manifest(RunLayout(locate(place))).config.get("precision")
        return (found, f"the run in {place}") if isinstance(found, str) else None

    def _rows(self, genome: Genome, cutting: Cutting) -> RowsOf:
        if self.at is None:
            return OneEach()

        def check(site: Interval) -> None:
            check_narrow(site, cutting.spec, cutting.placement)

        return AtSites(read_features(self.at, genome, check=check), cutting)

    def counted_bins(self, bins: range) -> JsonValue:
        """Tell that the plan says which bins count, where it does."""
        return "of the sites" if self.at else super().counted_bins(bins)

    @property
    def files(self) -> dict[str, Path]:
        """The files that go in."""
        return super().files | {"vcf": self.vcf} | ({"at": self.at} if self.at else {})
