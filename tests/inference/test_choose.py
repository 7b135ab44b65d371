"""The way a model is run: fast where it can be, plain otherwise, and always with a reason."""

import copy

import numpy as np
import pytest
import torch
from counting_model import CountingModel

from cisray.errors import ConfigError, UnknownHead
from cisray.inference.choose import (
    MethodChoice,
    choose_method,
    effect_predictor,
    tile_predictor,
)
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.predictor import FastPredictor
from cisray.inference.predictor import PlainPredictor
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet

COMMON = {"device": torch.device("cpu"), "batch_size": 2}


def build(choose, model, **options):
    given = COMMON | {"precision": "float32", "method": "fast"} | options
    return choose(model, model.tracks["human"], **given)


@pytest.mark.parametrize(
    ("choose", "fast", "plain"),
    [
        (tile_predictor, FastPredictor, PlainPredictor),
        (effect_predictor, DeltaEffects, PlainEffects),
    ],
)
def test_which_is_built(tiny, choose, fast, plain) -> None:
    assert type(build(choose, tiny)) is fast
    assert type(build(choose, tiny, method="plain")) is plain
    assert type(build(choose, CountingModel())) is plain


def test_options_reach_the_predictor(tiny) -> None:
    for choose in (tile_predictor, effect_predictor):
        built = build(choose, tiny, precision="bfloat16", batch_size=3)
        assert (built.precision, built.batch_size) == ("bfloat16", 3)
    built = build(tile_predictor, tiny, precision="bfloat16", batch_size=3, method="plain")
    assert (built.precision, built.batch_size) == ("bfloat16", 3)


def test_the_reasons(tiny) -> None:
    assert choose_method(tiny, "fast").method == "fast"
    assert "Enformer has a fast form" in choose_method(tiny, "fast").reason
    assert choose_method(tiny, "plain").reason == "the plain way was asked for"
    other = choose_method(CountingModel(), "fast")
    assert (other.method, other.reason) == ("plain", "CountingModel has no fast form")


def test_both_ways_predict_the_same(tiny, codes_BL) -> None:
    fast, plain = (build(tile_predictor, tiny, method=method) for method in ("fast", "plain"))
    theirs = plain.predict(codes_BL)
    np.testing.assert_allclose(fast.predict(codes_BL), theirs, rtol=0, atol=1e-5 * theirs.max())


@pytest.mark.parametrize("model", ["tiny", "counting"])
def test_effects_are_never_subtracted_in_bfloat16(request, model: str) -> None:
    chosen = request.getfixturevalue("tiny") if model == "tiny" else CountingModel()
    method = "plain" if model == "tiny" else "fast"
    with pytest.raises(ConfigError, match=r"in bfloat16 here: .*Use float32"):
        build(effect_predictor, chosen, precision="bfloat16", method=method)


@pytest.mark.parametrize("choose", [tile_predictor, effect_predictor])
@pytest.mark.parametrize("method", ["fast", "plain"])
def test_an_unknown_head_is_refused(tiny, choose, method: str) -> None:
    options = COMMON | {"precision": "float32", "method": method}
    with pytest.raises(UnknownHead, match="'rat'"):
        choose(tiny, TrackSet.unnamed("rat", 8), **options)


def test_a_subclass_may_have_other_layers(tiny) -> None:
    class Halved(Enformer):
        def forward(self, onehot_BLA: torch.Tensor, head: str = "human") -> torch.Tensor:
            return 0.5 * super().forward(onehot_BLA, head)

    choice = choose_method(Halved(tiny.config), "fast")
    assert choice == MethodChoice("plain", "Halved has no fast form")


@pytest.mark.parametrize("way", [tile_predictor, effect_predictor])
def test_a_model_in_training_mode_is_refused(tiny, way) -> None:
    model = copy.deepcopy(tiny).train()
    options = {"device": torch.device("cpu"), "precision": "float32", "batch_size": 1}
    with pytest.raises(ValueError, match=r"model\.eval"):
        way(model, tiny.tracks["human"], method="fast", **options)
