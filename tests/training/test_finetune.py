"""Frozen parts and low-rank adapters."""

import pytest
import torch
from trained_models import ARCHITECTURE, SPEC

from cisray.errors import ConfigError
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.training.augment import Augmentation
from cisray.training.batches import Batch, Share
from cisray.training.batchnorm import SonnetBatchNorm, training_form
from cisray.training.finetune import AdaptedLinear, adapt, freeze, merge_adapters
from cisray.training.optim import SonnetAdam
from cisray.training.session import TrainSettings
from cisray.training.step import Training


def small_model() -> Enformer:
    config = EnformerConfig(
        input_bp=SPEC.input_bp, target_bins=SPEC.target_bins, heads={"human": 3}, **ARCHITECTURE
    )
    return initialise(Enformer(config), 5, randomise_all=True)


def trained(model: Enformer, steps: int = 2, **changes: object) -> Enformer:
    settings = TrainSettings(
        ("human",), steps, 2, warmup_rounds=0, augmentation=Augmentation(0, False), **changes
    )
    moving = [p for p in model.parameters() if p.requires_grad]
    training = Training(
        training_form(model), SonnetAdam(moving), settings, Share(0, 1, 1), torch.device("cpu")
    )
    training.train_mode()
    draws = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 4, (2, SPEC.input_bp), generator=draws).to(torch.uint8)
    target = torch.rand(2, SPEC.target_bins, 3, generator=draws)
    for step in range(steps):
        training.take_step(step, iter([Batch(codes, target)]))
    return model


def moved(model: Enformer) -> set[str]:
    before = small_model().state_dict()
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_what_is_frozen_does_not_move_its_statistics_neither() -> None:
    model = small_model()
    freeze(model, ["stem.*", "conv_tower.*", "transformer.*", "final_pointwise.*"])
    assert moved(trained(model)) == {"_heads.human.0.weight", "_heads.human.0.bias"}


def test_what_is_not_frozen_moves() -> None:
    model = small_model()
    freeze(model, ["stem.*"])
    changed = moved(trained(model))
    assert not any(name.startswith("stem.") for name in changed)
    assert {"conv_tower.0.0.0.running_mean", "transformer.0.0.fn.1.to_q.weight"} <= changed
    assert isinstance(model.stem[1].fn[0], SonnetBatchNorm)


def test_adapters_begin_as_nothing_learn_alone_and_merge_into_the_weights() -> None:
    model = small_model().eval()
    onehot = torch.eye(4)[torch.randint(0, 4, (1, SPEC.input_bp))]
    before = model(onehot, "human")
    freeze(model, ["*"])
    names = adapt(model, ["transformer.*.to_q", "transformer.*.fn.4"], rank=2, alpha=4.0, seed=1)
    assert names == ["transformer.0.0.fn.1.to_q", "transformer.0.1.fn.4"]
    assert torch.equal(model(onehot, "human"), before)
    trained(model, steps=3).eval()
    learnt = model(onehot, "human")
    assert not torch.allclose(learnt, before, atol=1e-4)
    merge_adapters(model)
    assert set(model.state_dict()) == set(small_model().state_dict())
    assert not any(isinstance(module, AdaptedLinear) for module in model.modules())
    assert torch.allclose(model(onehot, "human"), learnt, atol=1e-5)
    assert moved(model) == {f"{name}.weight" for name in names}


@pytest.mark.parametrize("wrong", ["stm.*", "transformer.*.to_x"])
def test_a_glob_that_matches_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"matches no parameter of the model.*stem\.0\.weight"):
        freeze(small_model(), [wrong])
    with pytest.raises(ConfigError, match="matches no linear layer"):
        adapt(small_model(), [wrong], rank=2, alpha=1.0, seed=0)


def test_micro_batches_average_to_the_gradient_of_the_whole() -> None:
    """Frozen statistics, as those of a micro-batch are its own."""
    found = []
    for parts in (1, 2):
        model = small_model()
        freeze(model, ["stem.*", "conv_tower.*", "final_pointwise.1.0.*"])
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.config = model.config.model_copy(
            update={"attention_dropout": 0.0, "positional_dropout": 0.0}
        )
        model.transformer[0][0].fn[1].config = model.config
        moving = [p for p in model.parameters() if p.requires_grad]
        settings = TrainSettings(("human",), 1, 4, parts=parts, clip_norm=None)
        training = Training(
            training_form(model),
            SonnetAdam(moving),
            settings,
            Share(0, 1, parts),
            torch.device("cpu"),
        )
        training.train_mode()
        draws = torch.Generator().manual_seed(2)
        codes = torch.randint(0, 4, (4, SPEC.input_bp), generator=draws).to(torch.uint8)
        target = torch.rand(4, SPEC.target_bins, 3, generator=draws)
        size = 4 // parts
        batches = [Batch(c, y) for c, y in zip(codes.split(size), target.split(size), strict=True)]
        report = training.take_step(0, iter(batches))
        found.append((report.loss, report.grad_norm))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
