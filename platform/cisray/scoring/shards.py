"""Where sorted rows are cut into shards, by the windows that they need and the work they are.

Knows where windows lie, and Arrow columns; knows nothing of models, files of variants or disks.
Rows that share a window share its reference pass, so that a shard takes whole windows. Of a stream
of any length two shards are held at a time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cisray.errors import CoordinateError
from cisray.genome.variant import starts_at
from cisray.genome.windows import Placement, WindowSpec, input_starts, missing_bp
from cisray.scoring.plan import SHARD_SECONDS

MAX_ROWS = 1 << 16
# How many times the cost of opening its window a part of a window is worth, at least: a tenth of
# the work is then done again, and a killed run loses no more than so much.
REOPENINGS = 10
_MAX_POS = 2**31 - 1  # int32, as in BAM

# The columns that sorted rows are ordered by; `rank` is the chromosome's place in the FASTA.
ORDER = ("rank", "pos", "ref", "alt", "variant")

# (windows, distinct alternates, bases that the windows cover together) to seconds.
Seconds = Callable[[int, int, int], float]


@dataclass(frozen=True, slots=True)
class Cutting:
    """How rows get their windows, and how much a shard may hold.

    `chromosomes` are names and lengths in the FASTA's order. `seconds` estimates the work of a
    shard and does not fall when one of its arguments grows; a shard takes `shard_seconds` at most,
    and has at most `max_rows` rows. A window that alone takes longer is cut by alleles, and opened
    again in each shard, which may take REOPENINGS times as long as that costs.

    `together` names a column that does not fall along a chromosome. Rows of one value of it are
    then what a shard never cuts, in place of those of a window: at most `max_rows` each.
    """

    chromosomes: Mapping[str, int]
    spec: WindowSpec
    placement: Placement
    seconds: Seconds
    shard_seconds: float = SHARD_SECONDS
    max_rows: int = MAX_ROWS
    together: str | None = None


class BinCount(NamedTuple):
    """How many bins are computed where rows say which of them count.

    In a window that is from the first to the last that count for any of its rows: added up over all
    alternates, and in the window that has the most.
    """

    of_alternates: int
    widest: int


class Shard(NamedTuple):
    """The rows of one shard, with `chrom` and `missing_bp`, and the work that they are.

    `alternates` are distinct: rows of one allele are scored once. `bins` are counted where rows
    have a `first_bin` and so many `bins`.
    """

    rows: pa.Table
    windows: int
    alternates: int
    bins: BinCount | None = None


def check_positions(cutting: Cutting) -> None:
    """Raise `CoordinateError` where a chromosome is too long for the positions of the tables."""
    for chrom, length in cutting.chromosomes.items():
        if length > _MAX_POS:
            raise CoordinateError(
                f"{chrom} has {length:,} bases, and positions in tables reach {_MAX_POS:,}: cut "
                "the chromosome into parts."
            )


def cut(batches: Iterable[pa.Table], cutting: Cutting) -> Iterator[Shard]:
    """Cut rows, sorted by `ORDER`, into shards of one chromosome each, in their order.

    A window's rows stay together, unless there are more than `max_rows` of them: such a window is
    opened in several shards. Where other rows stay together, a window is opened in every shard that
    has rows of it. Where the cuts fall depends on the rows alone, not on how they come in batches.
    Raises ValueError for more rows `together` than a shard may have.
    """
    places = list(cutting.chromosomes.items())
    for rank, parts in groupby(one_chromosome_each(batches), key=itemgetter(0)):
        for block, first, end in _cut_chromosome((rows for _, rows in parts), cutting):
            rows = located(block.rows.slice(first, end - first), places[rank], cutting)
            yield Shard(rows, *block.work(first, end)[:2], block.bins(first, end))


def located(rows: pa.Table, place: tuple[str, int], cutting: Cutting) -> pa.Table:
    """Add `chrom` and `missing_bp` to rows of a chromosome, its name and length being `place`."""
    chrom, length = place
    missing = missing_bp(_inputs(rows, cutting), length, cutting.spec)
    rows = rows.append_column("chrom", pa.array([chrom] * rows.num_rows, pa.string()))
    return rows.append_column("missing_bp", pa.array(missing, pa.int32()))


def one_chromosome_each(batches: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Cut sorted rows where the chromosome changes, and give its rank with them."""
    for batch in batches:
        ranks = batch["rank"].to_numpy()
        firsts = np.flatnonzero(np.diff(ranks, prepend=-1)).tolist()
        for first, end in pairwise([*firsts, len(ranks)]):
            yield int(ranks[first]), batch.slice(first, end - first)


def _cut_chromosome(
    parts: Iterator[pa.Table], cutting: Cutting
) -> Iterator[tuple["_Block", int, int]]:
    held: list[pa.Table] = []
    count = 0
    for part in parts:
        held.append(part)
        count += part.num_rows
        # Where a shard ends is known once max_rows + 1 rows from its first are. Twice as many are
        # taken together, so that no row is looked at more than a few times.
        if count > 2 * cutting.max_rows:
            block = _Block.of(held, cutting)
            ends = list(block.ends(spare=cutting.max_rows))
            yield from ((block, first, end) for first, end in pairwise([0, *ends]))
            held = [block.rows.slice(ends[-1])]
            count -= ends[-1]
    block = _Block.of(held, cutting)
    yield from ((block, first, end) for first, end in pairwise([0, *block.ends(spare=0)]))


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Neighbouring rows of one chromosome; the window of the last may go on beyond them.

    `inputs` are the starts of the rows' windows, `begins` the rows before which a shard may end:
    where a window begins, or what else stays together, and the number of rows. `totals` are sums
    over the rows before each of what a row adds to the row before it: windows, alternates, and
    bases covered.
    """

    rows: pa.Table
    inputs: NDArray[np.int64]
    begins: NDArray[np.int64]
    totals: NDArray[np.int64]
    cutting: Cutting

    @classmethod
    def of(cls, parts: list[pa.Table], cutting: Cutting) -> Self:
        rows = pa.concat_tables(parts).combine_chunks()
        inputs = _inputs(rows, cutting)
        steps = np.diff(inputs, prepend=inputs[:1])
        covered = np.minimum(steps, cutting.spec.input_bp)
        added = np.stack([steps > 0, _differs_from_the_row_before(rows), covered], axis=1)
        totals = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(added, axis=0)])
        kept = rows[cutting.together].to_numpy() if cutting.together else inputs
        begins = np.append(np.flatnonzero(np.diff(kept, prepend=kept[:1]) > 0), len(inputs))
        return cls(rows, inputs, begins, totals, cutting)

    def work(self, first: int, end: int) -> tuple[int, int, int]:
        """Count windows, distinct alternates and covered bases of the rows `first` .. `end`."""
        windows, alternates, covered = (self.totals[end] - self.totals[first + 1]).tolist()
        return windows + 1, alternates + 1, covered + self.cutting.spec.input_bp

    def bins(self, first: int, end: int) -> BinCount | None:
        """Count the bins that are computed for the rows `first` .. `end`."""
        if "first_bin" not in self.rows.column_names:
            return None
        rows, inputs = self.rows.slice(first, end - first), self.inputs[first:end]
        lows, counts = (rows[name].to_numpy().astype(np.int64) for name in ("first_bin", "bins"))
        windows = np.flatnonzero(np.diff(inputs, prepend=inputs[0] - 1))
        is_new = np.diff(self.totals[first : end + 1, 1])
        is_new[0] = 1
        highest = np.maximum.reduceat(lows + counts, windows)
        widths = highest - np.minimum.reduceat(lows, windows)
        alternates = np.add.reduceat(is_new, windows)
        return BinCount(int((widths * alternates).sum()), int(widths.max()))

    def ends(self, *, spare: int) -> Iterator[int]:
        """Give the ends of shards, one after the other, until at most `spare` rows are left."""
        first = 0
        while len(self.inputs) - first > spare:
            first = self._end(first)
            yield first

    def _end(self, first: int) -> int:
        limit = first + self.cutting.max_rows
        low, high = np.searchsorted(self.begins, [first, limit], side="right").tolist()
        ends = self.begins[low:high]
        if not len(ends):
            if self.cutting.together:
                raise ValueError(
                    f"more than {self.cutting.max_rows} rows have one {self.cutting.together}"
                )
            return limit  # one window has more rows than a shard may
        fitting = bisect_right(
            ends,
            self.cutting.shard_seconds,
            key=lambda end: self.cutting.seconds(*self.work(first, int(end))),
        )
        if not fitting and not self.cutting.together:
            return self._part(first, int(ends[0]))
        return int(ends[max(fitting, 1) - 1])

    def _part(self, first: int, end: int) -> int:
        """Give the end of a part of a window whose rows `first` .. `end` take too long."""
        seconds = self.cutting.seconds
        opening = seconds(1, 1, self.cutting.spec.input_bp)
        most = max(self.cutting.shard_seconds, REOPENINGS * opening)
        begins = 1 + first + np.flatnonzero(np.diff(self.totals[first + 1 : end + 1, 1]))
        ends = [*begins.tolist(), end]
        fitting = bisect_right(ends, most, key=lambda end: seconds(*self.work(first, end)))
        return int(ends[max(fitting, 1) - 1])


def _inputs(rows: pa.Table, cutting: Cutting) -> NDArray[np.int64]:
    """Give the starts of the rows' windows."""
    starts = starts_at(rows["pos"].to_numpy().astype(np.int64))
    return input_starts(starts, cutting.spec, cutting.placement)


def _differs_from_the_row_before(rows: pa.Table) -> NDArray[np.bool_]:
    differs = np.zeros(rows.num_rows, np.bool_)
    for name in ("pos", "ref", "alt"):
        column = rows[name]
        unequal = pc.not_equal(column.slice(1), column.slice(0, max(rows.num_rows - 1, 0)))
        differs[1:] |= unequal.to_numpy()
    return differs
