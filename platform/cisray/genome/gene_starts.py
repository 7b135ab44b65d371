"""Starts of genes, one base each, out of a GTF, a GFF3 or a BED file, checked against a genome.

Knows which end of a transcript is its start, and where annotations name genes and their types;
knows nothing of bins or of expression. Every line that names a start comes back, with the number of
its line; those on chromosomes that the FASTA lacks as well, apart.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cisray.errors import LocusError, RegionsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import text_lines
from cisray.locus import Locus, match_chromosome, parse_locus

_COMPRESSED = {".gz", ".bgz"}
_GTF_PAIR = re.compile(r'(\w+) "?([^";]*)"?')
_GTF = "lines have nine columns, separated by tabs, of which 4 and 5 are the first and last base"
_BED = "lines are chrom, start (0-based), end (not included) and gene, separated by tabs"
_TRANSCRIPTS = {"transcript", "mRNA"}
_PARTS = {"exon", "CDS"}
_TYPES = ("gene_type", "gene_biotype", "biotype")
_PREFIXES = ("gene:", "gene-")


class GeneStart(NamedTuple):
    """A start of a gene: one base, the type of the gene (empty if unknown), its line, 1-based."""

    gene: str
    base: Interval
    kind: str
    line: int


@dataclass(frozen=True, slots=True)
class GeneStarts:
    """The starts of a file in its order; `lacking` lie on chromosomes that the FASTA lacks."""

    starts: tuple[GeneStart, ...]
    lacking: tuple[GeneStart, ...]

    @property
    def has_kinds(self) -> bool:
        """Tell whether the file says of any gene what type it has."""
        return any(start.kind for start in (*self.starts, *self.lacking))


class _Line(NamedTuple):
    """What a line states: the place of the start, and what names its gene and type."""

    number: int
    place: Locus
    gene: str
    kind: str


def read_gene_starts(path: Path, genome: Genome) -> GeneStarts:
    """Read the starts of genes, from the first base of every transcript, or of a BED's lines.

    A file named .gtf, .gff or .gff3 (also compressed) has a start for every transcript: its first
    base on the strand +, its last on -. Transcripts are lines `transcript` or `mRNA`, and in a GFF3
    whatever else has a gene for its Parent (Ensembl has lines `lincRNA`), but exons and CDS. The
    gene is `gene_id`, or the Parent; its type `gene_type`, `gene_biotype`, or the `biotype` of the
    line of the gene. Any other file is BED: each line one base, the gene in column 4.

    Raises RegionsError with file and line for the first line that is wrong, with the number of
    others, and for a file without starts.
    """
    read = _read_annotation if is_annotation(path) else _read_bed
    kept: list[GeneStart] = []
    lacking: list[GeneStart] = []
    problems: list[str] = []
    for line in read(path, problems):
        try:
            _place(line, genome, kept, lacking)
        except (RegionsError, UnknownChromosome) as error:
            problems.append(f"{path}:{line.number}: {error}")
    if problems:
        more = f" ({len(problems) - 1:,} more lines are wrong.)" if len(problems) > 1 else ""
        raise RegionsError(problems[0] + more)
    if not kept and not lacking:
        what = "lines of transcripts" if read is _read_annotation else "lines"
        raise RegionsError(f"{path} has no {what}, of which starts of genes could be taken.")
    return GeneStarts(tuple(kept), tuple(lacking))


def is_annotation(path: Path) -> bool:
    """Tell whether a file is named as GTF and GFF3 files are, also compressed."""
    endings = [ending for ending in path.suffixes if ending not in _COMPRESSED]
    return bool(endings) and endings[-1].lower() in {".gtf", ".gff", ".gff3"}


def _place(line: _Line, genome: Genome, kept: list[GeneStart], lacking: list[GeneStart]) -> None:
    """Put a start where it belongs. Raises RegionsError for one beyond its chromosome."""
    chrom = match_chromosome(line.place.chrom, genome.chromosomes)
    start, end = line.place.start, line.place.end
    if end is None:
        raise RegionsError(f"the line has no base; {_GTF}.")
    base = Interval(chrom or line.place.chrom, start, end)
    stated = GeneStart(line.gene, base, line.kind, line.number)
    if chrom is None:
        lacking.append(stated)
        return
    if end > genome.chromosomes[chrom]:
        raise RegionsError(
            f"the start of {line.gene} lies beyond {chrom}, which has "
            f"{genome.chromosomes[chrom]:,} bases in {genome.path}: is it of another assembly?"
        )
    kept.append(stated)


def _read_bed(path: Path, problems: list[str]) -> Iterator[_Line]:
    for number, columns in annotation_lines(path, _BED):
        if len(columns) < 4 or not columns[3].strip():
            problems.append(f"{path}:{number}: a start has no gene; {_BED}.")
            continue
        try:
            start, end = int(columns[1]), int(columns[2])
        except ValueError:
            problems.append(f"{path}:{number}: {columns[1:3]} are no whole numbers; {_BED}.")
            continue
        if start < 0 or end - start != 1:
            problems.append(
                f"{path}:{number}: {start} to {end} is not one base. A start of a gene is one: "
                f"which end of a longer stretch it is, only a GTF or GFF3 says by its strand."
            )
            continue
        yield _Line(number, Locus(columns[0], start, end), columns[3].strip(), "")


def _read_annotation(path: Path, problems: list[str]) -> Iterator[_Line]:
    """Give the starts of transcripts; types of genes may stand in lines of their own."""
    kinds: dict[str, str] = {}
    found: list[_Line] = []
    attributes_of = gtf_attributes if ".gtf" in path.name.lower() else gff_attributes
    for number, columns in annotation_lines(path, _GTF):
        if len(columns) < 9:
            problems.append(f"{path}:{number}: {len(columns)} columns; {_GTF}.")
            continue
        attributes = attributes_of(columns[8])
        kind = next((attributes[name] for name in _TYPES[:2] if attributes.get(name)), "")
        if not _is_transcript(columns[2], attributes):
            gene = attributes.get("gene_id") or bare_identifier(attributes.get("ID", ""))
            if columns[2].endswith("gene") or attributes.get("ID", "").startswith(_PREFIXES):
                kinds[gene] = kind or attributes.get("biotype", "")
            continue
        try:
            found.append(_transcript(number, columns, attributes, kind))
        except (RegionsError, LocusError) as error:
            problems.append(f"{path}:{number}: {error}")
    for line in found:
        yield line._replace(kind=line.kind or kinds.get(line.gene, ""))


def _is_transcript(feature: str, attributes: Mapping[str, str]) -> bool:
    of_gene = attributes.get("Parent", "").startswith(_PREFIXES)
    return feature in _TRANSCRIPTS or (of_gene and feature not in _PARTS)


def _transcript(number: int, columns: list[str], attributes: Mapping[str, str], kind: str) -> _Line:
    gene = attributes.get("gene_id") or bare_identifier(attributes.get("Parent", ""))
    if not gene:
        raise RegionsError("the transcript names no gene: column 9 has no gene_id and no Parent.")
    strand = columns[6]
    if strand not in {"+", "-"}:
        raise RegionsError(f"the strand {strand!r} is neither + nor -: no start can be told.")
    whole = parse_locus(f"{{{columns[0]}}}:{columns[3]}-{columns[4]}")
    if whole.end is None:
        raise RegionsError(f"the transcript has no bases; {_GTF}.")
    first = whole.start if strand == "+" else whole.end - 1
    return _Line(number, Locus(whole.chrom, first, first + 1), gene, kind)


def annotation_lines(path: Path, form: str) -> Iterator[tuple[int, list[str]]]:
    """Give the columns of every line that is no comment, and its number."""
    for number, line in enumerate(text_lines(path, form), start=1):
        text = line.rstrip("\r\n")
        words = text.split(maxsplit=1)
        if not words or words[0].startswith("#") or words[0] in {"track", "browser"}:
            continue
        yield number, text.split("\t") if "\t" in text else text.split()


def gtf_attributes(text: str) -> dict[str, str]:
    """Take the last column of a GTF apart."""
    return dict(_GTF_PAIR.findall(text))


def gff_attributes(text: str) -> dict[str, str]:
    """Take the last column of a GFF3 apart."""
    pairs = (pair.partition("=") for pair in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def bare_identifier(identifier: str) -> str:
    """Take the prefix off an identifier of a GFF3.

    >>> bare_identifier("gene:ENSG00000186092"), bare_identifier("gene-OR4F5")
    ('ENSG00000186092', 'OR4F5')
    """
    for prefix in _PREFIXES:
        identifier = identifier.removeprefix(prefix)
    return identifier
