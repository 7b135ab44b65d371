"""What a split looks like, as numbers and as a page, and the files that it is.

Knows splits; knows nothing of how they are made. BED files are 0-based half-open, as always.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cisray.dataset.split import GenomeSplit, Leak, Split

_LARGEST = 10


@dataclass(frozen=True, slots=True)
class SetSize:
    """How much of a genome is in a set."""

    regions: int
    bp: int
    sequences: int
    dropped: int


@dataclass(frozen=True, slots=True)
class GenomeReport:
    """Every base of a genome in one place, and its sets.

    total = excluded + gap + short + tiled + left_over.
    """

    total_bp: int
    excluded_bp: int
    gap_bp: int
    short_bp: int
    tiled_bp: int
    left_over_bp: int
    sets: Mapping[str, SetSize]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """A split in numbers: components by their bases, sets by genome, and what straddles sets."""

    settings: Mapping[str, Any]
    components: int
    largest_components_bp: tuple[int, ...]
    genomes: Mapping[str, GenomeReport]
    leaks: Mapping[str, Leak]


def report_of(split: Split, leaks: Mapping[str, Leak], settings: Mapping[str, Any]) -> SplitReport:
    """Count everything."""
    return SplitReport(
        settings=settings,
        components=len(split.component_bp),
        largest_components_bp=split.component_bp[:_LARGEST],
        genomes={head: _genome(genome, split.sets) for head, genome in split.genomes.items()},
        leaks=leaks,
    )


def write_split(folder: Path, split: Split, report: SplitReport) -> list[Path]:
    """Write regions and sequences of each genome, and the report, into a folder."""
    written = []
    for head, genome in split.genomes.items():
        regions = ((one.interval, f"{one.split}\t{one.component}") for one in genome.regions)
        sequences = ((one.interval, one.split) for one in genome.sequences)
        for name, rows in (("regions", regions), ("sequences", sequences)):
            path = folder / f"{head}.{name}.bed"
            lines = (f"{at.chrom}\t{at.start}\t{at.end}\t{rest}\n" for at, rest in rows)
            path.write_text("".join(lines), encoding="ascii")
            written.append(path)
    told = json.dumps(asdict(report), indent=2) + "\n"
    page = folder / "report.md"
    page.write_text(as_page(report), encoding="utf-8")
    numbers = folder / "report.json"
    numbers.write_text(told, encoding="utf-8")
    return [*written, numbers, page]


def as_page(report: SplitReport) -> str:
    """Write the report for people, in Markdown."""
    lines = ["# Split", ""]
    lines += [f"- {name}: {value}" for name, value in report.settings.items()]
    for head, genome in report.genomes.items():
        lines += [
            "",
            f"## {head}",
            "",
            *_table(
                ("set", "regions", "bases", "sequences", "dropped"),
                [
                    (
                        name,
                        *(f"{n:,}" for n in (size.regions, size.bp, size.sequences, size.dropped)),
                    )
                    for name, size in genome.sets.items()
                ],
            ),
        ]
        parts = {
            "not chosen": genome.excluded_bp,
            "gaps": genome.gap_bp,
            "contigs too short": genome.short_bp,
            "in windows": genome.tiled_bp,
            "left over at the ends of stretches": genome.left_over_bp,
            "all": genome.total_bp,
        }
        lines += ["", *_table(("bases", "count"), [(k, f"{v:,}") for k, v in parts.items()])]
    largest = ", ".join(f"{size:,}" for size in report.largest_components_bp)
    lines += ["", "## Components", "", f"{report.components:,}; the largest have {largest} bases."]
    lines += ["", "## Alignments between sets", ""]
    lines += [_leak(name, leak) for name, leak in report.leaks.items()] or [
        "No alignments were given: nothing but touching regions is known to be alike."
    ]
    return "\n".join(lines) + "\n"


def _leak(name: str, leak: Leak) -> str:
    sets = ", ".join(f"{count:,} {which}" for which, count in leak.below_by_sets.items())
    return (
        f"{name}: of {leak.alignments:,} alignments {leak.linking:,} are large enough to count; "
        f"{leak.straddling:,} of these touch sequences of two sets. Of the smaller ones "
        f"{leak.below:,} do ({sets or 'none'}), with {leak.below_bp:,} bases."
    )


def _genome(genome: GenomeSplit, sets: Sequence[str]) -> GenomeReport:
    regions = Counter(one.split for one in genome.regions)
    bases = Counter[str]()
    for one in genome.regions:
        bases[one.split] += one.interval.width
    kept = Counter(one.split for one in genome.sequences)
    dropped = Counter(one.split for one in genome.dropped)
    cut = genome.cut
    return GenomeReport(
        total_bp=cut.total_bp,
        excluded_bp=cut.excluded_bp,
        gap_bp=cut.gap_bp,
        short_bp=cut.short_bp,
        tiled_bp=genome.tiled_bp,
        left_over_bp=genome.left_over_bp,
        sets={
            name: SetSize(regions[name], bases[name], kept[name], dropped[name]) for name in sets
        },
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
