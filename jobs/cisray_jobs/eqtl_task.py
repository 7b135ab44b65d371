"""The units of the eQTL evaluation: one repeat of the cross-validation of one tissue each.

Knows the folder that units share and leave their results in; knows nothing of Ray or of labels. A
unit is a function of its number alone, so that no result depends on who computes it, or when.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisray.evaluation.eqtl import CONTROLS, KINDS, Repeats, TaskResult, control_labels
from cisray.evaluation.forest import CrossValidated, Kind, cross_validate, too_few
from cisray.evaluation.scored_rows import ScoredRows, TaskRows
from cisray.stopwatch import lap

_ABOUT, _ROWS = "about.json", "rows.npz"
_CONTROL = "control"
Arrays = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ForestTask:
    """A picklable description of the work; shard `tissue * repeats + repeat` is one unit."""

    folder: Path
    repeats: int
    folds: int
    seed: int

    def open(self) -> Callable[[int], dict[str, object]]:
        """Map the features into memory and return the function that does one unit."""
        tasks, assays = _read_rows(self.folder)
        values = [
            np.load(self.folder / _values(number), mmap_mode="r") for number in range(len(assays))
        ]

        def work(shard: int) -> dict[str, object]:
            number, repeat = divmod(shard, self.repeats)
            rows = tasks[number]
            found: Arrays = {}
            for source, (every_VT, words) in enumerate(zip(values, assays, strict=True)):
                with lap("input"):
                    values_VT = np.ascontiguousarray(every_VT[rows.allele_V])
                with lap("model"):
                    for name, one in self._repeat(values_VT, rows, repeat):
                        found |= _arrays(f"{name}_{source}", one, words)
            with lap("write"):
                _write(self.folder / unit_name(shard), found)
            return {"rows": len(rows.labels_V)}

        return work

    def _repeat(
        self, values_VT: NDArray[np.float32], rows: TaskRows, repeat: int
    ) -> Iterator[tuple[str, CrossValidated]]:
        for kind in KINDS:
            if not too_few(rows.labels_V, rows.groups_V, kind, self.folds):
                yield kind, self._validated(values_VT, rows, rows.labels_V, kind, repeat)
        able = not too_few(rows.labels_V, rows.groups_V, "shuffled", self.folds)
        if able and repeat < CONTROLS:
            shuffled_V = control_labels(rows, self.seed, repeat)
            yield _CONTROL, self._validated(values_VT, rows, shuffled_V, "shuffled", repeat)

    def _validated(
        self,
        values_VT: NDArray[np.float32],
        rows: TaskRows,
        labels_V: NDArray[np.bool_],
        kind: Kind,
        repeat: int,
    ) -> CrossValidated:
        return cross_validate(
            values_VT, labels_V, rows.groups_V, kind=kind, repeat=repeat, folds=self.folds
        )

    def pending(self, tasks: Sequence[TaskRows]) -> list[int]:
        """List the units that are not done, of the tissues that can be cross-validated."""
        able = [
            number
            for number, rows in enumerate(tasks)
            if not all(too_few(rows.labels_V, rows.groups_V, kind, self.folds) for kind in KINDS)
        ]
        every = (number * self.repeats + at for number in able for at in range(self.repeats))
        return [shard for shard in every if not (self.folder / unit_name(shard)).exists()]

    def results(self, tasks: Sequence[TaskRows], sources: int) -> Iterator[TaskResult]:
        """Read what the units of every tissue have left, all of them done."""
        for number, rows in enumerate(tasks):
            reasons = {
                kind: too_few(rows.labels_V, rows.groups_V, kind, self.folds) for kind in KINDS
            }
            shards = [number * self.repeats + at for at in range(self.repeats)]
            units = [] if all(reasons.values()) else [self._load(shard) for shard in shards]
            control = _repeats(units[:CONTROLS], _CONTROL, sources, reasons["shuffled"])
            yield TaskResult(
                rows,
                {kind: _repeats(units, kind, sources, reasons[kind]) for kind in KINDS},
                control,
            )

    def _load(self, shard: int) -> Arrays:
        with np.load(self.folder / unit_name(shard)) as stored:
            return {name: stored[name] for name in stored.files}


def unit_name(shard: int) -> str:
    """Name the file of a unit."""
    return f"unit_{shard:06d}.npz"


def write_rows(folder: Path, scored: ScoredRows, tasks: Sequence[TaskRows]) -> None:
    """Write what units share: features of distinct alleles, and the rows of every tissue."""
    for number, source in enumerate(scored.sources):
        np.save(folder / _values(number), source.values_VT)
    parts: Arrays = {}
    for number, rows in enumerate(tasks):
        for name in ("row_V", "allele_V", "labels_V", "groups_V"):
            parts[f"{name}_{number}"] = getattr(rows, name)
    _write(folder / _ROWS, parts)
    about = {
        "tissues": [rows.tissue for rows in tasks],
        "assays": [list(source.assays) for source in scored.sources],
    }
    (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _read_rows(folder: Path) -> tuple[list[TaskRows], list[list[str]]]:
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    with np.load(folder / _ROWS) as stored:
        names = ("row_V", "allele_V", "labels_V", "groups_V")
        tasks = [
            TaskRows(tissue, *(stored[f"{name}_{number}"] for name in names))
            for number, tissue in enumerate(about["tissues"])
        ]
    return tasks, about["assays"]


def _values(number: int) -> str:
    return f"values_{number}.npy"


def _write(path: Path, arrays: Arrays) -> None:
    """Write a file that is there whole or not at all."""
    aside = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    with aside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    os.replace(aside, path)


def _arrays(name: str, found: CrossValidated, words: Sequence[str]) -> Arrays:
    """Lay one repeat out; importances are added up by assay, in the order of their names."""
    assays = sorted(set(words))
    shares = [found.importance_T[[word == assay for word in words]].sum() for assay in assays]
    return {
        f"{name}_auroc": found.auroc_F,
        f"{name}_auprc": found.auprc_F,
        f"{name}_tested": found.tested_F,
        f"{name}_rank": found.rank_V,
        f"{name}_assays": np.array(assays),
        f"{name}_importance": np.array(shares),
    }


def _repeats(units: Sequence[Arrays], name: str, sources: int, reason: str) -> Repeats:
    if reason:
        nothing = np.empty((0, sources, 0))
        return Repeats(nothing, nothing, np.empty((sources, 0)), reason=reason)
    each = range(sources)

    def stacked(what: str) -> NDArray[np.float64]:
        return np.array([[unit[f"{name}_{s}_{what}"] for s in each] for unit in units], np.float64)

    shares = []
    for s in each:
        mean = np.mean([unit[f"{name}_{s}_importance"] for unit in units], axis=0)
        words = units[0][f"{name}_{s}_assays"].tolist()
        shares.append(dict(zip(words, mean.tolist(), strict=True)))
    return Repeats(stacked("auroc"), stacked("auprc"), stacked("rank").mean(axis=0), tuple(shares))
