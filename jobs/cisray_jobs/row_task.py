"""What a worker does with a shard of rows known by keys, however they are scored.

Knows keys, run directories and what a worker opens; knows nothing of Ray, of the other workers or
of how a row gets its values: a task says that with a `ShardScoring`. The worker writes its own
results; what it returns is a few numbers.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue

from cisray.genome.variant import Variant
from cisray.inference.batching import Choice
from cisray.inference.choose import Method
from cisray.inference.precision import Precision
from cisray.inference.utilisation import Sampler
from cisray.scoring.variant_sites import bins_of
from cisray.scoring.variants import EffectOptions, ScoredRow
from cisray.stopwatch import lap
from cisray.store.keyed_plan import as_keyed
from cisray.store.plan import ShardSpan
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray_jobs.checks import on_record
from cisray_jobs.row_check import RowSample
from cisray_jobs.worker import (
    Bench,
    Place,
    gpu_told,
    peak_rss_bytes,
    shard_times,
    work_facts,
)

log = logging.getLogger(__name__)

# Values (T, rows) under the name of each statistic.
Values = Mapping[str, NDArray[np.float32]]


class ShardScoring(Protocol):
    """Whatever scores the rows of one shard after another, and checks some of them."""

    batch: Choice

    def score(self, shard: int, keys: pa.Table) -> Values:
        """Score a shard's rows, in their order. Raises SelfCheckFailed."""

    def taken(self) -> dict[str, JsonValue]:
        """State what the checks of the shard scored last found, for its receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTask(ABC):
    """A picklable description of the work; a run that has begun knows the rest."""

    place: Place
    method: Method
    precision: Precision
    batch_size: int | None
    options: EffectOptions
    bins: range
    sample: RowSample

    @abstractmethod
    def scoring(self, bench: Bench) -> ShardScoring:
        """Build what scores, from what the worker has opened."""

    def open(self) -> Callable[[int], dict[str, object]]:
        """Load the model, open the genome, and return the function that scores one shard.

        Raises RunConflict if weights or genome, as this machine sees them, are not those that the
        run began with.
        """
        bench = Bench.open(self.place)
        sink, plan = bench.sink, as_keyed(bench.sink.plan)
        scoring = self.scoring(bench)
        log.info("batch size: %d (%s)", scoring.batch.batch_size, scoring.batch.reason)
        here, sampler = bench.facts(scoring.batch), Sampler.of(bench.device)

        def score(shard: int) -> dict[str, object]:
            begun = time.monotonic()
            with lap("input"):
                keys = plan.keys(shard)
            with sampler, lap("model"), on_record(sink, shard):
                values = scoring.score(shard, keys)
            score_s = time.monotonic() - begun
            facts = {
                **here,
                **scoring.taken(),
                **shard_times(self.place, score_s),
                "score_s": round(score_s, 3),
                "peak_rss_bytes": peak_rss_bytes(),
                **work_facts(sampler),
            }
            with lap("write"):
                pieces = row_pieces(values, keys, sink, plan.spans[shard])
                receipt = sink.write(shard, pieces, attempt_info=facts)
            return {"rows": receipt.n_rows, "bytes": receipt.n_bytes, **gpu_told(sampler)}

        return score


def scored_rows(keys: pa.Table, bins: range) -> list[ScoredRow]:
    """Take the rows of a shard out of its keys; they count in `bins`, or in their sites'."""
    columns = (keys[name].to_pylist() for name in ("chrom", "pos", "ref", "alt"))
    variants = (Variant(*row) for row in zip(*columns, strict=True))
    return [ScoredRow(*row) for row in zip(variants, bins_of(keys, bins), strict=True)]


def row_pieces(scored: Values, keys: pa.Table, sink: ShardSink, span: ShardSpan) -> Iterator[Piece]:
    """Cut the values of a shard into the run's blocks, without copying a column."""
    tracks = sink.tracks
    row_of = dict(zip(tracks.indices.tolist(), range(len(tracks)), strict=True))
    columns = dict(zip(keys.column_names, keys.columns, strict=True))
    for block, members in sink.blocks.items():
        values = {
            f"{name}_{tracks.columns[row_of[track]]}": values_TV[row_of[track]]
            for name, values_TV in scored.items()
            for track in members
        }
        yield Piece(block, span.chrom, span.start, span.end, {**columns, **values})
