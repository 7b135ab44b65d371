"""The job `cisray evaluate compare`: two folders of evaluations, number by number.

Knows folders and records; what is compared with what is `cisray.evaluation.compared`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import JsonValue

from cisray.errors import ConfigError
from cisray.evaluation.compared import OVER_TASKS, Evaluated, compare, pairs_of_scores, same_rows
from cisray.evaluation.compared_rows import AssayVariants, ElementPairs, JudgedRows, TissueRows
from cisray.evaluation.metrics import BOOTSTRAPS
from cisray.evaluation.paired import Comparison, comparisons_table
from cisray.store.place import run_root
from cisray_jobs.evaluation_output import (
    RECORD,
    EvaluationRecord,
    evaluation_folder,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_schemas import METRIC_COMPARISONS

EVALUATION = "compare"


@dataclass(frozen=True, slots=True)
class ComparedEvaluations:
    """What two evaluations differ in; `alone` counts the numbers that only one of them has.

    `path` is empty where nothing was written.
    """

    first: str
    second: str
    pairing: str
    comparisons: int
    alone: dict[str, int]
    lines: tuple[str, ...]
    path: str


def compare_evaluations(
    first: Path, second: Path, out: Path | None
) -> tuple[ComparedEvaluations, ...]:
    """Compare two evaluations, or all of one name in two folders of several; write it to `out`.

    Of several, `out` has a folder for each. Raises RunConflict for folders of none, ConfigError for
    evaluations of different kinds or without a number in common, and for folders without an
    evaluation in common.
    """
    several = [not (folder / RECORD).exists() for folder in (first, second)]
    if not all(several):
        return (_compared(first, second, out),)
    one, other = (
        {file.parent.name for file in folder.glob(f"*/{RECORD}")} for folder in (first, second)
    )
    names = sorted(one & other)
    if not names:
        raise ConfigError(
            f"{first} and {second} have no evaluation of one name: they have "
            f"{', '.join(sorted(one)) or 'none'} and {', '.join(sorted(other)) or 'none'}."
        )
    return tuple(
        _compared(first / name, second / name, None if out is None else out / name)
        for name in names
    )


def _compared(first: Path, second: Path, out: Path | None) -> ComparedEvaluations:
    a, b = _read(first), _read(second)
    if a.evaluation != b.evaluation:
        raise ConfigError(
            f"{first} is an evaluation of {a.evaluation} and {second} of {b.evaluation}: only two "
            f"of one kind can be compared."
        )
    found = list(compare(a, b))
    if not found:
        raise ConfigError(
            f"{first} and {second} have no number in common: their scores are "
            f"{', '.join(a.scores())} and {', '.join(b.scores())}, their tasks "
            f"{_tasks(a)} and {_tasks(b)}."
        )
    alike = same_rows(a, b)
    return ComparedEvaluations(
        str(first),
        str(second),
        "the same rows, paired tests" if alike else "other rows, no paired tests of their numbers",
        len(found),
        _alone(a, b, (str(first), str(second))),
        tuple(_lines(found)),
        _written(first, second, found, out),
    )


def _read(folder: Path) -> Evaluated:
    record = read_record(folder)
    kind = str(record["evaluation"])
    settings, inputs = (
        value if isinstance(value, dict) else {} for value in (record["settings"], record["inputs"])
    )
    runs = tuple(name.removeprefix("run ") for name in inputs if name.startswith("run "))
    named = (str(settings["name"]),) if "model" in inputs and "name" in settings else ()
    metrics = pl.DataFrame(read_metrics(folder))
    return Evaluated(kind, metrics, _rows(folder, kind, settings), named or runs)


def _rows(folder: Path, kind: str, settings: Mapping[str, Any]) -> JudgedRows | None:
    """Read the rows that an evaluation judged, if its kind has a paired test."""
    if kind in {"eqtl", "direction"}:
        rows = _table(folder / "rows.parquet")
        folds = _table(folder / "folds.parquet")
        return None if rows is None else TissueRows(rows, folds, settings.get("folds", 0))
    drawn = {"seed": settings.get("seed", 0), "bootstraps": settings.get("bootstraps", BOOTSTRAPS)}
    if kind == "enhancers":
        rows = _table(folder / "pairs.parquet")
        return None if rows is None else ElementPairs(rows, **drawn)
    if kind == "mpra":
        rows = _table(folder / "variants.parquet")
        return None if rows is None else AssayVariants(rows, **drawn)
    return None


def _table(path: Path) -> pl.DataFrame | None:
    return pl.read_parquet(path) if path.exists() else None


def _tasks(evaluated: Evaluated) -> str:
    tasks = evaluated.metrics["task"].unique(maintain_order=True).to_list()
    return ", ".join(task for task in tasks[:5] if task not in OVER_TASKS.values())


def _alone(a: Evaluated, b: Evaluated, names: Sequence[str]) -> dict[str, int]:
    """Count the numbers without a counterpart."""
    keys = ["task", "stratum", "metric", "folds"]
    pairs = pairs_of_scores(a, b)
    found = {}
    for name, one, other, at in ((names[0], a, b, 0), (names[1], b, a, 1)):
        mapping = {pair[at]: pair[1 - at] for pair in pairs}
        mine = one.numbers().with_columns(
            pl.col("scores").replace_strict(mapping, default=None, return_dtype=pl.String)
        )
        rest = mine.join(other.numbers(), on=["scores", *keys], how="anti").height
        if rest:
            found[name] = rest
    return found


def _lines(found: Sequence[Comparison]) -> list[str]:
    """Tell the differences over all rows, tissue by tissue."""
    lines = []
    for comparison in found:
        result = comparison.result
        if comparison.stratum != "all" or result.difference is None:
            continue
        p = "" if result.p_value is None else f", p {result.p_value:.2g} ({result.test})"
        folds = f" {comparison.folds}" if comparison.folds else ""
        lines.append(f"{comparison.task}: {comparison.metric}{folds} {result.difference:+.4f}{p}")
    return lines


def _written(first: Path, second: Path, found: Sequence[Comparison], out: Path | None) -> str:
    if out is None:
        return ""
    inputs: dict[str, JsonValue] = {
        name: {"path": str(path.absolute()), "sha256": str(read_record(path)["digest"])}
        for name, path in (("first", first), ("second", second))
    }
    record = EvaluationRecord(evaluation=EVALUATION, settings={}, inputs=inputs)
    final = run_root(out)
    if not is_finished(final, record):
        with evaluation_folder(final, record) as folder:
            table = comparisons_table(found)
            folder.write_table("comparisons.parquet", table, METRIC_COMPARISONS)
            folder.finish({"comparisons": len(found)})
    return str(final)
