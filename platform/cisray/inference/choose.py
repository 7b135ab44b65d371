"""Which way a model is run: fast where it has a fast form, the plain way otherwise, never silently.

Knows both ways and which models have which; knows nothing of how either works, nor of jobs. Every
choice comes with its reason, which is for the caller to tell.
"""

from dataclasses import dataclass
from typing import Literal, TypeGuard

import torch

from cisray.errors import ConfigError
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.gradients import PlainGradients
from cisray.inference.precision import Precision, PrecisionChoice
from cisray.inference.predictor import PlainPredictor
from cisray.model.configuration import ModelConfig
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.model.protocol import SequenceModel
from cisray.tracks import TrackSet

Method = Literal["fast", "plain"]


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """The way that a model is run, and why."""

    method: Method
    reason: str


def has_fast_form(model: SequenceModel) -> TypeGuard[Enformer]:
    """Tell whether the fast passes know this model's layers; a subclass may have others."""
    return type(model) is Enformer


def fast_configuration(config: ModelConfig) -> EnformerConfig:
    """Take a configuration as one that the fast way's costs are known of, where it was chosen."""
    if not isinstance(config, EnformerConfig):
        raise TypeError(f"a {type(config).__name__} describes a network without a fast form")
    return config


def choose_method(model: SequenceModel, wanted: Method) -> MethodChoice:
    """Decide how to run a model: fast, or plain on demand and where it has no fast form."""
    name = type(model).__name__
    if wanted == "plain":
        return MethodChoice("plain", "the plain way was asked for")
    if not has_fast_form(model):
        return MethodChoice("plain", f"{name} has no fast form")
    return MethodChoice("fast", f"{name} has a fast form, equal to the plain one within rounding")


def subtracting_precision(choice: MethodChoice, wanted: str) -> PrecisionChoice:
    """Say in which precision two predictions are subtracted: float32, whatever the device.

    `wanted` may be auto. Raises ConfigError for bfloat16, which would leave nothing of an effect.
    """
    if wanted not in ("auto", "float32"):
        raise ConfigError(
            f"Effects cannot be computed in {wanted} here: {choice.reason}, and the plain way "
            f"subtracts two predictions, whose rounding in {wanted} is larger than most "
            "effects. Use float32."
        )
    reason = "the plain way subtracts two predictions"
    return PrecisionChoice("float32", "as asked for" if wanted == "float32" else f"auto: {reason}")


def tile_predictor(
    model: SequenceModel,
    tracks: TrackSet,
    *,
    device: torch.device,
    precision: Precision,
    batch_size: int,
    method: Method,
) -> FastPredictor | PlainPredictor:
    """Build what predicts whole windows, for a model on its device."""
    choice = choose_method(model, method)
    if choice.method == "fast" and has_fast_form(model):
        return FastPredictor(
            model, tracks, device=device, precision=precision, batch_size=batch_size
        )
    return PlainPredictor(model, tracks, device=device, precision=precision, batch_size=batch_size)


def effect_predictor(
    model: SequenceModel,
    tracks: TrackSet,
    *,
    device: torch.device,
    precision: Precision,
    batch_size: int,
    method: Method,
) -> DeltaEffects | PlainEffects:
    """Build what computes effects, for a model on its device.

    `precision` is that of the products of differences; the plain way has none, and subtracts two
    float32 predictions. Raises ConfigError if it would have to do so in bfloat16.
    """
    choice = choose_method(model, method)
    if choice.method == "fast" and has_fast_form(model):
        return DeltaEffects(
            model, tracks, device=device, precision=precision, batch_size=batch_size
        )
    subtracting_precision(choice, precision)
    return PlainEffects(model, tracks, device=device)


def gradient_predictor(
    model: SequenceModel,
    tracks: TrackSet,
    *,
    device: torch.device,
    batch_size: int,
    method: Method,
) -> FastGradients | PlainGradients:
    """Build what differentiates, for a model on its device; always in float32.

    `batch_size` objectives are led back together. The plain way does so one by one, and holds all
    activations of the network at once.
    """
    choice = choose_method(model, method)
    if choice.method == "fast" and has_fast_form(model):
        return FastGradients(model, tracks, device=device, batch_size=batch_size)
    return PlainGradients(model, tracks, device=device)
