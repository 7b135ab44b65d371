"""Scores of variants: from rows that each name a variant and bins to columns of statistics.

Knows genomes, windows, how indels are lined up, ensembles and predictors of effects; knows nothing
of files of variants, of Parquet, runs or Ray. What is shared between rows, and what an ensemble's
statistics are, stands in docs/decisions/0013.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.errors import ConfigError
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Placement, Window, WindowSpec, contiguous
from cisray.inference.effects import EffectPredictor, check_bins
from cisray.inference.ensemble import Ensemble, Mean, Member, Moments, OtherStrand
from cisray.scoring.alignment import Policy, Stretch, align, merge_all, stack
from cisray.scoring.sites import Batch, Cut, Site, gather, parts
from cisray.scoring.statistics import compute, find
from cisray.stopwatch import lap

# Bytes of one call's differences, with the sequences they are of: 8 alternates where all of
# Enformer's bins and human tracks are asked for (19 MB each), and 270 where few are.
CALL_BYTES = 160_000_000
# Bytes of means that an ensemble holds until its last member has come: 26 alternates of all bins
# and tracks. The fewer there is room for, the more often members begin a stretch anew.
HELD_BYTES = 1_000_000_000
# Bases of a stretch, which are held in memory, on the device as well.
STRETCH_BP = 1 << 24

SPREAD = "_sd"  # ends the name of a statistic's standard deviation over members


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row of output: a variant, and the bins of its window's axis N that count in it."""

    variant: Variant
    bins: range


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectOptions:
    """What is said of a variant, and how it is looked at.

    `spread` asks for the standard deviation over the ensemble's members beside every statistic.
    Raises ConfigError for statistics that there are not, and for the spread of a single member.
    """

    stats: tuple[str, ...]
    placement: Placement = "centered"
    policy: Policy = Policy.STITCH
    ensemble: Ensemble = field(default_factory=lambda: Ensemble(reverse_complement=False))
    spread: bool = False

    def __post_init__(self) -> None:
        find(self.stats)
        if self.spread and len(self.ensemble.members) == 1:
            raise ConfigError(
                "The spread over an ensemble is asked for, but the ensemble has one member: add "
                "the other strand or shifts."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Name what every row gets for each track: the statistics, then their spreads."""
        return (*self.stats, *(name + SPREAD for name in self.stats if self.spread))

    def window(self, variant: Variant, spec: WindowSpec) -> Window:
        """Place the window in which a variant is seen."""
        return Window.placed(variant.interval, spec, self.placement)

    def windows(self, variant: Variant, spec: WindowSpec) -> list[Window]:
        """Place the windows that an ensemble's members read: each has to fit (`fits_window`)."""
        window = self.window(variant, spec)
        return [window.shift(bp) for bp in self.ensemble.shifts]


@dataclass(frozen=True, slots=True, eq=False)
class VariantScores:
    """Scores of V rows, in their order.

    `missing_bp` (V,) int32 counts the input bases of a row's window that lie beyond the ends of the
    chromosome. `values` hold (T, V) float32 under each name of `EffectOptions.columns`: the column
    of a track is one contiguous piece of memory.
    """

    missing_bp: NDArray[np.int32]
    values: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class EffectArrays:
    """What the statistics of a variant are computed from, averaged over the ensemble.

    float32, on the predictor's device: the reference's prediction and alternate minus reference,
    indels lined up, of all `bins` that were computed.
    """

    bins: range
    prediction_NT: torch.Tensor
    difference_NT: torch.Tensor


Watch = Callable[[int, EffectArrays], None]


def sequence_bytes(spec: WindowSpec, tracks: int, bins: int) -> int:
    """Count the bytes of a sequence in a call: its differences in so many tracks and bins.

    And itself, as it is lined up, as part of a stack, and as what differs in it.
    """
    return 4 * bins * tracks + 3 * spec.input_bp


def sequences_per_call(each: int, carried: int) -> int:
    """Choose how many sequences of `each` bytes go to a predictor that carries some at a time."""
    return max(1, CALL_BYTES // each // carried) * carried


def mean_bytes(options: EffectOptions, tracks: int, *, arrays: int, bins: int, rows: int) -> int:
    """Count the float64 means of so many arrays of bins and tracks.

    And, for spreads, two numbers for each statistic of each row.
    """
    values = arrays * bins
    if options.spread:
        values += 2 * rows * len(options.stats)
    return 8 * values * tracks


def scorer_bytes(
    options: EffectOptions, spec: WindowSpec, *, tracks: int, bins: int, rows: int, carried: int
) -> int:
    """Estimate what a scorer of so many rows holds at its fullest beside what its predictor does.

    The differences of a call, and the means of an ensemble; as if every row had a window of its own
    and were two sequences, up to what both are held to.
    """
    each = sequence_bytes(spec, tracks, bins)
    sequences = min(2 * rows, sequences_per_call(each, carried))
    if len(options.ensemble.members) == 1:
        return sequences * each
    every = mean_bytes(options, tracks, arrays=2 * rows, bins=bins, rows=rows)
    batch = mean_bytes(options, tracks, arrays=1 + sequences, bins=bins, rows=sequences)
    return sequences * each + min(every, max(HELD_BYTES, batch))


class VariantScorer:
    """Score the variants of a shard, stretch by stretch and window by window.

    `alternates_at_once` bounds how many sequences go to the predictor in one call; None chooses by
    their size (CALL_BYTES), but no fewer than it carries at a time. An indel is two sequences.
    Raises ConfigError for an ensemble that does not fit the model's bins.
    """

    def __init__(
        self,
        predictor: EffectPredictor,
        genome: Genome,
        options: EffectOptions,
        *,
        alternates_at_once: int | None = None,
    ) -> None:
        options.ensemble.check_fits(predictor.spec)
        self.predictor = predictor
        self.genome = genome
        self.options = options
        self._alternates_at_once = alternates_at_once
        self._other_strand = OtherStrand(predictor)

    def score(self, rows: Sequence[ScoredRow], *, watch: Watch | None = None) -> VariantScores:
        """Score rows of one chromosome, which may come in any order.

        Every row is handed to `watch` with the arrays that its statistics are computed from; rows
        of one variant share them. They are valid during the call. Raises CoordinateError as `align`
        does for a variant that does not fit the genome or its window, and ValueError for rows of
        several chromosomes or bins that are not there.
        """
        sites = self._sites(rows)
        sheet = _Sheet(len(rows), len(self.predictor.tracks), self.options, watch)
        for run in contiguous([site.window for site in sites], longest_bp=STRETCH_BP):
            stretch = sites[run.start : run.stop]
            self._note_missing(stretch, sheet)
            for part in self._parts(stretch):
                self._score_along(part, sheet)
        return VariantScores(sheet.missing_bp, sheet.values)

    def _sites(self, rows: Sequence[ScoredRow]) -> list[Site]:
        spec = self.predictor.spec
        chroms = {row.variant.chrom for row in rows}
        if len(chroms) > 1:
            raise ValueError(f"rows of one call lie on one chromosome, got {sorted(chroms)}")
        return gather(
            (
                (self.options.window(row.variant, spec), row.variant, check_bins(row.bins, spec))
                for row in rows
            ),
            lanes_at_once=self._lanes_at_once,
            lanes_of=self._lanes_of,
        )

    def _lanes_at_once(self, bins: range) -> int:
        if self._alternates_at_once is not None:
            return self._alternates_at_once
        predictor = self.predictor
        each = sequence_bytes(predictor.spec, len(predictor.tracks), len(bins))
        return sequences_per_call(each, predictor.batch_size)

    def _lanes_of(self, variant: Variant) -> int:
        moves = len(variant.ref) != len(variant.alt)
        return 2 if moves and self.options.policy is Policy.STITCH else 1

    def _note_missing(self, sites: Sequence[Site], sheet: "_Sheet") -> None:
        for site in sites:
            chrom = self.genome.resolve(site.window.input.chrom)
            missing_bp = sum(site.window.missing_bp(self.genome.chromosomes[chrom]))
            for batch in site.batches:
                for cut in batch.cuts:
                    sheet.missing_bp[list(cut.rows)] = missing_bp

    def _parts(self, stretch: Sequence[Site]) -> Iterator[Sequence[Site]]:
        """Cut a stretch where an ensemble's means would need too much memory."""
        if len(self.options.ensemble.members) == 1:
            return iter([stretch])
        return parts(stretch, most=HELD_BYTES, size_of=self._held_bytes)

    def _held_bytes(self, site: Site, batch: Batch) -> int:
        """Count the means of a batch: of its variants, and of their reference."""
        return mean_bytes(
            self.options,
            len(self.predictor.tracks),
            arrays=1 + len(batch.variants),
            bins=len(site.bins),
            rows=sum(len(cut.rows) for cut in batch.cuts),
        )

    def _score_along(self, sites: Sequence[Site], sheet: "_Sheet") -> None:
        """Read the windows of a stretch as one member of the ensemble after another does."""
        ensemble = self.options.ensemble
        read = [(site.window.shift(bp), site.variants) for site in sites for bp in ensemble.shifts]
        with lap("input"):
            held = Stretch.along(read, self.genome.fetch_padded)
        *others, last = ensemble.members
        averages = {
            batch: _Average(self.options) for site in sites for batch in site.batches if others
        }
        for member in others:
            for compared in self._compare(sites, member, held):
                averages[compared.batch].add(compared)
        for compared in self._compare(sites, last, held):
            if not others:
                sheet.fill(compared, ())
            else:
                average = averages.pop(compared.batch)
                average.add(compared)
                sheet.fill(average.result(compared), average.spreads())

    def _compare(
        self, sites: Sequence[Site], member: Member, held: Stretch
    ) -> Iterator["_Compared"]:
        """Compare each batch's variants with their reference, as a member reads both.

        A member that reads `shift_bp` bases later has bins that begin so much later, too: an indel
        is lined up with these.
        """
        windows = [site.window.shift(member.shift_bp) for site in sites]
        reader = self._other_strand if member.reverse else self.predictor
        opened = reader.open_along(
            held.codes_S,
            [window.input.start - held.interval.start for window in windows],
            [site.bins for site in sites],
        )
        for site, window, reference in zip(sites, windows, opened, strict=True):
            for batch in site.batches:
                with lap("input"):
                    aligned = [
                        align(
                            variant,
                            window,
                            fetch=held.fetch,
                            policy=self.options.policy,
                            bins=site.bins,
                        )
                        for variant in batch.variants
                    ]
                    sequences = stack(aligned)
                difference_BNT = merge_all(reference.differences(sequences), aligned)
                yield _Compared(batch, site.bins, reference.prediction_NT, difference_BNT)


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """A batch's arrays of the bins that were computed, for a member or averaged over all."""

    batch: Batch
    bins: range
    prediction_NT: torch.Tensor
    difference_BNT: torch.Tensor

    def statistics(self, names: Sequence[str]) -> Iterator[tuple[Cut, dict[str, torch.Tensor]]]:
        """Compute, for rows that ask for the same bins at a time, (rows, T) under each name."""
        for cut in self.batch.cuts:
            first = cut.bins.start - self.bins.start
            part = slice(first, first + len(cut.bins))
            every = cut.lanes == tuple(range(len(self.difference_BNT)))
            part_BNT = self.difference_BNT[:, part]
            # Only the bins that count are copied: at sites these are few of many.
            chosen_BNT = part_BNT if every else part_BNT[list(cut.lanes)]
            yield cut, compute(names, self.prediction_NT[part], chosen_BNT)


class _Average:
    """A batch's means over members as these come, and the spreads of their statistics."""

    def __init__(self, options: EffectOptions) -> None:
        self._stats = options.stats if options.spread else ()
        self._prediction = Mean()
        self._difference = Mean()
        self._statistics: dict[Cut, dict[str, Moments]] = {}

    def add(self, compared: _Compared) -> None:
        """Take what a member makes of the batch."""
        self._prediction.add(compared.prediction_NT)
        self._difference.add(compared.difference_BNT)
        if not self._stats:
            return
        for cut, found in compared.statistics(self._stats):
            moments = self._statistics.setdefault(cut, {name: Moments() for name in found})
            for name, values_BT in found.items():
                moments[name].add(values_BT)

    def result(self, last: _Compared) -> _Compared:
        """Give the means, rounded to float32, in place of what the last member said."""
        return replace(
            last,
            prediction_NT=self._prediction.mean(torch.float32),
            difference_BNT=self._difference.mean(torch.float32),
        )

    def spreads(self) -> Iterator[tuple[Cut, dict[str, torch.Tensor]]]:
        """Give the population standard deviation of each statistic, as `statistics` gives these."""
        for cut, moments in self._statistics.items():
            yield cut, {name + SPREAD: one.std(torch.float32) for name, one in moments.items()}


class _Sheet:
    """The columns of one call's rows, filled batch by batch."""

    def __init__(self, rows: int, tracks: int, options: EffectOptions, watch: Watch | None) -> None:
        self.missing_bp = np.zeros(rows, np.int32)
        self.values = {name: np.empty((tracks, rows), np.float32) for name in options.columns}
        self._stats = options.stats
        self._watch = watch

    def fill(
        self, compared: _Compared, spreads: Iterable[tuple[Cut, dict[str, torch.Tensor]]]
    ) -> None:
        """Write the statistics of a batch, and their spreads, to the rows that it answers."""
        for cut, found in chain(compared.statistics(self._stats), spreads):
            for name, values_BT in found.items():
                self.values[name][:, list(cut.rows)] = values_BT.T.cpu().numpy()
        if self._watch is None:
            return
        for cut in compared.batch.cuts:
            for lane, row in zip(cut.lanes, cut.rows, strict=True):
                difference_NT = compared.difference_BNT[lane]
                self._watch(row, EffectArrays(compared.bins, compared.prediction_NT, difference_NT))
