"""Random weights for a new Basenji2, by the rules of the original.

Knows the initialisers of Basenji's code; knows nothing of files. All randomness comes from one
generator, seeded by the caller.
"""

import math

import torch
from torch import nn

from cisray.model.basenji2.layers import DilatedResidual
from cisray.model.basenji2.network import Basenji2

# Standard deviation of a unit normal truncated at two: Keras's he_normal divides it out.
_TRUNCATED_STD = 0.87962566103423978


@torch.no_grad()
def initialise(model: Basenji2, seed: int, *, randomise_all: bool = False) -> Basenji2:
    """Fill the weights in place for training from scratch, and return the model.

    Convolutions and heads are he_normal, biases zero, norms one and zero; the last norm of every
    residual block starts at scale zero, so that the block starts as its skip. `randomise_all` then
    also draws what starts at zero or one (and the running statistics of batch norm), so that no
    layer hides in a test or benchmark.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            sigma = math.sqrt(2 / module.weight[0].numel()) / _TRUNCATED_STD
            nn.init.trunc_normal_(
                module.weight, 0, sigma, -2 * sigma, 2 * sigma, generator=generator
            )
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm1d):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, DilatedResidual):
            module.widen.norm.weight.zero_()
    if randomise_all:
        _randomise_constants(model, generator)
    return model


def _randomise_constants(model: Basenji2, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.get_buffer("running_mean").normal_(0, 0.3, generator=generator)
            module.get_buffer("running_var").uniform_(0.5, 1.5, generator=generator)
            module.weight.normal_(1, 0.1, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
            module.bias.normal_(0, 0.1, generator=generator)
