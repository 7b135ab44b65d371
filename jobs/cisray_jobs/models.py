"""Checkpoints as a user handles them: make one, look into it, convert it, fetch it.

Knows which sizes there are and where the published weights are; reading and writing them is
`cisray.model`'s business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from cisray.errors import ConfigError, DownloadError
from cisray.model.basenji2.config import Basenji2Config
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.convert import ConvertOptions, open_foreign
from cisray.model.checkpoints.native import save_native
from cisray.model.configuration import ModelConfig
from cisray.model.enformer.config import EnformerConfig
from cisray.model.registry import expected_shapes, new_network, read_model
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.config import expanded

PUBLISHED_REPOSITORY = "EleutherAI/enformer-official-rough"
PUBLISHED_FILES = ("config.json", "pytorch_model.bin")
# The root of the failures of the HTTP library under the hub's client, which has changed with its
# versions; a connection that breaks off in the middle raises it as it is.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]
_INVENTED_ASSAYS = ("DNASE", "ATAC", "CHIP", "CAGE")

SIZES: Mapping[str, ModelConfig] = {
    # A toy of 4,096 bp for demonstrations and tests: seconds on any machine.
    "tiny": EnformerConfig(
        channels=48,
        num_transformer_layers=1,
        num_heads=2,
        key_size=16,
        channels_divisible_by=8,
        input_bp=4096,
        target_bins=16,
        heads={"human": 8, "mouse": 4},
    ),
    # The published geometry with a 208th of the arithmetic: whole chromosomes on a laptop.
    "small": EnformerConfig(
        channels=96,
        num_transformer_layers=2,
        num_heads=4,
        key_size=32,
        channels_divisible_by=16,
        heads={"human": 16, "mouse": 8},
    ),
    "enformer": EnformerConfig(),
    # The toy's window and tracks, seen by a Basenji2.
    "basenji2-tiny": Basenji2Config(
        stem_channels=24,
        tower_channels=(24, 24, 32, 32, 40, 48),
        residual_channels=24,
        dilations=(1, 2, 3),
        final_channels=96,
        input_bp=4096,
        target_bins=16,
        heads={"human": 8, "mouse": 4},
    ),
    "basenji2": Basenji2Config(),
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `cisray model info` tells."""

    path: str
    architecture: str
    parameters: int
    digest: str
    geometry: dict[str, int]
    heads: dict[str, dict[str, Any]]
    config: dict[str, Any]
    provenance: dict[str, Any]


def init_model(
    out: Path, size: str, seed: int, *, randomise_all: bool = False, overwrite: bool = False
) -> ModelInfo:
    """Write a model with random weights. Raises ConfigError for an unknown size."""
    if size not in SIZES:
        raise ConfigError(f"Unknown --size {size!r}: the sizes are {', '.join(SIZES)}.")
    config = SIZES[size]
    model = new_network(config, seed, randomise_all=randomise_all)
    tracks = {head: _random_tracks(head, count) for head, count in config.heads.items()}
    provenance = {
        "made_by": f"cisray {__version__} model init",
        "size": size,
        "seed": seed,
        "randomise_all": randomise_all,
    }
    checkpoint = Checkpoint.build(config, model.state_dict(), tracks=tracks, provenance=provenance)
    return _save(out, checkpoint, overwrite=overwrite)


def convert_model(
    source: Path,
    out: Path,
    *,
    track_tables: Mapping[str, Path] | None = None,
    options: ConvertOptions | None = None,
    notes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ModelInfo:
    """Convert a foreign checkpoint; every tensor must be there, and no other.

    `track_tables` maps a head to its Basenji targets table; `notes` are added to the provenance.
    """
    tables = track_tables or {}
    tracks = {head: TrackSet.read_table(expanded(table), head) for head, table in tables.items()}
    foreign = open_foreign(expanded(source), expected_shapes, tracks=tracks, options=options)
    provenance = {**foreign.provenance, **(notes or {})}
    return _save(out, replace(foreign, provenance=provenance), overwrite=overwrite)


def download_model(
    out: Path,
    *,
    repository: str = PUBLISHED_REPOSITORY,
    revision: str | None = None,
    track_tables: Mapping[str, Path] | None = None,
    overwrite: bool = False,
) -> ModelInfo:
    """Fetch a published checkpoint from the Hugging Face hub and convert it.

    Files are kept in the hub's own cache, so a broken download is continued. The commit of the
    repository is recorded in the provenance. Raises DownloadError.
    """
    try:
        paths = [
            Path(hf_hub_download(repository, name, revision=revision)) for name in PUBLISHED_FILES
        ]
    except (_HTTP_ERROR, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DownloadError(
            f"Could not fetch {repository} from the Hugging Face hub: {reason} Check the network "
            "(HF_ENDPOINT names a mirror, HF_TOKEN a private repository), or fetch the folder by "
            "other means and run `cisray model convert FOLDER OUT`."
        ) from None
    folder = paths[0].parent  # named after the commit in the hub's cache
    notes = {"source": repository, "source_commit": folder.name}
    return convert_model(folder, out, track_tables=track_tables, notes=notes, overwrite=overwrite)


def describe_model(path: Path) -> ModelInfo:
    """Describe a model in cisray's own format."""
    path = expanded(path)
    return _describe(path, read_model(path))


def _save(out: Path, checkpoint: Checkpoint, *, overwrite: bool) -> ModelInfo:
    """Write the model and describe what can be read back, so that a report is a proof."""
    return describe_model(save_native(expanded(out), checkpoint, overwrite=overwrite))


def _describe(path: Path, checkpoint: Checkpoint) -> ModelInfo:
    config = checkpoint.config
    with_gradient = [
        tensor.numel()
        for name, tensor in checkpoint.state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    return ModelInfo(
        path=str(path),
        architecture=checkpoint.architecture,
        parameters=sum(with_gradient),
        digest=checkpoint.digest,
        geometry={
            "input_bp": config.input_bp,
            "bin_bp": config.bin_bp,
            "target_bins": config.target_bins,
            "target_bp": config.target_bins * config.bin_bp,
        },
        heads={
            head: {"tracks": len(tracks), "by_assay": tracks.by_assay()}
            for head, tracks in checkpoint.tracks.items()
        },
        config=config.model_dump(),
        provenance=dict(checkpoint.provenance),
    )


def _random_tracks(head: str, count: int) -> TrackSet:
    """Name the tracks of random weights: the published sizes by assay, others in turn."""
    unnamed = TrackSet.unnamed(head, count)
    if any(unnamed.by_assay()):
        return unnamed
    assays = [_INVENTED_ASSAYS[i % len(_INVENTED_ASSAYS)] for i in range(count)]
    rows = unnamed.to_rows()
    rows["assay"] = assays
    rows["description"] = [f"{assay}:random track {i}" for i, assay in enumerate(assays)]
    return TrackSet.from_rows(head, rows)
