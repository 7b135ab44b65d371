"""Foreign checkpoints of any kind, opened as one value that cisray can save.

Knows which reader a path needs, and what to record of the source. Knows no format itself.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cisray.errors import CheckpointError, ConfigError, UnknownHead, near_matches
from cisray.model.checkpoints.checkpoint import Checkpoint, check_state
from cisray.model.checkpoints.deepmind import read_deepmind
from cisray.model.checkpoints.huggingface import Gamma, read_weights, translate_config, weights_in
from cisray.model.checkpoints.keras import KERAS_SUFFIXES, PARAMS_FILE, read_keras
from cisray.model.checkpoints.native import METADATA_KEY, read_native, read_safetensors
from cisray.model.checkpoints.tensor_bundle import TensorBundle, find_prefix
from cisray.model.configuration import ModelConfig
from cisray.model.enformer.config import EnformerConfig
from cisray.tracks import TrackSet
from cisray.version import __version__

ExpectedShapes = Callable[[ModelConfig], Mapping[str, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What a foreign checkpoint leaves open.

    `input_bp` and `target_bins` are the window; None takes what the source says. A TensorFlow
    checkpoint says nothing: None is then the published 196,608 bp and 896 bins, for a model of the
    published size only. `gamma` is explained at `translate_config`. `config` is the whole
    configuration, for a bare weights file with no config.json beside it; it excludes the others.
    """

    input_bp: int | None = None
    target_bins: int | None = None
    gamma: Gamma = "auto"
    config: EnformerConfig | None = None

    def __post_init__(self) -> None:
        others = (self.input_bp, self.target_bins) != (None, None) or self.gamma != "auto"
        if self.config is not None and others:
            raise ConfigError(
                "A whole configuration was given, and also input_bp, target_bins or gamma; "
                "set them inside the configuration."
            )


@dataclass(frozen=True, slots=True)
class _Opened:
    """What any reader hands back, before it is checked."""

    config: ModelConfig
    state: Mapping[str, torch.Tensor]
    notes: Mapping[str, Any]
    files: Sequence[Path]


def open_foreign(
    source: Path | str,
    expected_shapes: ExpectedShapes,
    *,
    tracks: Mapping[str, TrackSet] | None = None,
    options: ConvertOptions | None = None,
) -> Checkpoint:
    """Open a checkpoint of any known kind and check every tensor against the network.

    `source` may be a TensorFlow prefix, `.index`, data shard, checkpoint folder or SavedModel; a
    Hugging Face folder; a `.bin` or `.safetensors` file of enformer-pytorch, with config.json
    beside it or `options.config`; a Basenji2 as Keras saves it, with Basenji's parameters as
    NAME_params.json beside NAME.h5 or without; or a model of cisray's own. `expected_shapes` gives
    the shapes of a network's state dict. Heads absent from `tracks` keep the tracks of a cisray
    model and get unnamed ones otherwise. Raises CheckpointError for what cannot be read or does
    not fit, TrackError for tracks that do not fit their head, UnknownHead for tracks of no head.
    """
    path = Path(source)
    chosen = options or ConvertOptions()
    native = _open_native(path, chosen)
    if native is not None:
        check_state(native.state, expected_shapes(native.config), source=str(path))
        _check_heads(tracks, native.config)
        every = {**native.tracks, **(tracks or {})}
        return Checkpoint.build(
            native.config, native.state, tracks=every, provenance=native.provenance
        )
    opened = _open_known(path, chosen, tracks or ())
    check_state(opened.state, expected_shapes(opened.config), source=str(path))
    _check_heads(tracks, opened.config)
    provenance = {
        "source": path.name or str(path),
        **opened.notes,
        "source_sha256": {file.name: _file_digest(file) for file in opened.files},
        "converter": f"cisray {__version__}",
    }
    return Checkpoint.build(opened.config, opened.state, tracks=tracks, provenance=provenance)


def _open_known(path: Path, options: ConvertOptions, heads: Iterable[str]) -> _Opened:
    found = [find_prefix(path), weights_in(path) if path.is_dir() else None]
    if all(found):
        raise CheckpointError(
            f"{path} holds both a TensorFlow checkpoint ({found[0]}) and weights of "
            f"enformer-pytorch ({found[1]}); give the path of the one you mean."
        )
    opened = (
        _open_keras(path, options, heads)
        or _open_tensorflow(path, options)
        or _open_huggingface(path, options)
    )
    if opened is None:
        raise CheckpointError(_nothing_found(path))
    return opened


def _open_native(path: Path, options: ConvertOptions) -> Checkpoint | None:
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    if METADATA_KEY not in read_safetensors(file)[0]:
        return None
    if options != ConvertOptions():
        raise ConfigError(
            f"{file} is a model of cisray's own, which carries its configuration; leave out the "
            f"input length, target bins, gamma and configuration."
        )
    return read_native(file)


def _open_tensorflow(path: Path, options: ConvertOptions) -> _Opened | None:
    prefix = find_prefix(path)
    if prefix is None:
        return None
    if options.config is not None or options.gamma != "auto":
        raise ConfigError(
            f"{path} is a TensorFlow checkpoint, whose configuration follows from its tensors and "
            f"whose gamma features are per_feature; give at most its input length and target bins."
        )
    bundle = TensorBundle.open(prefix)
    published = EnformerConfig()
    config, state = read_deepmind(
        bundle,
        input_bp=published.input_bp if options.input_bp is None else options.input_bp,
        target_bins=published.target_bins if options.target_bins is None else options.target_bins,
    )
    if None in (options.input_bp, options.target_bins) and not _is_published_size(config):
        raise CheckpointError(
            f"{path} does not say how many bases its model reads or how many bins it predicts, and "
            f"it is not of the published size ({config.channels} channels, "
            f"{config.num_transformer_layers} layers). Give both: --input-bp and --target-bins."
        )
    notes: dict[str, Any] = {
        "source_format": "tensorflow checkpoint",
        "window": {
            "input_bp": "published" if options.input_bp is None else "asked for",
            "target_bins": "published" if options.target_bins is None else "asked for",
        },
        "gamma_normalisation": "per_feature: DeepMind's code",
    }
    shards = [bundle.shard_file(shard) for shard in range(bundle.shards)]
    return _Opened(config, state, notes, (bundle.index, *shards))


def _open_keras(path: Path, options: ConvertOptions, heads: Iterable[str]) -> _Opened | None:
    if path.suffix not in KERAS_SUFFIXES or not path.is_file():
        return None
    if options != ConvertOptions():
        raise ConfigError(
            f"{path} is a Keras model, which carries its configuration; leave out the input "
            f"length, target bins, gamma and configuration."
        )
    params = path.with_name(PARAMS_FILE.format(stem=path.stem))
    beside = params if params.is_file() else None
    config, state, notes = read_keras(path, beside, heads=heads)
    files = [path] if beside is None else [path, beside]
    return _Opened(config, state, {"source_format": "keras hdf5", **notes}, files)


def _is_published_size(config: EnformerConfig) -> bool:
    published = EnformerConfig()
    return (config.channels, config.num_transformer_layers, config.num_downsamples) == (
        published.channels,
        published.num_transformer_layers,
        published.num_downsamples,
    )


def _open_huggingface(path: Path, options: ConvertOptions) -> _Opened | None:
    weights = weights_in(path) if path.is_dir() else path
    if weights is None or not weights.is_file():
        return None
    if weights.suffix not in (".bin", ".safetensors", ".pt", ".pth"):
        return None
    described = weights.with_name("config.json")
    files = [weights]
    if options.config is not None:
        config, reason = options.config, "asked for"
    elif described.is_file():
        translated = translate_config(
            described,
            gamma=options.gamma,
            input_bp=options.input_bp,
            target_bins=options.target_bins,
        )
        config, reason = translated.config, translated.gamma_reason
        files.append(described)
    else:
        raise CheckpointError(
            f"{weights} has no config.json beside it, and no configuration was given; put the "
            f"model's config.json into the same folder, or give the configuration."
        )
    notes = {
        "source_format": "enformer-pytorch",
        "gamma_normalisation": f"{config.gamma_normalisation}: {reason}",
    }
    return _Opened(config, read_weights(weights), notes, files)


def _check_heads(tracks: Mapping[str, TrackSet] | None, config: ModelConfig) -> None:
    for head in tracks or {}:
        if head not in config.heads:
            raise UnknownHead(
                f"Tracks were given for the head {head!r}, but the model has the heads "
                f"{', '.join(config.heads)}.{near_matches(head, config.heads)}"
            )


def _nothing_found(path: Path) -> str:
    looked = (
        "model.safetensors (cisray or enformer-pytorch), pytorch_model.bin with config.json, "
        "TensorFlow's file checkpoint, one *.index, and variables/variables.index of a SavedModel"
    )
    if path.is_dir():
        return f"The folder {path} holds no model that cisray knows; looked for {looked}."
    if path.exists():
        return (
            f"{path} is no model file that cisray knows, judged by its name: .safetensors, .bin, "
            f".pt, .pth, .h5, .index or a data shard of TensorFlow, or saved_model.pb."
        )
    return (
        f"There is nothing at {path}, and no {path.name}.index beside it. Give a file, a folder "
        f"or a TensorFlow prefix; in a folder cisray looks for {looked}."
    )


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
