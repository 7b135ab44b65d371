"""Which tokens a target bin attends to: attention averaged over layers and heads.

Knows Enformer, its attention modules and windows of base codes; knows nothing of enhancers or of
rows. `PlainAttention` looks into the model's own forward pass; faster ones must equal it.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.genome.windows import WindowSpec
from cisray.inference.effects import check_bins
from cisray.inference.precision import arithmetic
from cisray.inference.predictor import check_codes, codes_on, onehot_table, window_spec
from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.network import Enformer


class AttentionReader(Protocol):
    """Whatever says how much some target bins attend to each token of a window."""

    spec: WindowSpec

    def attention(self, codes_L: NDArray[np.uint8], bins: range) -> NDArray[np.float32]:
        """Average the attention weights of the bins over layers, heads and bins: (K,), sum one.

        Token k covers the bases [k bin_bp, (k + 1) bin_bp) of the window; bin n is the query of
        token n + crop. Raises ValueError for what is no window and for bins that are not there.
        """


def query_tokens(bins: range, spec: WindowSpec) -> range:
    """Find the tokens of target bins; ValueError for bins that are not there.

    >>> query_tokens(range(447, 450), WindowSpec())
    range(767, 770)
    """
    chosen = check_bins(bins, spec)
    return range(chosen.start + spec.crop_bins, chosen.stop + spec.crop_bins)


class PlainAttention:
    """Run the model, and compute the weights of each of its layers again from the layer's input.

    The weights of one layer are held at a time.
    """

    def __init__(self, model: Enformer, *, device: torch.device) -> None:
        self.spec = window_spec(model)
        self.device = device
        self._model = model
        self._onehot = onehot_table(device)

    def attention(self, codes_L: NDArray[np.uint8], bins: range) -> NDArray[np.float32]:
        """Average attention weights; see `AttentionReader`."""
        check_codes(codes_L[None], self.spec)
        rows = query_tokens(bins, self.spec)
        seen: list[torch.Tensor] = []

        def look(module: RelativeAttention, inputs: tuple[torch.Tensor]) -> None:
            weights_HKK = module.weights(*inputs)[0]
            seen.append(weights_HKK[:, rows.start : rows.stop].double().mean(dim=(0, 1)))

        layers = [x for x in self._model.modules() if isinstance(x, RelativeAttention)]
        hooks = [layer.register_forward_pre_hook(look) for layer in layers]
        try:
            with arithmetic(self.device, "float32"):
                self._model.embed(self._onehot[codes_on(self.device, codes_L).int()][None])
                return mean_of_layers(seen)
        finally:
            for hook in hooks:
                hook.remove()


def mean_of_layers(layers_K: list[torch.Tensor]) -> NDArray[np.float32]:
    """Average the rows (K,) of all layers, in their type; float32 on the CPU."""
    mean_K: NDArray[np.float32] = torch.stack(layers_K).mean(dim=0).float().cpu().numpy()
    return mean_K
