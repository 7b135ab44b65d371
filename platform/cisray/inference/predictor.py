"""Predictions of whole windows: base codes in, tracks out.

Knows models, devices and batches; knows nothing of where the bases come from or where the
numbers go. `PlainPredictor` runs the network once per window; faster ones must equal it.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.windows import WindowSpec
from cisray.inference.precision import Precision, arithmetic
from cisray.model.protocol import SequenceModel
from cisray.tracks import TrackSet

ALPHABET = 4
UNKNOWN_CODE = 4


class Predictor(Protocol):
    """Whatever turns the codes of windows into the tracks that were asked for."""

    spec: WindowSpec
    tracks: TrackSet

    def predict(self, codes_BL: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the selected tracks: codes_BL (B, L) to pred_BNT, T in head order."""

    def predict_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int]
    ) -> Iterator[NDArray[np.float32]]:
        """Predict windows of one stretch of DNA in turn, pred_NT each.

        Window i reads the L codes of codes_S (S,) from starts[i] on. Neighbours may share
        computation, which changes their values by rounding only.
        """


def window_spec(model: SequenceModel) -> WindowSpec:
    """State a model's geometry as windows on a genome."""
    return WindowSpec(model.input_bp, model.bin_bp, model.target_bins)


def check_codes(codes_BL: NDArray[np.uint8], spec: WindowSpec) -> None:
    """Raise ValueError for windows of another width, and for what is no base code."""
    if codes_BL.ndim != 2 or codes_BL.shape[1] != spec.input_bp:
        raise ValueError(f"expected codes of shape (B, {spec.input_bp}), got {codes_BL.shape}")
    if codes_BL.size and codes_BL.max() > UNKNOWN_CODE:
        raise ValueError(f"base codes run from 0 to {UNKNOWN_CODE}, got {codes_BL.max()}")


def check_stretch(codes_S: NDArray[np.uint8], starts: Sequence[int], spec: WindowSpec) -> None:
    """Raise ValueError for a window that leaves its stretch, and for what is no base code."""
    for start in starts:
        if not 0 <= start <= len(codes_S) - spec.input_bp:
            raise ValueError(
                f"a window of {spec.input_bp} bases from {start} on leaves a stretch of "
                f"{len(codes_S)}"
            )
    if codes_S.size and codes_S.max() > UNKNOWN_CODE:
        raise ValueError(f"base codes run from 0 to {UNKNOWN_CODE}, got {codes_S.max()}")


def codes_on(device: torch.device, codes: NDArray[np.uint8]) -> torch.Tensor:
    """Copy base codes to a device; to CUDA from pinned memory, without waiting for the copy."""
    held = torch.from_numpy(np.array(codes, order="C"))  # the caller's may change, or be read-only
    if device.type == "cuda":
        return held.pin_memory().to(device, non_blocking=True)
    return held.to(device)


def to_host(values: torch.Tensor) -> NDArray[np.float32]:
    """Bring values to the host as float32; from CUDA into pinned memory, which torch uses again.

    A tile of all human tracks is 19 MB: fresh memory for each would cost more than the copy.
    """
    values = values.float()
    if values.device.type != "cuda":
        out: NDArray[np.float32] = values.numpy()
        return out
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    held: NDArray[np.float32] = pinned.numpy()
    return held


def onehot_table(device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Map codes to one-hot rows, (5, 4): A, C, G, T, and zeros for any other base."""
    return torch.eye(UNKNOWN_CODE + 1, ALPHABET, device=device, dtype=dtype)


class PlainTracks:
    """What all plain ways share: run the network on one-hot rows, and keep the selected tracks.

    All tracks of the head are computed: a product with fewer rows may be summed in another order,
    and a selection must not change a bit of what it selects. `dtype` is that of the model.
    """

    def __init__(
        self,
        model: SequenceModel,
        tracks: TrackSet,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        model.check_head(tracks.head)
        self.spec = window_spec(model)
        self.tracks = tracks
        self.device = device
        self.dtype = dtype
        self._model = model
        self._columns = torch.from_numpy(tracks.indices.astype(np.int64)).to(device)
        self._onehot = onehot_table(device, dtype)

    def onehot(self, codes: NDArray[np.uint8]) -> torch.Tensor:
        """Look up one-hot rows on the device: base codes (..., L) to (..., L, A)."""
        return self._onehot[codes_on(self.device, codes).int()]

    def forward(self, onehot_BLA: torch.Tensor, bins: range | None = None) -> torch.Tensor:
        """Predict the selected tracks, (B, N, T), in all bins or in some neighbours."""
        pred_BNT = self._model(onehot_BLA, head=self.tracks.head)
        if bins is not None:
            pred_BNT = pred_BNT[:, bins.start : bins.stop]
        return pred_BNT.index_select(-1, self._columns)


class PlainPredictor(PlainTracks):
    """Run the network once per window, in batches of at most `batch_size`."""

    def __init__(
        self,
        model: SequenceModel,
        tracks: TrackSet,
        *,
        device: torch.device,
        precision: Precision = "float32",
        batch_size: int = 1,
    ) -> None:
        super().__init__(model, tracks, device=device)
        self.precision = precision
        self.batch_size = batch_size

    def predict(self, codes_BL: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the selected tracks: codes_BL (B, L) to pred_BNT, T in head order, float32.

        Code 4 (any base that is not A, C, G or T) is an all-zero row. Raises ValueError for
        another width or an unknown code.
        """
        check_codes(codes_BL, self.spec)
        out_BNT = np.empty((len(codes_BL), self.spec.target_bins, len(self.tracks)), np.float32)
        with arithmetic(self.device, self.precision):
            for first in range(0, len(codes_BL), self.batch_size):
                batch = slice(first, first + self.batch_size)
                out_BNT[batch] = self._predict_batch(codes_BL[batch])
        return out_BNT

    def predict_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int]
    ) -> Iterator[NDArray[np.float32]]:
        """Predict windows of one stretch of DNA in turn, pred_NT each; batches as in `predict`."""
        check_stretch(codes_S, starts, self.spec)
        return self._along(codes_S, starts)

    def _along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int]
    ) -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(starts), self.batch_size):
            batch = starts[first : first + self.batch_size]
            yield from self.predict(
                np.stack([codes_S[start : start + self.spec.input_bp] for start in batch])
            )

    def _predict_batch(self, codes_BL: NDArray[np.uint8]) -> NDArray[np.float32]:
        return to_host(self.forward(self.onehot(codes_BL)))
