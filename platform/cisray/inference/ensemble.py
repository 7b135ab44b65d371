"""Ensembles of one model: both strands and small shifts, averaged where they speak of one bin.

Knows base codes, bins and members; knows nothing of how a lane is predicted. A member is a lane of
the same batch: the window read `shift` bases later on the chromosome, and perhaps from the other
strand. To average, the bins of a reversed member are turned round, and a shift is undone to the
nearest whole bin. Shifts of at most half a bin are allowed, for which that is the bin of the same
number (published ensembles shift by 43 bp where bins have 128; Karollus et al. 2023,
https://doi.org/10.1186/s13059-023-02899-9): what a member's bin counts, up to half of it, then lies
beside the bin that it is averaged into.

Effects are averaged where variants are known (`cisray.scoring.variants`), since every member lines
up an indel with its own bins; `OtherStrand` is for the members that read the other strand.

S, the bases that an ensemble reads, is L and `flank_bp` real bases on either side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.errors import ConfigError
from cisray.genome.encode import reverse_complement
from cisray.genome.windows import WindowSpec
from cisray.inference.effects import (
    BinsAlong,
    EffectPredictor,
    ReferenceWindow,
    check_bins,
    check_bins_along,
)
from cisray.inference.predictor import Predictor, check_stretch
from cisray.tracks import TrackSet


@dataclass(frozen=True, slots=True)
class Member:
    """One way to read a window: `shift_bp` bases later, and from the other strand if `reverse`."""

    reverse: bool
    shift_bp: int

    def lane(self, codes_BS: NDArray[np.uint8], flank_bp: int) -> NDArray[np.uint8]:
        """Read this member's windows, codes_BL, out of windows with flanks."""
        first = flank_bp + self.shift_bp
        codes_BL = codes_BS[:, first : first + codes_BS.shape[1] - 2 * flank_bp]
        return reverse_complement(codes_BL) if self.reverse else codes_BL

    def undone(self, values_NT: torch.Tensor) -> torch.Tensor:
        """Put values (..., N, T) of this member's bins in chromosome order."""
        return values_NT.flip(-2) if self.reverse else values_NT

    def bases(self, region: range, input_bp: int) -> range:
        """Find where this member's lane has the bases of a region of the window, if it reads them.

        Bases of the region that a shift puts out of the lane are left out; none at all is an empty
        range.

        >>> Member(reverse=True, shift_bp=3).bases(range(0, 10), 100)
        range(93, 100)
        """
        first, stop = (
            min(max(base - self.shift_bp, 0), input_bp) for base in (region.start, region.stop)
        )
        return range(input_bp - stop, input_bp - first) if self.reverse else range(first, stop)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Every shift, read forwards, and then every shift from the other strand if wanted.

    A mean over both strands and over shifts that come in pairs (+s, -s) does not depend on the
    strand from which the window was read. Raises ConfigError for no shift or the same one twice.
    """

    reverse_complement: bool
    shifts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.shifts or len(set(self.shifts)) < len(self.shifts):
            raise ConfigError(
                f"The shifts of an ensemble are different numbers of bases, at least one, got "
                f"{self.shifts}: (0,) is no shift, (-43, 0, 43) are three."
            )

    @property
    def flank_bp(self) -> int:
        """Bases that must be known on either side of a window."""
        return max(abs(shift) for shift in self.shifts)

    @property
    def members(self) -> tuple[Member, ...]:
        """M members, in the order of their lanes."""
        strands = (False, True) if self.reverse_complement else (False,)
        return tuple(Member(reverse, shift) for reverse, shift in product(strands, self.shifts))

    def check_fits(self, spec: WindowSpec) -> None:
        """Raise ConfigError for a shift of more than half a bin."""
        allowed = spec.bin_bp // 2
        if self.flank_bp > allowed:
            raise ConfigError(
                f"A shift of {self.flank_bp} bp moves bins of {spec.bin_bp} bp by more than half "
                f"their width, so that they cannot be averaged bin by bin: use shifts of at most "
                f"{allowed} bp either way."
            )

    def lanes(self, codes_BS: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read all members' windows: codes (B, L + 2 flank_bp) to (B * M, L), members innermost."""
        by_member = [member.lane(codes_BS, self.flank_bp) for member in self.members]
        lanes_BML = np.stack(by_member, axis=1)
        return lanes_BML.reshape(-1, lanes_BML.shape[-1])

    def merge(self, pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Undo the members and average: predictions (B * M, N, T) to mean_BNT and std_BNT.

        The standard deviation is that of the members themselves (divided by M, not M - 1): 0 for
        one member. Summed in float64, given in the type and on the device of `pred`; the mean of
        equal lanes is that lane, bit for bit. Raises ValueError for lanes that do not add up.
        """
        members = self.members
        if len(pred) % len(members):
            raise ValueError(f"{len(pred)} lanes are not those of {len(members)} members each")
        moments = Moments()
        for m, member in enumerate(members):
            moments.add(member.undone(pred[m :: len(members)]))
        return moments.mean(pred.dtype), moments.std(pred.dtype)


class Mean:
    """The running mean of tensors that come one after another, in float64.

    That of equal tensors is this tensor, bit for bit.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros((), dtype=torch.float64)

    def add(self, values: torch.Tensor) -> None:
        """Take one more; nothing of it is kept by reference."""
        self._count += 1
        if self._count == 1:
            self._mean = values.to(torch.float64, copy=True)
        else:
            self._mean.lerp_(values.to(torch.float64), 1 / self._count)

    def mean(self, dtype: torch.dtype) -> torch.Tensor:
        """Give the mean of what came."""
        return self._mean.to(dtype)


class Moments(Mean):
    """The running mean and spread of tensors, in float64 (Welford)."""

    def __init__(self) -> None:
        super().__init__()
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: torch.Tensor) -> None:
        """Take one more; nothing of it is kept by reference."""
        x = values.to(torch.float64)
        before = x - self._mean
        super().add(x)
        # Of one tensor the mean is itself: its square counts nothing.
        self._squares = self._squares + before * (x - self._mean)

    def std(self, dtype: torch.dtype) -> torch.Tensor:
        """Give the population standard deviation of what came."""
        return (self._squares / self._count).sqrt().to(dtype)


class EnsemblePredictor:
    """A predictor's mean and standard deviation over an ensemble, for windows with flanks."""

    def __init__(self, predictor: Predictor, ensemble: Ensemble) -> None:
        ensemble.check_fits(predictor.spec)
        self.spec: WindowSpec = predictor.spec
        self.tracks: TrackSet = predictor.tracks
        self.ensemble = ensemble
        self.flank_bp = ensemble.flank_bp
        self._predictor = predictor

    def predict(
        self, codes_BS: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict windows with flanks, codes (B, L + 2 flank_bp): mean_BNT and std_BNT, float32.

        Bins are those of the windows without flanks. All members of all windows go to the
        predictor in one call, so that it may batch them. Raises ValueError for another width.
        """
        check_width(codes_BS, self.spec, self.flank_bp)
        pred = torch.from_numpy(self._predictor.predict(self.ensemble.lanes(codes_BS)))
        mean_BNT, std_BNT = self.ensemble.merge(pred)
        return mean_BNT.numpy(), std_BNT.numpy()


class OtherStrand:
    """An effect predictor that reads every window from the other strand.

    What it takes and what it gives is in chromosome order: codes and starts of the forward strand,
    bins from left to right.
    """

    def __init__(self, predictor: EffectPredictor) -> None:
        self.spec: WindowSpec = predictor.spec
        self.tracks: TrackSet = predictor.tracks
        self.batch_size = predictor.batch_size
        self._predictor = predictor

    def open(self, codes_L: NDArray[np.uint8], bins: range | None = None) -> "TurnedWindow":
        """Do the pass of a window's other strand."""
        there = mirrored(check_bins(bins, self.spec), self.spec.target_bins)
        return TurnedWindow(self._predictor.open(reverse_complement(codes_L), there))

    def open_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int], bins: BinsAlong = None
    ) -> Iterator["TurnedWindow"]:
        """Open windows along the other strand of a stretch, which share what they have in common.

        On that strand, ascending starts come in descending order.
        """
        check_stretch(codes_S, starts, self.spec)
        chosen = check_bins_along(bins, len(starts), self.spec)
        opened = self._predictor.open_along(
            reverse_complement(codes_S),
            [len(codes_S) - self.spec.input_bp - start for start in starts],
            [mirrored(one, self.spec.target_bins) for one in chosen],
        )
        return map(TurnedWindow, opened)

    def release(self) -> None:
        """Let go of the window that was opened last, and of the memory that it takes."""
        self._predictor.release()


class TurnedWindow:
    """A reference window read from the other strand, answering in chromosome order."""

    def __init__(self, window: ReferenceWindow) -> None:
        self.prediction_NT = window.prediction_NT.flip(-2)
        self._window = window

    def differences(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        """Compare alternates of the forward strand, each read from the other one."""
        return self._window.differences(reverse_complement(alternates_BL)).flip(-2)


def mirrored(bins: range, count: int) -> range:
    """Find bins of a window on its other strand, which has `count` of them.

    >>> mirrored(range(0, 3), 10)
    range(7, 10)
    """
    return range(count - bins.stop, count - bins.start)


def check_width(codes_BS: NDArray[np.uint8], spec: WindowSpec, flank_bp: int) -> None:
    """Raise ValueError for codes that are no windows with flanks."""
    width = spec.input_bp + 2 * flank_bp
    if codes_BS.ndim != 2 or codes_BS.shape[1] != width:
        raise ValueError(
            f"expected codes of shape (B, {width}), which is {spec.input_bp} and a flank of "
            f"{flank_bp} on either side, got {codes_BS.shape}"
        )
