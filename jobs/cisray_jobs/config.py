"""Configurations of jobs: from option values and a YAML file to one checked, frozen object.

Knows pydantic and YAML; knows no particular job. A wrong key or value is a ConfigError that says
where it stands and what was meant, before anything is opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cisray.errors import ConfigError, near_matches


class JobConfig(BaseModel):
    """The base of every job: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Job = TypeVar("Job", bound=JobConfig)


def load_config(job: type[Job], given: Mapping[str, Any], file: Path | None = None) -> Job:
    """Build a job from a YAML file and from options, which win over the file.

    Options that are None were not given. Keys of the file are option names, with `-` or `_`.
    """
    options = {name: value for name, value in given.items() if value is not None}
    merged = {**_read_yaml(file, job), **options}
    try:
        return job.model_validate(merged)
    except ValidationError as error:
        source = f" (from {file} and the options)" if file else ""
        problems = "; ".join(_problem(entry) for entry in error.errors())
        raise ConfigError(f"The settings{source} are not usable: {problems}.") from None


def _read_yaml(file: Path | None, job: type[JobConfig]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {file}: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The configuration {file} is not YAML: {_flat(error)}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {file} must be a mapping of option names to values.")
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    for key in values:
        if key not in job.model_fields:
            known = ", ".join(sorted(job.model_fields))
            hint = near_matches(key, job.model_fields)
            raise ConfigError(f"{file}: unknown key {key!r}.{hint} The keys are {known}.")
    return values


def _problem(entry: Any) -> str:
    option = "--" + str(entry["loc"][0]).replace("_", "-") if entry["loc"] else "the settings"
    if entry["type"] == "missing":
        return f"{option} is required"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{option}: {message[:1].lower()}{message[1:]}, got {entry['input']!r}"


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
