"""What an evaluation of expression works on: runs, what is measured, and the bins of both.

Knows files, and which of them belong together; knows no numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cisray.dataset.coverage import Stretches
from cisray.dataset.examples import Dataset
from cisray.dataset.targets import MeasuredTrack, check_files, read_targets
from cisray.errors import AssemblyMismatch, EvaluationError
from cisray.evaluation.bin_masks import BinMask
from cisray.evaluation.expression_starts import StartRules
from cisray.evaluation.expression_sums import masks_of, shared
from cisray.evaluation.observed import BigWigBins, ExampleBins, Observed
from cisray.evaluation.track_pairs import TrackPairs, pair_tracks, require_same_tracks
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed
from cisray.store.scan import Run
from cisray.tracks import TrackSet


@dataclass(frozen=True, slots=True)
class MeasuredFiles:
    """A table of targets, and how its bigWig files are read."""

    table: Path
    bigwig_dir: Path | None
    blacklist: Path | None
    allow_missing: bool


@dataclass(frozen=True, slots=True)
class MeasuredExamples:
    """A dataset and which of its sets is evaluated."""

    root: Path
    split: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which tracks of which head, in which regions, and what is measured."""

    head: str
    tracks: tuple[str, ...]
    measured: MeasuredFiles | MeasuredExamples
    regions: Path | None = None
    unmappable: Path | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What is predicted and measured, of which tracks and bins."""

    runs: Mapping[str, Run]
    held: Mapping[str, BinMask]
    skipped: Mapping[str, BinMask]
    regions: BinMask | None
    observed: Observed
    pairs: TrackPairs
    unmappable: Stretches | None

    @property
    def bin_bp(self) -> int:
        """Width of all bins."""
        return self.observed.mask.bin_bp

    def rules(self, genome: Genome, kinds: tuple[str, ...]) -> StartRules:
        """Say what starts of genes are held against."""
        return StartRules(
            genome=genome,
            kinds=kinds,
            regions=self.regions,
            measured=self.observed.mask,
            predicted=self.held,
            skipped=self.skipped,
            unmappable=self.unmappable,
        )


def open_material(question: Question, runs: Mapping[str, Run], genome: Genome) -> Material:
    """Open what is predicted and measured, and say which bins of both there are.

    Of a dataset the bins of its set are where starts and bins count, unless regions are given.
    Raises what reading raises, AssemblyMismatch and EvaluationError for what does not fit.
    """
    _require_genome(runs, genome)
    first = next(iter(runs.values()))
    masks = {name: masks_of(run, genome) for name, run in runs.items()}
    held = {name: mask for name, (mask, _) in masks.items()}
    bin_bp = first.manifest.bin_bp
    regions = None
    if question.regions is not None:
        bed = read_bed(question.regions, genome)
        regions = BinMask.inside(bed, genome.chromosomes, bin_bp)
    chosen = first.tracks.select(question.tracks)
    if isinstance(question.measured, MeasuredFiles):
        wanted = shared([*held.values(), *([] if regions is None else [regions])])
        observed: Observed = _files(question, chosen, genome, wanted)
    else:
        observed = _examples(question, question.measured, genome, bin_bp)
        regions = observed.mask if regions is None else regions
    pairs = pair_tracks(chosen, observed.tracks)
    require_same_tracks(pairs, {name: run.tracks for name, run in runs.items()})
    unmappable = question.unmappable
    return Material(
        runs=runs,
        held=held,
        skipped={name: mask for name, (_, mask) in masks.items()},
        regions=regions,
        observed=observed,
        pairs=pairs,
        unmappable=None if unmappable is None else Stretches.of(read_bed(unmappable, genome)),
    )


def paired_targets(
    question: Question, files: MeasuredFiles, chosen: TrackSet
) -> tuple[TrackSet, list[MeasuredTrack]]:
    """Read the rows of a table of targets that are of chosen tracks.

    Raises TrackError and TargetsError for the table, EvaluationError where no row is.
    """
    tracks, measured = read_targets(files.table, question.head, files.bigwig_dir)
    rows = sorted(pair_tracks(chosen, tracks).rows)
    return tracks.select(rows), [measured[row] for row in rows]


def _files(question: Question, chosen: TrackSet, genome: Genome, wanted: BinMask) -> BigWigBins:
    """Open bigWig files, of which every one has to fit the genome."""
    files = question.measured
    if not isinstance(files, MeasuredFiles):
        raise TypeError("only a table of targets has files")
    tracks, measured = paired_targets(question, files, chosen)
    chroms = [chrom for chrom, bins in wanted.by_chrom.items() if bins.any()]
    check_files(measured, genome, chroms, allow_empty=True, allow_missing=files.allow_missing)
    # Wherever there are bins there is a measure: what a file leaves out is 0.
    every = BinMask.none(genome.chromosomes, wanted.bin_bp)
    for chrom in chroms:
        every.add(chrom, 0, len(every.by_chrom[chrom]))
    black = None if files.blacklist is None else Stretches.of(read_bed(files.blacklist, genome))
    return BigWigBins(tracks, measured, genome, every, black, files.allow_missing)


def _examples(
    question: Question, place: MeasuredExamples, genome: Genome, bin_bp: int
) -> ExampleBins:
    """Open the examples of a set, which have to be of this genome and of bins of this width."""
    dataset = Dataset.open(place.root)
    tracks = dataset.tracks(question.head)
    stated = dataset.manifest.heads[question.head].genome.get("sha256")
    if stated is not None and stated != genome.sha256:
        raise AssemblyMismatch(
            f"{dataset.root} was made from another genome than {genome.path}: its digest is "
            f"{str(stated)[:16]}..., that of the FASTA {genome.sha256[:16]}...."
        )
    if dataset.spec.bin_bp != bin_bp:
        raise EvaluationError(
            f"{dataset.root} has bins of {dataset.spec.bin_bp} bp, and the run of {bin_bp}."
        )
    examples = dataset.examples(question.head, place.split)
    return ExampleBins(examples, tracks, BinMask.none(genome.chromosomes, bin_bp), genome)


def _require_genome(runs: Mapping[str, Run], genome: Genome) -> None:
    """Refuse runs on another genome than the FASTA, and bins of several widths."""
    widths = {name: run.manifest.bin_bp for name, run in runs.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {bp}" for name, bp in widths.items())
        raise EvaluationError(f"the runs have bins of different widths in bp ({told}).")
    for name, run in runs.items():
        if run.manifest.genome_sha256 != genome.sha256:
            raise AssemblyMismatch(
                f"{genome.path} is not the genome of the run {name}: its digest is "
                f"{genome.sha256[:16]}..., the run has {run.manifest.genome_sha256[:16]}... "
                f"({run.manifest.genome}). Another compression of the same bases has another "
                f"digest: give the file that the run was made with."
            )
