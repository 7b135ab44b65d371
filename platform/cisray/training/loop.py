"""Training from the last checkpoint to the last step.

Knows when to step, to validate and to save; how each is done, other modules know.
"""

import time
from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from cisray.errors import ConfigError
from cisray.training.augment import Drawing
from cisray.training.batches import Share, TrainingBatches
from cisray.training.batchnorm import training_form
from cisray.training.evaluate import as_record, evaluate
from cisray.training.examples import HeadData
from cisray.training.optim import SonnetAdam
from cisray.training.parallel import Strategy, spread
from cisray.training.recompute import Recompute, recompute_activations
from cisray.training.session import Record, Recorder, Session, TrainSettings
from cisray.training.state import copied, read_state, tensors_of, write_state
from cisray.training.step import StepReport, Training

SCORE = "pearson_r"  # what the best checkpoint is the best in


def prepare(
    model: nn.Module,
    settings: TrainSettings,
    session: Session,
    *,
    strategy: Strategy = "ddp",
    recompute: Recompute = "none",
) -> Training:
    """Make a model ready to be trained on this worker; only what requires a gradient will move.

    Raises ConfigError if the batch cannot be shared equally, or nothing is left to train.
    """
    share = Share(session.rank, session.ranks, settings.parts)
    if settings.batch_size % share.shares:
        raise ConfigError(
            f"A batch of {settings.batch_size} examples cannot be shared equally by "
            f"{session.ranks} workers with {settings.parts} micro-batches each: make it a "
            f"multiple of {share.shares}."
        )
    device = torch.device(session.device)
    model = training_form(model).to(device)
    blocks = heavy_blocks(model)
    recompute_activations(blocks, recompute)
    model = spread(model, strategy, blocks)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ConfigError("Every parameter is frozen: nothing is left to train.")
    return Training(model, SonnetAdam(trained), settings, share, device)


def heavy_blocks(model: nn.Module) -> list[nn.Module]:
    """List the parts that memory goes to: the model's own account of them, or none.

    >>> heavy_blocks(nn.Linear(1, 1))
    []
    """
    chains = [getattr(model, name, ()) for name in ("conv_tower", "transformer")]
    return [*([model.stem] if hasattr(model, "stem") else []), *(b for c in chains for b in c)]


def train(
    training: Training, data: Mapping[str, HeadData], session: Session, recorder: Recorder
) -> int:
    """Train from the last checkpoint on, and return the number of steps that were left to do.

    Raises TrainingDiverged; what was saved before stays.
    """
    settings = training.settings
    restored = session.restored()
    done = 0 if restored is None else read_state(restored, training)
    recorder.begin(done)
    training.train_mode()
    drawing = Drawing(settings.seed, settings.augmentation)
    batches = TrainingBatches(data, training.alternation, drawing, training.share).read(
        done, settings.steps, settings.readers
    )
    try:
        for step in range(done, settings.steps):
            begun = time.monotonic()
            report = training.take_step(step, batches)
            seconds = time.monotonic() - begun
            recorder.add(_as_record(report, step + 1, settings.batch_size, seconds))
            # A checkpoint is as good as its own validation says, and not an earlier one's.
            scores: dict[str, float | None] = {SCORE: None}
            if _is_due(step + 1, settings.valid_every, settings.steps):
                scores = _validate(training, data, step + 1, recorder)
            if _is_due(step + 1, settings.checkpoint_every, settings.steps):
                _save(training, session, step + 1, scores)
    finally:
        session.finish()
    return settings.steps - done


def _is_due(done: int, every: int, steps: int) -> bool:
    return done == steps or done % every == 0


def _validate(
    training: Training, data: Mapping[str, HeadData], step: int, recorder: Recorder
) -> dict[str, float | None]:
    """Evaluate every head that has validation examples, and give the mean of their scores."""
    found = []
    for head in training.settings.heads:
        examples = data[head].valid
        if examples is not None:
            moments = evaluate(training, head, examples)
            record = as_record(moments, head, step, data[head].assays)
            recorder.add(record)
            found.append(record[SCORE])
    scores = [score for score in found if isinstance(score, float)]
    return {SCORE: sum(scores) / len(scores) if scores else None}


def _save(
    training: Training, session: Session, step: int, scores: Mapping[str, float | None]
) -> None:
    tensors = tensors_of(training)
    if session.writes_later:
        tensors = copied(tensors)
    facts = {"scores": dict(scores)}
    session.save(step, partial(write_state, tensors=tensors, step=step, facts=facts), scores)


def _as_record(report: StepReport, step: int, batch_size: int, seconds: float) -> Record:
    return {
        "kind": "train",
        "step": step,
        "head": report.head,
        "loss": report.loss,
        "grad_norm": report.grad_norm,
        "learning_rate": report.learning_rate,
        "examples_per_s": batch_size / seconds,
    }
