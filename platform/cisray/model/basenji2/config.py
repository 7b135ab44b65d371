"""The hyperparameters of a Basenji2, and how Basenji's own parameter file spells them.

Knows arithmetic and the JSON of Basenji; knows nothing of torch or of weights.
"""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from cisray.errors import CheckpointError
from cisray.model.configuration import ALPHABET, ModelConfig


def tower_widths(first: int, growth: float, layers: int) -> tuple[int, ...]:
    """Compute the widths of a tower that grows geometrically, each rounded half to even.

    >>> tower_widths(339, 1.1776, 6)
    (339, 399, 470, 554, 652, 768)
    """
    return tuple(round(first * growth**layer) for layer in range(layers))


def dilation_rates(growth: float, layers: int, *, rounded: bool) -> tuple[int, ...]:
    """Compute the dilations of the residual blocks: from 1, times `growth` each.

    With `rounded` the rate itself is rounded, half to even, before it grows on; without, only
    its use is.

    >>> dilation_rates(1.5, 11, rounded=True)
    (1, 2, 3, 4, 6, 9, 14, 21, 32, 48, 72)
    """
    rates, rate = [], 1.0
    for _ in range(layers):
        rates.append(round(rate))
        rate *= growth
        if rounded:
            rate = round(rate)
    return tuple(rates)


class Basenji2Config(ModelConfig):
    """What it takes to build a Basenji2; the defaults are the published human model.

    `norm_momentum` is Keras's: the share of the running statistics that a step keeps.
    `tower_channels` lists the widths of the tower, `dilations` one rate per residual block.
    """

    stem_channels: int = Field(default=288, gt=0)
    stem_kernel: int = Field(default=15, gt=0)
    tower_channels: tuple[int, ...] = tower_widths(339, 1.1776, 6)
    tower_kernel: int = Field(default=5, gt=0)
    residual_channels: int = Field(default=384, gt=0)
    residual_kernel: int = Field(default=3, gt=0)
    dilations: tuple[int, ...] = dilation_rates(1.5, 11, rounded=True)
    residual_dropout: float = Field(default=0.3, ge=0, lt=1)
    final_channels: int = Field(default=1536, gt=0)
    final_dropout: float = Field(default=0.05, ge=0, lt=1)
    conv_bias: bool = False
    norm_momentum: float = Field(default=0.9, gt=0, lt=1)
    norm_eps: float = Field(default=1e-3, gt=0)
    input_bp: int = Field(default=131_072, gt=0)
    target_bins: int = Field(default=896, gt=0)
    heads: dict[str, int] = Field(default_factory=lambda: {"human": 5313})

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        for name in ("tower_channels", "dilations"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} needs one positive number per layer, got {values}")
        for name in ("stem_kernel", "tower_kernel", "residual_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} must be odd to be centred, got {getattr(self, name)}")
        return self

    @property
    def base_channels(self) -> int:
        """Channels that every base of the input has: those of the stem."""
        return self.stem_channels

    @property
    def bin_bp(self) -> int:
        """Bases per trunk token and per target bin: the stem and every tower layer halve."""
        return 2 << len(self.tower_channels)

    def forward_flops(self, head: str) -> float:
        """Count the floating-point operations of one forward pass of one sequence.

        Two per multiply-add of convolutions and matrix products.

        >>> f"{Basenji2Config().forward_flops('human'):.2e}"
        '2.33e+11'
        """
        length, width = self.input_bp, self.stem_channels
        macs = length * self.stem_kernel * ALPHABET * width
        for channels in self.tower_channels:
            length //= 2
            macs += length * self.tower_kernel * width * channels
            width = channels
        narrow = self.residual_channels * width * (self.residual_kernel + 1)
        macs += self.tokens * len(self.dilations) * narrow
        macs += self.target_bins * self.final_channels * (width + self.heads[head])
        return 2.0 * macs


def read_params(path: Path) -> Basenji2Config:
    """Read Basenji's parameter file: the whole file, or its `model` section alone.

    The trunk must be Basenji2's: conv_block, conv_tower, dilated_residual, Cropping1D (or no crop),
    conv_block, with GELU and batch norm. `target_length` is not read: Basenji's code does not read
    it either, and the published file says 1,024 where the network crops to 896. Raises
    CheckpointError for anything that this network does not have.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as Basenji's parameters: {error}.") from error
    try:
        return _translate(content.get("model", content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes no Basenji2: {_reason(error)}.") from error


def _translate(model: dict[str, Any]) -> Basenji2Config:
    stem, tower, residual, final = _trunk(model)
    _expect(model.get("activation"), "gelu", "activation")
    _expect(model.get("norm_type", "batch"), "batch", "norm_type")
    _expect(model.get("batch_norm", True), True, "batch_norm")
    widths = tower_widths(tower["filters_init"], tower["filters_mult"], tower["repeat"])
    for block in (stem, tower):
        _expect(block.get("pool_size"), 2, f"pool_size of {block['name']}")
    for name, block in (("stem", stem), ("tower", tower)):
        _expect(block.get("dropout", 0), 0, f"dropout of the {name}")
    _expect(final.get("kernel_size", 1), 1, "kernel_size of the last block")
    bins = model["seq_length"] // (2 << len(widths)) - 2 * _crop(model)
    return Basenji2Config(
        stem_channels=stem["filters"],
        stem_kernel=stem["kernel_size"],
        tower_channels=widths,
        tower_kernel=tower["kernel_size"],
        residual_channels=residual["filters"],
        residual_kernel=residual.get("kernel_size", 3),
        dilations=dilation_rates(
            residual.get("rate_mult", 2), residual["repeat"], rounded=residual.get("round", False)
        ),
        residual_dropout=residual.get("dropout", 0),
        final_channels=final["filters"],
        final_dropout=final.get("dropout", 0),
        norm_momentum=model.get("bn_momentum", 0.99),
        input_bp=model["seq_length"],
        target_bins=bins,
        heads=_heads(model),
    )


_CROP = "Cropping1D"
_TRUNK = ["conv_block", "conv_tower", "dilated_residual", "Cropping1D", "conv_block"]
_BLOCK_KEYS = {
    "name", "filters", "kernel_size", "pool_size", "filters_init", "filters_mult", "repeat",
    "rate_mult", "dropout", "round", "cropping",
}  # fmt: skip


def _trunk(model: dict[str, Any]) -> list[dict[str, Any]]:
    trunk: list[dict[str, Any]] = model["trunk"]
    names = [block["name"] for block in trunk]
    _expect(names, _TRUNK if _CROP in names else [n for n in _TRUNK if n != _CROP], "trunk")
    for block in trunk:
        unknown = sorted(set(block) - _BLOCK_KEYS)
        if unknown:
            raise ValueError(f"its {block['name']} sets {', '.join(unknown)}")
    return [block for block in trunk if block["name"] != _CROP]


def _crop(model: dict[str, Any]) -> int:
    """Read how many tokens are cropped on each side; no crop is none."""
    return sum(block["cropping"] for block in model["trunk"] if block["name"] == _CROP)


def _heads(model: dict[str, Any]) -> dict[str, int]:
    found = {name: model[name] for name in model if name.startswith("head")}
    for name, head in found.items():
        _expect(head.get("activation"), "softplus", f"activation of {name}")
    return {name.removeprefix("head_"): head["units"] for name, head in found.items()}


def _expect(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        raise ValueError(f"its {what} is {found!r}, where this network has {wanted!r}")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
    if isinstance(error, KeyError):
        return f"it does not say {error}"
    return str(error)
