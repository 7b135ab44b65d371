"""From a VCF to a plan of shards: records a second and peak memory, by the number of records.

Knows how a plan is made of a file of variants. The records are SNVs at random positions of random
chromosomes, unsorted and with duplicates: the worst order for sorting, and for reading a FASTA.
Each size runs in a process of its own; the file of variants is made before it is timed. Processor
seconds are those of all threads. Reading and checking entries, a part of planning, is timed again
alone, on the first of them. Much of the memory is there before: code, torch's above all, which
planning does not use. With `--since` each size is planned again, for a run since one of the same
file: every row is looked up in the plan that was just made, and linked.

    python benchmarks/plan_variants.py [--records 10000,100000] [--sorted] [--since] [--keep]
"""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import (
    SEED,
    load_average,
    machine_facts,
    process,
    publish,
    random_codes,
    table,
)

from cisray.genome.alleles import Allele, AlleleChecker, Reject, Tally, read_alleles
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec
from cisray.scoring.known_rows import NotKnown
from cisray.scoring.planned import PlanFiles
from cisray.scoring.shards import Cutting
from cisray.scoring.variant_rows import plan_variants
from cisray.store.earlier import known_of
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.local_folder import stored
from cisray_jobs.worker import peak_rss_bytes
from cisray_schemas import VARIANT_SCORES, VARIANTS

CHROMOSOMES = {"chr1": 4_000_000, "chr10": 2_000_000, "chr2": 2_000_000}
LINE_BP = 60
CHUNK = 100_000
READ_AGAIN = 100_000
SIZES = "10000,100000,1000000"
LETTERS = np.frombuffer(b"ACGT", np.uint8)


@dataclass(frozen=True, slots=True)
class Measured:
    """One size: seconds, and the peak memory of a process that loaded all code, then planned."""

    records: int
    shards: int
    scored: int
    linked: int
    rejected: int
    wall_s: float
    cpu_s: float
    reading_cpu_s: float
    loaded_rss_bytes: int
    peak_rss_bytes: int

    @property
    def reading_share(self) -> float:
        """The part of the processor's time that goes into reading and checking."""
        return self.reading_cpu_s / min(self.records, READ_AGAIN) * self.records / self.cpu_s


def write_genome(path: Path) -> None:
    """Write random chromosomes in lines of 60 bases."""
    with path.open("wb") as file:
        for seed, (name, length) in enumerate(CHROMOSOMES.items()):
            letters = LETTERS[random_codes(length, seed=seed)].tobytes()
            file.write(f">{name}\n".encode())
            for first in range(0, length, LINE_BP):
                file.write(letters[first : first + LINE_BP] + b"\n")


def write_variants(path: Path, records: int, in_order: bool) -> None:
    """Write SNVs at random places; one in a thousand has another REF than the FASTA."""
    draw = np.random.default_rng(SEED)
    names = list(CHROMOSOMES)
    codes = [random_codes(length, seed=seed) for seed, length in enumerate(CHROMOSOMES.values())]
    starts = np.cumsum([0, *CHROMOSOMES.values()])
    places = draw.integers(0, starts[-1], records)
    if in_order:
        places.sort()
    with path.open("w") as file:
        file.write("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        for first in range(0, records, CHUNK):
            some = places[first : first + CHUNK]
            ranks = np.searchsorted(starts, some, side="right") - 1
            wrong = draw.random(len(some)) < 0.001
            turns = draw.integers(1, 4, len(some))
            for number, (rank, place) in enumerate(zip(ranks.tolist(), some.tolist(), strict=True)):
                at = place - int(starts[rank])
                code = (int(codes[rank][at]) + int(wrong[number])) % 4
                ref, alt = "ACGT"[code], "ACGT"[(code + int(turns[number])) % 4]
                name = f"rs{first + number}"
                file.write(f"{names[rank]}\t{at + 1}\t{name}\t{ref}\t{alt}\t.\tPASS\tAC=1\n")


def seconds(windows: int, alternates: int, covered_bp: int) -> float:
    """Say that a GPU scores a hundred alternates a second: shards of some thousand rows."""
    return 1e-2 * alternates + 1e-3 * windows + 1e-8 * covered_bp


def entries_of(genome: Genome, variants: Path) -> Iterator[Allele | Reject]:
    """Open the stream of checked entries."""
    checker = AlleleChecker(genome, variants.name, max_allele_bp=1000)
    return read_alleles(variants, checker, Tally())


def measure(
    fasta: Path, variants: Path, records: int, folder: Path, earlier: Path | None = None
) -> Measured:
    """Plan, and read again, in this process; `earlier` is the plan of a run to build on."""
    loaded = peak_rss_bytes()
    name = "plan" if earlier is None else "rest"
    files = PlanFiles(folder / name, folder / "rejects", variants.name, folder)
    with Genome.open(fasta) as genome:
        cutting = Cutting(genome.chromosomes, WindowSpec(), "grid", seconds)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        rows = None
        if earlier is not None:
            files = replace(files, linked=folder / "linked")
            plan = KeyedPlan(stored(earlier), VARIANTS, VARIANT_SCORES)
            rows = NotKnown(known_of(plan, "earlier"), files, cutting)
        entries = entries_of(genome, variants)
        planned = plan_variants(entries, files, cutting, fits=lambda _: True, rows=rows)
        wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
        peak = peak_rss_bytes()
        begun_cpu = time.process_time()
        deque(islice(entries_of(genome, variants), READ_AGAIN), maxlen=0)
        reading_cpu_s = time.process_time() - begun_cpu
    return Measured(
        records=records,
        shards=planned.plan.num_shards,
        scored=planned.scored,
        linked=planned.linked or 0,
        rejected=sum(planned.rejected.values()),
        wall_s=round(wall_s, 2),
        cpu_s=round(cpu_s, 2),
        reading_cpu_s=round(reading_cpu_s, 3),
        loaded_rss_bytes=loaded,
        peak_rss_bytes=peak,
    )


def report(runs: list[Measured], order: str) -> str:
    """Lay the sizes out below one another."""
    header = ("records", "rows", "links", "rejects", "shards", "wall, s", "processor, s",
              "records a processor second", "of it reading", "memory before, MB",
              "peak memory, MB")  # fmt: skip
    rows = [
        (
            f"{run.records:,}",
            f"{run.scored:,}",
            f"{run.linked:,}",
            f"{run.rejected:,}",
            f"{run.shards:,}",
            f"{run.wall_s:.1f}",
            f"{run.cpu_s:.1f}",
            f"{run.records / run.cpu_s:,.0f}",
            f"{run.reading_share:.0%}",
            f"{run.loaded_rss_bytes / 1e6:.0f}",
            f"{run.peak_rss_bytes / 1e6:.0f}",
        )
        for run in runs
    ]
    return (
        f"SNVs of a plain VCF ({order}), {len(CHROMOSOMES)} chromosomes of "
        f"{sum(CHROMOSOMES.values()) / 1e6:.0f} Mb, Enformer's windows on the grid:\n\n"
        f"{table([header, *rows])}"
    )


def main() -> None:
    """Make the inputs, plan each size, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", default=SIZES, help="how many, separated by commas")
    parser.add_argument("--sorted", action="store_true", help="records in the FASTA's order")
    parser.add_argument("--since", action="store_true", help="again, since a run of the same")
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    before = load_average()
    runs: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as name:
        folder = Path(name)
        fasta, variants = folder / "made_up.fa", folder / "made_up.vcf"
        write_genome(fasta)
        for records in map(int, options.records.split(",")):
            write_variants(variants, records, options.sorted)
            for earlier in (None, folder / "plan") if options.since else (None,):
                given = (fasta, variants, records, folder, earlier)
                with process() as planner:
                    runs.append(planner.submit(measure, *given).result())
    facts = {
        "benchmark": "plan_variants",
        "sorted": options.sorted,
        "runs": [asdict(run) for run in runs],
        "machine": machine_facts(threads=1),
        "load_average": [before, load_average()],
    }
    text = report(runs, "in order" if options.sorted else "in random order")
    name = "plan_variants-since" if options.since else "plan_variants"
    publish(name, text, facts, keep=options.keep)


if __name__ == "__main__":
    main()
