"""Configurations of jobs: from option values and a YAML file to one checked, frozen object.

Knows pydantic and YAML; knows no particular job. A wrong key or value is a ConfigError that says
where it stands and what was meant, before anything is opened.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from cisray.errors import ConfigError, near_matches
from cisray.store.place import checked_place

# Of a value that may hold a password.
_NOT_SHOWN = "run_place"
# A URL that was made a Path, which drops one of its slashes.
_URL_AS_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def _place(value: object) -> object:
    """Tell paths and URLs apart while they still are text."""
    if not isinstance(value, str | Path):
        return value
    try:
        return checked_place(value)
    except ConfigError as error:
        raise PydanticCustomError(_NOT_SHOWN, "{told}", {"told": str(error)}) from None


# Where a run lies: a path on this machine, or the URL of a prefix in an object store.
RunLocation = Annotated[Path | str, BeforeValidator(_place)]


def _whole_or_auto(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


# How many workers, as a number or as the text of an option; 0 is this process.
WorkerCount = Annotated[
    Annotated[int, Field(ge=0)] | Literal["auto"], BeforeValidator(_whole_or_auto)
]


def _absolute(value: str) -> str:
    if not Path(value).is_absolute():
        raise ValueError("must be an absolute path, for it is one of each worker's machine")
    return value


# A folder of each machine that has workers: text, since nothing here can resolve it.
MachineFolder = Annotated[str, AfterValidator(_absolute)]


class JobConfig(BaseModel):
    """The base of every job: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse YAML's yes and no for numbers: pydantic would take them for 1 and 0."""
        name = info.field_name or ""
        if isinstance(value, bool) and cls.model_fields[name].annotation is not bool:
            raise ValueError("must not be true or false (nor yes, no, on, off)")
        return value

    @field_validator("*")
    @classmethod
    def _a_path_of_its_own(cls, value: object) -> object:
        """Refuse an empty path, as from an unset shell variable, and expand `~`."""
        if not isinstance(value, Path):
            return value
        if value == Path():
            raise ValueError("must name a file or folder, not be empty or the current folder")
        try:
            return expanded(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None


def expanded(path: Path) -> Path:
    """Put the home folder for a leading `~`, which a shell leaves alone in `--out=~/run`.

    Raises ConfigError where there is no such home, and for a URL.
    """
    if _URL_AS_PATH.match(str(path)):
        raise ConfigError(
            f"{path} must be a path on this machine: of all places only that of a run can be a URL."
        )
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(
            f"There is no home folder for {path}; write the path out, or ./~ for that name."
        ) from None


Job = TypeVar("Job", bound=JobConfig)
_is_rehearsed = ContextVar("_is_rehearsed", default=False)


class SettingsRead(Exception):
    """Ends a command that is only rehearsed, where its settings were read and found usable."""

    def __init__(self, job: JobConfig) -> None:
        """Carry the job that the command would do."""
        super().__init__("the settings are usable")
        self.job = job


@contextmanager
def rehearsed() -> Iterator[None]:
    """Let commands go no further than their settings: `load_config` raises SettingsRead."""
    token = _is_rehearsed.set(True)
    try:
        yield
    finally:
        _is_rehearsed.reset(token)


def load_config(job: type[Job], given: Mapping[str, Any], file: Path | None = None) -> Job:
    """Build a job from a YAML file and from options, which win over the file.

    Options that are None were not given. Keys of the file are option names, with `-` or `_`.
    """
    options = {name: value for name, value in given.items() if value is not None}
    merged = {**_read_yaml(file, job), **options}
    return _checked(job, merged, f" (from {file} and the options)" if file else "")


def nested_config(job: type[Job], values: Mapping[str, Any], place: str) -> Job:
    """Build a job from a part of a YAML file, whose keys are option names; `place` says which part.

    Raises ConfigError as `load_config` does.
    """
    named = {_field(key): value for key, value in values.items()}
    _refuse_unknown_keys(named, job, place)
    return _checked(job, named, f" of {place}")


def _checked(job: type[Job], values: Mapping[str, Any], source: str) -> Job:
    try:
        loaded = job.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_problem(entry) for entry in error.errors())
        raise ConfigError(f"The settings{source} are not usable: {problems}.") from None
    if _is_rehearsed.get():
        raise SettingsRead(loaded)
    return loaded


def split_names(text: str) -> tuple[str, ...]:
    """Split names at commas, dropping blanks.

    >>> split_names("chr1, chr2")
    ('chr1', 'chr2')

    Raises ValueError where there are none.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("names none; leave it out to take all")
    return names


def _read_yaml(file: Path | None, job: type[JobConfig]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {file}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {file} is not YAML: {_flat(error)}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {file} must be a mapping of option names to values.")
    _refuse_repeated_keys(text, file)
    values = {_field(key): value for key, value in content.items()}
    _refuse_unknown_keys(values, job, str(file))
    return values


def _refuse_unknown_keys(values: Mapping[str, Any], job: type[JobConfig], place: str) -> None:
    for key in values:
        if key not in job.model_fields:
            known = ", ".join(sorted(job.model_fields))
            hint = near_matches(key, job.model_fields)
            raise ConfigError(f"{place}: unknown key {key!r}.{hint} The keys are {known}.")


def _refuse_repeated_keys(text: str, file: Path) -> None:
    """Raise ConfigError for a key given twice, of which YAML would silently take the last."""
    _refuse_repeated(yaml.compose(text, yaml.SafeLoader), file)


def _refuse_repeated(node: yaml.Node | None, file: Path) -> None:
    lines: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        _refuse_repeated(value, file)
        name, line = _field(key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(
                f"{file}:{line}: the key {name!r} was given in line {lines[name]} already; "
                "remove one of them."
            )
        lines[name] = line


def _field(key: object) -> str:
    return str(key).replace("-", "_")


def _problem(entry: Any) -> str:
    option = "--" + str(entry["loc"][0]).replace("_", "-") if entry["loc"] else "the settings"
    if entry["type"] == "missing":
        return f"{option} is required"
    message = str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] == _NOT_SHOWN:
        return f"{option}: {message}"
    given = entry["input"]
    shown = str(given) if isinstance(given, Path) else given
    return f"{option}: {message[:1].lower()}{message[1:]}, got {shown!r}"


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
