"""Effects of alternates on a window: what a changed sequence does to every bin and track.

Knows models, devices and windows of base codes; knows nothing of variants, of alignment policies or
of rows. An alternate is a whole window of codes, so that any edit, and any way to line up an indel,
is the caller's. `PlainEffects` predicts both sequences and subtracts; faster ones must equal it.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.windows import WindowSpec
from cisray.inference.precision import arithmetic
from cisray.inference.predictor import PlainTracks, check_codes, check_stretch
from cisray.tracks import TrackSet

# Bins of windows along a stretch: the same of all (None means all bins), or a range for each.
BinsAlong = range | Sequence[range] | None


class ReferenceWindow(Protocol):
    """A reference sequence whose pass is done; valid until the next one is opened.

    `prediction_NT` float32, on the device, holds the bins that were asked for.
    """

    prediction_NT: torch.Tensor

    def differences(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        """Compute alternate minus reference: alternates_BL (B, L) to difference_BNT float32.

        On the device, for reduction there. A row for every alternate, in order; exactly zero for an
        alternate that equals the reference. With all of Enformer's human tracks a row is 19 MB:
        pass as many alternates at once as there is room for.
        """


class EffectPredictor(Protocol):
    """Whatever opens reference windows and computes differences of alternates from them."""

    spec: WindowSpec
    tracks: TrackSet
    batch_size: int  # alternates that are carried at a time, of those that are passed at once

    def open(self, codes_L: NDArray[np.uint8], bins: range | None = None) -> ReferenceWindow:
        """Do the pass of one reference window; `bins` of axis N are computed, None means all."""

    def open_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int], bins: BinsAlong = None
    ) -> Iterator[ReferenceWindow]:
        """Open windows of one stretch of DNA in turn: window i reads L codes from starts[i] on.

        `bins` are those of every window, or one range for each. Neighbours may share computation.
        A window is valid until the next one is taken.
        """

    def release(self) -> None:
        """Let go of the window that was opened last, and of the memory that it takes."""


def check_bins(bins: range | None, spec: WindowSpec) -> range:
    """Return the target bins that are asked for; ValueError for none, steps or bins outside."""
    chosen = range(spec.target_bins) if bins is None else bins
    inside = chosen.start >= 0 and chosen.stop <= spec.target_bins
    if not chosen or chosen.step != 1 or not inside:
        raise ValueError(
            f"bins must be one or more neighbours of 0 to {spec.target_bins - 1}, got {bins}"
        )
    return chosen


def check_bins_along(bins: BinsAlong, windows: int, spec: WindowSpec) -> list[range]:
    """Return the bins of each window of a stretch; ValueError as `check_bins`, or for too few."""
    if bins is None or isinstance(bins, range):
        return [check_bins(bins, spec)] * windows
    if len(bins) != windows:
        raise ValueError(f"the bins of {len(bins)} windows are given for {windows} windows")
    return [check_bins(one, spec) for one in bins]


class PlainEffects(PlainTracks):
    """Run the network on the reference and on every alternate, and subtract.

    In float32, or with `dtype` float64 and a model of that type, which is the truth of accuracy
    tests. Never in bfloat16: its rounding errors are larger than most effects.
    """

    batch_size = 1

    def open(self, codes_L: NDArray[np.uint8], bins: range | None = None) -> "PlainReference":
        """Predict the reference (L,)."""
        check_codes(codes_L[None], self.spec)
        return PlainReference(self, codes_L, check_bins(bins, self.spec))

    def open_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int], bins: BinsAlong = None
    ) -> Iterator["PlainReference"]:
        """Predict the window at each start, one by one."""
        check_stretch(codes_S, starts, self.spec)
        chosen = check_bins_along(bins, len(starts), self.spec)
        windows = (codes_S[start : start + self.spec.input_bp] for start in starts)
        return map(self.open, windows, chosen)

    def release(self) -> None:
        """Do nothing: a window that was opened is kept by whoever opened it."""

    def predict(self, codes_L: NDArray[np.uint8], bins: range) -> torch.Tensor:
        """Predict the chosen bins and tracks of one window, (N, T), in the model's type."""
        with arithmetic(self.device, "float32"):
            return self.forward(self.onehot(codes_L)[None], bins)[0]


class PlainReference:
    """A predicted reference window; see `ReferenceWindow`."""

    def __init__(self, plain: PlainEffects, codes_L: NDArray[np.uint8], bins: range) -> None:
        self._plain = plain
        self._codes_L = codes_L.copy()
        self._bins = bins
        self._reference_NT = plain.predict(codes_L, bins)
        self.prediction_NT = self._reference_NT.float()

    def differences(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        """Predict each alternate and subtract, in the model's type, then round to float32."""
        check_codes(alternates_BL, self._plain.spec)
        shape = (len(alternates_BL), *self._reference_NT.shape)
        out_BNT = torch.zeros(shape, device=self._plain.device)
        for lane, codes_L in enumerate(alternates_BL):
            if not np.array_equal(codes_L, self._codes_L):
                out_BNT[lane] = self._plain.predict(codes_L, self._bins) - self._reference_NT
        return out_BNT
