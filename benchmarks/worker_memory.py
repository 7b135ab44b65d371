"""The peak memory of a worker of `cisray score genome`, as a real run has it.

Knows the job and its receipts; knows nothing of how a worker does its work. All tracks of the head
are scored in float32 and stored with all mantissa bits, and one tile is checked the plain way.

A receipt is written before its shard is: what writing takes shows in the receipt of the worker's
next shard. So there are two, the second of a single tile.
"""

from pathlib import Path

import numpy as np
from measuring import HEAD, random_codes

from cisray.engine.progress import Display
from cisray.model.registry import read_model
from cisray.store.encode import FLOAT32_MANTISSA_BITS
from cisray.store.run import ShardSink
from cisray_jobs.score_genome import ScoreGenome

CHECKED_TILES = 1


def write_fasta(path: Path, length: int) -> None:
    """Write a chromosome of random bases on one line."""
    letters = np.frombuffer(b"ACGT", np.uint8)[random_codes(length)].tobytes()
    path.write_bytes(b">made_up\n" + letters + b"\n")


def worker_peak_bytes(weights: Path, threads: int, tiles: int) -> int:
    """Score a shard of so many tiles, and one more, with a worker on Ray; tell its peak memory."""
    config = read_model(weights).config
    fasta, run = weights.with_name("worker.fa"), weights.with_name("worker_run")
    write_fasta(fasta, (tiles + 1) * config.target_bins * config.bin_bp)
    ScoreGenome(
        model=weights,
        fasta=fasta,
        out=run,
        head=HEAD,
        predictor="fast",
        precision="float32",
        mantissa_bits=FLOAT32_MANTISSA_BITS,
        tiles_per_shard=tiles,
        workers=1,
        threads=threads,
        device="cpu",
        self_check=CHECKED_TILES,
    ).run(Display.NONE)
    facts = [receipt.info for receipt in ShardSink.attach(run).receipts()]
    assert len(facts) == 2, facts
    assert len({fact["pid"] for fact in facts}) == 1, facts
    assert any("self_check" in fact for fact in facts), facts
    return max(int(str(fact["peak_rss_bytes"])) for fact in facts)
