"""The job `cisray score variants`: read a file of variants, score every allele, write a sealed run.

Knows the options of a file of variants; how effects are computed and stored is `effect_job`'s
business. The same configuration, run again, finishes what an earlier run left.
"""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from cisray.errors import ConfigError
from cisray.genome.alleles import AlleleChecker, Tally, read_alleles
from cisray.genome.interval import Interval
from cisray.genome.mismatch import MismatchWatch
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features
from cisray.genome.variant import Variant
from cisray.scoring.alignment import fits_window
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import Cutting
from cisray.scoring.variant_rows import OneEach, RowsOf, plan_variants
from cisray.scoring.variant_sites import AtSites, check_narrow
from cisray_jobs.effect_job import EffectJob

# A longer allele leaves less than half of the target to compare bin for bin.
_LONGEST_SHARE = 2


class ScoreVariants(EffectJob):
    """Which file of variants to score, in which bins, and what is let pass."""

    job: ClassVar[str] = "score-variants"
    narrowed_by: ClassVar[str] = "--tracks, --stats or a smaller file"

    vcf: Path
    at: Path | None = None
    keep_alleles: bool = False
    max_allele_bp: int | None = Field(None, ge=1)
    max_mismatches: float = Field(0.05, gt=0, le=1, allow_inf_nan=False)

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
        """Read the file once, from beginning to end; each allele is planned or rejected.

        Raises `RegionsError` for the sites, `VariantsError`, `AssemblyMismatch`, and with --strict
        `RejectsRefused`.
        """
        rows = self._rows(genome, cutting)
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
        return plan_variants(entries, files, cutting, fits=fits, rows=rows, strict=self.strict)

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
