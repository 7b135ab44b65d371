"""The units of the enhancer evaluation: the pairs of one gene each, scored by a model.

Knows the folder that units share and leave their results in; knows nothing of Ray or of labels. A
unit is a function of its number alone, so that no result depends on who computes it, or when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cisray.genome.interval import Interval
from cisray.scoring.enhancer_scores import PairOptions
from cisray.stopwatch import lap
from cisray.store.files import publish_written
from cisray_jobs.score_pairs import ModelPlace, Starts, open_scorer, score_gene
from cisray_schemas import PAIR_SCORES

_PAIRS, _STARTS = "pairs.parquet", "starts.parquet"
_STARTS_SCHEMA: Any = {  # Polars takes no mapping to classes of data types by name
    "gene": pl.String, "chrom": pl.String, "start": pl.Int64, "end": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairTask:
    """A picklable description of the work; a shard is the number of a gene in the shared table."""

    folder: Path
    place: ModelPlace
    options: PairOptions

    def open(self) -> Callable[[int], dict[str, object]]:
        """Load the model, open the genome, and return the function that scores one gene.

        Raises what `open_scorer` raises.
        """
        pairs = pl.read_parquet(self.folder / _PAIRS)
        starts = _read_starts(self.folder / _STARTS)
        scorer = open_scorer(self.place, self.options)

        def work(shard: int) -> dict[str, object]:
            with lap("model"):
                rows = score_gene(pairs.filter(unit=shard), starts, scorer)
            with lap("write"):
                table = pa.Table.from_pylist(rows, schema=PAIR_SCORES.schema)
                publish_written(
                    lambda stream: pq.write_table(table, stream),
                    self.folder / unit_name(shard),
                    staging=self.folder,
                )
            return {"rows": len(rows)}

        return work

    def pending(self) -> list[int]:
        """List the genes that are not done."""
        pairs = pl.read_parquet(self.folder / _PAIRS)
        every: list[int] = pairs["unit"].unique().sort().to_list()
        return [shard for shard in every if not (self.folder / unit_name(shard)).exists()]

    def results(self) -> pa.Table:
        """Read what all units have left, in the order of the benchmark's rows."""
        tables = [pq.read_table(path) for path in sorted(self.folder.glob("unit_*.parquet"))]
        return pa.concat_tables([PAIR_SCORES.schema.empty_table(), *tables]).sort_by("row")


def unit_name(shard: int) -> str:
    """Name the file of a unit."""
    return f"unit_{shard:06d}.parquet"


def write_units(folder: Path, pairs: pl.DataFrame, starts: Starts) -> None:
    """Write what units share: the pairs, those of a gene on a chromosome under one number.

    Genes are numbered as they first appear, so that the same pairs give the same units.
    """
    keys = pairs.select("gene", "chrom").unique(maintain_order=True).with_row_index("unit")
    numbered = pairs.join(keys, on=("gene", "chrom"), how="left", maintain_order="left")
    asked = numbered.select(pl.col("unit").cast(pl.Int64), "row", "chrom", "start", "end", "gene")
    rows = [
        (gene, tss.chrom, tss.start, tss.end) for gene, every in starts.items() for tss in every
    ]
    _publish(pl.DataFrame(rows, _STARTS_SCHEMA, orient="row"), folder / _STARTS)
    _publish(asked, folder / _PAIRS)


def _publish(frame: pl.DataFrame, final: Path) -> None:
    publish_written(frame.write_parquet, final, staging=final.parent)


def _read_starts(path: Path) -> dict[str, Sequence[Interval]]:
    starts: dict[str, list[Interval]] = {}
    for gene, chrom, start, end in pl.read_parquet(path).iter_rows():
        starts.setdefault(gene, []).append(Interval(chrom, start, end))
    return dict(starts)
