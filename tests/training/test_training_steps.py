"""Steps in other arithmetic and with less memory are the same steps."""

from dataclasses import replace

import pytest
import torch
from trained_models import ARCHITECTURE, SPEC, MadeUp

from cisray.engine.group import GroupPolicy, InlineSession
from cisray.errors import ConfigError
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.training.augment import Drawing
from cisray.training.batches import Share, TrainingBatches
from cisray.training.examples import HeadData
from cisray.training.loop import prepare
from cisray.training.session import TrainSettings

SETTINGS = TrainSettings(("human", "mouse"), 4, 2, warmup_rounds=1)
DATA = {"human": HeadData(MadeUp(1, 7, 3)), "mouse": HeadData(MadeUp(2, 5, 2))}


def fresh() -> Enformer:
    config = EnformerConfig(
        input_bp=SPEC.input_bp,
        target_bins=SPEC.target_bins,
        heads={"human": 3, "mouse": 2},
        **ARCHITECTURE,
    )
    return initialise(Enformer(config), 5)


def four_steps(tmp_path, *, recompute: str = "none", **changes: object):
    """Losses and norms of four steps with dropout, and the model after them."""
    settings = replace(SETTINGS, **changes)
    session = InlineSession(tmp_path, GroupPolicy(workers=0))
    training = prepare(fresh(), settings, session, recompute=recompute)
    training.train_mode()
    drawing = Drawing(settings.seed, settings.augmentation)
    batches = TrainingBatches(DATA, training.alternation, drawing, training.share).read(0, 4, 0)
    reports = [training.take_step(step, batches) for step in range(4)]
    return [(r.loss, r.grad_norm) for r in reports], training.model.state_dict()


@pytest.mark.parametrize("how", ["light", "full"])
def test_recomputed_activations_change_nothing_of_a_model_with_dropout(tmp_path, how) -> None:
    plain, state = four_steps(tmp_path)
    again, recomputed = four_steps(tmp_path, recompute=how)
    assert again == plain
    assert recomputed.keys() == state.keys()
    assert all(torch.equal(state[name], recomputed[name]) for name in state)
    other, _ = four_steps(tmp_path, seed=1)
    assert other != plain


def test_bfloat16_is_close_and_the_weights_stay_float32(tmp_path) -> None:
    plain, _ = four_steps(tmp_path)
    rounded, state = four_steps(tmp_path, precision="bfloat16")
    assert rounded != plain
    for (loss, norm), (their_loss, their_norm) in zip(rounded, plain, strict=True):
        assert loss == pytest.approx(their_loss, rel=0.02)
        assert norm == pytest.approx(their_norm, rel=0.1)
    assert {t.dtype for t in state.values()} == {torch.float32, torch.int64}


def test_only_the_head_whose_turn_it_is_moves(tmp_path) -> None:
    before = fresh().state_dict()
    settings = replace(SETTINGS, steps=1)
    training = prepare(fresh(), settings, InlineSession(tmp_path, GroupPolicy(workers=0)))
    training.train_mode()
    drawing = Drawing(0, settings.augmentation)
    batches = TrainingBatches(DATA, training.alternation, drawing, Share(0, 1, 1)).read(0, 1, 0)
    training.take_step(0, batches)
    after = training.model.state_dict()
    assert torch.equal(after["_heads.mouse.0.weight"], before["_heads.mouse.0.weight"])
    assert not torch.equal(after["_heads.human.0.weight"], before["_heads.human.0.weight"])


def test_batches_that_cannot_be_shared_and_models_that_are_all_frozen_are_refused(tmp_path) -> None:
    session = InlineSession(tmp_path, GroupPolicy(workers=0))
    with pytest.raises(ConfigError, match="batch of 2 examples cannot be shared equally"):
        prepare(fresh(), replace(SETTINGS, parts=3), session)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        prepare(fresh().requires_grad_(False), SETTINGS, session)
