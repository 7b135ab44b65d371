"""What a job over variants tells: of a run that it would do, and of one that it has done.

Knows numbers and their names; knows nothing of how they come about, or of how they are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cisray.genome.windows import Placement
from cisray.inference.choose import Method
from cisray.inference.precision import Precision
from cisray.store.seal import RunSummary
from cisray_jobs.checks import SelfCheckSummary
from cisray_jobs.gradient_costs import GradientPlan
from cisray_jobs.plan import Resources


@dataclass(frozen=True, slots=True)
class ScoredEffects(RunSummary):
    """What a sealed run consists of, what was left out and why, and what its self-check found."""

    entries: int
    rejected: Mapping[str, int]
    self_check: SelfCheckSummary


@dataclass(frozen=True, slots=True)
class EffectPlan:
    """What a run over variants will do. Rows and windows are counted exactly, the rest estimated.

    `windows` are reference passes, `alternates` distinct alleles; rows of one allele share both.
    `gradients` is there where alleles are scored by them.
    """

    job: str
    out: str
    model_sha256: str
    head: str
    tracks: int
    statistics: tuple[str, ...]
    entries: int
    rejected: Mapping[str, int]
    windows: int
    alternates: int
    gradients: GradientPlan | None
    members: int
    placement: Placement
    indels: str
    shards: int
    shards_done: int
    rows: int
    rows_left: int
    rows_to_check: int
    estimated_bytes: int
    free_bytes: int
    teraflop: float
    estimated_seconds: float
    worker_bytes: int
    resources: Resources
    predictor: Method
    predictor_reason: str
    precision: Precision
    precision_reason: str
    mantissa_bits: int
