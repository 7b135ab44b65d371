"""A YAML file of evaluations, read and checked before anything runs.

Knows names, kinds, options and whether files are there; knows nothing of what is computed. Paths in
the file are relative to it, whoever runs it from wherever.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from cisray.errors import CisrayError, ConfigError, near_matches
from cisray.store.place import run_root
from cisray.store.scan import open_run
from cisray_jobs.config import JobConfig, WorkerCount, load_config, nested_config
from cisray_jobs.evaluation_kinds import KINDS, Kind
from cisray_jobs.evaluation_output import read_record
from cisray_jobs.evaluation_sources import named_place

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SHARED = ("run", "external", "seed", "workers")


class EvaluationsFile(JobConfig):
    """What the file says: options of several evaluations, and those that they share."""

    evaluations: dict[str, dict[str, Any]]
    run: tuple[str, ...] | None = None
    external: tuple[str, ...] | None = None
    seed: int | None = None
    workers: WorkerCount | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """One evaluation: its name, which is that of its folder, its kind, and its checked job."""

    name: str
    kind: str
    job: JobConfig
    out: Path

    @property
    def how(self) -> Kind:
        """What the kind knows."""
        return KINDS[self.kind]


def read_plan(file: Path, out: Path, workers: str | None = None) -> tuple[Planned, ...]:
    """Read and check the evaluations of a file, whose folders are in `out`, in the file's order.

    `workers` wins over those in the file. Raises ConfigError for the first option that cannot be,
    and then for all inputs that are not there and folders that hold something else.
    """
    found = load_config(EvaluationsFile, {"workers": workers}, file)
    if not found.evaluations:
        raise ConfigError(f"{file} has no evaluations: name at least one under `evaluations:`.")
    planned = tuple(
        _planned(file, found, name, options, out) for name, options in found.evaluations.items()
    )
    problems = [f"{one.name}: {problem}" for one in planned for problem in _problems(one)]
    if problems:
        raise ConfigError(f"{file} cannot be done. {'; '.join(problems)}.")
    return planned


def chosen(planned: tuple[Planned, ...], only: tuple[str, ...]) -> tuple[Planned, ...]:
    """Take the evaluations of some names, or all. Raises ConfigError for an unknown one."""
    names = [one.name for one in planned]
    for name in only:
        if name not in names:
            hint = near_matches(name, names)
            raise ConfigError(
                f"--only {name} is none of the evaluations.{hint} They are {', '.join(names)}."
            )
    return tuple(one for one in planned if not only or one.name in only)


def _planned(
    file: Path, found: EvaluationsFile, name: str, options: Mapping[str, Any], out: Path
) -> Planned:
    place = f"the evaluation {name!r} in {file}"
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{place}: its name is that of its folder and must be letters, digits, - and _."
        )
    given = {str(key).replace("-", "_"): value for key, value in options.items()}
    kind = given.pop("kind", None)
    if kind not in KINDS:
        hint = near_matches(str(kind), KINDS)
        told = f"unknown kind {kind!r}.{hint}" if kind is not None else "`kind:` is missing."
        raise ConfigError(f"{place}: {told} The kinds are {', '.join(KINDS)}.")
    if "out" in given:
        raise ConfigError(f"{place}: leave `out` out; its folder is {out / name}.")
    how = KINDS[kind]
    shared = {
        key: value
        for key in _SHARED
        if (value := getattr(found, key)) is not None
        if key in how.shares and key in how.job.model_fields
    }
    base = file.absolute().parent
    anchored = {key: _anchored(how, key, value, base) for key, value in (shared | given).items()}
    final = run_root(out / name)
    return Planned(name, kind, nested_config(how.job, anchored | {"out": final}, place), final)


def _anchored(kind: Kind, key: str, value: Any, base: Path) -> Any:
    """Make the relative paths of an option relative to the file."""
    if isinstance(value, list | tuple):
        return tuple(_anchored(kind, key, one, base) for one in value)
    if not isinstance(value, str) or not value:
        return value
    if key in kind.named:
        name, place = named_place(value)
        return f"{name}={_from(base, place)}"
    return str(_from(base, value)) if _is_path(kind.job, key) else value


def _from(base: Path, text: str) -> str:
    """Give a path from a folder on, unless it is a URL or begins at a home folder.

    >>> _from(Path("/data"), "runs/gtex"), _from(Path("/data"), "s3://bucket/run")
    ('/data/runs/gtex', 's3://bucket/run')
    """
    return text if "://" in text or text.startswith("~") else str(base / text)


def _is_path(job: type[JobConfig], key: str) -> bool:
    return key in job.model_fields and Path in _types(job.model_fields[key].annotation)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _problems(one: Planned) -> Iterator[str]:
    """Say which inputs are not there, and what stands in the way of the output."""
    for key in type(one.job).model_fields:
        if key == "out":
            continue
        value = getattr(one.job, key)
        for entry in value if isinstance(value, tuple) else (value,):
            yield from _missing(one.how, key, entry)
    if not one.out.exists():
        return
    try:
        kind = read_record(one.out)["evaluation"]
    except CisrayError as error:
        yield str(error).rstrip(".")
    else:
        if kind != one.kind:
            yield f"{one.out} holds an evaluation of the kind {kind}, not {one.kind}"


def _missing(kind: Kind, key: str, entry: object) -> Iterator[str]:
    option = f"--{key.replace('_', '-')}"
    if isinstance(entry, Path) and not entry.exists():
        yield f"{option} {entry} is not there"
    if key not in kind.named or not isinstance(entry, str):
        return
    _, place = named_place(entry)
    if key == "run":
        try:
            open_run(place)
        except CisrayError as error:
            yield f"{option} {str(error).rstrip('.')}"
    elif "://" not in place:
        path = Path(place.partition("::")[0]).expanduser()
        if not path.exists():
            yield f"{option} {path} is not there"
