"""All that a job on a cluster is made of: its command, this code, its settings, its variables.

Knows what must not be sent; knows nothing of job servers. What is sent is readable for everybody
who holds the cluster's token, so secrets are refused.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from cisray.errors import ConfigError
from cisray_jobs.submit.command import Parsed, Resolve
from cisray_jobs.submit.wheel import build_wheel

MODULE = "cisray_jobs.cli"
SETTINGS = "settings.yaml"
# KubeRay takes names of 47 characters: cisray-NAME-0123456789.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,27}[a-z0-9])?")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(?i)TOKEN|SECRET|PASSW|CREDENTIAL|_KEY(_|$)|_SAS(_|$)|AUTHORIZATION")
# Ray sets these for a job and reads them in it: another value there breaks it.
_RAYS = ("RAY_", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Shipment:
    """A command as it goes to a cluster: `words` of cisray, and the text of its settings."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    settings: str | None
    variables: Mapping[str, str]

    @property
    def entrypoint(self) -> str:
        """The shell command. Console scripts of a wheel are not installed, so a module is run."""
        return shlex.join(["python", "-m", MODULE, *self.words])

    @property
    def shown(self) -> str:
        """The command as a person would write it."""
        return shlex.join(["cisray", *self.words])

    def job_id(self, name: str | None) -> str:
        """Give the id that the same command under the same name always has.

        Variables do not count: the same run is meant.
        """
        meant = json.dumps([name, self.words, self.settings]).encode()
        label = name or "-".join(self.names)
        return f"cisray-{label}-{hashlib.sha256(meant).hexdigest()[:_DIGITS]}"

    def pack(self, folder: Path) -> tuple[Path, Path | None]:
        """Write the wheel of this code, and a folder with the settings; None if there are none."""
        return pack(folder, self.settings)


def pack(folder: Path, settings: str | None) -> tuple[Path, Path | None]:
    """Write the wheel of this code, and a folder with the text of settings; None without one."""
    wheel = build_wheel(folder)
    if settings is None:
        return wheel, None
    where = folder / "settings"
    where.mkdir()
    (where / SETTINGS).write_text(settings, encoding="utf-8")
    return wheel, where


def prepare(
    parsed: Parsed, resolve: Resolve, variables: Iterable[str], settings_at: str = SETTINGS
) -> Shipment:
    """Make a parsed command into what is sent.

    A file of settings goes along as a copy, with its places resolved, and lies `settings_at` where
    the command runs. Raises what `resolve` raises
    for a place, and ConfigError for variables.
    """
    words = parsed.words(resolve)
    settings = parsed.settings(resolve)
    text = None
    if settings is not None:
        text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True)
        words[len(parsed.names) : len(parsed.names)] = [f"--config={settings_at}"]
    return Shipment(parsed.names, tuple(words), text, read_variables(variables))


def read_variables(entries: Iterable[str]) -> dict[str, str]:
    """Read NAME=VALUE. Raises ConfigError for other text, for secrets and for what Ray sets."""
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            # Without a name it may be a bare secret: it is not repeated.
            raise ConfigError("--env must be NAME=VALUE, as HF_HOME=/shared/hub.")
        if _SECRET.search(name):
            raise ConfigError(
                f"--env {name} looks like a secret, and what is sent with a job can be read by all "
                f"users of the cluster. Give it to the machines themselves: by the role of the "
                f"instance, in the cluster file, or as a Kubernetes Secret (docs/security.md)."
            )
        if name.startswith(_RAYS):
            raise ConfigError(f"--env {name} is set by Ray itself in a job; leave it out.")
        if name in found:
            raise ConfigError(f"--env names {name} twice.")
        found[name] = value
    return found


def checked_name(name: str | None) -> str | None:
    """Check the name of a job. Raises ConfigError where it could not be part of an id."""
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(
            f"--id {name!r} must be 1 to 29 lower-case letters, digits and hyphens, with a letter "
            f"or digit at both ends, as chr21-cage."
        )
    return name
