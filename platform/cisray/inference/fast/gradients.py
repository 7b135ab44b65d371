"""Enformer's gradients, led back by hand through the passes that the fast engine is made of.

Knows which fast passes make a gradient; its plain twin is
`cisray.inference.gradients.PlainGradients`.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.effects import check_bins
from cisray.inference.fast.costs import CACHE_BYTES
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.transformer import Transformer
from cisray.inference.fast.transformer_gradient import lead_to_tokens
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.trunk_gradient import lead_to_bases
from cisray.inference.fast.weights import fold_blocks, fold_tail, fold_trunk
from cisray.inference.gradients import (
    Gradient,
    Objective,
    check_region,
    evaluate,
    gradient_result,
)
from cisray.inference.precision import arithmetic, differentiable
from cisray.inference.predictor import ALPHABET, check_codes, codes_on, window_spec
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet


class FastGradients:
    """Differentiate as `PlainGradients` does, within rounding, and in bounded memory.

    One pass of the window is recorded as `DeltaEffects` does: of the trunk only the tokens are
    kept, of the transformer the inputs of all blocks and as much more as `cache_bytes` hold. The
    gradients of at most `batch_size` objectives are then led back together; parts of the pass that
    were not kept are computed again on the way. float32 throughout.
    """

    wide: ClassVar[torch.dtype] = torch.float32  # tests of the algebra compute in float64

    def __init__(
        self,
        model: Enformer,
        tracks: TrackSet,
        *,
        device: torch.device,
        batch_size: int = 8,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        model.check_head(tracks.head)
        self.spec = window_spec(model)
        self.tracks = tracks
        self.config = model.config
        self.device = device
        self.batch_size = batch_size
        columns = torch.from_numpy(tracks.indices.astype(np.int64)).to(device)
        transformer = Transformer(
            fold_blocks(model, self.wide), fold_tail(model, tracks.head, columns, self.wide)
        )
        self._trunk = Trunk(fold_trunk(model, self.wide))
        self._reference = ReferencePass(transformer, self.wide, cache_bytes)

    def gradient(
        self,
        codes_L: NDArray[np.uint8],
        objective: Objective,
        *,
        bins: range | None = None,
        region: range | None = None,
    ) -> Gradient:
        """Differentiate by hand; see `GradientPredictor`."""
        check_codes(codes_L[None], self.spec)
        chosen, wanted = check_bins(bins, self.spec), check_region(region, self.spec)
        crop = self.spec.crop_bins
        with arithmetic(self.device, "float32"):
            codes = codes_on(self.device, codes_L)
            tokens_KD = self._trunk.tokens(codes[None])[0]
            queries = range(chosen.start + crop, chosen.stop + crop)
            prediction_NT = self._reference.run(tokens_KD, queries)
        with differentiable():
            # A copy made here is no inference tensor, which autograd would refuse.
            leaf_NT = prediction_NT.clone().requires_grad_()
            values_B = evaluate(objective, leaf_NT)
            slopes = _slopes(values_B, leaf_NT, self.batch_size)
            parts = [self._lead_back(codes, slopes_BNT, wanted) for slopes_BNT in slopes]
        return gradient_result(prediction_NT, values_B, np.concatenate(parts), wanted)

    def _lead_back(
        self, codes: torch.Tensor, slopes_BNT: torch.Tensor, region: range
    ) -> NDArray[np.float32]:
        if not region:
            return np.empty((len(slopes_BNT), 0, ALPHABET), np.float32)
        with arithmetic(self.device, "float32"):
            tokens_BKD = lead_to_tokens(self._reference, slopes_BNT)
            bases_BRA = lead_to_bases(self._trunk, codes, tokens_BKD, region)
            out: NDArray[np.float32] = bases_BRA.float().cpu().numpy()
            return out


def _slopes(
    values_B: torch.Tensor, prediction_NT: torch.Tensor, together: int
) -> Iterator[torch.Tensor]:
    """Differentiate each value with respect to the prediction, (B, N, T), some at a time."""
    for first in range(0, len(values_B), together):
        yield torch.stack(
            [
                torch.autograd.grad(value, prediction_NT, retain_graph=True)[0]
                for value in values_B[first : first + together]
            ]
        )
