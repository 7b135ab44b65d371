"""Effects of alternates by carrying differences through Enformer, from one pass per reference.

Knows which fast passes make an effect, in which types, and when a window has gone; its plain twin
is `cisray.inference.effects.PlainEffects`.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.effects import BinsAlong, check_bins, check_bins_along
from cisray.inference.fast.costs import CACHE_BYTES
from cisray.inference.fast.delta import LARGEST_RISE, DeltaTransformer
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.rolling import RollingTrunk
from cisray.inference.fast.transformer import Transformer
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import (
    fold_blocks,
    fold_tail,
    fold_trunk,
    round_block,
    round_tail,
)
from cisray.inference.precision import Precision, arithmetic
from cisray.inference.predictor import check_codes, check_stretch, codes_on, window_spec
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet

_LOG = logging.getLogger(__name__)


class DeltaEffects:
    """Compute differences as `PlainEffects` does in exact arithmetic, and more precisely.

    The pass of the reference is float32, and so are the trunk and the element-wise arithmetic of
    differences; `precision` is that of the products of differences after the trunk. An error is
    relative to the difference, not to the signal. `batch_size` alternates are carried at a time;
    `cache_bytes` bound what is kept of a reference (see `ReferencePass`).
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
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        model.check_head(tracks.head)
        self.spec = window_spec(model)
        self.tracks = tracks
        self.config = model.config
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        products = torch.bfloat16 if precision == "bfloat16" else self.wide
        columns = torch.from_numpy(tracks.indices.astype(np.int64)).to(device)
        blocks = fold_blocks(model, self.wide)
        tail = fold_tail(model, tracks.head, columns, self.wide)
        self._crop = model.config.crop_bins
        self.trunk = Trunk(fold_trunk(model, self.wide))
        self.transformer = Transformer(blocks, tail)
        self.delta = DeltaTransformer(
            [round_block(block, products) for block in blocks], round_tail(tail, products)
        )
        self.reference = ReferencePass(self.transformer, products, cache_bytes)
        self._opened: DeltaReference | None = None

    def open(self, codes_L: NDArray[np.uint8], bins: range | None = None) -> "DeltaReference":
        """Pass the reference (L,) through the network; the window opened before has gone."""
        check_codes(codes_L[None], self.spec)
        chosen = check_bins(bins, self.spec)
        with arithmetic(self.device, "float32"):
            tokens_KD = self.trunk.tokens(codes_on(self.device, codes_L[None]))[0]
        return self._open(codes_L, tokens_KD, chosen)

    def open_along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int], bins: BinsAlong = None
    ) -> Iterator["DeltaReference"]:
        """Open the window at each start; trunk tokens that two successive ones share are kept."""
        check_stretch(codes_S, starts, self.spec)
        return self._along(codes_S, starts, check_bins_along(bins, len(starts), self.spec))

    def _along(
        self, codes_S: NDArray[np.uint8], starts: Sequence[int], bins: Sequence[range]
    ) -> Iterator["DeltaReference"]:
        rolling = RollingTrunk(self.trunk, codes_on(self.device, codes_S), self.spec.input_bp)
        for start, chosen in zip(starts, bins, strict=True):
            with arithmetic(self.device, "float32"):
                tokens_KD = rolling.window(start)
            yield self._open(codes_S[start : start + self.spec.input_bp], tokens_KD, chosen)

    def _open(
        self, codes_L: NDArray[np.uint8], tokens_KD: torch.Tensor, bins: range
    ) -> "DeltaReference":
        # The one before must not be read while, or if ever half way, its buffers are overwritten.
        self._opened = None
        with arithmetic(self.device, "float32"):
            wanted = range(bins.start + self._crop, bins.stop + self._crop)
            prediction_NT = self.reference.run(tokens_KD, wanted).float()
        self._opened = DeltaReference(self, codes_L.copy(), tokens_KD, prediction_NT)
        return self._opened

    def release(self) -> None:
        """Let go of the window that was opened last, and of the memory that it takes."""
        self._opened = None
        self.reference.release()

    def is_open(self, window: "DeltaReference") -> bool:
        """Tell whether this is the window that was opened last."""
        return self._opened is window


class DeltaReference:
    """A reference window whose pass is done; see `cisray.inference.effects.ReferenceWindow`."""

    def __init__(
        self,
        effects: DeltaEffects,
        codes_L: NDArray[np.uint8],
        tokens_KD: torch.Tensor,
        prediction_NT: torch.Tensor,
    ) -> None:
        self.prediction_NT = prediction_NT
        self._effects = effects
        self._codes_L = codes_L
        self._tokens_KD = tokens_KD

    def differences(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        """Carry the differences of the alternates' tokens through the network: difference_BNT.

        Raises ValueError for another width or an unknown code, and RuntimeError once another
        window has been opened.
        """
        effects = self._effects
        check_codes(alternates_BL, effects.spec)
        if not effects.is_open(self):
            raise RuntimeError(
                "This reference window has gone: another one was opened from the same predictor, "
                "which keeps one at a time. Ask for differences before opening the next."
            )
        out_BNT = self.prediction_NT.new_zeros(len(alternates_BL), *self.prediction_NT.shape)
        changed = np.flatnonzero((alternates_BL != self._codes_L).any(axis=1))
        for first in range(0, len(changed), effects.batch_size):
            lanes = changed[first : first + effects.batch_size]
            with arithmetic(effects.device, "float32"):
                found_BNT = self._carry(alternates_BL[lanes])
                out_BNT[torch.from_numpy(lanes).to(effects.device)] = found_BNT.float()
        return out_BNT

    def _carry(self, alternates_BL: NDArray[np.uint8]) -> torch.Tensor:
        effects = self._effects
        codes_L, codes_BL = (codes_on(effects.device, x) for x in (self._codes_L, alternates_BL))
        d_BKD = effects.trunk.differences(codes_L, codes_BL, self._tokens_KD)
        found = effects.delta.differences(effects.reference, d_BKD)
        # Written so that a rise that is not a number counts as too large.
        for lane in (~(found.rise_B <= LARGEST_RISE)).nonzero()[:, 0].tolist():
            _LOG.info("An alternate changes attention too much for differences; it is subtracted.")
            found.difference_BNT[lane] = self._subtract(codes_BL[lane])
        return found.difference_BNT

    def _subtract(self, codes_L: torch.Tensor) -> torch.Tensor:
        """Compute one alternate's difference as `PlainEffects` does, from two predictions."""
        effects = self._effects
        tokens_BKD = effects.trunk.tokens(codes_L[None])
        pred_NT = effects.transformer.predict(tokens_BKD, effects.reference.tokens)[0]
        return pred_NT - self.prediction_NT
