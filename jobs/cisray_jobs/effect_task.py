"""What a worker of `cisray score variants` and `score saturation` does to score rows exactly.

Knows predictors of effects, scorers of variants and their self-check; the rest is `row_task`'s
business.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import torch
from pydantic import JsonValue

from cisray.inference.batching import Choice
from cisray.inference.choose import effect_predictor
from cisray.inference.effect_batch import settle_effect_batch
from cisray.inference.effects import PlainEffects
from cisray.model.module import SequenceModule
from cisray.scoring.effect_check import EffectCheck
from cisray.scoring.variants import VariantScorer
from cisray.stopwatch import lap
from cisray_jobs.row_check import RowCheck, RowSample
from cisray_jobs.row_task import RowTask, Values, scored_rows
from cisray_jobs.worker import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectTask(RowTask):
    """Score every row by the effect of its allele."""

    def scoring(self, bench: Bench) -> "EffectScoring":
        """Build predictor, scorer and self-check."""
        return EffectScoring.on(bench, self, Twin.of(bench, needed=bool(self.sample.rows)))


class Twin(NamedTuple):
    """The model that sampled rows are computed with again, and its type."""

    model: SequenceModule
    dtype: torch.dtype

    @classmethod
    def of(cls, bench: Bench, *, needed: bool) -> "Twin":
        """Take the model itself, or a float64 copy on CUDA, where that costs little.

        Two float32 predictions cannot check most effects of single bases (docs/decisions/0013). On
        a CPU float64 would take three times the memory of the rest of the run.
        """
        if bench.device.type != "cuda" or not needed:
            return cls(bench.model, torch.float32)
        return cls(copy.deepcopy(bench.model).double(), torch.float64)


@dataclass(slots=True)
class EffectScoring:
    """Score rows exactly, and compute the sampled ones once more the plain way."""

    scorer: VariantScorer
    check: RowCheck
    bins: range
    batch: Choice

    @classmethod
    def on(cls, bench: Bench, task: RowTask, twin: Twin) -> "EffectScoring":
        """Build what a task asks for on what its worker has opened."""
        tracks = bench.sink.tracks
        predictor = effect_predictor(
            bench.model,
            tracks,
            device=bench.device,
            precision=task.precision,
            batch_size=1,
            method=task.method,
        )
        batch = settle_effect_batch(predictor, bench.device, task.batch_size, bins=task.bins)
        plain = PlainEffects(twin.model, tracks, device=bench.device, dtype=twin.dtype)
        check = EffectCheck(plain, bench.genome, task.options)
        scorer = VariantScorer(predictor, bench.genome, task.options)
        return cls(scorer, RowCheck(check, task.sample, tracks), task.bins, batch)

    def score(self, shard: int, keys: pa.Table) -> Values:
        """Score rows, in their order; the places of sampled ones are those in `keys`."""
        with lap("input"):
            rows = scored_rows(keys, self.bins)
        self.check.begin()
        values = self.scorer.score(rows, watch=partial(self.check.watch, shard, rows)).values
        self.scorer.predictor.release()
        self.check.settle(shard, rows)
        return values

    def resample(self, sample: RowSample) -> None:
        """Check other rows from now on."""
        self.check.sample = sample

    def taken(self) -> dict[str, JsonValue]:
        """State what the checks of the shard scored last found."""
        return self.check.taken()
