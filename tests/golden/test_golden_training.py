"""Training against numbers that DeepMind's Sonnet/TensorFlow code printed (`tf_train.npz`).

The reference printed what its eight optimiser steps told and ended in, and the stem's outputs
before them, but not the weights that it began with. Of the stem they follow from its outputs:
`stem_before_training.npz` holds the ones that give `bn.stem_out.0` and `bn.moving_mean.average.0`,
solved for once by Gauss-Newton in float64. All that is compared here was not used for that: another
batch, the running statistics, the evaluation after them. The eight steps themselves cannot be
repeated without the weights of all other layers; what is printed of them is compared where it
stands for itself. Adam's rules are in `tests/training/test_training_numbers.py`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cisray.genome.encode import onehot
from cisray.model.checkpoints.deepmind import rules
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.training.batchnorm import DECAY, SonnetBatchNorm, inference_form, training_form
from cisray.training.optim import warmed_up
from cisray.training.order import Alternation

pytestmark = pytest.mark.golden

CONFIG = EnformerConfig(
    channels=96,
    num_transformer_layers=1,
    num_heads=4,
    channels_divisible_by=16,
    input_bp=4096,
    target_bins=16,
    heads={"human": 7, "mouse": 5},
)
SHOWN = 256  # positions of the stem's output that were printed
PEAK, WARMUP_ROUNDS, STEPS = 5e-4, 4, 8
OPS = {
    "copy": lambda a: a,
    "flatten": np.ravel,
    "linear": lambda a: a.T,
    "conv": lambda a: a.transpose(2, 1, 0),
    "pool": lambda a: a.T[:, :, None, None],
}

Arrays = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Arrays:
    return dict(np.load(shared / "golden" / "tf_train.npz"))


@pytest.fixture(scope="module")
def trained(golden: Arrays) -> Enformer:
    """The reference's model after its eight steps."""
    model = Enformer(CONFIG)
    model.load_state_dict(
        {
            rule.torch: torch.tensor(OPS[rule.op](golden[f"final/module/{rule.tf}"]).copy())
            for rule in rules(CONFIG)
        }
    )
    return model.eval()


def before() -> Mapping[str, torch.Tensor]:
    stored = np.load(Path(__file__).with_name("stem_before_training.npz"))
    return {name: torch.tensor(stored[name]) for name in stored.files}


def stem_before() -> nn.Module:
    stem = training_form(Enformer(CONFIG)).stem
    stem.load_state_dict(before(), strict=False)
    return stem.train()


@torch.no_grad()
def outputs(stem: nn.Module, codes: np.ndarray) -> np.ndarray:
    x_BDL = stem(torch.from_numpy(onehot(codes)).transpose(1, 2))
    return x_BDL.transpose(1, 2)[:, :SHOWN].numpy()


def test_batch_norm_trains_and_then_evaluates_as_sonnets(golden: Arrays) -> None:
    """An unbiased variance would be 1.2e-4 off, averages with their bias 0.9 of themselves."""
    stem = stem_before()
    norm = stem[1].fn[0]
    assert isinstance(norm, SonnetBatchNorm)
    for batch in range(2):
        shown = outputs(stem, golden[f"bn.input_idx.{batch}"])
        assert np.abs(shown - golden[f"bn.stem_out.{batch}"]).max() < 2e-5
        assert int(norm.num_batches_tracked) == golden[f"bn.moving_mean.counter.{batch}"]
        for ours, theirs in ((norm.running_mean, "mean"), (norm.running_var, "variance")):
            average = golden[f"bn.moving_{theirs}.average.{batch}"].ravel()
            assert ours.numpy() == pytest.approx(average, rel=2e-5, abs=2e-6)
            hidden = golden[f"bn.moving_{theirs}.hidden.{batch}"].ravel()
            weight = 1 - DECAY ** int(norm.num_batches_tracked)
            assert ours.numpy() * weight == pytest.approx(hidden, rel=2e-5, abs=2e-6)
    for form in (lambda model: model, inference_form):
        shown = outputs(form(stem).eval(), golden["eval_input_idx"])
        assert np.abs(shown - golden["bn.eval_after"]).max() < 2e-5


def test_after_eight_steps_every_average_is_its_hidden_one_over_the_weight_of_eight(
    golden: Arrays,
) -> None:
    found = [name for name in golden if name.endswith("/_hidden")]
    assert len(found) == 2 * 14
    for name in found:
        counter = golden[name.replace("_hidden", "_counter")]
        average = golden[name.replace("_hidden", "average")]
        assert counter == STEPS
        assert average * (1 - DECAY**STEPS) == pytest.approx(golden[name], rel=1e-6)


def test_the_trained_model_evaluates_as_the_reference(golden: Arrays, trained: Enformer) -> None:
    x_BLA = torch.from_numpy(onehot(golden["eval_input_idx"]))
    for head in CONFIG.heads:
        with torch.no_grad():
            pred_BNT = trained(x_BLA, head).numpy()
        assert np.abs(pred_BNT - golden[f"eval_after.{head}"]).max() < 2e-5


def test_heads_take_turns_at_the_rates_of_the_reference_and_one_counter_counts(
    golden: Arrays,
) -> None:
    turns = Alternation(tuple(CONFIG.heads), 2)
    heads = [turns.head(step) for step in range(STEPS)]
    rates = [warmed_up(PEAK, turns.round(step), WARMUP_ROUNDS) for step in range(STEPS)]
    assert heads == golden["train.head"].tolist()
    assert rates == pytest.approx(golden["train.lr"].tolist(), rel=1e-6)
    assert golden["adam.step"] == STEPS


def test_the_stem_moved_as_far_as_adam_can_at_these_rates(
    golden: Arrays, trained: Enformer
) -> None:
    """Clipping to 0.2 does not show in Adam's steps, a rate or counter of another kind would."""
    reach = float(golden["train.lr"].sum())
    after = trained.stem.state_dict()
    moved = torch.cat([(after[name] - start).abs().flatten() for name, start in before().items()])
    assert 0.9 * reach < float(moved.max()) < reach
