"""Text loci and chromosome names: how people write a place, and what they may call a chromosome.

Knows the 1-based inclusive notation of genome browsers and the one alias table of the project;
knows nothing of FASTA files, intervals or tables. Everything returned is 0-based half-open.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from cisray.errors import LocusError, UnknownChromosome

_EXAMPLE = "chr21:25,000,000-25,100,000"
_NUMBER = r"\d{1,3}(?:,\d{3}){1,5}|\d{1,18}"  # more digits than any chromosome has bases
_LOCUS = re.compile(
    rf"(?:\{{(?P<braced>[^{{}}\s]+)\}}|(?P<plain>[^:{{}}\s]+))"
    rf"(?::(?P<first>{_NUMBER})(?:-(?P<last>{_NUMBER}))?)?",
    re.ASCII,
)


class Locus(NamedTuple):
    """A place on a chromosome, 0-based half-open; `end` is None for the whole chromosome."""

    chrom: str
    start: int
    end: int | None


def parse_locus(text: str) -> Locus:
    """Read a locus written 1-based inclusive, as in genome browsers, into 0-based half-open.

    A single position is one base; a bare name is the whole chromosome. Commas may group
    thousands. A name that holds a colon (HLA contigs) stands in braces, as in samtools. Raises
    `LocusError`.

    >>> parse_locus("chr21:25,000,000-25,100,000")
    Locus(chrom='chr21', start=24999999, end=25100000)
    >>> parse_locus("chr21:25,000,000")
    Locus(chrom='chr21', start=24999999, end=25000000)
    >>> parse_locus("chr21")
    Locus(chrom='chr21', start=0, end=None)
    >>> parse_locus("{HLA-A*01:01:01:01}:11-20")
    Locus(chrom='HLA-A*01:01:01:01', start=10, end=20)
    """
    match = _LOCUS.fullmatch(text.strip())
    if match is None:
        raise LocusError(
            f"cannot read the locus {text!r}: write {_EXAMPLE} (1-based, both ends included), "
            "one position or as a bare chromosome; a name that holds ':' goes in braces, "
            "{HLA-A*01:01}:1-100."
        )
    chrom = match["braced"] or match["plain"]
    if match["first"] is None:
        return Locus(chrom, 0, None)
    first = int(match["first"].replace(",", ""))
    last = first if match["last"] is None else int(match["last"].replace(",", ""))
    if first < 1:
        raise LocusError(f"the locus {text!r} starts at 0, but positions count from 1: {_EXAMPLE}.")
    if last < first:
        raise LocusError(f"the locus {text!r} ends before it starts: write it as {_EXAMPLE}.")
    return Locus(chrom, first - 1, last)


def format_locus(chrom: str, start: int, end: int | None) -> str:
    """Write a 0-based half-open place as a 1-based inclusive locus, the inverse of `parse_locus`.

    A single base is written as a range, since samtools reads `chr21:5` as everything from 5 on.
    Raises `LocusError` where the notation has no words: no bases, or bases before the first.

    >>> format_locus("chr21", 24_999_999, 25_100_000)
    'chr21:25,000,000-25,100,000'
    >>> format_locus("chr21", 4, 5)
    'chr21:5-5'
    """
    name = f"{{{chrom}}}" if ":" in chrom else chrom
    if start == 0 and end is None:
        return name
    if end is None or start < 0 or end <= start:
        raise LocusError(
            f"0-based [{start}, {end}) on {chrom} cannot be written as a locus: a locus such as "
            f"{_EXAMPLE} holds at least one base and none before the first."
        )
    return f"{name}:{start + 1:,}-{end:,}"


def alias_key(name: str) -> str:
    """Fold a chromosome's name to what its spellings share: see `match_chromosome`.

    >>> alias_key("chrM"), alias_key("MT"), alias_key("Chr1")
    ('mt', 'mt', '1')
    """
    folded = name.casefold().removeprefix("chr")
    return "mt" if folded == "m" else folded


def match_chromosome(name: str, known: Collection[str]) -> str | None:
    """Find the spelling in `known` that means the chromosome `name`, or None.

    The rules, in order: the exact name; else names equal after letter case, a leading `chr`, and
    the difference between M and MT are ignored. Numbers are not padded (`chr01` is unknown) and
    accessions (NC_000001.11) are not translated. Raises `UnknownChromosome` when several known
    names fit and none is exact. Names cannot tell assemblies apart: UCSC's hg19 `chrM` and
    GRCh37's `MT` are different sequences.

    >>> match_chromosome("chr1", ["1", "2", "MT"])
    '1'
    >>> match_chromosome("chrM", ["1", "2", "MT"])
    'MT'
    >>> match_chromosome("chr01", ["1", "2", "MT"]) is None
    True
    """
    if name in known:
        return name
    key = alias_key(name)
    fits = sorted(candidate for candidate in known if alias_key(candidate) == key)
    if len(fits) > 1:
        raise UnknownChromosome(
            f"the chromosome {name!r} could mean any of {', '.join(fits)}: write one of these "
            "names exactly."
        )
    return fits[0] if fits else None
