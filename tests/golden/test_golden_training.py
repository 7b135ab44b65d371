"""Training against numbers that DeepMind's Sonnet/TensorFlow code printed.

The reference stored what eight optimiser steps ended in, but not the weights that they began with.
Those follow from the end: they are solved for here, by repeating the eight steps until they end at
the stored weights. Whatever else the reference printed (loss and gradient norm of every step,
running statistics, the stem's outputs before the first step) was not used for that, and is what
our steps are compared with. Wrong rules (torch's step counters, clipping of another kind, an
unbiased variance) also find weights to begin with, and then miss these numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.genome.encode import onehot
from cisray.model.checkpoints.deepmind import rules
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.training.batchnorm import SonnetBatchNorm, inference_form, training_form
from cisray.training.loss import poisson_loss
from cisray.training.optim import SonnetAdam, clip_global_norm, warmed_up

pytestmark = pytest.mark.golden

HEADS = ("human", "mouse")
CONFIG = EnformerConfig(
    channels=96,
    num_transformer_layers=1,
    num_heads=4,
    channels_divisible_by=16,
    input_bp=4096,
    target_bins=16,
    heads={"human": 7, "mouse": 5},
    dropout=0,
    attention_dropout=0,
    positional_dropout=0,
)
PEAK, WARMUP, CLIP = 5e-4, 4, 0.2
OPS = {
    "copy": lambda a: a,
    "flatten": np.ravel,
    "linear": lambda a: a.T,
    "conv": lambda a: a.transpose(2, 1, 0),
    "pool": lambda a: a.T[:, :, None, None],
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

Arrays = Mapping[str, np.ndarray]
State = dict[str, torch.Tensor]


@dataclass
class Trained:
    """A model after eight steps, and what the steps told."""

    model: Enformer
    losses: list[float]
    norms: list[float]
    rates: list[float]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Arrays:
    return dict(np.load(shared / "golden" / "tf_train.npz"))


def final_state(golden: Arrays) -> State:
    return {
        rule.torch: torch.tensor(OPS[rule.op](golden[f"final/module/{rule.tf}"]).copy())
        for rule in rules(CONFIG)
    }


def eight_steps(golden: Arrays, start: State) -> Trained:
    model = Enformer(CONFIG)
    fresh = {name: tensor for name, tensor in start.items() if not name.endswith(STATISTICS)}
    model.load_state_dict(fresh, strict=False)
    model = training_form(model).train()
    optimiser = SonnetAdam(model.parameters())
    told = Trained(model, [], [], [])
    for step in range(8):
        head, round_ = HEADS[step % 2], step // 2
        pred_BNT = model(bases(golden[f"train.idx.{round_}.{head}"]), head)
        loss = poisson_loss(pred_BNT, torch.tensor(golden[f"train.target.{round_}.{head}"]))
        optimiser.zero_grad()
        loss.backward()
        rate = warmed_up(PEAK, round_, WARMUP)
        optimiser.param_groups[0]["lr"] = rate
        told.norms.append(clip_global_norm(model.parameters(), CLIP))
        optimiser.step()
        told.losses.append(float(loss))
        told.rates.append(rate)
    return told


def bases(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(onehot(codes))


def solve(golden: Arrays, rounds: int, steps: Callable[[Arrays, State], Trained]) -> State:
    """Find the weights from which eight steps lead to the stored ones, as a fixed point."""
    end = final_state(golden)
    start = dict(end)
    for _ in range(rounds):
        reached = steps(golden, start).model.state_dict()
        off = 0.0
        for name in end:
            if not name.endswith(STATISTICS):
                start[name] = start[name] + (end[name] - reached[name])
                off = max(off, float((end[name] - reached[name]).abs().max()))
        print("off", off)
    return start
