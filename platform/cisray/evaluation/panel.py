"""A panel of genotypes, block by block: blocks of linkage, and the variants in each.

Knows blocks as BED or as windows of equal length, and genotypes as they are read; knows no traits.
Bounds of blocks are 0-based half-open.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.tables import read_table
from cisray.genome.genotypes import (
    Counts,
    GenotypeFile,
    GenotypeRow,
    Genotypes,
    LeftOut,
    collect,
    frequencies,
    standardised,
)
from cisray.genome.variant import interval_at
from cisray.locus import Locus, alias_key, format_locus

OUTSIDE = "outside the blocks"
EXCLUDED = "in an excluded block"
BLOCK_BP = 1_500_000
_KINDS = {"chrom": pl.String, "pos": pl.Int64, "ref": pl.String, "alt": pl.String, "id": pl.String}
_Spans = tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]
]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where blocks of linkage begin and end: those of `spans`, or windows of `block_bp`.

    Blocks that overlap a locus of `excluded` do not count.
    """

    block_bp: int = BLOCK_BP
    spans: dict[str, _Spans] | None = None
    excluded: tuple[Locus, ...] = ()

    @classmethod
    def read(cls, path: Path, excluded: Sequence[Locus] = ()) -> "Blocks":
        """Read blocks of a BED file: chrom, start, end.

        Raises EvaluationError for a file without blocks, and for blocks that overlap.
        """
        table = read_table(
            pl.scan_csv(path, separator="\t", has_header=False, comment_prefix="#",
                        infer_schema=False), path,
        )  # fmt: skip
        # Published blocks have a header without a sign of it.
        rows = table.filter(pl.nth(1).str.strip_chars().str.contains(r"^\d+$"))
        if table.width < 3 or not rows.height:
            raise EvaluationError(f"{path} has no blocks: it needs chrom, start and end, by tabs.")
        frame = rows.select(
            pl.nth(0).str.strip_chars().alias("chrom"),
            pl.nth(1, 2).str.strip_chars().cast(pl.Int64),
        )
        spans: dict[str, list[tuple[int, int]]] = {}
        for chrom, start, end in frame.rows():
            spans.setdefault(alias_key(chrom), []).append((start, end))
        return cls(
            spans={c: _ordered(c, found, path) for c, found in spans.items()},
            excluded=tuple(excluded),
        )

    def find(self, chrom: str, start: int) -> tuple[int, int] | str:
        """Give the block of a 0-based position, or the reason why there is none."""
        key = alias_key(chrom)
        if self.spans is None:
            first = start // self.block_bp * self.block_bp
            bounds = (first, first + self.block_bp)
        else:
            begins, ends = self.spans.get(key, (np.empty(0, np.int64), np.empty(0, np.int64)))
            at = int(np.searchsorted(begins, start, side="right")) - 1
            if at < 0 or start >= ends[at]:
                return OUTSIDE
            bounds = (int(begins[at]), int(ends[at]))
        for locus in self.excluded:
            within = locus.end is None or bounds[0] < locus.end
            if alias_key(locus.chrom) == key and within and bounds[1] > locus.start:
                return EXCLUDED
        return bounds


def _ordered(chrom: str, spans: list[tuple[int, int]], path: Path) -> _Spans:
    held = np.array(sorted(spans), dtype=np.int64)
    begins, ends = held[:, 0], held[:, 1]
    if (ends <= begins).any() or (begins[1:] < ends[:-1]).any():
        raise EvaluationError(f"{path} has blocks of {chrom} that are empty or overlap.")
    return begins, ends


@dataclass(frozen=True, slots=True, eq=False)
class PanelBlock:
    """A block and its V variants. `variants` has chrom (folded), pos (1-based), ref, alt, id."""

    chrom: str
    start: int
    end: int
    variants: pl.DataFrame
    counts_VI: Counts

    def columns(self) -> tuple[Doubles, Doubles]:
        """Give genotypes as columns of length 1, and deviations in alleles."""
        return standardised(self.counts_VI)

    @property
    def share_V(self) -> Doubles:
        """The share of alternative alleles of each variant."""
        return frequencies(self.counts_VI)


@dataclass(slots=True)
class PanelCounts:
    """How many entries the genotypes have, and what became of them; which blocks were there.

    Of those that count, `unknown` genotypes take the variant's mean.
    """

    read: int = 0
    used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    blocks: set[tuple[str, int, int]] = field(default_factory=set)
    unknown: int = 0


def panel_blocks(
    file: GenotypeFile, blocks: Blocks, counts: PanelCounts
) -> Iterator[tuple[PanelBlock | None, pl.DataFrame]]:
    """Read block after block, with the entries that do not count: KEY and reason.

    Raises EvaluationError where a block comes twice: in a file that is not sorted by chromosome,
    or in two files that are counted in the same `counts`.
    """

    def place(entry: GenotypeRow | LeftOut) -> tuple[str, int, int] | str:
        bounds = blocks.find(entry.chrom, interval_at(entry.chrom, entry.pos, 1).start)
        return bounds if isinstance(bounds, str) else (alias_key(entry.chrom), *bounds)

    for of, entries in groupby(file.entries(), key=place):
        found = collect(file.samples, entries)
        counts.read += found.read
        if isinstance(of, str):
            counts.left_out[of] += found.read
            yield None, _left(found, of)
            continue
        if of in counts.blocks:
            raise EvaluationError(
                f"{file.path} comes to {format_locus(*of)}, which was there already: sort it by "
                f"chromosome, and give each part of the genome once."
            )
        counts.blocks.add(of)
        counts.used += len(found.rows)
        counts.unknown += int((found.counts_VI < 0).sum())
        counts.left_out.update(entry.reason for entry in found.left_out)
        block = PanelBlock(*of, _variants(found), found.counts_VI) if found.rows else None
        yield block, _left(found, "")


def _variants(found: Genotypes) -> pl.DataFrame:
    rows = [(alias_key(r.chrom), r.pos, r.ref, r.alt, r.id) for r in found.rows]
    return pl.DataFrame(rows, schema=_KINDS, orient="row")


def _left(found: Genotypes, reason: str) -> pl.DataFrame:
    """List what does not count: what was left out, and with a reason of the place all others."""
    entries = [(alias_key(e.chrom), e.pos, e.ref, e.alt, e.reason) for e in found.left_out]
    if reason:
        entries += [(alias_key(r.chrom), r.pos, r.ref, r.alt, reason) for r in found.rows]
    kinds = {**{k: v for k, v in _KINDS.items() if k != "id"}, "reason": pl.String}
    return pl.DataFrame(entries, schema=kinds, orient="row").unique(
        ("chrom", "pos", "ref", "alt"), keep="first", maintain_order=True
    )
