"""The numbers of a training run as they come: JSON lines, TensorBoard, and a figure at the end.

Knows files and records; knows nothing of models. A run that goes on from a checkpoint takes back
what it had recorded of the steps that come again, so that every step stands there once.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from cisray.errors import MissingExtra, StorageError
from cisray.training.session import Record
from cisray_jobs import marks

METRICS, CURVE, BOARD = marks.TRAINED, "curve.png", "tensorboard"
_NAMES = ("kind", "step", "head")

log = logging.getLogger(__name__)


class NoRecords:
    """What workers have that do not record."""

    def begin(self, step: int) -> None:
        """Do nothing."""

    def add(self, record: Record) -> None:
        """Do nothing."""


class RunRecords:
    """The records of the first worker, in the folder of the run."""

    def __init__(
        self, out: Path, *, tensorboard: bool, also: Callable[[Record], None] | None = None
    ) -> None:
        """Take the folder; `also` is told every record, too."""
        self._path = out / METRICS
        self._also = also
        self._board = out / BOARD if tensorboard else None
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Keep the records of the first `step` steps, drop later ones."""
        kept = [line for line, record in _lines(self._path) if record["step"] <= step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, self._path)
        if self._board is not None:
            self._writer = summary_writer()(str(self._board), purge_step=step + 1)

    def add(self, record: Record) -> None:
        """Append a record; a reader sees whole lines."""
        line = json.dumps(record)
        with self._path.open("a") as stream:
            stream.write(line + "\n")
        if self._also is not None:
            self._also(record)
        if record["kind"] == "valid":
            log.info("validated: %s", line)
        if self._writer is not None:
            told = {name: value for name, value in record.items() if name not in _NAMES}
            for name, value in _numbers(told, f"{record['kind']}/{record['head']}"):
                self._writer.add_scalar(name, value, record["step"])
            self._writer.flush()


def _numbers(told: Mapping[str, Any], under: str) -> Iterator[tuple[str, float]]:
    """Give the numbers of a record with their paths; what is undefined is left out."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{under}/{name}")
        elif value is not None:
            yield f"{under}/{name}", value


def summary_writer() -> Any:
    """Give the class that writes TensorBoard's files. Raises MissingExtra if it is not there."""
    try:
        from tensorboardX import SummaryWriter  # noqa: PLC0415  (an extra)
    except ImportError:
        raise MissingExtra(
            "TensorBoard's files are written with tensorboardX, which is not installed: "
            "pip install 'cisray[tensorboard]', or leave --tensorboard out."
        ) from None
    return SummaryWriter


def read_records(out: Path) -> list[dict[str, Any]]:
    """Read all records of a run. Raises StorageError for a line that is none."""
    return [record for _, record in _lines(out / METRICS)]


def draw_curve(out: Path, title: str) -> Path:
    """Draw the losses and the validation correlation over steps, a line for each head."""
    records = read_records(out)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for head in dict.fromkeys(record["head"] for record in records):
        for kind, name, axes, style in (
            ("train", "loss", left, "-"),
            ("valid", "loss", left, "--"),
            ("valid", "pearson_r", right, "o-"),
        ):
            points = [
                (record["step"], record[name])
                for record in records
                if (record["kind"], record["head"]) == (kind, head) and record[name] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=f"{head}, {kind}", linewidth=1)
    left.set(xlabel="step", ylabel="Poisson loss")
    right.set(xlabel="step", ylabel="Pearson R, mean of tracks")
    for axes in (left, right):
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(title)
    temporary = out / f".{CURVE}.tmp"
    figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)
    os.replace(temporary, out / CURVE)
    return out / CURVE


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read lines with their records; a last line without an end was cut by a kill, and dropped."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            record = json.loads(line)
            record["step"], record["kind"], record["head"]
        except (ValueError, KeyError, TypeError):
            raise StorageError(
                f"{path}:{number}: {line[:80]!r} is no record of a training run. Mend or delete "
                "the line."
            ) from None
        found.append((line, record))
    return found
