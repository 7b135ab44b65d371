"""What a worker of `cisray score variants` and `score saturation` does, shard after shard.

Knows scorers of variants and run directories; knows nothing of Ray or of the other workers. The
worker writes its own results; what it returns is a few numbers.
"""

import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import torch

from cisray.genome.variant import Variant
from cisray.inference.choose import Method, effect_predictor
from cisray.inference.effect_batch import settle_effect_batch
from cisray.inference.effects import PlainEffects
from cisray.inference.precision import Precision
from cisray.scoring.effect_check import EffectCheck
from cisray.scoring.variant_sites import bins_of
from cisray.scoring.variants import EffectOptions, ScoredRow, VariantScorer, VariantScores
from cisray.store.keyed_plan import as_keyed
from cisray.store.plan import ShardSpan
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray_jobs.checks import on_record
from cisray_jobs.row_check import RowCheck, RowSample
from cisray_jobs.worker import Bench, Place, peak_rss_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectTask:
    """A picklable description of the work; a run that has begun knows the rest."""

    place: Place
    method: Method
    precision: Precision
    batch_size: int | None
    options: EffectOptions
    bins: range
    sample: RowSample

    def open(self) -> Callable[[int], dict[str, object]]:
        """Load the model, open the genome, and return the function that scores one shard.

        Raises RunConflict if weights or genome, as this machine sees them, are not those that the
        run began with.
        """
        bench = Bench.open(self.place)
        sink, plan = bench.sink, as_keyed(bench.sink.plan)
        predictor = effect_predictor(
            bench.model,
            sink.tracks,
            device=bench.device,
            precision=self.precision,
            batch_size=1,
            method=self.method,
        )
        batch = settle_effect_batch(predictor, bench.device, self.batch_size, bins=self.bins)
        log.info("batch size: %d (%s)", batch.batch_size, batch.reason)
        here = bench.facts(batch)
        scorer = VariantScorer(predictor, bench.genome, self.options)
        plain = plain_twin(bench, needed=bool(self.sample.rows))
        check = RowCheck(EffectCheck(plain, bench.genome, self.options), self.sample, sink.tracks)

        def score(shard: int) -> dict[str, object]:
            begun = time.monotonic()
            keys = plan.keys(shard)
            rows = scored_rows(keys, self.bins)
            with on_record(sink, shard):
                scores = scorer.score(rows, watch=partial(check.watch, shard, rows))
            facts = {
                **here,
                **check.taken(),
                "score_s": round(time.monotonic() - begun, 3),
                "peak_rss_bytes": peak_rss_bytes(),
            }
            pieces = effect_pieces(scores, keys, sink, plan.spans[shard])
            receipt = sink.write(shard, pieces, attempt_info=facts)
            return {"rows": receipt.n_rows, "bytes": receipt.n_bytes}

        return score


def plain_twin(bench: Bench, *, needed: bool) -> PlainEffects:
    """Build what sampled rows are computed with: float64 on CUDA, where that costs little.

    Two float32 predictions cannot check most effects of single bases (docs/decisions/0013). On a
    CPU float64 would take three times the memory of the rest of the run.
    """
    if bench.device.type != "cuda" or not needed:
        return PlainEffects(bench.model, bench.sink.tracks, device=bench.device)
    exact = copy.deepcopy(bench.model).double()
    return PlainEffects(exact, bench.sink.tracks, device=bench.device, dtype=torch.float64)


def scored_rows(keys: pa.Table, bins: range) -> list[ScoredRow]:
    """Take the rows of a shard out of its keys; they count in `bins`, or in their sites'."""
    columns = (keys[name].to_pylist() for name in ("chrom", "pos", "ref", "alt"))
    variants = (Variant(*row) for row in zip(*columns, strict=True))
    return [ScoredRow(*row) for row in zip(variants, bins_of(keys, bins), strict=True)]


def effect_pieces(
    scores: VariantScores, keys: pa.Table, sink: ShardSink, span: ShardSpan
) -> Iterator[Piece]:
    """Cut the scores of a shard into the run's blocks, without copying a column."""
    tracks = sink.tracks
    row_of = dict(zip(tracks.indices.tolist(), range(len(tracks)), strict=True))
    columns = dict(zip(keys.column_names, keys.columns, strict=True))
    for block, members in sink.blocks.items():
        values = {
            f"{name}_{tracks.columns[row_of[track]]}": values_TV[row_of[track]]
            for name, values_TV in scores.values.items()
            for track in members
        }
        yield Piece(block, span.chrom, span.start, span.end, {**columns, **values})
