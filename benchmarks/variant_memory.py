"""Peak memory of a run over variants, of its driver and of a worker, by the number of records.

Knows how `cisray score variants` is run; knows nothing of what it computes. The records are SNVs of
a short chromosome, unsorted, so that most are duplicates, which are computed once and are rows of
their own: time goes into what may grow with the number of records, which is reading, planning and
sealing in the driver, and in the worker shards of at most 65,536 rows. Each size runs in a process
of its own, with one worker on Ray; the worker's peak is that of its receipts, the driver's that of
its process.

    python benchmarks/variant_memory.py [--records 10000,100000] [--keep]
"""

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measuring import SEED, load_average, machine_facts, process, publish, random_codes, table

from cisray.engine.progress import Display
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.store.run import ShardSink
from cisray_jobs.score_variants import ScoreVariants
from cisray_jobs.worker import peak_rss_bytes

SIZES = "10000,100000,1000000"
CHROMOSOME_BP = 600
CHUNK = 100_000
# Windows of 1,024 bp, of which 256 bp are predicted, in two bins.
SMALLEST = EnformerConfig(
    channels=12,
    num_transformer_layers=1,
    num_heads=1,
    key_size=4,
    channels_divisible_by=2,
    input_bp=1024,
    target_bins=2,
    heads={"human": 1},
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One size: seconds, and the peaks of the process that plans and seals, and of the worker."""

    records: int
    scored: int
    shards: int
    wall_s: float
    loaded_rss_bytes: int
    driver_rss_bytes: int
    worker_rss_bytes: int


def write_genome(path: Path) -> None:
    """Write a short chromosome of random bases."""
    bases = "".join("ACGT"[code] for code in random_codes(CHROMOSOME_BP))
    path.write_text(f">chr1\n{bases}\n")


def write_variants(path: Path, records: int) -> None:
    """Write SNVs at random places, each with an identifier of its own."""
    draw, codes = np.random.default_rng(SEED), random_codes(CHROMOSOME_BP)
    with path.open("w") as file:
        file.write("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        for first in range(0, records, CHUNK):
            size = min(CHUNK, records - first)
            starts = draw.integers(0, CHROMOSOME_BP, size)
            alts = (codes[starts] + draw.integers(1, 4, size)) % 4
            for number, (start, alt) in enumerate(zip(starts, alts, strict=True), first):
                ref = "ACGT"[codes[start]]
                file.write(f"chr1\t{start + 1}\trs{number}\t{ref}\t{'ACGT'[alt]}\t.\t.\t.\n")


def write_model(path: Path) -> None:
    """Write the smallest model, with random weights."""
    model = initialise(Enformer(SMALLEST), 0, randomise_all=True)
    save_native(path, Checkpoint.build(SMALLEST, model.state_dict(), provenance={}))


def measure(folder: Path, records: int) -> Measured:
    """Score a file in this process and a worker."""
    loaded = peak_rss_bytes()
    out = folder / f"run{records}"
    begun = time.perf_counter()
    done = ScoreVariants(
        model=folder / "m.safetensors",
        fasta=folder / "made_up.fa",
        vcf=folder / "made_up.vcf",
        out=out,
        window_placement="grid",
        workers=1,
        threads=1,
        device="cpu",
    ).run(Display.NONE)
    peaks = [receipt.info["peak_rss_bytes"] for receipt in ShardSink.attach(out).receipts()]
    return Measured(
        records=records,
        scored=done.rows,
        shards=done.shards,
        wall_s=round(time.perf_counter() - begun, 1),
        loaded_rss_bytes=loaded,
        driver_rss_bytes=peak_rss_bytes(),
        worker_rss_bytes=max(int(str(peak)) for peak in peaks),
    )


def report(runs: list[Measured]) -> str:
    """Lay the sizes out below one another."""
    header = ("records", "rows", "shards", "wall, s", "driver before, MB", "driver's peak, MB",
              "worker's peak, MB")  # fmt: skip
    rows = [
        (
            f"{run.records:,}",
            f"{run.scored:,}",
            f"{run.shards:,}",
            f"{run.wall_s:.0f}",
            f"{run.loaded_rss_bytes / 1e6:.0f}",
            f"{run.driver_rss_bytes / 1e6:.0f}",
            f"{run.worker_rss_bytes / 1e6:.0f}",
        )
        for run in runs
    ]
    return f"SNVs of a plain VCF in random order, the smallest model:\n\n{table([header, *rows])}"


def main() -> None:
    """Make the inputs, score each size, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", default=SIZES, help="how many, separated by commas")
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    before = load_average()
    runs: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as name:
        folder = Path(name)
        write_genome(folder / "made_up.fa")
        write_model(folder / "m.safetensors")
        for records in map(int, options.records.split(",")):
            write_variants(folder / "made_up.vcf", records)
            with process() as driver:
                runs.append(driver.submit(measure, folder, records).result())
    facts = {
        "benchmark": "variant_memory",
        "runs": [asdict(run) for run in runs],
        "machine": machine_facts(threads=1),
        "load_average": [before, load_average()],
    }
    publish("variant_memory", report(runs), facts, keep=options.keep)


if __name__ == "__main__":
    main()
