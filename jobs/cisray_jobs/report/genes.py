"""Genes to draw beside tracks, out of a GTF, GFF3 or BED file.

Knows where these formats state places, names, strands and blocks; knows nothing of what is drawn.
Genes on chromosomes that the run does not cover are counted. What cannot be read is an error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cisray.errors import LocusError, RegionsError, UnknownChromosome
from cisray.genome.gene_starts import (
    annotation_lines,
    bare_identifier,
    gff_attributes,
    gtf_attributes,
    is_annotation,
)
from cisray.locus import match_chromosome, parse_locus
from cisray.page.charts import Gene
from cisray_jobs.units import counted

_GTF = "lines have nine columns, separated by tabs, of which 4 and 5 are the first and last base"
_BED = (
    "lines are chrom, start (0-based), end (not included), and perhaps name, score and strand; of "
    "twelve columns the last three are blocks: how many, their sizes, their starts from start on"
)
_NAMES = ("gene_name", "Name", "gene", "gene_id")
_STRANDS = {"+", "-"}
_WITH_BLOCKS = 12  # columns
_NAMED = 5  # chromosomes, in a message


@dataclass(frozen=True, slots=True)
class PlacedGene:
    """A gene and its chromosome, as the run spells it.

    `key` is what the lines of its exons call it: `gene_id` of a GTF, ID of a GFF3. Blocks of a BED
    stand in the line of the gene, and its number is the key.
    """

    chrom: str
    gene: Gene
    key: str

    def meets(self, chrom: str, start: int, end: int) -> bool:
        """Tell whether it shares a base with a region, 0-based half-open."""
        return self.chrom == chrom and self.gene.start < end and self.gene.end > start


@dataclass(frozen=True, slots=True)
class Genes:
    """The genes of a file on chromosomes of a run, and how many lie on others."""

    path: Path
    chromosomes: tuple[str, ...]
    placed: tuple[PlacedGene, ...]
    elsewhere: int


def read_genes(path: Path, chromosomes: Sequence[str]) -> Genes:
    """Read the genes of a file: lines `gene` of a GTF or GFF3, every line of a BED.

    Raises RegionsError with file and line for the first line that is wrong, for a file without
    genes, and for one of which no gene lies on any of the chromosomes.
    """
    read = _annotated if is_annotation(path) else _bed
    form = form_of(path)
    spelled: dict[str, str | None] = {}
    genes: list[PlacedGene] = []
    elsewhere = 0
    for line, columns in annotation_lines(path, form):
        try:
            found = read(path, line, columns)
            if found is None:
                continue
            name = columns[0]
            if name not in spelled:
                spelled[name] = match_chromosome(name, chromosomes)
        except (ValueError, LocusError, UnknownChromosome) as error:
            raise RegionsError(f"{path}:{line}: {error}; {form}.") from error
        chrom = spelled[name]
        if chrom is None:
            elsewhere += 1
        else:
            gene, key = found
            genes.append(PlacedGene(chrom, gene, key))
    if not genes and not elsewhere:
        raise RegionsError(f"{path} has no genes: {form}.")
    if not genes:
        raise RegionsError(
            f"{path}: none of {counted(elsewhere, 'gene')} lies on a chromosome of the run. Theirs "
            f"are {_some(spelled)}, those of the run {_some(chromosomes)}: give the genes of the "
            "assembly that was scored, or leave --genes out."
        )
    return Genes(path, tuple(chromosomes), tuple(genes), elsewhere)


def form_of(path: Path) -> str:
    """Say what lines of a file should be, for messages."""
    return _GTF if is_annotation(path) else _BED


def is_gtf(path: Path) -> bool:
    """Tell whether the last column of an annotation is that of a GTF, and not of a GFF3."""
    return ".gtf" in path.name.lower()


def annotated_place(columns: Sequence[str]) -> tuple[int, int]:
    """Read first and last base of a GTF's or GFF3's line, into 0-based half-open.

    Raises LocusError, and ValueError for none.
    """
    place = parse_locus(f"{{{columns[0]}}}:{columns[3]}-{columns[4]}")
    if place.end is None:
        raise ValueError(f"the {columns[2]} has no bases")
    return place.start, place.end


def bed_blocks(columns: Sequence[str]) -> list[tuple[int, int]]:
    """Read the blocks of a BED of twelve columns, 0-based half-open; there are none in fewer.

    Raises ValueError for blocks without bases, or that do not reach from start to end.
    """
    if len(columns) < _WITH_BLOCKS:
        return []
    start, end = int(columns[1]), int(columns[2])
    sizes, starts = ([int(n) for n in text.rstrip(",").split(",")] for text in columns[10:12])
    if not int(columns[9]) == len(sizes) == len(starts):
        raise ValueError(f"{columns[9]} blocks have {len(sizes)} sizes and {len(starts)} starts")
    blocks = [(start + at, start + at + size) for at, size in zip(starts, sizes, strict=True)]
    reached = min(low for low, _ in blocks), max(high for _, high in blocks)
    if min(sizes) < 1 or reached != (start, end):
        raise ValueError(f"blocks of {columns[10]} at {columns[11]} do not fill {start} to {end}")
    return blocks


def _some(names: Iterable[str]) -> str:
    """Name the first of several chromosomes."""
    every = list(names)
    return ", ".join(every[:_NAMED]) + (", ..." if len(every) > _NAMED else "")


def _annotated(path: Path, line: int, columns: Sequence[str]) -> tuple[Gene, str] | None:
    """Read a line of a gene, with its key; others are None. Raises ValueError and LocusError."""
    if len(columns) < 9:
        raise ValueError(f"{len(columns)} columns")
    # Ensembl has genes of other kinds as well, such as ncRNA_gene.
    if not columns[2].endswith("gene"):
        return None
    attributes = (gtf_attributes if is_gtf(path) else gff_attributes)(columns[8])
    name = next((attributes[key] for key in _NAMES if attributes.get(key)), "")
    start, end = annotated_place(columns)
    name = name or bare_identifier(attributes.get("ID", ""))
    key = attributes.get("gene_id" if is_gtf(path) else "ID", "")
    return Gene(name, start, end, _strand(columns[6])), key


def _bed(path: Path, line: int, columns: Sequence[str]) -> tuple[Gene, str] | None:
    """Read a line of a BED, with its key. Raises ValueError."""
    if len(columns) < 3:
        raise ValueError(f"{len(columns)} columns")
    start, end = int(columns[1]), int(columns[2])
    if start < 0 or end <= start:
        raise ValueError(f"{start} to {end} holds no bases")
    bed_blocks(columns)  # what cannot be read is told whether it is drawn or not
    name = columns[3] if len(columns) > 3 else ""
    return Gene(name, start, end, _strand(columns[5] if len(columns) > 5 else "")), str(line)


def _strand(text: str) -> str:
    return text if text in _STRANDS else ""
