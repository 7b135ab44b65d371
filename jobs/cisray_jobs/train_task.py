"""What each worker of a training run does: build the model, open the examples, train.

Knows how settings become a model and data; how a step is done is `cisray.training`'s, and who the
other workers are is the engine's.
"""

from dataclasses import dataclass

import torch

from cisray.dataset.examples import Dataset
from cisray.engine.group import GroupSession
from cisray.errors import ConfigError
from cisray.tracks import TrackSet
from cisray.training.examples import HeadData
from cisray.training.loop import prepare, train
from cisray_jobs.assays import rows_by_assay
from cisray_jobs.train_model import Wanted, build_model, read_start
from cisray_jobs.train_records import NoRecords, RunRecords
from cisray_jobs.train_settings import TrainModel


@dataclass(frozen=True, slots=True)
class TrainTask:
    """A training run for whoever is given it; paths in it are absolute."""

    job: TrainModel

    def run(self, session: GroupSession) -> None:
        """Train from the newest checkpoint on until the last step."""
        job = self.job
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        dataset = Dataset.open(job.dataset)
        wanted = wanted_of(job, dataset)
        model = build_model(job, wanted, read_start(job, wanted.spec))
        training = prepare(
            model,
            job.settings(tuple(wanted.tracks)),
            session,
            strategy=job.strategy,
            recompute=job.recompute,
        )
        recorder = (
            NoRecords()
            if session.rank
            else RunRecords(job.out, tensorboard=job.tensorboard, also=session.measured)
        )
        data = {head: _data(job, dataset, head, tracks) for head, tracks in wanted.tracks.items()}
        train(training, data, session, recorder)


def wanted_of(job: TrainModel, dataset: Dataset) -> Wanted:
    """Tell what the examples ask of a model.

    Raises DatasetError for a head that is not in the dataset, ConfigError for shifts that go
    beyond what is stored beside the examples.
    """
    if job.max_shift_bp > dataset.margin_bp:
        raise ConfigError(
            f"--max-shift-bp {job.max_shift_bp} goes beyond the {dataset.margin_bp} bp that "
            f"{job.dataset} holds beside each example: shift less, or build the dataset with a "
            "larger --margin-bp."
        )
    heads = job.heads or dataset.heads
    return Wanted(dataset.spec, {head: dataset.tracks(head) for head in heads})


def _data(job: TrainModel, dataset: Dataset, head: str, tracks: TrackSet) -> HeadData:
    train_set = dataset.examples(head, job.train_split)
    if not len(train_set):
        raise ConfigError(f"{job.dataset} has no example in the set {job.train_split} of {head}.")
    if job.valid_split not in dataset.splits(head):
        return HeadData(train_set)
    valid_set = dataset.examples(head, job.valid_split)
    assays = rows_by_assay(tracks) if any(tracks.by_assay()) else {}
    return HeadData(train_set, valid_set if len(valid_set) else None, assays=assays)
