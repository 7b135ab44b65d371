"""What tests of planning share: small windows, small genomes, and plans read back row by row."""

from pathlib import Path

import pyarrow.parquet as pq

from cisray.genome.reference import Genome
from cisray.genome.windows import Placement, WindowSpec
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import Cutting

# Bins of 8 bp, 3 to a target of 24 bp: windows of 56 bp, cells of 8 bp.
SPEC = WindowSpec(input_bp=56, bin_bp=8, target_bins=3)


def small_genome(folder: Path, sequences: dict[str, str]) -> Genome:
    path = folder / "genome.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in sequences.items()))
    return Genome.open(path)


def files_in(folder: Path, source: str = "input") -> PlanFiles:
    return PlanFiles(folder / "plan.parquet", folder / "rejects.parquet", source, scratch=folder)


def cutting_of(genome: Genome, placement: Placement = "grid", max_rows: int = 1 << 16) -> Cutting:
    """A shard takes a minute for 20 windows of one alternate each."""
    return Cutting(
        genome.chromosomes,
        SPEC,
        placement,
        lambda windows, alternates, _: 2.0 * windows + alternates,
        max_rows=max_rows,
    )


def rows_of(planned: Planned) -> list[dict]:
    plan = planned.plan
    return [row for shard in plan.spans for row in plan.entries(shard).to_pylist()]


def rejects_of(files: PlanFiles) -> list[dict]:
    return pq.read_table(files.rejects).to_pylist()
