"""The job `cisray dataset split`: genomes divided into sets that share no alignment.

Knows which files belong to which genome; how a split is made is `cisray.dataset.split`'s business.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from cisray.dataset.assignment import Aims
from cisray.dataset.homology import Linking, Pair
from cisray.dataset.split import GenomeParts, SplitOptions, Tiling, find_leaks, make_split
from cisray.dataset.split_report import SplitReport, report_of, write_split
from cisray.dataset.synteny import read_alignments
from cisray.errors import ConfigError, ResultsError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed
from cisray.store.export.staging import staged_folder
from cisray.store.place import run_root
from cisray_jobs.config import JobConfig

Given = tuple[str, ...]


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
        lines["alignments"] = (
            f"{leak.linking:,} of {leak.alignments:,} count, {leak.straddling:,} of these join two "
            f"sets; {leak.below:,} smaller ones do ({name})"
        )
    return lines | {"files": ", ".join(made.files)}


class SplitDataset(JobConfig):
    """Genomes, what is known of them, and how they are to be divided.

    What belongs to a genome is given as HEAD=FILE, as in human=hg38.fa.
    """

    genome: Given
    out: Path
    net: Path | None = None
    chain: Path | None = None
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
            parts = [self._parts(head, genome) for head, genome in genomes.items()]
            split = make_split(parts, pairs, options)
            leaks = {
                f"{pair.first} and {pair.second}": find_leaks(split, pair, options.linking)
                for pair in pairs
            }
            for name, leak in leaks.items():
                if leak.straddling:
                    raise ResultsError(
                        f"{leak.straddling:,} alignments of {name} join two sets, which must not "
                        f"be: please report this with the command and its files."
                    )
            settings = self.model_dump(mode="json", exclude={"out"}, exclude_defaults=True)
            report = report_of(split, leaks, {**settings, "seed": self.seed})
            files = write_split(folder, split, report)
            names = tuple(path.name for path in files)
        return MadeSplit(str(final), names, report)

    def _options(self) -> SplitOptions:
        stride = self.stride or self.input_bp
        aims = Aims.folds(self.folds) if self.folds else Aims.sets(self.valid, self.test)
        return SplitOptions(
            tiling=Tiling(
                input_bp=self.input_bp,
                train_stride=stride,
                other_stride=self.test_stride or stride,
                snap_bp=self.snap_bp,
                max_unmappable=self.max_unmappable,
            ),
            aims=aims,
            linking=Linking(self.min_alignment),
            region_bp=self.region_bp,
            seed=self.seed,
        )

    def _pairs(self, genomes: Mapping[str, Genome]) -> list[Pair]:
        path = self.net or self.chain
        if path is None:
            return []
        (first, second) = genomes
        alignments = read_alignments(path, genomes[first], genomes[second], levels=self.levels)
        return [Pair(first, second, alignments)]

    def _parts(self, head: str, genome: Genome) -> GenomeParts:
        chosen = self._chromosomes("chromosomes", head, genome)
        forced = {
            name: split
            for split in ("valid", "test")
            for name in self._chromosomes(f"{split}_chromosomes", head, genome) or ()
        }
        return GenomeParts(
            head=head,
            chromosomes=genome.chromosomes,
            gaps=self._bed("gaps", head, genome),
            unmappable=[
                *self._bed("blacklist", head, genome),
                *self._bed("unmappable", head, genome),
            ],
            chosen=chosen,
            forced=forced,
        )

    def _bed(self, option: str, head: str, genome: Genome) -> list[Interval]:
        path = _by_head(getattr(self, option), option, self._heads).get(head)
        return [] if path is None else read_bed(path, genome)

    def _chromosomes(self, option: str, head: str, genome: Genome) -> list[str] | None:
        """Read HEAD=chr1,chr2; None where nothing is said of the genome."""
        told = _by_head(getattr(self, option), option, self._heads).get(head)
        if told is None:
            return None
        return [genome.resolve(name.strip()) for name in str(told).split(",") if name.strip()]

    @property
    def _heads(self) -> list[str]:
        return list(_by_head(self.genome, "genome"))


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
