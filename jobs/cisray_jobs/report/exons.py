"""Exons of the genes that a report draws, out of a GTF or GFF3, or of the blocks of a BED.

Knows where these formats state exons and whose they are; knows nothing of what is drawn. The file
is read once more when the regions are known, and only exons of genes in them are kept: those of all
genes are millions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

from cisray.errors import LocusError, RegionsError, UnknownChromosome
from cisray.genome.gene_starts import (
    annotation_lines,
    gff_attributes,
    gtf_attributes,
    is_annotation,
)
from cisray.locus import match_chromosome
from cisray.page.charts import Gene
from cisray_jobs.report.genes import (
    Genes,
    PlacedGene,
    annotated_place,
    bed_blocks,
    form_of,
    is_gtf,
)
from cisray_jobs.units import counted

Region = tuple[str, int, int]  # a chromosome, start and end, 0-based half-open
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Exons:
    """The exons of genes, each base once however many transcripts have it; 0-based half-open.

    Of genes that are not in `spans` the file states none. `strays` are exons in the regions that
    lie in no gene of the file that they could be of.
    """

    spans: Mapping[PlacedGene, tuple[Span, ...]]
    strays: int

    def with_exons(self, placed: PlacedGene, start: int, end: int) -> Gene:
        """Give a gene with those of its exons that share a base with a region."""
        known = self.spans.get(placed)
        if known is None:
            return placed.gene
        here = tuple((low, high) for low, high in known if low < end and high > start)
        return replace(placed.gene, exons=here)

    @property
    def told(self) -> str:
        """Say what is drawn of them, if the file has any."""
        told = "Boxes are exons, of all transcripts of a gene together. " if self.spans else ""
        if self.strays:
            told += (
                f"{counted(self.strays, 'line')} of exons in the regions lie in no gene that they "
                "name, and are not drawn."
            )
        return told.strip()


class _Part(NamedTuple):
    """A line about a part of a gene: its place, and what it says that it is part of."""

    chrom: str
    start: int
    end: int
    parents: tuple[str, ...]
    name: str = ""  # what its own parts call it
    is_exon: bool = True


def read_exons(genes: Genes, regions: Sequence[Region]) -> Exons:
    """Read the exons of all genes that meet one of the regions.

    They are lines `exon` of a GTF or GFF3, and the blocks of a BED of twelve columns. Raises
    RegionsError with file and line for the first in reach that is wrong.
    """
    shown = [one for one in genes.placed if any(one.meets(*region) for region in regions)]
    named: dict[tuple[str, str], list[PlacedGene]] = {}
    for one in shown:
        named.setdefault((one.chrom, one.key), []).append(one)
    if is_annotation(genes.path):
        stated = _annotated(genes, _reach(shown, regions))
    else:
        stated = _blocks(genes, shown)
    spans: dict[PlacedGene, list[Span]] = {}
    strays = 0
    for exon in stated:
        parents = [one for name in exon.parents for one in named.get((exon.chrom, name), ())]
        owners = [one for one in parents if _holds(one.gene, exon)]
        for one in owners:
            spans.setdefault(one, []).append((exon.start, exon.end))
        if not owners and any(_meets(exon, region) for region in regions):
            strays += 1
    return Exons({one: union(some) for one, some in spans.items()}, strays)


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Join spans that overlap or touch.

    >>> union([(40, 50), (10, 20), (20, 30), (12, 15)])
    ((10, 30), (40, 50))
    """
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return tuple(joined)


def _reach(shown: Sequence[PlacedGene], regions: Sequence[Region]) -> dict[str, Span]:
    """Bound what must be looked at on each chromosome: regions, and the genes that meet them."""
    reach: dict[str, Span] = {}
    for chrom, start, end in (*regions, *((g.chrom, g.gene.start, g.gene.end) for g in shown)):
        low, high = reach.get(chrom, (start, end))
        reach[chrom] = min(low, start), max(high, end)
    return reach


def _annotated(genes: Genes, reach: Mapping[str, Span]) -> Iterator[_Part]:
    """Give the exons in reach; in a GFF3 their genes are found through their transcripts."""
    parents: dict[str, tuple[str, ...]] = {}
    exons: list[_Part] = []
    for part in _parts(genes, reach):
        if part.is_exon:
            exons.append(part)
        else:
            parents[part.name] = part.parents
    for exon in exons:
        yield exon._replace(parents=_above(exon.parents, parents))


def _parts(genes: Genes, reach: Mapping[str, Span]) -> Iterator[_Part]:
    """Give the lines in reach of exons, and in a GFF3 of all that exons may be part of."""
    spelled = cache(partial(match_chromosome, known=genes.chromosomes))
    form = form_of(genes.path)
    read = _gtf_part if is_gtf(genes.path) else _gff_part
    for line, columns in annotation_lines(genes.path, form):
        if columns[2] != "exon" and read is _gtf_part:
            continue
        try:
            chrom = spelled(columns[0])
            if chrom is None or chrom not in reach:
                continue
            start, end = annotated_place(columns)
        except (ValueError, LocusError, UnknownChromosome) as error:
            raise RegionsError(f"{genes.path}:{line}: {error}; {form}.") from error
        if start < reach[chrom][1] and end > reach[chrom][0]:
            yield read(_Part(chrom, start, end, ()), columns)


def _gtf_part(part: _Part, columns: Sequence[str]) -> _Part:
    gene = gtf_attributes(columns[8]).get("gene_id")
    return part._replace(parents=(gene,) if gene else ())


def _gff_part(part: _Part, columns: Sequence[str]) -> _Part:
    stated = gff_attributes(columns[8])
    return part._replace(
        parents=tuple(name for name in stated.get("Parent", "").split(",") if name),
        name=stated.get("ID", ""),
        is_exon=columns[2] == "exon",
    )


def _blocks(genes: Genes, shown: Iterable[PlacedGene]) -> Iterator[_Part]:
    """Give the blocks of the genes that are shown, whose keys are the numbers of their lines."""
    chroms = {int(one.key): one.chrom for one in shown}
    for line, columns in annotation_lines(genes.path, form_of(genes.path)):
        if line in chroms:
            for start, end in bed_blocks(columns):
                yield _Part(chroms[line], start, end, (str(line),))


def _above(names: Iterable[str], parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """List what an exon is part of: its transcripts, what these are part of, and so on."""
    every: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in every:
            every[name] = None
            waiting += parents.get(name, ())
    return tuple(every)


def _holds(gene: Gene, exon: _Part) -> bool:
    return gene.start <= exon.start and exon.end <= gene.end


def _meets(exon: _Part, region: Region) -> bool:
    chrom, start, end = region
    return exon.chrom == chrom and exon.start < end and exon.end > start
