"""Folders of checkpoints: numbered by step, whole or not there, and which of them stay.

Knows names and files; knows nothing of what is in a checkpoint, and does not import Ray.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

from cisray.errors import StorageError
from cisray.store.files import flush_folder, make_folder, remove_tree, writing_to

_PREFIX = "step-"
_STAGING = "_staging"
_SCORE = "score.json"  # in each checkpoint: what the policy of keeping knows of it


def name_of(step: int) -> str:
    """Name the checkpoint after a step.

    >>> name_of(1200)
    'step-00001200'
    """
    return f"{_PREFIX}{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Undo `name_of`.

    >>> step_of(Path("state/step-00001200"))
    1200
    """
    return int(checkpoint.name.removeprefix(_PREFIX))


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a folder, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*"), key=step_of)


def newest(folder: Path) -> Path | None:
    """Give the checkpoint with the highest step."""
    return max(checkpoints(folder), key=step_of, default=None)


def best(folder: Path) -> Path | None:
    """Give the checkpoint with the highest score, the newer of equals."""
    return max(checkpoints(folder), key=lambda path: (_score(path), step_of(path)), default=None)


def note_score(checkpoint: Path, score: float | None) -> None:
    """Leave in a checkpoint what it is kept for."""
    (checkpoint / _SCORE).write_text(json.dumps({"score": score}) + "\n")


def publish(
    folder: Path, step: int, write: Callable[[Path], None], score: float | None = None
) -> None:
    """Let `write` fill a folder under another name, and give it its own when it is on the disk.

    Raises StorageError if the disk is full or the folder cannot be written.
    """
    final, staging = folder / name_of(step), folder / _STAGING / name_of(step)
    remove_tree(staging)
    make_folder(staging)
    with writing_to(staging):
        write(staging)
        note_score(staging, score)
        for file in (path for path in staging.rglob("*") if path.is_file()):
            _flush(file)
        flush_folder(staging)
        remove_tree(final)
        os.replace(staging, final)
        flush_folder(folder)


def clear_staging(folder: Path) -> None:
    """Remove what a killed process has left half written."""
    remove_tree(folder / _STAGING)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest and the `keep` best; those without a score rank by age."""
    found = checkpoints(folder)
    ranked = sorted(found, key=lambda path: (_score(path), step_of(path)), reverse=True)
    for checkpoint in set(ranked[keep:]) - set(found[-1:]):
        remove_tree(checkpoint)


def sweep(folder: Path, known: set[str]) -> None:
    """Remove checkpoints that nobody has registered: their upload may have been cut short."""
    for checkpoint in checkpoints(folder):
        if checkpoint.name not in known:
            remove_tree(checkpoint)


def _score(checkpoint: Path) -> float:
    path = checkpoint / _SCORE
    try:
        score = json.loads(path.read_text())["score"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path} cannot be read ({error}): the checkpoint is damaged. Delete its folder."
        ) from None
    return -math.inf if score is None else float(score)


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
