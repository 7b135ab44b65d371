"""Training a part of a model: frozen parameters, and low-rank adapters beside frozen layers.

Knows modules by name; knows nothing of where a model comes from.
"""

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn import functional

from cisray.errors import ConfigError, near_matches


def freeze(model: nn.Module, globs: Sequence[str]) -> None:
    """Let no parameter move whose name matches one of `globs`, such as `stem.*`.

    All others are let move. Batch norms with a frozen scale keep their running statistics as well.
    Raises ConfigError for a glob that matches nothing.
    """
    names = dict(model.named_parameters())
    for parameter in names.values():
        parameter.requires_grad = True
    for name in matching(names, globs, "parameter"):
        names[name].requires_grad = False


def matching(names: Iterable[str], globs: Sequence[str], what: str) -> list[str]:
    """Give the names that match any glob, in their order. Raises ConfigError for a glob without."""
    known = list(names)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise ConfigError(
                f"{glob!r} matches no {what} of the model.{near_matches(glob, known)} There are "
                f"{len(known)}, from {known[0]} to {known[-1]}."
            )
    return [name for name in known if any(fnmatchcase(name, glob) for glob in globs)]


class AdaptedLinear(nn.Linear):
    """A frozen linear layer plus a product of two thin matrices that learn (Hu et al. 2021).

    y = W x + b + up (down x) / rank * alpha; `up` starts at zero, so that training starts from
    what the layer was. Weight and bias keep their names.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self._parameters.update(linear._parameters)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad = False
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map the last axis."""
        thin = functional.linear(functional.linear(x, self.down), self.up)
        return super().forward(x) + self.scale * thin

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Give the linear layer that does the same."""
        with torch.device("meta"):
            linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        linear._parameters.update({name: self._parameters[name] for name in ("weight", "bias")})
        linear.weight.add_(self.up @ self.down, alpha=self.scale)
        return linear


def adapt(
    model: nn.Module, globs: Sequence[str], *, rank: int, alpha: float, seed: int
) -> list[str]:
    """Put adapters beside the linear layers whose names match, such as `transformer.*.to_q`.

    Returns their names. `down` is drawn uniformly as torch draws a linear layer's weight. Raises
    ConfigError for a glob that matches no linear layer.
    """
    linears = {n: m for n, m in model.named_modules() if type(m) is nn.Linear}
    generator = torch.Generator().manual_seed(seed)
    names = matching(linears, globs, "linear layer")
    for name in names:
        adapted = AdaptedLinear(linears[name], rank, alpha)
        bound = 1 / math.sqrt(adapted.in_features)
        nn.init.uniform_(adapted.down, -bound, bound, generator=generator)
        model.set_submodule(name, adapted)
    return names


def merge_adapters(model: nn.Module) -> None:
    """Put plain linear layers back, with what the adapters have learnt in their weights."""
    adapted = {n: m for n, m in model.named_modules() if isinstance(m, AdaptedLinear)}
    for name, module in adapted.items():
        model.set_submodule(name, module.merged())
