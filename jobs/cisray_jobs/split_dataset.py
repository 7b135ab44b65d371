"""The job `cisray dataset split`: genomes divided into sets that share no alignment.

Knows which files belong to which genome; how a split is made is `cisray.dataset.split`'s business.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cisray.dataset.assignment import Aims
from cisray.dataset.gaps import SHORTEST_GAP_BP, find_gaps
from cisray.dataset.homology import Linking, Pair
from cisray.dataset.leakage import Leak, find_leaks, read_windows
from cisray.dataset.regions import is_alternate
from cisray.dataset.split import GenomeParts, SplitOptions, Tiling, make_split
from cisray.dataset.split_report import SplitReport, report_of, write_beds, write_report
from cisray.dataset.synteny import read_alignments
from cisray.errors import ConfigError, ResultsError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_mask
from cisray.store.export.staging import staged_folder
from cisray.store.place import run_root
from cisray.version import __version__
from cisray_jobs.config import JobConfig

Given = tuple[str, ...]
# Stretches of a table, and how many lines of it lie on chromosomes that the FASTA lacks; by option.
Masks = Mapping[str, tuple[Sequence[Interval], int]]


@dataclass(frozen=True, slots=True)
class MadeSplit:
    """What was written where."""

    path: str
    files: tuple[str, ...]
    report: SplitReport


def split_facts(made: MadeSplit) -> dict[str, str]:
    """Say what became of the genomes, for people."""
    lines = {
        head: ", ".join(
            f"{name} {size.sequences:,} sequences of {size.bp:,} bp"
            + (f" ({size.dropped:,} dropped)" if size.dropped else "")
            for name, size in genome.sets.items()
        )
        for head, genome in made.report.genomes.items()
    }
    lines["components"] = f"{made.report.components:,}"
    for name, leak in made.report.leaks.items():
        lines[f"alignments of {name}"] = (
            f"{leak.linking:,} of {leak.alignments:,} count, {leak.straddling:,} of these join two "
            f"sets; {leak.below:,} smaller ones do"
        )
    if made.report.notes:
        lines["to look at"] = " ".join(made.report.notes)
    return lines | {"files": ", ".join(made.files)}


class SplitDataset(JobConfig):
    """Genomes, what is known of them, and how they are to be divided.

    What belongs to a genome is given as HEAD=FILE, as in human=hg38.fa.
    """

    genome: Given
    out: Path
    net: Path | None = None
    chain: Path | None = None
    self_chain: Given = ()
    levels: Literal["all", "top"] = "all"
    gaps: Given = ()
    blacklist: Given = ()
    unmappable: Given = ()
    chromosomes: Given = ()
    valid_chromosomes: Given = ()
    test_chromosomes: Given = ()
    valid: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    folds: int | None = Field(None, ge=2)
    input_bp: int = Field(196_608, ge=1)
    stride: int | None = Field(None, ge=1)
    test_stride: int | None = Field(None, ge=1)
    snap_bp: int = Field(128, ge=1)
    margin_bp: int = Field(3, ge=0)
    region_bp: int = Field(1_000_000, ge=1)
    min_alignment: int = Field(100_000, ge=1)
    max_unmappable: float = Field(0.5, gt=0, le=1)
    seed: int = Field(44, ge=0)

    @field_validator("genome")
    @classmethod
    def _one_or_two(cls, value: Given) -> Given:
        if not 1 <= len(value) <= 2:
            raise ValueError("must be given once, or twice with the alignments of both")
        return value

    @model_validator(mode="after")
    def _alignments_belong_to_two(self) -> Self:
        aligned = [name for name in ("net", "chain") if getattr(self, name) is not None]
        if len(aligned) > 1:
            raise ConfigError("--net and --chain say the same: give one of them.")
        if aligned and len(self.genome) == 1:
            raise ConfigError(f"--{aligned[0]} is of two genomes: give --genome twice.")
        if not aligned and len(self.genome) == 2:
            raise ConfigError(
                "two genomes without --net or --chain would have homologous sequence on both sides "
                "of the split: give one of them, or split each genome alone."
            )
        for name in ("stride", "test_stride"):
            step = getattr(self, name) or self.input_bp
            if step % self.snap_bp:
                raise ConfigError(
                    f"--{name.replace('_', '-')} {step} is no multiple of {self.snap_bp}, to which "
                    f"starts are snapped: choose one that is, or another --snap-bp."
                )
        if self.folds is not None and (self.valid_chromosomes or self.test_chromosomes):
            raise ConfigError("--folds has no valid and test: leave their chromosomes out.")
        return self

    def split(self) -> MadeSplit:
        """Make the split and write it, all files or none.

        Raises ConfigError, FastaError, RegionsError, SyntenyError and UnknownChromosome for what is
        given; ResultsError if an alignment that counts joins two sets after all.
        """
        final = run_root(self.out)
        with ExitStack() as stack, staged_folder(final) as folder:
            genomes = {
                head: stack.enter_context(Genome.open(path))
                for head, path in _by_head(self.genome, "genome").items()
            }
            options = self._options()
            pairs = self._pairs(genomes)
            masks = {head: self._masks(head, genome) for head, genome in genomes.items()}
            parts = [self._parts(head, genomes[head], masks[head]) for head in genomes]
            split = make_split(parts, pairs, options)
            leaks = self._proven(write_beds(folder, split), pairs)
            report = report_of(split, leaks, self._settings(), _lacking(masks))
            write_report(folder, report)
            names = tuple(sorted(path.name for path in folder.iterdir()))
        return MadeSplit(str(final), names, report)

    def _proven(self, beds: Mapping[str, Path], pairs: list[Pair]) -> dict[str, Leak]:
        """Look in the files that were written which alignments join two sets."""
        windows = {}
        for head, path in beds.items():
            with path.open(encoding="utf-8") as lines:
                windows[head] = read_windows(lines)
        leaks = {pair.name: find_leaks(windows, pair, self.min_alignment) for pair in pairs}
        for name, leak in leaks.items():
            if leak.straddling:
                raise ResultsError(
                    f"{leak.straddling:,} alignments of {name} join two sets, which must not be: "
                    f"please report this with the command and its files."
                )
        return leaks

    def _settings(self) -> dict[str, Any]:
        """Give everything that decides a split, also what was not said."""
        told = self.model_dump(mode="json", exclude={"out"}, exclude_none=True)
        by_fasta = [head for head in self._heads if head not in _by_head(self.gaps, "gaps")]
        found = [f"{head}: runs of {SHORTEST_GAP_BP} N or more" for head in by_fasta]
        shown = {**told, "gaps": [*self.gaps, *found], "cisray": __version__}
        return {name: value for name, value in shown.items() if value not in ([], ())}

    def _options(self) -> SplitOptions:
        stride = self.stride or self.input_bp
        named = {"valid": self.valid_chromosomes, "test": self.test_chromosomes}
        told = [name for name, chromosomes in named.items() if chromosomes]
        aims = Aims.folds(self.folds) if self.folds else Aims.sets(self.valid, self.test, told)
        return SplitOptions(
            tiling=Tiling(
                input_bp=self.input_bp,
                train_stride=stride,
                other_stride=self.test_stride or stride,
                snap_bp=self.snap_bp,
                margin_bp=self.margin_bp,
                max_unmappable=self.max_unmappable,
            ),
            aims=aims,
            linking=Linking(self.min_alignment),
            region_bp=self.region_bp,
            seed=self.seed,
        )

    def _pairs(self, genomes: Mapping[str, Genome]) -> list[Pair]:
        pairs = []
        path = self.net or self.chain
        if path is not None:
            (first, second) = genomes
            found = read_alignments(path, genomes[first], genomes[second], levels=self.levels)
            pairs.append(Pair(first, second, found))
        for head, own in _by_head(self.self_chain, "self_chain", self._heads).items():
            found = read_alignments(own, genomes[head], genomes[head], levels=self.levels)
            pairs.append(Pair(head, head, found))
        return pairs

    def _parts(self, head: str, genome: Genome, masks: Masks) -> GenomeParts:
        named = self._chromosomes("chromosomes", head, genome)
        all_but = [name for name in genome.chromosomes if not is_alternate(name)]
        chosen = all_but if named is None else named
        forced: dict[str, str] = {}
        for split in ("valid", "test"):
            for name in self._chromosomes(f"{split}_chromosomes", head, genome) or ():
                if name in forced:
                    raise ConfigError(f"{head} {name} is named for valid and for test: choose one.")
                if name not in chosen:
                    raise ConfigError(
                        f"--{split}-chromosomes names {head} {name}, which is left out: name it in "
                        f"--chromosomes as well."
                    )
                forced[name] = split
        return GenomeParts(
            head=head,
            chromosomes=genome.chromosomes,
            gaps=masks["gaps"][0] if "gaps" in masks else find_gaps(genome, chosen),
            unmappable=[
                stretch
                for option in ("blacklist", "unmappable")
                for stretch in masks.get(option, ((), 0))[0]
            ],
            chosen=chosen,
            forced=forced,
        )

    def _masks(self, head: str, genome: Genome) -> Masks:
        """Read the tables of a genome that are given, each once."""
        paths = {
            option: _by_head(getattr(self, option), option, self._heads).get(head)
            for option in ("gaps", "blacklist", "unmappable")
        }
        return {option: read_mask(path, genome) for option, path in paths.items() if path}

    def _chromosomes(self, option: str, head: str, genome: Genome) -> list[str] | None:
        """Read HEAD=chr1,chr2; None where nothing is said of the genome."""
        told = _by_head(getattr(self, option), option, self._heads).get(head)
        if told is None:
            return None
        asked = (name.strip() for name in str(told).split(","))
        named = {genome.resolve(name) for name in asked if name}
        return [name for name in genome.chromosomes if name in named]

    @property
    def _heads(self) -> list[str]:
        return list(_by_head(self.genome, "genome"))


def _lacking(masks: Mapping[str, Masks]) -> list[str]:
    """Say how much of the tables lies on chromosomes that a FASTA does not have."""
    return [
        f"{count:,} lines of --{option} of {head} lie on chromosomes that the FASTA lacks."
        for head, tables in masks.items()
        for option, (_, count) in tables.items()
        if count
    ]


def _by_head(given: Given, option: str, heads: list[str] | None = None) -> dict[str, Path]:
    """Read HEAD=VALUE of an option. Raises ConfigError for other text, and other heads."""
    found: dict[str, Path] = {}
    name = option.replace("_", "-")
    for text in given:
        head, equals, value = text.partition("=")
        if not (head and equals and value):
            raise ConfigError(f"--{name} {text!r} must be HEAD=VALUE, as in human=hg38.fa.")
        if head in found:
            raise ConfigError(f"--{name} names {head} twice.")
        if heads is not None and head not in heads:
            raise ConfigError(
                f"--{name} names {head}, and the genomes are {', '.join(heads)}: see --genome."
            )
        found[head] = Path(value).expanduser()
    return found
