"""One step of the optimiser: from micro-batches to moved weights.

Knows a model, its optimiser and batches; knows neither where they come from nor when it is over.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from cisray.errors import TrainingDiverged
from cisray.training.batches import Batch, Share, onehot
from cisray.training.batchnorm import SonnetBatchNorm
from cisray.training.loss import poisson_loss
from cisray.training.optim import SonnetAdam, clip_global_norm, warmed_up
from cisray.training.order import Alternation, derived_seed
from cisray.training.parallel import bare, summed, without_exchange
from cisray.training.session import TrainSettings


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step tells: the loss over its whole batch, and the norm before clipping."""

    head: str
    loss: float
    grad_norm: float
    learning_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A model in training form, spread over workers, with what moves it."""

    model: nn.Module
    optimiser: SonnetAdam
    settings: TrainSettings
    share: Share
    device: torch.device

    @property
    def alternation(self) -> Alternation:
        """Whose turn it is."""
        return Alternation(self.settings.heads, self.settings.batch_size)

    def arithmetic(self) -> AbstractContextManager[object]:
        """Multiply in the number format of the settings."""
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def take_step(self, step: int, batches: Iterator[Batch]) -> StepReport:
        """Do step number `step`, from 0, with the next micro-batches.

        Dropout draws from a generator that is seeded anew for each micro-batch, by the numbers of
        the step and the share: there is no random state to keep. Raises TrainingDiverged for a
        loss or gradient that is no number.
        """
        settings, head = self.settings, self.alternation.head(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for part in range(self.share.parts):
            is_last = part == self.share.parts - 1
            torch.manual_seed(derived_seed(settings.seed, "dropout", step, self.share.number(part)))
            with nullcontext() if is_last else without_exchange(self.model):
                loss += self._gradients(next(batches), head)
        rate = warmed_up(
            settings.learning_rate, self.alternation.round(step), settings.warmup_rounds
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        norm = clip_global_norm(self.model.parameters(), settings.clip_norm)
        mean = float(summed(loss)) / self.share.ranks
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise TrainingDiverged(
                f"At step {step} (head {head}) the loss is {mean} and the gradient's norm {norm}: "
                "training cannot go on. Lower the learning rate, lengthen the warm-up, or look "
                "for targets that are no numbers (cisray dataset info)."
            )
        self.optimiser.step()
        return StepReport(head, mean, norm, rate)

    def _gradients(self, batch: Batch, head: str) -> torch.Tensor:
        """Add a micro-batch's gradients to those of the step, and return its part of the loss."""
        batch = batch.to(self.device)
        with self.arithmetic():
            pred_BNT = self.model(onehot(batch.codes_BL), head)
        loss = poisson_loss(pred_BNT, batch.target_BNT) / self.share.parts
        torch.autograd.backward(loss)
        return loss.detach()

    def train_mode(self) -> None:
        """Switch dropout and batch statistics on; frozen batch norms keep their statistics."""
        self.model.train()
        for module in bare(self.model).modules():
            if isinstance(module, SonnetBatchNorm) and not module.weight.requires_grad:
                module.eval()
