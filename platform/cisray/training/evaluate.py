"""How well a model predicts a validation set, its workers taking turns at the examples.

Knows a model and examples; knows nothing of steps.
"""

from collections.abc import Mapping, Sequence

import torch

from cisray.training.batches import onehot, validation_batches
from cisray.training.examples import ExampleSource
from cisray.training.loss import poisson_loss
from cisray.training.metrics import TrackMoments, mean_defined
from cisray.training.parallel import bare, summed
from cisray.training.session import Record
from cisray.training.step import Training


@torch.no_grad()
def evaluate(training: Training, head: str, examples: ExampleSource) -> TrackMoments:
    """Predict the validation examples of a head, without shifts and on the forward strand.

    Every worker gets the result for all of them. The model is left in training mode.
    """
    settings, share = training.settings, training.share
    size = max(1, settings.batch_size // share.shares)
    model = bare(training.model).eval()
    moments = TrackMoments.empty(examples.target_NT(0).shape[1], training.device)
    for batch, counted in validation_batches(
        examples, settings.valid_examples, size, share.rank, share.ranks
    ):
        here = batch.to(training.device)
        with training.arithmetic():
            pred_BNT = model(onehot(here.codes_BL), head)
        pred_BNT, target_BNT = pred_BNT[:counted], here.target_BNT[:counted]
        if counted:
            moments = moments.seen(pred_BNT, target_BNT, float(poisson_loss(pred_BNT, target_BNT)))
    training.train_mode()
    return TrackMoments.from_flat(summed(moments.flat()))


def as_record(
    moments: TrackMoments, head: str, step: int, assays: Mapping[str, Sequence[int]]
) -> Record:
    """Tell the result of an evaluation after `step` steps, of all tracks and of each assay's.

    `assays` has the places of each assay's tracks on the T axis. Means are over tracks that have a
    value; `tracks` counts those with a correlation and `undefined` those without.
    """
    pearson_T = moments.pearson_T()
    by_assay = {assay: _correlation(pearson_T[list(at)]) for assay, at in assays.items()}
    return {
        "kind": "valid",
        "step": step,
        "head": head,
        "loss": moments.mean_loss(),
        **_correlation(pearson_T),
        "r2": mean_defined(moments.r2_T()),
        "examples": int(moments.examples),
        "assays": by_assay,
    }


def _correlation(pearson_T: torch.Tensor) -> dict[str, int | float | None]:
    undefined = int(pearson_T.isnan().sum())
    return {
        "pearson_r": mean_defined(pearson_T),
        "tracks": len(pearson_T) - undefined,
        "undefined": undefined,
    }
