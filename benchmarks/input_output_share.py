"""How much of a genome run goes into reading the FASTA and writing Parquet.

Knows how `cisray score genome` puts a worker together, and runs that worker as it is: `TileTask`
opens the run, and its receipts say how long scoring and writing took. A made-up chromosome is
read from a BGZF file. Once with all tracks of the head, which writes most, and once with two.

Counted as reading: fetching the window, and the tile's part of what the driver reads before it
starts (the counts of A, C, G and T, and the digest of the file). Counted as writing: checking,
rounding, encoding, hashing and publishing, and the tile's part of sealing the run. The fetch is
timed again on the same windows, as the worker does not time it apart from the prediction. Files
were written a moment before they are read, so that they come from memory, not from a disk.

    python benchmarks/input_output_share.py [--tiles 2] [--threads N] [--size enformer]
"""

import argparse
import statistics
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from Bio.bgzf import BgzfWriter
from measuring import (
    FULL_SIZE,
    load_average,
    machine_facts,
    process,
    publish,
    random_codes,
    table,
    timed,
    write_random_model,
)

from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec, num_tiles
from cisray.scoring.plan import plan_tiles
from cisray.store.run import ShardSink
from cisray_jobs.models import SIZES
from cisray_jobs.provenance import now
from cisray_jobs.score_genome import PreparedGenome, ScoreGenome
from cisray_jobs.tile_task import TileTask, planned_windows
from cisray_jobs.worker import peak_rss_bytes

CHROM = "made_up"
CHROM_BP = 3_000_000
LINE_BP = 60
FIRST_TILE = 3  # far from the ends: every base of the windows is there
TWO_TRACKS = ("0", "1")


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds per tile of one run, and the peak memory of its worker."""

    tracks: int
    tiles: int
    read_before_s: float
    fetch_s: float
    predict_s: float
    write_s: float
    seal_s: float
    bytes_per_tile: int
    peak_rss_bytes: int

    @property
    def total_s(self) -> float:
        """What a tile takes altogether."""
        return self.reading_s + self.predict_s + self.writing_s

    @property
    def reading_s(self) -> float:
        """What a tile takes for reading."""
        return self.read_before_s + self.fetch_s

    @property
    def writing_s(self) -> float:
        """What a tile takes for writing."""
        return self.write_s + self.seal_s

    @property
    def share(self) -> float:
        """Reading and writing as a part of the whole."""
        return (self.reading_s + self.writing_s) / self.total_s


def write_chromosome(path: Path) -> None:
    """Write random bases in lines of 60 as BGZF."""
    letters = np.frombuffer(b"ACGT", np.uint8)[random_codes(CHROM_BP)].tobytes()
    with BgzfWriter(str(path)) as file:
        file.write(f">{CHROM}\n".encode())
        for first in range(0, CHROM_BP, LINE_BP):
            file.write(letters[first : first + LINE_BP] + b"\n")


def read_before(fasta: Path, prepared: PreparedGenome) -> float:
    """Time what the driver reads of the whole chromosome; return the part of one tile."""
    model = prepared.costs.checkpoint.config
    spec = WindowSpec(model.input_bp, model.bin_bp, model.target_bins)
    with Genome.open(fasta) as genome:
        counting = timed(lambda: list(plan_tiles(genome, spec, {CHROM: None})))
        hashing = timed(lambda: genome.sha256)
    return (counting + hashing) / num_tiles(CHROM_BP, spec)


def work(task: TileTask, shards: list[int], threads: int) -> tuple[float, int]:
    """Be the worker: open, score every shard; tell the seconds of one fetch and the peak memory."""
    torch.set_num_threads(threads)
    score = task.open()
    for shard in shards:
        score(shard)
    peak = peak_rss_bytes()
    sink = ShardSink.attach(task.place.run)
    fetches: list[float] = []
    with Genome.open(task.place.fasta) as genome:
        for shard in shards:
            for window, _ in planned_windows(sink.plan.tiles(shard), sink.plan.bin_bp):
                fetches.append(timed(partial(genome.fetch_padded, window.input)))
    return statistics.median(fetches[1:]), peak


def measure(config: ScoreGenome, threads: int) -> Shares:
    """Run the job with one worker of its own process; the first tile only warms up."""
    prepared = config.prepare()
    before = read_before(config.fasta, prepared)
    with prepared.begin(restart=False) as sink, process() as worker:
        shards = sink.pending()
        fetch, peak = worker.submit(work, prepared.task(now()), shards, threads).result()
        receipts = sink.receipts()[1:]
        sealing = timed(sink.seal)
    score = statistics.median(float(str(receipt.info["score_s"])) for receipt in receipts)
    return Shares(
        tracks=len(prepared.tracks),
        tiles=len(receipts),
        read_before_s=round(before, 4),
        fetch_s=round(fetch, 4),
        predict_s=round(score - fetch, 3),
        write_s=statistics.median(receipt.wall_s for receipt in receipts),
        seal_s=round(sealing / len(shards), 4),
        bytes_per_tile=round(statistics.mean(receipt.n_bytes for receipt in receipts)),
        peak_rss_bytes=peak,
    )


def report(runs: list[Shares], size: str) -> str:
    """Lay the runs out side by side."""
    lines = {
        "reading: before the start, s": [f"{run.read_before_s:.4f}" for run in runs],
        "reading: the window, s": [f"{run.fetch_s:.4f}" for run in runs],
        "one-hot and network, s": [f"{run.predict_s:.2f}" for run in runs],
        "writing: the shard, s": [f"{run.write_s:.3f}" for run in runs],
        "writing: sealing, s": [f"{run.seal_s:.4f}" for run in runs],
        "reading and writing, share": [f"{run.share:.2%}" for run in runs],
        "written, MB": [f"{run.bytes_per_tile / 1e6:.2f}" for run in runs],
        "peak memory of the worker, GB": [f"{run.peak_rss_bytes / 1e9:.2f}" for run in runs],
    }
    header = ("for each tile", *(f"{run.tracks:,} tracks" for run in runs))
    rows = table([header, *((label, *cells) for label, cells in lines.items())])
    return f"`cisray score genome` with the `{size}` model, one worker:\n\n{rows}"


def main() -> None:
    """Make the inputs, run both selections, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiles", type=int, default=2, help="tiles measured after one warm-up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, default=FULL_SIZE, help="smaller: a trial")
    options = parser.parse_args()
    target_bp = SIZES[options.size].target_bins * SIZES[options.size].bin_bp
    start, end = FIRST_TILE * target_bp, (FIRST_TILE + 1 + options.tiles) * target_bp
    before = load_average()
    runs: list[Shares] = []
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        fasta, bed = Path(folder) / "made_up.fa.gz", Path(folder) / "tiles.bed"
        model = Path(folder) / "model.safetensors"
        write_chromosome(fasta)
        bed.write_text(f"{CHROM}\t{start}\t{end}\n")
        with process() as builder:
            builder.submit(write_random_model, model, options.size, "per_feature").result()
        for tracks in ((), TWO_TRACKS):
            config = ScoreGenome(
                model=model,
                fasta=fasta,
                out=Path(folder) / f"run_{len(tracks)}",
                bed=bed,
                tracks=tracks,
                tiles_per_shard=1,
                threads=options.threads,
                device="cpu",
                batch_size=1,
                self_check="off",
            )
            runs.append(measure(config, options.threads))
    facts = {
        "benchmark": "input_output_share",
        "model": options.size,
        "runs": [asdict(run) | {"share": round(run.share, 5)} for run in runs],
        "machine": machine_facts(options.threads),
        "load_average": [before, load_average()],
    }
    publish("input_output_share", report(runs, options.size), facts, keep=options.size == FULL_SIZE)


if __name__ == "__main__":
    main()
