"""Enformer's tracks, computed in blocks, with the trunk shared between neighbouring windows.

Knows which fast passes make a prediction, and in which types; its plain twin is
`cisray.inference.predictor.PlainPredictor`.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.fast.rolling import RollingTrunk
from cisray.inference.fast.transformer import Transformer
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import fold_blocks, fold_tail, fold_trunk, round_block
from cisray.inference.precision import Precision, arithmetic
from cisray.inference.predictor import (
    check_codes,
    check_stretch,
    codes_on,
    to_host,
    window_spec,
)
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet


class FastPredictor:
    """Predict as `PlainPredictor` does, within rounding, and only the tracks that are asked for.

    float32 is float32 throughout. bfloat16 is the type of the trunk and of the factors of products
    in the transformer; the residual stream, norms and softmax are float32, and so are the pointwise
    layer and the head: 2 % of the work, and rounded there a faint track, which is an exponential of
    its logit, would have steps of several per cent.
    """

    wide: ClassVar[torch.dtype] = torch.float32  # tests of the algebra compute in float64

    def __init__(
        self,
        model: Enformer,
        tracks: TrackSet,
        *,
        device: torch.device,
        precision: Precision = "float32",
        batch_size: int = 1,
    ) -> None:
        model.check_head(tracks.head)
        self.spec = window_spec(model)
        self.tracks = tracks
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        products = torch.bfloat16 if precision == "bfloat16" else self.wide
        columns = torch.from_numpy(tracks.indices.astype(np.int64)).to(device)
        blocks = fold_blocks(model, self.wide)
        tail = fold_tail(model, tracks.head, columns, self.wide)
        self._trunk = Trunk(fold_trunk(model, products))
        self._transformer = Transformer([round_block(block, products) for block in blocks], tail)
        crop = model.config.crop_bins
        self._tokens = range(crop, crop + model.target_bins)

    def predict(self, codes_BL: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the selected tracks: codes_BL (B, L) to pred_BNT, T in head order, float32.

        Code 4 (any base that is not A, C, G or T) is an all-zero row. Raises ValueError for
        another width or an unknown code.
        """
        check_codes(codes_BL, self.spec)
        out_BNT = np.empty((len(codes_BL), self.spec.target_bins, len(self.tracks)), np.float32)
        for first in range(0, len(codes_BL), self.batch_size):
            batch = slice(first, first + self.batch_size)
            with arithmetic(self.device, "float32"):
                tokens_BKD = self._trunk.tokens(codes_on(self.device, codes_BL[batch]))
                out_BNT[batch] = self._tracks(tokens_BKD)
        return out_BNT

    def predict_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int]
    ) -> Iterator[NDArray[np.float32]]:
        """Predict windows of one stretch of DNA in turn, pred_NT each.

        Trunk tokens that two successive windows share are computed once.
        """
        check_stretch(codes_S, starts, self.spec)
        return self._along(codes_S, starts)

    def _along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int]
    ) -> Iterator[NDArray[np.float32]]:
        rolling = RollingTrunk(self._trunk, codes_on(self.device, codes_S), self.spec.input_bp)
        for first in range(0, len(starts), self.batch_size):
            batch = starts[first : first + self.batch_size]
            with arithmetic(self.device, "float32"):
                tokens_BKD = torch.stack([rolling.window(start) for start in batch])
                pred_BNT = self._tracks(tokens_BKD)
            yield from pred_BNT

    def _tracks(self, tokens_BKD: torch.Tensor) -> NDArray[np.float32]:
        return to_host(self._transformer.predict(tokens_BKD.to(self.wide), self._tokens))
