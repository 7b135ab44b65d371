"""The model of a training run: where its weights begin, what of it moves, and its file at the end.

Knows checkpoints, heads and tracks; knows nothing of examples or workers. Every worker builds the
same model from the same settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cisray.errors import ConfigError, TrackError, UnknownHead
from cisray.genome.windows import WindowSpec
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.convert import ConvertOptions, open_foreign
from cisray.model.checkpoints.native import save_native
from cisray.model.checkpoints.tensor_bundle import find_prefix
from cisray.model.configuration import ModelConfig
from cisray.model.enformer.config import EnformerConfig
from cisray.model.module import SequenceModule
from cisray.model.registry import expected_shapes, new_network
from cisray.tracks import TrackSet
from cisray.training.batchnorm import inference_form
from cisray.training.finetune import adapt, freeze, merge_adapters
from cisray.training.state import read_facts, read_tensors
from cisray_jobs.models import SIZES
from cisray_jobs.train_settings import MODEL_FILE, TrainModel


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the examples ask of a model: their geometry, and the tracks of each head."""

    spec: WindowSpec
    tracks: Mapping[str, TrackSet]


def build_model(job: TrainModel, wanted: Wanted, start: Checkpoint | None) -> SequenceModule:
    """Build the model as it is before the first step, with adapters and frozen parts.

    `start` is what `read_start` gave. The model has the heads that are trained and no others.

    Raises:
        ConfigError: the model reads or predicts another geometry than the examples have.
        TrackError: a head's tracks are not those of the examples.
        UnknownHead: a head is to be replaced that the model does not have.
    """
    config = _config(job, wanted, start)
    model = new_network(config, job.seed, tracks=wanted.tracks)
    if start is not None:
        kept = _kept_heads(job, wanted, start)
        replaced = tuple(f"_heads.{head}." for head in wanted.tracks if head not in kept)
        dropped = tuple(f"_heads.{head}." for head in start.tracks if head not in wanted.tracks)
        unused = (*replaced, *dropped)
        known = {n: t for n, t in start.state.items() if not n.startswith(unused)}
        model.load_state_dict({**model.state_dict(), **known})
    freeze(model, job.freeze)
    if job.adapt:
        adapt(model, job.adapt, rank=job.adapter_rank, alpha=job.adapter_alpha, seed=job.seed)
    return model


def read_start(job: TrainModel, spec: WindowSpec) -> Checkpoint | None:
    """Read the model that a run begins with, of any format that can be converted.

    A TensorFlow checkpoint does not say what it reads: that is then what the examples have.
    """
    if job.model is None:
        return None
    options = None
    if find_prefix(job.model) is not None:
        options = ConvertOptions(input_bp=spec.input_bp, target_bins=spec.target_bins)
    return open_foreign(job.model, expected_shapes, options=options)


def export_model(
    job: TrainModel, wanted: Wanted, start: Checkpoint | None, checkpoint: Path, notes: Any
) -> Path:
    """Write the weights of a training checkpoint as a model that `cisray score` takes.

    Adapters are merged into the weights. `notes` go into the provenance.
    """
    model = build_model(job, wanted, start)
    state = model.state_dict()
    read_tensors(checkpoint, {f"model.{name}": tensor for name, tensor in state.items()})
    merge_adapters(model)
    inference_form(model)
    provenance = {**notes, "step": read_facts(checkpoint)["step"]}
    if start is not None:
        provenance["began_with"] = {"model_digest": start.digest, **start.provenance}
    finished = Checkpoint.build(
        model.config, model.state_dict(), tracks=model.tracks, provenance=provenance
    )
    return save_native(job.out / MODEL_FILE, finished, overwrite=True)


def _config(job: TrainModel, wanted: Wanted, start: Checkpoint | None) -> ModelConfig:
    spec = wanted.spec
    sizes = {head: len(tracks) for head, tracks in wanted.tracks.items()}
    config: ModelConfig
    if start is not None:
        config = start.config
    elif job.size is not None:
        config = SIZES[job.size]
    else:
        geometry = {"input_bp": spec.input_bp, "target_bins": spec.target_bins, "heads": sizes}
        config = EnformerConfig.model_validate({**geometry, **(job.architecture or {})})
    found = (config.input_bp, config.bin_bp, config.target_bins)
    if found != (spec.input_bp, spec.bin_bp, spec.target_bins):
        raise ConfigError(
            f"The model reads {config.input_bp:,} bp and predicts {config.target_bins} bins of "
            f"{config.bin_bp} bp, but the examples of {job.dataset} have {spec.input_bp:,} bp and "
            f"{spec.target_bins} bins of {spec.bin_bp} bp: build a dataset of the model's "
            "geometry, or choose an architecture of the examples'."
        )
    return config.model_copy(update={"heads": sizes})


def _kept_heads(job: TrainModel, wanted: Wanted, start: Checkpoint) -> set[str]:
    """Tell which heads go on from the model's own, and check that their tracks are the same."""
    for head in job.new_heads:
        if head not in wanted.tracks:
            raise UnknownHead(
                f"new_heads names {head!r}, which is not trained: there are "
                f"{', '.join(wanted.tracks)}."
            )
    kept = {h for h in wanted.tracks if h in start.tracks and h not in job.new_heads}
    for head in kept:
        ours, theirs = start.tracks[head], wanted.tracks[head]
        if ours.sha256 != theirs.sha256:
            raise TrackError(
                f"The head {head} of {job.model} has {len(ours)} tracks, and the {len(theirs)} of "
                f"{job.dataset} are not the same: {_first_difference(ours, theirs)}. To put a new "
                f"head in its place, give --new-heads {head}."
            )
    return kept


def _first_difference(ours: TrackSet, theirs: TrackSet) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} are not {len(theirs)}"
    mine, other = ours.to_rows(), theirs.to_rows()
    for name, values in mine.items():
        for track, (a, b) in enumerate(zip(values, other[name], strict=True)):
            if a != b:
                return f"{name} of track {track} is {a!r} in the model and {b!r} in the dataset"
    return "they have other names for their heads"
