"""cisray's own model file: one safetensors file that carries its configuration and its tracks.

Knows the metadata format `cisray.model/1`, and how to write it so that no half-written file ever
bears the final name. Knows nothing of other formats, and builds no network.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cisray.errors import CheckpointError, StorageError, TrackError
from cisray.model.architectures import CONFIGURATIONS
from cisray.model.checkpoints.checkpoint import Checkpoint, model_digest
from cisray.tracks import TrackSet

FILE_NAME = "model.safetensors"
METADATA_KEY = "cisray"
_FAMILY = "cisray.model"
_VERSION = 1
_LENGTH_BYTES = 8


def model_file(path: Path | str) -> Path:
    """Locate the model file: the path itself, or `model.safetensors` in a folder."""
    given = Path(path)
    return given / FILE_NAME if given.is_dir() else given


def save_native(path: Path | str, checkpoint: Checkpoint, *, overwrite: bool = False) -> Path:
    """Write a model to one file and return its path; `path` may be an existing folder.

    The bytes go to a temporary name in the same folder and are renamed when they are on disk, so
    a reader sees the whole model or none. Raises CheckpointError if the file exists and
    `overwrite` is not set, StorageError if it cannot be written.
    """
    target = model_file(path)
    if target.suffix != ".safetensors":
        raise CheckpointError(
            f"{target} cannot be written: the name of a model file must end in .safetensors."
        )
    if target.exists() and not overwrite:
        raise CheckpointError(f"{target} exists already: use --overwrite, or another name.")
    header = {
        "format": f"{_FAMILY}/{_VERSION}",
        "architecture": checkpoint.architecture,
        "config": checkpoint.config.model_dump(mode="json"),
        "tracks": {head: tracks.to_rows() for head, tracks in checkpoint.tracks.items()},
        "provenance": dict(checkpoint.provenance),
        "model_digest": checkpoint.digest,
    }
    metadata = {METADATA_KEY: json.dumps(header, separators=(",", ":"))}
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.state.items()
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # safetensors makes files that only their owner can read; models are shared in a lab.
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata)
        temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{target} cannot be written: {error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def read_native(path: Path | str, *, verify: bool = True) -> Checkpoint:
    """Read a model file, or the `model.safetensors` of a folder.

    Tensors are mapped from the file, private to this process: several processes on a machine
    share the pages until one of them writes. With `verify`, the digest is computed again from all
    bytes, which finds any damage and costs about a second per gigabyte. Raises CheckpointError if
    the file is missing, truncated, damaged, newer than this program, or not written by cisray.
    """
    source = model_file(path)
    header, state = _open(source)
    checkpoint = _from_header(header, state, source)
    if verify:
        found = model_digest(checkpoint.config, checkpoint.state, checkpoint.tracks)
        if found != checkpoint.digest:
            raise CheckpointError(
                f"{source} is damaged: its contents have the digest {found}, but when it was "
                f"written {checkpoint.digest} was recorded. Copy or convert it again."
            )
    return checkpoint


def read_safetensors(source: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Map any safetensors file: its metadata and its tensors. Raises CheckpointError."""
    if not source.is_file():
        raise CheckpointError(f"There is no model file {source}.")
    try:
        with safe_open(source, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return dict(file.metadata() or {}), state
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{source} cannot be read as safetensors ({error}): {_diagnosis(source)}"
        ) from error


def _open(source: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    metadata, state = read_safetensors(source)
    if METADATA_KEY not in metadata:
        out = source.with_name(f"{source.stem}.cisray.safetensors")
        raise CheckpointError(
            f"{source} is a safetensors file, but not one of cisray's: it carries no "
            f"configuration. Convert it with: cisray model convert {source} {out}"
        )
    try:
        header = json.loads(metadata[METADATA_KEY])
    except json.JSONDecodeError as error:
        raise CheckpointError(f"The cisray metadata of {source} are damaged: {error}.") from error
    _check_format(header, source)
    return header, state


def _check_format(header: Any, source: Path) -> None:
    name = header.get("format") if isinstance(header, dict) else None
    family, _, version = str(name).partition("/")
    if family != _FAMILY or not version.isdecimal():
        raise CheckpointError(
            f"The cisray metadata of {source} name the format {name!r}; "
            f"a model has the format {_FAMILY}/{_VERSION}."
        )
    if int(version) > _VERSION:
        raise CheckpointError(
            f"{source} has the format {name}, and this cisray reads up to {_FAMILY}/{_VERSION}. "
            f"Upgrade cisray to the version that wrote it."
        )
    architecture = header.get("architecture")
    if not isinstance(architecture, str) or architecture not in CONFIGURATIONS:
        raise CheckpointError(
            f"{source} holds a model of the architecture {architecture!r}; "
            f"this cisray knows {' and '.join(CONFIGURATIONS)}."
        )


def _from_header(
    header: Mapping[str, Any], state: Mapping[str, torch.Tensor], source: Path
) -> Checkpoint:
    try:
        return Checkpoint(
            config=CONFIGURATIONS[header["architecture"]].model_validate(header["config"]),
            state=state,
            tracks={
                head: TrackSet.from_rows(head, rows) for head, rows in header["tracks"].items()
            },
            provenance=header["provenance"],
            digest=str(header["model_digest"]),
        )
    except (KeyError, AttributeError, TypeError, ValidationError, TrackError) as error:
        raise CheckpointError(
            f"The cisray metadata of {source} are damaged: {type(error).__name__}: {error}."
        ) from error


def _diagnosis(source: Path) -> str:
    """Say what is wrong with a file that safetensors refuses, from its length fields alone."""
    size = source.stat().st_size
    with source.open("rb") as file:
        declared = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        opening = file.read(1)
        file.seek(_LENGTH_BYTES)
        if size <= _LENGTH_BYTES or opening != b"{":
            return f"it is {size} bytes of something else. Is it a model file at all?"
        header = file.read(min(declared, size))
    wanted = _LENGTH_BYTES + declared
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        entries = json.loads(header)
        wanted += max(e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__")
    if size < wanted:
        return f"it is truncated, {size:,} bytes of at least {wanted:,}. Download or copy it again."
    return "it is damaged. Download or copy it again."


def _sync(path: Path) -> None:
    """Force a file or a folder to disk, so that a power loss cannot undo the rename."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
