"""The job `cisray score variants`: read a file of variants, score every allele, write a sealed run.

Knows the options of a file of variants; how effects are computed and stored is `effect_job`'s
business. The same configuration, run again, finishes what an earlier run left.
"""

import hashlib
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from cisray.genome.alleles import AlleleChecker, Tally, read_alleles
from cisray.genome.mismatch import MismatchWatch
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.scoring.alignment import fits_window
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import Cutting
from cisray.scoring.variant_rows import plan_variants
from cisray_jobs.effect_job import EffectJob

# A longer allele leaves less than half of the target to compare bin for bin.
_LONGEST_SHARE = 2


class ScoreVariants(EffectJob):
    """Which file of variants to score, and what is let pass."""

    job: ClassVar[str] = "score-variants"
    narrowed_by: ClassVar[str] = "--tracks, --stats or a smaller file"

    vcf: Path
    keep_alleles: bool = False
    max_allele_bp: int | None = Field(None, ge=1)
    max_mismatches: float = Field(0.05, gt=0, le=1, allow_inf_nan=False)

    @property
    def source(self) -> str:
        """The file's name, without its folder."""
        return self.vcf.name

    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Read the file once, from beginning to end; each allele is planned or rejected.

        Raises `VariantsError`, `AssemblyMismatch`, and with --strict `RejectsRefused`.
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
        return plan_variants(entries, files, cutting, fits=fits, strict=self.strict)

    def told_inputs(self) -> dict[str, JsonValue]:
        """Name the file and its digest."""
        with self.vcf.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"variants": self.vcf.name, "variants_sha256": digest}
