"""Genes to draw beside tracks, out of a GTF, GFF3 or BED file.

Knows where these formats state places, names and strands; knows nothing of what is drawn. Genes on
chromosomes that the run does not cover are counted; a line that cannot be read is an error.
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
_BED = "lines are chrom, start (0-based), end (not included), and perhaps name, score and strand"
_NAMES = ("gene_name", "Name", "gene", "gene_id")
_STRANDS = {"+", "-"}
_NAMED = 5  # chromosomes, in a message


@dataclass(frozen=True, slots=True)
class PlacedGene:
    """A gene and its chromosome, as the run spells it."""

    chrom: str
    gene: Gene

    def meets(self, chrom: str, start: int, end: int) -> bool:
        """Tell whether it shares a base with a region, 0-based half-open."""
        return self.chrom == chrom and self.gene.start < end and self.gene.end > start


@dataclass(frozen=True, slots=True)
class Genes:
    """The genes of a file on chromosomes of a run, and how many lie on others."""

    placed: tuple[PlacedGene, ...]
    elsewhere: int


def read_genes(path: Path, chromosomes: Sequence[str]) -> Genes:
    """Read the genes of a file: lines `gene` of a GTF or GFF3, every line of a BED.

    Raises RegionsError with file and line for the first line that is wrong, for a file without
    genes, and for one of which no gene lies on any of the chromosomes.
    """
    read = _annotated if is_annotation(path) else _bed
    form = _GTF if read is _annotated else _BED
    spelled: dict[str, str | None] = {}
    genes: list[PlacedGene] = []
    elsewhere = 0
    for line, columns in annotation_lines(path, form):
        try:
            gene = read(path, columns)
            if gene is None:
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
            genes.append(PlacedGene(chrom, gene))
    if not genes and not elsewhere:
        raise RegionsError(f"{path} has no genes: {form}.")
    if not genes:
        raise RegionsError(
            f"{path}: none of {counted(elsewhere, 'gene')} lies on a chromosome of the run. Theirs "
            f"are {_some(spelled)}, those of the run {_some(chromosomes)}: give the genes of the "
            "assembly that was scored, or leave --genes out."
        )
    return Genes(tuple(genes), elsewhere)


def _some(names: Iterable[str]) -> str:
    """Name the first of several chromosomes."""
    every = list(names)
    return ", ".join(every[:_NAMED]) + (", ..." if len(every) > _NAMED else "")


def _annotated(path: Path, columns: Sequence[str]) -> Gene | None:
    """Read a line of a gene; others are None. Raises ValueError and LocusError."""
    if len(columns) < 9:
        raise ValueError(f"{len(columns)} columns")
    # Ensembl has genes of other kinds as well, such as ncRNA_gene.
    if not columns[2].endswith("gene"):
        return None
    is_gtf = ".gtf" in path.name.lower()
    attributes = gtf_attributes(columns[8]) if is_gtf else gff_attributes(columns[8])
    name = next((attributes[key] for key in _NAMES if attributes.get(key)), "")
    place = parse_locus(f"{{{columns[0]}}}:{columns[3]}-{columns[4]}")
    if place.end is None:
        raise ValueError("the gene has no bases")
    name = name or bare_identifier(attributes.get("ID", ""))
    return Gene(name, place.start, place.end, _strand(columns[6]))


def _bed(path: Path, columns: Sequence[str]) -> Gene | None:
    """Read a line of a BED. Raises ValueError."""
    if len(columns) < 3:
        raise ValueError(f"{len(columns)} columns")
    start, end = int(columns[1]), int(columns[2])
    if start < 0 or end <= start:
        raise ValueError(f"{start} to {end} holds no bases")
    name = columns[3] if len(columns) > 3 else ""
    return Gene(name, start, end, _strand(columns[5] if len(columns) > 5 else ""))


def _strand(text: str) -> str:
    return text if text in _STRANDS else ""
