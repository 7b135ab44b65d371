"""The self-check of a run of gradients: the windows of sampled rows, against plain passes.

Knows which rows of a plan are sampled; how a window's gradients are compared is
`scoring.gradient_check`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from cisray.errors import SelfCheckFailed
from cisray.inference.precision import Precision
from cisray.inference.selfcheck import TOLERANCES
from cisray.scoring.first_order import PREFIX, WindowGradients
from cisray.scoring.gradient_check import GRADIENT_TOLERANCE, GradientCheck, GradientDeviation
from cisray.scoring.variants import ScoredRow
from cisray.stopwatch import lap
from cisray.tracks import TrackSet
from cisray_jobs.checks import fact
from cisray_jobs.row_check import RowSample

PASSES = 3  # plain ones of a check, for each member of an ensemble
_REFERENCE: Precision = "float32"


@dataclass(slots=True)
class WindowCheck:
    """Compare the gradients that a shard's sampled rows were taken from, as they come."""

    check: GradientCheck
    sample: RowSample
    tracks: TrackSet
    stats: tuple[str, ...]
    _found: list[GradientDeviation] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what an attempt has found that then failed: its shard is tried again, or never."""
        self._found = []

    def watch(
        self, shard: int, rows: Sequence[ScoredRow], members: Sequence[int], seen: WindowGradients
    ) -> None:
        """Check a window once for each of its rows that is sampled.

        The row's number says along which gradient. Raises SelfCheckFailed beyond the tolerance, and
        for values that are not finite.
        """
        for row in sorted(self.sample.rows.get(shard, frozenset()).intersection(members)):
            with lap("check"):
                deviation = self.check.check(seen, row)
            if not deviation.is_within:
                raise SelfCheckFailed(self._complaint(shard, rows[row], deviation))
            self._found.append(deviation)

    def taken(self) -> dict[str, JsonValue]:
        """State what was found since `begin`, for the shard's receipt."""
        return fact(self._found, GRADIENT_TOLERANCE)

    def _complaint(self, shard: int, row: ScoredRow, found: GradientDeviation) -> str:
        stat, track = divmod(found.lane, len(self.tracks))
        return (
            f"The self-check failed: in the window of {row.variant} in shard {shard}, "
            f"{PREFIX}{self.stats[stat]} in track {self.tracks.columns[track]} promises a change "
            f"of {found.slope:.6g} by a small step, and plain passes find {found.found:.6g}: off "
            f"by {found.error:.2g} of the gradient's length, where {GRADIENT_TOLERANCE:g} is "
            f"tolerated; the reference's prediction is off by {found.reference.error:.2g} of its "
            f"norm, where {TOLERANCES[_REFERENCE]:g} is. Nothing of the shard is stored and the "
            "run has stopped. Do not use what it has stored before: score anew with --predictor "
            "plain --restart, and please report this with the machine and the model."
        )
