"""Random weights for a new Enformer, by the rules of the original.

Knows the initialisers of DeepMind's code (Sonnet's defaults and the attention module's own);
knows nothing of files. All randomness comes from one generator, seeded by the caller.
"""

import math

import torch
from torch import nn

from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.layers import AttentionPool
from cisray.model.enformer.network import Enformer

# Standard deviation of a unit normal truncated at two: variance scaling divides it out.
_TRUNCATED_STD = 0.87962566103423978
_POOLING_START = 2.0


@torch.no_grad()
def initialise(model: Enformer, seed: int, *, randomise_all: bool = False) -> Enformer:
    """Fill the weights in place for training from scratch, and return the model.

    Convolutions and linear layers start as truncated normals of sigma 1/sqrt(fan_in), queries,
    keys and values at sqrt(2/fan_in); attention outputs and biases at zero, pooling at twice the
    identity, norms at one and zero. `randomise_all` then also draws what starts at zero or one
    (and the running statistics of batch norm), so that no layer hides in a test or benchmark.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            _truncated_normal(module.weight, 1 / math.sqrt(_fan_in(module.weight)), generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, AttentionPool):
            weight = module.to_attn_logits.weight
            weight.copy_(_POOLING_START * torch.eye(weight.shape[0])[:, :, None, None])
        elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, RelativeAttention):
            _initialise_attention(module, generator)
    if randomise_all:
        _randomise_constants(model, generator)
    return model


def _initialise_attention(layer: RelativeAttention, generator: torch.Generator) -> None:
    for linear in (layer.to_q, layer.to_k, layer.to_v, layer.to_rel_k):
        _scaled_normal(linear.weight, _fan_in(linear.weight), generator)
    for bias in (layer.rel_content_bias, layer.rel_pos_bias):
        # Sonnet reads the fan-in of a [1, H, 1, d] variable off its second axis.
        _scaled_normal(bias, bias.shape[1], generator)
    layer.to_out.weight.zero_()
    layer.to_out.bias.zero_()


def _randomise_constants(model: Enformer, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.get_buffer("running_mean").normal_(0, 0.3, generator=generator)
            module.get_buffer("running_var").uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            module.weight.normal_(1, 0.1, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
            module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, AttentionPool):
            weight = module.to_attn_logits.weight
            weight.add_(torch.empty_like(weight).normal_(0, 0.02, generator=generator))
        elif isinstance(module, RelativeAttention):
            weight = module.to_out.weight
            weight.normal_(0, 1 / math.sqrt(weight.shape[1]), generator=generator)


def _fan_in(weight: torch.Tensor) -> int:
    return weight[0].numel()


def _scaled_normal(weight: torch.Tensor, fan_in: int, generator: torch.Generator) -> None:
    _truncated_normal(weight, math.sqrt(2 / fan_in) / _TRUNCATED_STD, generator)


def _truncated_normal(weight: torch.Tensor, sigma: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, 0, sigma, -2 * sigma, 2 * sigma, generator=generator)
