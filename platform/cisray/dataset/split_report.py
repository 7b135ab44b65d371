"""What a split looks like, as numbers and as a page, and the files that it is.

Knows splits; knows nothing of how they are made. BED files are 0-based half-open, as always.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cisray.dataset.leakage import Leak
from cisray.dataset.split import GenomeSplit, Split

_LARGEST = 10
_SUSPICIOUS_SHARE = 0.5  # of all bases, in one component


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

    total = excluded + gap + short + tiled + dropped + left_over. `tiled_bp` are in sequences,
    `dropped_bp` only in windows that were dropped.
    """

    total_bp: int
    excluded_bp: int
    gap_bp: int
    short_bp: int
    tiled_bp: int
    dropped_bp: int
    left_over_bp: int
    short_contigs: int
    excluded_chromosomes: tuple[str, ...]
    sets: Mapping[str, SetSize]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """A split in numbers: components by their bases, sets by genome, and what straddles sets."""

    settings: Mapping[str, Any]
    components: int
    largest_components_bp: tuple[int, ...]
    genomes: Mapping[str, GenomeReport]
    leaks: Mapping[str, Leak]
    notes: tuple[str, ...]


def report_of(
    split: Split, leaks: Mapping[str, Leak], settings: Mapping[str, Any], notes: Sequence[str] = ()
) -> SplitReport:
    """Count everything; `notes` are put before those that the numbers call for."""
    genomes = {head: _genome(genome, split.sets) for head, genome in split.genomes.items()}
    return SplitReport(
        settings=settings,
        components=len(split.component_bp),
        largest_components_bp=split.component_bp[:_LARGEST],
        genomes=genomes,
        leaks=leaks,
        notes=(*notes, *_notes(split, genomes)),
    )


def _notes(split: Split, genomes: Mapping[str, GenomeReport]) -> Iterator[str]:
    """Say what a user should look at before a model is trained on it."""
    for head, genome in genomes.items():
        for name, size in genome.sets.items():
            if not size.sequences:
                yield (
                    f"{name} has no sequence of {head}: choose a smaller --region-bp, a larger "
                    f"--min-alignment, or another --seed."
                )
    whole = sum(split.component_bp)
    if split.component_bp[0] > whole * _SUSPICIOUS_SHARE:
        yield (
            f"the largest component has {split.component_bp[0]:,} of {whole:,} bases, and all of "
            f"it is in one set: choose a larger --min-alignment, or --levels top."
        )


def write_beds(folder: Path, split: Split) -> dict[str, Path]:
    """Write regions and sequences of each genome into a folder; give the sequences by head."""
    written = {}
    for head, genome in split.genomes.items():
        regions = ((one.interval, f"{one.split}\t{one.component}") for one in genome.regions)
        sequences = ((one.interval, one.split) for one in genome.sequences)
        for name, rows in (("regions", regions), ("sequences", sequences)):
            path = folder / f"{head}.{name}.bed"
            lines = (f"{at.chrom}\t{at.start}\t{at.end}\t{rest}\n" for at, rest in rows)
            path.write_text("".join(lines), encoding="utf-8")
        written[head] = path
    return written


def write_report(folder: Path, report: SplitReport) -> None:
    """Write the report into a folder, for machines and for people."""
    told = json.dumps(asdict(report), indent=2) + "\n"
    (folder / "report.json").write_text(told, encoding="utf-8")
    (folder / "report.md").write_text(as_page(report), encoding="utf-8")


def as_page(report: SplitReport) -> str:
    """Write the report for people, in Markdown."""
    lines = ["# Split", ""]
    for name, value in report.settings.items():
        lines.append(f"- {name}: {', '.join(value) if isinstance(value, list) else value}")
    for head, genome in report.genomes.items():
        lines += [
            "",
            f"## {head}",
            "",
            *_table(
                ("set", "regions", "bases", "share", "sequences", "dropped"),
                [_row(name, size, genome) for name, size in genome.sets.items()],
            ),
        ]
        parts = {
            f"chromosomes left out ({len(genome.excluded_chromosomes):,})": genome.excluded_bp,
            "gaps": genome.gap_bp,
            f"contigs too short ({genome.short_contigs:,})": genome.short_bp,
            "in sequences": genome.tiled_bp,
            "in dropped windows alone": genome.dropped_bp,
            "left over at the ends of stretches": genome.left_over_bp,
            "all": genome.total_bp,
        }
        lines += ["", *_table(("bases", "count"), [(k, f"{v:,}") for k, v in parts.items()])]
        if genome.excluded_chromosomes:
            lines += ["", f"Left out: {_shown(genome.excluded_chromosomes)}."]
    largest = ", ".join(f"{size:,}" for size in report.largest_components_bp)
    lines += ["", "## Components", "", f"{report.components:,}; the largest have {largest} bases."]
    lines += ["", "## Alignments between sets", ""]
    lines += [_leak(name, leak) for name, leak in report.leaks.items()] or [
        "No alignments were given: what is alike within the genome was not looked at."
    ]
    if report.notes:
        lines += ["", "## To look at", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _row(name: str, size: SetSize, genome: GenomeReport) -> tuple[str, ...]:
    share = size.bp / sum(one.bp for one in genome.sets.values())
    counts = f"{size.regions:,}", f"{size.bp:,}", f"{share:.1%}"
    return name, *counts, f"{size.sequences:,}", f"{size.dropped:,}"


def _leak(name: str, leak: Leak) -> str:
    sets = ", ".join(f"{count:,} {which}" for which, count in leak.below_by_sets.items())
    told = (
        f"{name}: of {leak.alignments:,} alignments {leak.linking:,} are large enough to count; "
        f"{leak.straddling:,} of these touch sequences of two sets ({leak.straddling_bp:,} bases). "
        f"Of the smaller ones {leak.below:,} do ({sets or 'none'}), with {leak.below_bp:,} bases."
    )
    if leak.left_out:
        told += (
            f" {leak.left_out:,} more alignments were left out, {leak.left_out_linking:,} of them "
            f"large enough to count, since a FASTA lacks their chromosomes: "
            f"{_shown(leak.left_out_chromosomes)}."
        )
    return told


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LARGEST:,} more" if len(names) > _LARGEST else ""
    return ", ".join(names[:_LARGEST]) + more


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
        dropped_bp=genome.dropped_bp,
        left_over_bp=genome.left_over_bp,
        short_contigs=cut.short_contigs,
        excluded_chromosomes=cut.excluded,
        sets={
            name: SetSize(regions[name], bases[name], kept[name], dropped[name]) for name in sets
        },
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
