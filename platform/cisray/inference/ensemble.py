"""Ensembles of one model: both strands and small shifts, averaged where they speak of one bin.

Knows base codes, bins and members; knows nothing of how a lane is predicted. A member is a lane of
the same batch: the window read `shift` bases later on the chromosome, and perhaps from the other
strand. To average, the bins of a reversed member are turned round, and a shift is undone to the
nearest whole bin. Shifts of at most half a bin are allowed, for which that is the bin of the same
number (published ensembles shift by 43 bp where bins have 128; Karollus et al. 2023,
https://doi.org/10.1186/s13059-023-02899-9): what a member's bin counts, up to half of it, then lies
beside the bin that it is averaged into.

S, the bases that an ensemble reads, is L and `flank_bp` real bases on either side.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.errors import ConfigError
from cisray.genome.encode import reverse_complement
from cisray.genome.windows import WindowSpec
from cisray.inference.effects import EffectPredictor, check_bins
from cisray.inference.predictor import Predictor
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

    def bins(self, bins: range, target_bins: int) -> range:
        """Find where this member has the bins that are asked for: mirrored if reversed."""
        if not self.reverse:
            return bins
        return range(target_bins - bins.stop, target_bins - bins.start)

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
        moments = _Moments()
        for m, member in enumerate(members):
            moments.add(member.undone(pred[m :: len(members)]))
        return moments.mean(pred.dtype), moments.std(pred.dtype)


class _Moments:
    """Running mean and spread of tensors that come one after another, in float64 (Welford)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: torch.Tensor) -> None:
        """Take one more; nothing of it is kept by reference."""
        self._count += 1
        x = values.to(torch.float64, copy=True)
        if self._count == 1:
            self._mean, self._squares = x, torch.zeros_like(x)
            return
        delta = x - self._mean
        self._mean = self._mean + delta / self._count
        self._squares = self._squares + delta * (x - self._mean)

    def mean(self, dtype: torch.dtype) -> torch.Tensor:
        """Give the mean of what came."""
        return self._mean.to(dtype)

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


@dataclass(frozen=True, slots=True)
class Effects:
    """A reference's prediction and its alternates' differences, averaged over an ensemble.

    float32, on the device: the mean prediction, and the mean and the standard deviation over
    members of alternate minus reference.
    """

    prediction_NT: torch.Tensor
    difference_BNT: torch.Tensor
    difference_std_BNT: torch.Tensor


class EnsembleEffects:
    """Effects averaged over an ensemble: each member compares its own reference and alternates."""

    def __init__(self, predictor: EffectPredictor, ensemble: Ensemble) -> None:
        ensemble.check_fits(predictor.spec)
        self.spec: WindowSpec = predictor.spec
        self.tracks: TrackSet = predictor.tracks
        self.ensemble = ensemble
        self.flank_bp = ensemble.flank_bp
        self._predictor = predictor

    def effects(
        self,
        reference_S: NDArray[np.uint8],
        alternates_BS: NDArray[np.uint8],
        bins: range | None = None,
    ) -> Effects:
        """Compare windows with flanks: reference (L + 2 flank_bp,), alternates (B, the same).

        `bins` are those of the window without flanks, None means all. A reference pass is done for
        every member; alternates should come many at a time. Raises ValueError for another width.
        """
        check_width(np.atleast_2d(reference_S), self.spec, self.flank_bp)
        check_width(alternates_BS, self.spec, self.flank_bp)
        chosen = check_bins(bins, self.spec)
        predictions, differences = _Moments(), _Moments()
        for member in self.ensemble.members:
            reference_L = member.lane(reference_S[None], self.flank_bp)[0]
            alternates_BL = member.lane(alternates_BS, self.flank_bp)
            window = self._predictor.open(reference_L, member.bins(chosen, self.spec.target_bins))
            predictions.add(member.undone(window.prediction_NT))
            differences.add(member.undone(window.differences(alternates_BL)))
        return Effects(
            prediction_NT=predictions.mean(torch.float32),
            difference_BNT=differences.mean(torch.float32),
            difference_std_BNT=differences.std(torch.float32),
        )


def check_width(codes_BS: NDArray[np.uint8], spec: WindowSpec, flank_bp: int) -> None:
    """Raise ValueError for codes that are no windows with flanks."""
    width = spec.input_bp + 2 * flank_bp
    if codes_BS.ndim != 2 or codes_BS.shape[1] != width:
        raise ValueError(
            f"expected codes of shape (B, {width}), which is {spec.input_bp} and a flank of "
            f"{flank_bp} on either side, got {codes_BS.shape}"
        )
