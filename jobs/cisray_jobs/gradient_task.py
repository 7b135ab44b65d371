"""What a worker of `cisray score saturation --method gradient` does to score rows.

Knows gradients, the scorer that takes first-order scores from them, and which substitutions are
scored exactly as well; the rest is `row_task`'s business.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue

from cisray.inference.batching import Choice
from cisray.inference.central_difference import CentralDifference
from cisray.inference.choose import gradient_predictor
from cisray.inference.effect_batch import settle_gradient_batch
from cisray.scoring.first_order import PREFIX, GradientScorer, gradients_per_track, largest
from cisray.scoring.gradient_check import GradientCheck
from cisray.stopwatch import lap
from cisray_jobs.checks import FACT
from cisray_jobs.effect_task import EffectScoring, Twin
from cisray_jobs.row_task import RowTask, Values, scored_rows
from cisray_jobs.window_check import WindowCheck
from cisray_jobs.worker import Bench

EXACT_FACT = "self_check_exact"  # of the substitutions that are scored exactly as well


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientTask(RowTask):
    """Score every row by gradients, and the `exact` largest of each region exactly as well."""

    exact: int | None = None

    def scoring(self, bench: Bench) -> "GradientScoring":
        """Build predictor, scorer and self-check."""
        tracks, stats = bench.sink.tracks, self.options.stats
        predictor = gradient_predictor(
            bench.model, tracks, device=bench.device, batch_size=1, method=self.method
        )
        batch = settle_gradient_batch(
            predictor,
            bench.device,
            self.batch_size,
            objectives=gradients_per_track(stats) * len(tracks),
            bins=self.bins,
        )
        twin = Twin.of(bench, needed=bool(self.sample.rows))
        plain = CentralDifference(
            twin.model, tracks, self.options.ensemble, device=bench.device, dtype=twin.dtype
        )
        return GradientScoring(
            task=self,
            scorer=GradientScorer(predictor, bench.genome, self.options),
            check=WindowCheck(GradientCheck(plain, stats), self.sample, tracks, stats),
            batch=batch,
            exact=None if self.exact is None else EffectScoring.on(bench, self, twin),
        )


@dataclass(slots=True)
class GradientScoring:
    """Score rows by gradients, some also exactly; check sampled windows and effects."""

    task: GradientTask
    scorer: GradientScorer
    check: WindowCheck
    batch: Choice
    exact: EffectScoring | None

    def score(self, shard: int, keys: pa.Table) -> Values:
        """Score rows, in their order. Exact columns are NaN where a row is not among the largest.

        With exact ones, a region must lie in one shard.
        """
        with lap("input"):
            rows = scored_rows(keys, self.task.bins)
        self.check.begin()
        values = self.scorer.score(rows, watch=partial(self.check.watch, shard, rows))
        if self.exact is None or self.task.exact is None:
            return values
        chosen = largest(
            values[PREFIX + self.task.options.stats[0]],
            keys["region"].to_numpy(),
            keys["variant"].to_numpy(),
            self.task.exact,
        )
        self.exact.resample(self.task.sample.among(shard, len(chosen)))
        exact = self.exact.score(shard, keys.take(chosen))
        return {**values, **{name: spread(v, chosen, len(rows)) for name, v in exact.items()}}

    def taken(self) -> dict[str, JsonValue]:
        """State what the checks of the shard scored last found, of exact effects by its own key."""
        exact = {} if self.exact is None else self.exact.taken()
        return {**self.check.taken(), **({EXACT_FACT: exact[FACT]} if exact else {})}


def spread(
    values_TC: NDArray[np.float32], chosen: NDArray[np.int64], rows: int
) -> NDArray[np.float32]:
    """Put the values of chosen rows among all of a shard, (T, rows), NaN elsewhere."""
    out_TV = np.full((len(values_TC), rows), np.nan, np.float32)
    out_TV[:, chosen] = values_TC
    return out_TV
