"""The scores that an evaluation is given: runs of variants and tables, each under a name.

Knows the options --run and --external; knows no evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from cisray.errors import ConfigError
from cisray.evaluation.scores import RunScores, ScoreSource, TableScores
from cisray.store.scan import open_run
from cisray_jobs.config import expanded
from cisray_jobs.evaluation_output import input_facts


@dataclass(frozen=True, slots=True)
class Sources:
    """The scores in the order given, runs first, and what a record says of their files."""

    scores: tuple[ScoreSource, ...]
    inputs: dict[str, JsonValue]


def open_sources(
    runs: Sequence[str],
    externals: Sequence[str],
    *,
    statistic: str,
    tracks: Sequence[str] | None,
) -> Sources:
    """Open NAME=RUN and NAME=TABLE, or NAME=TABLE::COLUMN,COLUMN; a name may be left out.

    Raises ConfigError where there are none, and what opening them raises.
    """
    if not runs and not externals:
        raise ConfigError("there is nothing to evaluate: give --run or --external.")
    opened, files = {}, {}
    scores: list[ScoreSource] = []
    for text in runs:
        name, place = named_place(text)
        run = open_run(place)
        opened[f"run {name}"] = run
        scores.append(RunScores(name, run, statistic, list(tracks) if tracks else None))
    for text in externals:
        name, place = named_place(text)
        file, _, columns = place.partition("::")
        path = expanded(Path(file))
        chosen = [column.strip() for column in columns.split(",") if column.strip()]
        scores.append(TableScores.read(name, path, chosen))
        files[f"external {name}"] = path
    return Sources(tuple(scores), input_facts(files, opened))


def named_places(texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=PLACE, or a place alone, of an option that repeats. Raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts:
        name, place = named_place(text)
        if name in found:
            raise ConfigError(f"two scores are called {name}: name them apart.")
        found[name] = place
    return found


def named_place(text: str) -> tuple[str, str]:
    """Split NAME=PLACE; without a name it is the last part of the place. Raises ConfigError."""
    name, equals, place = text.partition("=")
    if not equals:
        return Path(text.partition("::")[0]).name, text
    if not name or not place:
        raise ConfigError(f"{text!r} must be NAME=PATH, or a path alone.")
    return name, place


def pairs_of(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read NAME=VALUE of an option that repeats. Raises ConfigError for other text."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in found:
            raise ConfigError(f"--{option} {text!r} must be NAME=VALUE, each name once.")
        found[name] = value
    return found
