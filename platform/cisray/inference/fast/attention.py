"""Attention of target bins to tokens, read from the fast passes.

Knows which fast passes record it; its plain twin is `cisray.inference.attention.PlainAttention`.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.attention import mean_of_layers, query_tokens
from cisray.inference.fast.transformer import BlockRecord, run_block
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import fold_blocks, fold_trunk
from cisray.inference.precision import arithmetic
from cisray.inference.predictor import check_codes, codes_on, window_spec
from cisray.model.enformer.network import Enformer


class FastAttention:
    """Read what `PlainAttention` reads, within rounding; one block is recorded at a time."""

    wide: ClassVar[torch.dtype] = torch.float32  # tests of the algebra compute in float64

    def __init__(self, model: Enformer, *, device: torch.device) -> None:
        self.spec = window_spec(model)
        self.device = device
        self._trunk = Trunk(fold_trunk(model, self.wide))
        self._blocks = fold_blocks(model, self.wide)

    def attention(self, codes_L: NDArray[np.uint8], bins: range) -> NDArray[np.float32]:
        """Average attention weights; see `cisray.inference.attention.AttentionReader`."""
        check_codes(codes_L[None], self.spec)
        asked = query_tokens(bins, self.spec)
        seen = []
        with arithmetic(self.device, "float32"):
            x_KD = self._trunk.tokens(codes_on(self.device, codes_L)[None])[0]
            every = range(len(x_KD))
            for block in self._blocks:
                # Nobody reads what other tokens of the last block put out.
                queries = asked if block is self._blocks[-1] else every
                record = BlockRecord.empty(block, x_KD, queries, self.wide)
                x_KD = run_block(block, x_KD[None], queries, record)[0]
                first = asked.start - queries.start
                rows_HQK = record.weights_HQK[:, first : first + len(asked)]
                seen.append(rows_HQK.double().mean(dim=(0, 1)))
            return mean_of_layers(seen)
