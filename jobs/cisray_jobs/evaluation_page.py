"""The job `cisray evaluate page`: folders of evaluations as one HTML file for people.

Knows folders and what lies in them; how a page looks is the business of `cisray.evaluation.page`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cisray.errors import ConfigError, RunConflict
from cisray.evaluation.page.evaluated import Shown, overview_of, section_of
from cisray.page.document import Page, Section, render
from cisray.store.files import publish
from cisray_jobs import marks
from cisray_jobs.evaluation_output import METRICS_FILE, RECORD, read_metrics, read_record
from cisray_schemas import METRICS

OUTCOMES = marks.EVALUATIONS
PAGE = "index.html"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one evaluation of several; `problem` says why it failed.

    `state` is new, there already, not asked for (but there), not done, or failed.
    """

    name: str
    kind: str
    state: str
    problem: str = ""
    bad_input: bool = False

    @property
    def finished(self) -> bool:
        """Whether its folder is there, whole."""
        return self.state in {"new", "there already", "not asked for"}


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a folder: of `evaluate all`, of one evaluation, or of several side by side.

    The same folder gives the same page. Without `out` it is index.html in the folder. Raises
    RunConflict for a folder without evaluations, ConfigError for a place that is a folder.
    """
    final = folder / PAGE if out is None else out
    if final.is_dir():
        raise ConfigError(f"{final} is a folder: give the name of a file, such as page.html.")
    text = render(page_of(folder))
    publish(text.encode(), final.absolute(), staging=final.absolute().parent, exclusive=False)
    return final


def page_of(folder: Path) -> Page:
    """Read a folder and lay out its page."""
    if (folder / RECORD).exists():
        only = _finished(folder, folder.absolute().name, 0, "")
        return Page(f"Evaluation {only.name}", _summary([only]), [section_of(only)], _FOOTER)
    every = list(_all(folder))
    if not every:
        raise RunConflict(
            f"{folder} has no evaluations: neither {RECORD} nor a folder with one. Give the folder "
            f"that `cisray evaluate` wrote."
        )
    overview = Section(title="Overview", anchor="overview", tables=[overview_of(every)])
    return Page("Evaluations", _summary(every), [overview, *map(section_of, every)], _FOOTER)


_FOOTER = (
    "Intervals are of 95 %; the column beside each says how it came about. This file needs no "
    "network; tables are sorted by their heads."
)


def _all(folder: Path) -> Iterator[Shown]:
    for number, one in enumerate(_outcomes(folder)):
        if one.finished:
            yield _finished(folder / one.name, one.name, number, one.state)
            continue
        problem = one.problem or "It has not been done: run the command without --only."
        yield Shown(
            one.name, _anchor(number), one.kind, _NO_METRICS, {}, state=one.state, problem=problem
        )


def _outcomes(folder: Path) -> Sequence[Outcome]:
    """Take what `evaluate all` left, or without it the folders that hold an evaluation."""
    path = folder / OUTCOMES
    if not path.exists():
        found = sorted(file.parent for file in folder.glob(f"*/{RECORD}"))
        return [Outcome(one.name, str(read_record(one)["evaluation"]), "new") for one in found]
    try:
        told: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["evaluations"]
        return [Outcome(**one) for one in told]
    except (ValueError, KeyError, TypeError) as error:
        raise RunConflict(
            f"{path} cannot be read ({error}): run `cisray evaluate all` again."
        ) from error


def _finished(path: Path, name: str, number: int, state: str) -> Shown:
    record = read_record(path)
    there = (path / METRICS_FILE).exists()
    return Shown(
        name,
        _anchor(number),
        str(record["evaluation"]),
        pl.DataFrame(read_metrics(path)) if there else _NO_METRICS,
        record,
        [(file.name, file.read_bytes()) for file in sorted(path.glob("*.png"))],
        state,
    )


def _anchor(number: int) -> str:
    return f"evaluation-{number + 1}"


_NO_METRICS = pl.DataFrame(METRICS.schema.empty_table())


def _summary(every: Sequence[Shown]) -> list[str]:
    """Say in short how much is here, and of what."""
    numbers = sum(one.metrics.height for one in every)
    undefined = sum(one.metrics["value"].null_count() for one in every)
    failed = [one.name for one in every if one.state == "failed"]
    told = f"{len(every)} evaluation{'' if len(every) == 1 else 's'}, {numbers:,} numbers"
    told += f", {undefined:,} of them undefined, with the reason." if undefined else "."
    names = sorted({name for one in every for name in one.metrics["scores"].unique()})
    lines = [told]
    if names:
        lines.append(f"Scores: {', '.join(names[:12])}{' and more' if len(names) > 12 else ''}.")
    if failed:
        lines.append(f"Failed: {', '.join(failed)}.")
    return lines
