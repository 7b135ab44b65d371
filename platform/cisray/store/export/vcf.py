"""VCF of scores: one record per row, one INFO field per statistic and track.

Knows the format and pysam; knows nothing of runs. The header is htslib's, lines are made here:
htslib writes six digits of a float, and float32 needs up to nine to read back equal.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pysam

from cisray.errors import ConfigError, ResultsError, UnknownChromosome
from cisray.store.export.columns import Scores
from cisray.store.export.text import index_text, open_text, write_lines

MOST_COLUMNS = 1000
_CONTIG = re.compile(r"[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]*")
_SOURCE = ("source_chrom", "source_pos", "source_ref", "source_alt")
# INFO fields of the key columns: key, type, meaning.
_KEYS = {
    "variant": ("ENTRY", "Integer", "Number of the entry in the input that the record is of"),
    "region": ("REGION", "Integer", "Number of the region in the input that holds the position"),
    "site": ("SITE", "Integer", "Number of the site in the BED, in whose bins the record counts"),
    "site_name": ("SITE_NAME", "String", "Name of that site in the BED"),
    "missing_bp": ("MISSING_BP", "Integer", "Bases of the window that the genome does not have"),
}


def write_vcf(
    scores: Scores,
    lengths: Mapping[str, int],
    path: Path,
    *,
    most_columns: int | None = MOST_COLUMNS,
) -> int:
    """Write BGZF with its index beside it and return the number of records.

    Every row is a record, duplicates too, and one for each site, with the alleles as scored; `SRC`
    tells those of the input where they differ. Values that are null, and names that are empty, are
    left out of INFO. `lengths` are the contigs of the FASTA, in its order. Without rows the file is
    a header, and has its index.

    Raises ConfigError for more INFO fields than `most_columns`, UnknownChromosome for a row on a
    contig that the FASTA lacks, and ResultsError for what VCF has no way to write.
    """
    _refuse_too_many(len(scores.columns), most_columns)
    line = _line(scores)
    written = 0
    with open_text(path) as stream:
        stream.write(_header(scores, lengths).encode())
        for rows in scores.slices():
            _check_rows(rows, lengths)
            write_lines(stream, rows, line)
            written += rows.height
    index_text(path, "vcf", lengths)
    return written


def _refuse_too_many(found: int, most: int | None) -> None:
    if most is not None and found > most:
        raise ConfigError(
            f"the run has {found:,} values per variant, and a VCF with more than {most:,} INFO "
            f"fields is of little use to most programs: choose with --tracks or --stats, or take "
            f"--format hdf5."
        )


def _header(scores: Scores, lengths: Mapping[str, int]) -> str:
    header = pysam.VariantHeader()
    for name, text in scores.provenance.items():
        header.add_meta(name, _plain(text))
    for contig, length in lengths.items():
        if not _CONTIG.fullmatch(contig):
            raise ResultsError(
                f"the chromosome name {contig!r} is not allowed in VCF: take --format hdf5, or "
                f"score with a FASTA that has other names."
            )
        header.contigs.add(contig, length=length)
    for name, (key, kind, text) in _KEYS.items():
        if name in scores.names:
            header.info.add(key, 1, kind, text)
    if _SOURCE[0] in scores.names:
        text = "Chromosome, position, reference and alternate of the input where they differ"
        header.info.add("SRC", 1, "String", text)
    for column in scores.columns:
        header.info.add(column.name, 1, "Float", _quotable(scores.describe(column)))
    return str(header)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _quotable(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace('"', '\\"')


def _line(scores: Scores) -> pl.Expr:
    """Make the expression of one record's line."""
    dot = pl.lit(".")
    identifier = pl.col("id").replace("", None).fill_null(".") if "id" in scores.names else dot
    info = pl.concat_str(*_info(scores), separator=";", ignore_nulls=True)
    return pl.concat_str(
        pl.col("chrom").cast(pl.String),
        pl.col("pos").cast(pl.String),
        identifier.cast(pl.String),
        pl.col("ref").cast(pl.String),
        pl.col("alt").cast(pl.String),
        dot,
        dot,
        info,
        separator="\t",
    )


def _info(scores: Scores) -> Iterator[pl.Expr]:
    """Give `KEY=value` of every field; null, which is then left out, where there is no value."""
    for column, (key, kind, _) in _KEYS.items():
        if column in scores.names:
            text = pl.col(column).cast(pl.String)
            if kind == "String":
                text = _encoded(text).replace("", None)
            yield pl.lit(f"{key}=") + text
    if _SOURCE[0] in scores.names:
        now, given = ("chrom", "pos", "ref", "alt"), _SOURCE
        differs = pl.any_horizontal(
            pl.col(a).cast(pl.String) != pl.col(b).cast(pl.String)
            for a, b in zip(now, given, strict=True)
        )
        source = pl.concat_str(*(_encoded(pl.col(name)) for name in given), separator=":")
        yield pl.when(differs).then(pl.lit("SRC=") + source)
    for value in scores.columns:
        yield pl.lit(f"{value.name}=") + pl.col(value.name).cast(pl.String)


def _encoded(column: pl.Expr) -> pl.Expr:
    """Percent-encode what would end an INFO value (VCF 4.3, section 1.2)."""
    text = column.cast(pl.String)
    for letter in "%;=, \t":
        text = text.str.replace_all(letter, f"%{ord(letter):02X}", literal=True)
    return text


def _check_rows(rows: pl.DataFrame, lengths: Mapping[str, int]) -> None:
    strangers = sorted(set(rows["chrom"].cast(pl.String).unique()) - lengths.keys())
    if strangers:
        raise UnknownChromosome(
            f"the run has variants on {strangers[0]!r}, which the FASTA lacks: give the FASTA that "
            f"was scored with --fasta."
        )
    if "id" in rows.columns:
        odd = rows.filter(pl.col("id").cast(pl.String).str.contains(r"\s"))
        if odd.height:
            raise ResultsError(
                f"the id {odd['id'][0]!r} has blanks, which VCF does not allow: take --format hdf5."
            )
