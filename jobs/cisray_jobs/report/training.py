"""The report of a training run: what it is, and its curves.

Knows the folder that `cisray train` leaves; knows nothing of models.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from cisray.errors import StorageError
from cisray.page.charts import Axis, Curve, curves
from cisray.page.document import Chart, Column, DataTable, Page, Section
from cisray_jobs import marks
from cisray_jobs.report.assays import assay_section
from cisray_jobs.report.cells import number, whole, words
from cisray_jobs.report.record_curves import Record, averaged, record_lines
from cisray_jobs.run_words import flat
from cisray_jobs.train_records import read_records

MODEL = "model.safetensors"
MEANS = 40  # of the training loss
_CURVES = (
    ("learning_rate", "Learning rate", "learning rate"),
    ("grad_norm", "Size of the gradient", "gradient norm before clipping"),
    ("examples_per_s", "Speed", "examples a second"),
)


def training_page(folder: Path) -> Page:
    """Lay out the page of a training run. Raises StorageError for records that are damaged."""
    settings = _settings(folder)
    records = read_records(folder)
    steps = [record for record in records if record["kind"] == "train"]
    checks = [record for record in records if record["kind"] == "valid"]
    done = max((record["step"] for record in steps), default=0)
    wanted = settings.get("steps")
    best = _best(checks)
    lines = {
        "steps": f"{done:,} of {flat(wanted)}",
        "heads": ", ".join(dict.fromkeys(str(record["head"]) for record in records)),
        "validations": f"{len(checks):,}",
        "best": "none yet" if best is None
        else f"step {best['step']:,} of head {best['head']}: Pearson R {best['pearson_r']:.4f}",
        "model": MODEL if (folder / MODEL).is_file() else "not written yet",
    }  # fmt: skip
    about = Section(
        title="What it is",
        anchor="run",
        facts=list(lines.items()),
        parts=[
            Section(
                title="Settings",
                anchor="settings",
                facts=[(name, _spell(value)) for name, value in settings.items()],
                folded=True,
            )
        ],
    )
    warning = ""
    if done != wanted or not (folder / MODEL).is_file():
        warning = (
            f"The training run is not finished: {done:,} of {flat(wanted)} steps are recorded, and "
            f"{MODEL} is {'there' if (folder / MODEL).is_file() else 'missing'}."
        )
    by_assay = [assay_section(checks)] if checks else []
    sections = [about, _loss(steps, checks), _validation(checks), *by_assay, _others(steps)]
    return Page(
        f"Training run {folder.absolute().name}",
        ["Curves of loss, validation, learning rate and speed."],
        sections,
        "This file needs no network.",
        warning,
    )


def _settings(folder: Path) -> dict[str, JsonValue]:
    path = folder / marks.TRAIN_SETTINGS
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}): bring it back from a copy.") from None
    if not isinstance(told, dict):
        raise StorageError(f"{path} holds no settings: bring it back from a copy.")
    return told


def _best(checks: Sequence[Record]) -> Record | None:
    known = [record for record in checks if record["pearson_r"] is not None]
    return max(known, key=lambda record: float(record["pearson_r"]), default=None)


def _loss(steps: Sequence[Record], checks: Sequence[Record]) -> Section:
    lines, told = record_lines(steps, "loss", lambda head: f"{head}, training", faint=True)
    means = _means(steps)
    more, _ = record_lines(checks, "loss", lambda head: f"{head}, validation", marked=True)
    figure = curves([*lines, *means, *more], Axis("step"), Axis("Poisson loss"))
    caption = f"Loss of training batches, their means, and of validation examples. {told}"
    return Section(title="Loss", anchor="loss", charts=[Chart(caption, {(): figure})])


def _means(steps: Sequence[Record]) -> list[Curve]:
    """Draw means of neighbouring batches by head: of one batch the loss says little."""
    lines = []
    for head in dict.fromkeys(str(record["head"]) for record in steps):
        mine = [record for record in steps if record["head"] == head]
        x, y, each = averaged(mine, "loss", MEANS)
        lines.append(Curve(f"{head}, mean of {each:,} batches", x, y))
    return lines


def _validation(checks: Sequence[Record]) -> Section:
    if not checks:
        lead = ["The run has not validated yet."]
        return Section(title="Validation", anchor="validation", lead=lead)
    lines, _ = record_lines(checks, "pearson_r", lambda head: f"{head}, Pearson R", marked=True)
    more, _ = record_lines(checks, "r2", lambda head: f"{head}, R\N{SUPERSCRIPT TWO}", marked=True)
    figure = curves([*lines, *more], Axis("step"), Axis("mean of tracks"))
    caption = (
        "One correlation for each track, over all bins of all validation examples; drawn is the "
        "mean over the tracks that have one."
    )
    names = ("loss", "pearson_r", "r2")
    columns = (
        Column("head"),
        Column("step", numeric=True),
        *(Column(name, numeric=True) for name in (*names, "tracks", "undefined", "examples")),
    )
    rows = [
        [
            words(str(one["head"])),
            whole(one["step"]),
            *(number(one[name]) for name in names),
            whole(one["tracks"]),
            whole(one["undefined"]) if "undefined" in one else number(None),
            whole(one["examples"]),
        ]
        for one in checks
    ]
    return Section(
        title="Validation",
        anchor="validation",
        charts=[Chart(caption, {(): figure})],
        tables=[DataTable("Every validation.", columns, rows)],
    )


def _others(steps: Sequence[Record]) -> Section:
    charts = []
    for name, title, label in _CURVES:
        lines, told = record_lines(steps, name, str)
        charts.append(Chart(f"{title}. {told}", {(): curves(lines, Axis("step"), Axis(label))}))
    return Section(title="Learning rate, gradient and speed", anchor="others", charts=charts)


def _spell(value: JsonValue) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "not set" if value is None else str(value)
