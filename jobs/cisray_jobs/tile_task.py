"""What a worker of `cisray score genome` does: open once, then score shard after shard.

Knows predictors and run directories; knows nothing of Ray or of the other workers. The worker
writes its own results; what it returns is a few numbers.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from cisray.genome.interval import Interval
from cisray.genome.windows import Window
from cisray.inference.batching import LARGEST, Choice, choose_batch_size
from cisray.inference.choose import Method, tile_predictor
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.precision import Precision
from cisray.inference.predictor import PlainPredictor
from cisray.inference.utilisation import Sampler
from cisray.scoring.tiles import TileScorer, TileScores
from cisray.stopwatch import lap
from cisray.store.plan import ShardSpan
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.tile_plan import as_tiles
from cisray_jobs.checks import on_record
from cisray_jobs.tile_check import SelfCheck, TileSample
from cisray_jobs.worker import (
    Bench,
    Place,
    gpu_told,
    peak_rss_bytes,
    shard_times,
    work_facts,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTask:
    """A picklable description of the work; a run that has begun knows the rest."""

    place: Place
    method: Method
    precision: Precision
    batch_size: int | None
    sample: TileSample

    def open(self) -> Callable[[int], dict[str, object]]:
        """Load the model, open the genome, and return the function that scores one shard.

        Raises RunConflict if weights or genome, as this machine sees them, are not those that the
        run began with.
        """
        bench = Bench.open(self.place)
        sink, model, genome, device = bench.sink, bench.model, bench.genome, bench.device
        predictor = tile_predictor(
            model,
            sink.tracks,
            device=device,
            precision=self.precision,
            batch_size=1,
            method=self.method,
        )
        batch = settle_batch(predictor, device, self.batch_size, limit=_most_tiles(sink, predictor))
        scorer = TileScorer(predictor, genome)
        plain = PlainPredictor(model, sink.tracks, device=device)
        check = SelfCheck(plain, genome, self.sample)
        here, sampler = bench.facts(batch), Sampler.of(device)
        plan = as_tiles(sink.plan)

        def score(shard: int) -> dict[str, object]:
            begun = time.monotonic()
            with sampler:
                with lap("input"):
                    windows = planned_windows(plan.tiles(shard), plan.bin_bp)
                with lap("model"):
                    scores = scorer.score(windows)
                scored = time.monotonic()
                with lap("check"), on_record(sink, shard):
                    checked = check.check(shard, windows, scores)
            ended = time.monotonic()
            facts = {
                **here,
                **checked,
                **shard_times(self.place, ended - begun),
                "score_s": round(scored - begun, 3),
                "check_s": round(ended - scored, 3),
                "peak_rss_bytes": peak_rss_bytes(),
                **work_facts(sampler),
            }
            with lap("write"):
                pieces = block_pieces(scores, sink, plan.spans[shard])
                receipt = sink.write(shard, pieces, attempt_info=facts)
            told = {"rows": receipt.n_rows, "bytes": receipt.n_bytes, "tiles": len(windows)}
            return {**told, **gpu_told(sampler)}

        return score


def settle_batch(
    predictor: FastPredictor | PlainPredictor,
    device: torch.device,
    wanted: int | None,
    *,
    limit: int,
) -> Choice:
    """Set a predictor's batch size: as wanted, or up to `limit` as the device has memory for.

    Raises DeviceTooSmall where not even one window fits.
    """

    def predict(windows: int) -> None:
        predictor.batch_size = windows
        shape = (windows, predictor.spec.input_bp)
        predictor.predict(np.random.default_rng(0).integers(0, 4, shape, np.uint8))

    if wanted is None:
        choice = choose_batch_size(device, "tracks", predict, sequence_bytes=0, limit=limit)
    else:
        choice = Choice(wanted, "settled when the run was planned")
    predictor.batch_size = choice.batch_size
    log.info("batch size: %d (%s)", choice.batch_size, choice.reason)
    return choice


def _most_tiles(sink: ShardSink, predictor: FastPredictor | PlainPredictor) -> int:
    """Count the tiles of the largest shard: larger batches would never be filled."""
    rows = max((span.rows for span in sink.plan.spans.values()), default=1)
    return min(LARGEST, math.ceil(rows / predictor.spec.target_bins))


def planned_windows(tiles: pa.Table, bin_bp: int) -> list[tuple[Window, int]]:
    """Rebuild the windows of a shard's scored tiles, each with the bins that it contributes."""
    return [
        (
            Window(
                input=Interval(row["chrom"], row["input_start"], row["input_end"]),
                target=Interval(row["chrom"], row["start"], row["end"]),
                bin_bp=bin_bp,
            ),
            row["bins"],
        )
        for row in tiles.to_pylist()
        if row["scored"]
    ]


def block_pieces(scores: TileScores, sink: ShardSink, span: ShardSpan) -> Iterator[Piece]:
    """Cut the scores of a shard into the run's blocks, without copying a column."""
    tracks = sink.tracks
    row_of = dict(zip(tracks.indices.tolist(), range(len(tracks)), strict=True))
    for block, members in sink.blocks.items():
        rows = [row_of[track] for track in members]
        values = {tracks.columns[row]: scores.values_TM[row] for row in rows}
        yield Piece(block, span.chrom, span.start, span.end, {"start": scores.start, **values})
