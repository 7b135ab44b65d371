"""How a variant's sequence is lined up with its reference window, and its effects with the bins.

Knows windows, variants and codes; knows nothing of models, files of variants or statistics. A
substitution leaves every base in place. An insertion or a deletion moves one flank against the
reference, and a mere shift must not count as an effect; what is done about that is a named and
versioned policy, drawn in docs/alignment.md.

The result depends on the alternate sequence alone, not on how a record spells it: where an indel
may be written in several places of a repeat, all of these places are its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.errors import ConfigError, CoordinateError, near_matches
from cisray.genome.encode import decode, encode
from cisray.genome.interval import Interval
from cisray.genome.variant import Variant
from cisray.genome.windows import Window

_STEP_BP = 64  # beside a variant, read in search of a repeat at first

Codes = NDArray[np.uint8]
# Gives the codes of any interval, 4 where it leaves its chromosome: Genome.fetch_padded.
Fetch = Callable[[Interval], Codes]


class Policy(StrEnum):
    """What a run's manifest says about indels. A change of results is a new version.

    `stitch/1` holds each flank in place in turn and compares both bin for bin with the reference.
    `left/1` holds the left flank in place, as DeepMind's notebook does in effect, so that the right
    flank's shift is part of the difference: for parity with published scores.
    """

    STITCH = "stitch/1"
    LEFT = "left/1"

    @classmethod
    def named(cls, name: str) -> Self:
        """Find a policy by `stitch` or `stitch/1`; raise `ConfigError`.

        >>> Policy.named("left")
        <Policy.LEFT: 'left/1'>
        """
        for policy in cls:
            if name in (policy.value, policy.value.partition("/")[0]):
                return policy
        known = [policy.value for policy in cls]
        raise ConfigError(
            f"there is no alignment policy {name!r}: choose from {', '.join(known)}."
            f"{near_matches(name, known)}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Bases held in memory, for the many variants of windows: `fetch` is a `Fetch`."""

    interval: Interval
    codes_S: Codes

    @classmethod
    def around(cls, window: Window, variants: Sequence[Variant], fetch: Fetch) -> Self:
        """Fetch once all that `align` will ask for on behalf of `variants` in `window`."""
        return cls.along([(window, variants)], fetch)

    @classmethod
    def along(cls, sites: Iterable[tuple[Window, Iterable[Variant]]], fetch: Fetch) -> Self:
        """Fetch once, from the first base to the last, what `align` will ask for in many windows.

        The windows, at least one, lie on one chromosome.
        """
        needed = [
            interval
            for window, variants in sites
            for interval in (window.input, *(_needed(variant, window) for variant in variants))
        ]
        start, end = min(one.start for one in needed), max(one.end for one in needed)
        interval = Interval(needed[0].chrom, start, end)
        return cls(interval, fetch(interval))

    def fetch(self, interval: Interval) -> Codes:
        """Give the codes of a part, not copied; raise `CoordinateError` where it leaves."""
        if not self.interval.contains(interval):
            raise CoordinateError(f"{interval} leaves {self.interval}, which is all that is held.")
        offset = self.interval.start
        return self.codes_S[interval.start - offset : interval.end - offset]


@dataclass(frozen=True, slots=True, eq=False)
class AlignedAlternates:
    """One variant's sequences, (B, L) uint8, and how their differences become the variant's.

    There is 1, or 2 where the left flank is in place in the first and the right flank in the
    second: then the bins before `own` count from the first, those after it from the second, and
    those of `own` are the mean. `own` are the variant's own bins among those asked for, counted
    from the first of these; empty where the variant lies beside them. `num_bins` were asked for.
    """

    codes_BL: Codes
    own: range
    num_bins: int


def align(
    variant: Variant,
    window: Window,
    *,
    fetch: Fetch,
    policy: Policy = Policy.STITCH,
    bins: range | None = None,
) -> AlignedAlternates:
    """Write a variant into a window, as often as its flanks need; `bins` are the target's, or all.

    `bins` are as `EffectPredictor.open` takes them. `fetch` is asked for the window and, for
    deletions, for as many bases beyond both ends as are deleted; a variant that leaves the window
    is fetched whole. Raises `CoordinateError` where the variant lies outside the window or does not
    show in it, where it leaves no flank there, and where the genome has another reference allele.
    """
    chosen = range(window.target_bins) if bins is None else bins
    if not variant.interval.overlaps(window.input):
        raise CoordinateError(
            f"the variant {_short(variant)} lies outside the window {window.input}."
        )
    pair = _Pair.of(variant, _needed(variant, window), fetch)
    own = _bins_that_hold(pair.stretch, window, chosen)
    left_shows, right_shows = pair.flanks_shown(window)
    if policy is Policy.LEFT or not pair.shift:
        placed = [pair.left_in_place(window)]
    else:
        # A flank is held in place for the bins that lie in it and for the variant's own; one that
        # the window does not show cannot be, and on its side the own bins reach the target's end.
        placed = []
        if left_shows and own.stop > 0:
            placed.append(pair.left_in_place(window))
        if right_shows and own.start < len(chosen):
            placed.append(pair.right_in_place(window))
    reference_L = pair.reference(window)
    if variant.ref != variant.alt and all(np.array_equal(one, reference_L) for one in placed):
        raise CoordinateError(
            f"the variant {_short(variant)} does not show in the window {window.input}: choose a "
            "window that holds it and a part of both of its flanks."
        )
    return AlignedAlternates(np.stack(placed), own, len(chosen))


def fits_window(variant: Variant, window: Window, fetch: Fetch) -> bool:
    """Tell whether `align` has no error for a variant in a window, under any policy, for all bins.

    The variant is one that agrees with the genome; of an insertion or a deletion that does not,
    `CoordinateError` says so. For alleles of one length nothing is fetched. For others it is the
    variant and the repeat in which it may be placed, in steps as far as that reaches, and the whole
    window only for a variant that begins before it.
    """
    if not variant.interval.overlaps(window.input):
        return False
    if len(variant.ref) == len(variant.alt):
        bases = enumerate(zip(variant.ref, variant.alt, strict=True), variant.interval.start)
        changed = [base for base, (ref, alt) in bases if ref != alt]
        return not changed or any(window.input.start <= one < window.input.end for one in changed)
    pair = _with_its_repeat(variant, window, fetch)
    first, last = pair.outermost_differences()
    if pair.stretch.start > window.input.start:
        return first < window.input.end
    if pair.stretch.end >= window.input.end or last < window.input.start:
        return False
    if first >= window.input.start:
        return True
    # With the left flank in place the window may show the same bases again from behind the variant.
    whole = _Pair.of(variant, _needed(variant, window), fetch)
    return not np.array_equal(whole.left_in_place(window), whole.reference(window))


def merge(difference_BNT: torch.Tensor, aligned: AlignedAlternates) -> torch.Tensor:
    """Put the differences of one variant's sequences together: (B, N, T) to difference_NT.

    Raises `ValueError` where B or N are not those of `aligned`.
    """
    return merge_all(difference_BNT, [aligned])[0]


def stack(aligned: Sequence[AlignedAlternates]) -> Codes:
    """Line up the sequences of a window's variants in order: codes_BL.

    Raises `ValueError` when there are none.
    """
    return np.concatenate([one.codes_BL for one in aligned])


def merge_all(difference_BNT: torch.Tensor, aligned: Sequence[AlignedAlternates]) -> torch.Tensor:
    """Put the differences of `stack(aligned)` together: a row for each sequence, then each variant.

    On the device of its argument, which is returned where every variant has one sequence. Raises
    `ValueError` where the sequences or the bins are not those of `aligned`.
    """
    counts = [len(one.codes_BL) for one in aligned]
    num_bins = {one.num_bins for one in aligned}
    if len(difference_BNT) != sum(counts) or num_bins - {difference_BNT.shape[1]}:
        raise ValueError(
            f"expected differences of {sum(counts)} sequences and {sorted(num_bins)} bins, got "
            f"{(*difference_BNT.shape,)}"
        )
    if all(count == 1 for count in counts):
        return difference_BNT
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    merged_BNT = difference_BNT[firsts]
    for lane, (first, one) in enumerate(zip(firsts, aligned, strict=True)):
        if len(one.codes_BL) == 2:
            right_NT = difference_BNT[first + 1]
            own, after = slice(one.own.start, one.own.stop), slice(one.own.stop, None)
            merged_BNT[lane, own] += right_NT[own]
            merged_BNT[lane, own] /= 2
            merged_BNT[lane, after] = right_NT[after]
    return merged_BNT


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Reference and alternate of a variant and its surroundings, both beginning at base `start`.

    `stretch` holds every base that the variant may be said to change, however it is spelled, as far
    as the surroundings show it.
    """

    variant: Variant
    start: int
    reference_S: Codes
    alternate_S: Codes
    stretch: Interval

    @classmethod
    def of(cls, variant: Variant, needed: Interval, fetch: Fetch) -> Self:
        replaced = variant.interval
        reference_S = fetch(needed)
        if reference_S.shape != (needed.width,):
            raise ValueError(f"asked for {needed.width} codes of {needed}, got {reference_S.shape}")
        begin, stop = replaced.start - needed.start, replaced.end - needed.start
        here = reference_S[begin:stop]
        if not np.array_equal(here, encode(variant.ref)):
            raise CoordinateError(
                f"the variant {_short(variant)} does not fit the genome, which has "
                f"{_abridged(decode(here))} at {replaced}: check the assembly."
            )
        parts = (reference_S[:begin], encode(variant.alt), reference_S[stop:])
        alternate_S = np.concatenate(parts)
        changed = _changed(reference_S, alternate_S) or (begin, stop)
        stretch = Interval(needed.chrom, *changed).shift(needed.start)
        return cls(variant, needed.start, reference_S, alternate_S, stretch)

    @property
    def shift(self) -> int:
        """By how many bases the right flank of the alternate lies further left."""
        return len(self.reference_S) - len(self.alternate_S)

    def outermost_differences(self) -> tuple[int, int]:
        """Find the first base that differs where left flanks are in place, and the last for right.

        In coordinates of the reference.
        """
        shorter = min(len(self.reference_S), len(self.alternate_S))
        prefix = _shared(self.reference_S[:shorter], self.alternate_S[:shorter])
        suffix = _shared(self.reference_S[::-1][:shorter], self.alternate_S[::-1][:shorter])
        return self.start + prefix, self.start + len(self.reference_S) - suffix - 1

    def flanks_shown(self, window: Window) -> tuple[bool, bool]:
        """Tell whether the window shows any of the left and of the right flank."""
        left, right = self.stretch.start > window.input.start, self.stretch.end < window.input.end
        if self.shift and not left and not right:
            raise CoordinateError(
                f"the variant {_short(self.variant)}, or the repeat in which it may be placed, "
                f"spans the whole window {window.input}: no flank is left to hold in place."
            )
        return left, right

    def reference(self, window: Window) -> Codes:
        """Cut the window's own codes."""
        first = window.input.start - self.start
        return self.reference_S[first : first + window.input.width]

    def left_in_place(self, window: Window) -> Codes:
        """Cut the alternate where the left flank has the window's coordinates."""
        first = window.input.start - self.start
        return self.alternate_S[first : first + window.input.width]

    def right_in_place(self, window: Window) -> Codes:
        """Cut the alternate where the right flank has the window's coordinates."""
        first = window.input.start - self.start - self.shift
        return self.alternate_S[first : first + window.input.width]


def _with_its_repeat(variant: Variant, window: Window, fetch: Fetch) -> _Pair:
    """Read a variant and as much around it as tells where it may be placed in a window."""
    replaced, whole = variant.interval, _needed(variant, window)
    beyond = _STEP_BP
    while True:
        start, end = (
            max(replaced.start - beyond, whole.start),
            min(replaced.end + beyond, whole.end),
        )
        pair = _Pair.of(variant, Interval(whole.chrom, start, end), fetch)
        goes_on_left = start > whole.start and pair.stretch.start == start
        goes_on_right = end < whole.end and pair.stretch.end == end
        if not goes_on_left and not goes_on_right:
            return pair
        beyond *= 4


def _needed(variant: Variant, window: Window) -> Interval:
    """Give the bases that both ways to line up a variant may read."""
    replaced, whole = variant.interval, window.input
    beyond = max(len(variant.ref) - len(variant.alt), 0)
    return Interval(
        whole.chrom,
        min(whole.start - beyond, replaced.start),
        max(whole.end + beyond, replaced.end),
    )


def _changed(reference_S: Codes, alternate_S: Codes) -> tuple[int, int] | None:
    """Find the bases of the reference that the alternate may be said to change; None if equal.

    What both share at their left and at their right end is unchanged. When these two ends overlap,
    the variant is an insertion or a deletion within a repeat and may be placed anywhere in it; all
    these places count. An insertion is between two bases, and counts both.

    >>> _changed(encode("GTAAAC"), encode("GTAAC"))  # any of the three A
    (2, 5)
    >>> _changed(encode("GTC"), encode("GTGC"))  # between T and C
    (1, 3)
    >>> _changed(encode("GTAC"), encode("GGGC"))
    (1, 3)
    """
    reference, alternate = len(reference_S), len(alternate_S)
    shorter = min(reference, alternate)
    prefix = _shared(reference_S[:shorter], alternate_S[:shorter])
    suffix = _shared(reference_S[::-1][:shorter], alternate_S[::-1][:shorter])
    if reference == alternate and prefix == reference:
        return None
    if prefix + suffix < shorter or reference == alternate:
        return prefix, reference - suffix
    # Deleted bases may start anywhere from shorter - suffix to prefix; an insertion likewise.
    deleted = reference - alternate
    if deleted > 0:
        return shorter - suffix, prefix + deleted
    return max(shorter - suffix - 1, 0), min(prefix + 1, reference)


def _shared(one_S: Codes, other_S: Codes) -> int:
    differs = one_S != other_S
    return int(differs.argmax()) if differs.any() else len(differs)


def _bins_that_hold(stretch: Interval, window: Window, bins: range) -> range:
    """Give the bins, counted from the first of `bins`, that hold a base of `stretch`."""
    first = (stretch.start - window.target.start) // window.bin_bp - bins.start
    last = (stretch.end - 1 - window.target.start) // window.bin_bp - bins.start
    start, stop = (min(max(edge, 0), len(bins)) for edge in (first, last + 1))
    return range(start, stop)


def _short(variant: Variant) -> str:
    ref, alt = _abridged(variant.ref), _abridged(variant.alt)
    return f"{variant.chrom}:{variant.pos}:{ref}:{alt}"


def _abridged(allele: str) -> str:
    return allele if len(allele) <= 20 else f"{allele[:10]}... ({len(allele):,} bases)"
