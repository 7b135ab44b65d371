"""The kinds of evaluations, by their names: a job each, and what it shares with the others.

Knows the jobs; knows no options of theirs. A new evaluation is one line in `KINDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from cisray.engine.progress import Display
from cisray_jobs.config import JobConfig
from cisray_jobs.evaluate_calibration import MakeCalibration
from cisray_jobs.evaluate_direction import EvaluateDirection
from cisray_jobs.evaluate_enhancers import EvaluateEnhancers
from cisray_jobs.evaluate_eqtl import EvaluateEqtl
from cisray_jobs.evaluate_expression import EvaluateExpression
from cisray_jobs.evaluate_mpra import EvaluateMpra
from cisray_jobs.evaluate_sldp import EvaluateSldp
from cisray_jobs.finemap_eqtls import FinemapEqtls

# Runs and tables of variants; of other things they would be other runs and tables.
OF_VARIANTS = ("run", "external", "seed", "workers")
SEED_ALONE = ("seed", "workers")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of evaluation.

    `shares` are the options that it takes from those shared by all, as far as it has them; `named`
    its options of NAME=PLACE, and `spreads` says that its units go to workers, with progress.
    """

    job: type[JobConfig]
    shares: tuple[str, ...] = SEED_ALONE
    named: tuple[str, ...] = ("run", "external")
    spreads: bool = False

    def evaluate(self, job: JobConfig, display: Display) -> None:
        """Do a job of this kind. Raises what the job raises."""
        # Every job of an evaluation has it; that the types do not say so saves each a base class.
        evaluate = cast(Any, job).evaluate
        evaluate(display) if self.spreads else evaluate()


KINDS: Mapping[str, Kind] = {
    "eqtl": Kind(EvaluateEqtl, OF_VARIANTS, spreads=True),
    "direction": Kind(EvaluateDirection, OF_VARIANTS),
    "mpra": Kind(EvaluateMpra, OF_VARIANTS),
    "enhancers": Kind(EvaluateEnhancers, spreads=True),
    "expression": Kind(EvaluateExpression),
    "sldp": Kind(EvaluateSldp, OF_VARIANTS, named=("run", "external", "sumstats")),
    "finemap": Kind(FinemapEqtls, named=()),
    "calibration": Kind(MakeCalibration, named=()),
}
