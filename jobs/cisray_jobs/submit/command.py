"""The command that is to run on a cluster: parsed, rehearsed and written out again.

Knows how typer describes commands; knows no command. What is wrong with it is found here, before
anything is sent: names and values of options by the command line itself, settings by the job that
they are for. Nothing is opened and nothing is computed.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml

from cisray.errors import ConfigError, near_matches
from cisray_jobs.config import JobConfig, SettingsRead, rehearsed
from cisray_jobs.devices import settle_device
from cisray_jobs.options import Holds

# Commands that read their settings before they do anything: those can be rehearsed.
READ_SETTINGS = {
    ("dataset", "build"),
    ("dataset", "import"),
    ("dataset", "split"),
    ("evaluate", "calibrate"),
    ("evaluate", "calibration"),
    ("evaluate", "direction"),
    ("evaluate", "enhancers"),
    ("evaluate", "eqtl"),
    ("evaluate", "expression"),
    ("evaluate", "finemap"),
    ("evaluate", "mpra"),
    ("evaluate", "mpra-variants"),
    ("evaluate", "sldp"),
    ("runs", "compact"),
    ("runs", "export"),
    ("runs", "rerun"),
    ("runs", "summarise"),
    ("runs", "verify"),
    ("score", "genome"),
    ("score", "saturation"),
    ("score", "variants"),
    ("train",),
}
# What is done from here, not there.
NOT_SUBMITTED = {"submit", "jobs", "schedule", "cache"}
CONFIG = "config"

# Makes a place into what is written for it, or refuses it: the option, the text of the place.
Resolve = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command that its own parser has taken: its names, and its parameters with their values."""

    names: tuple[str, ...]
    options: tuple["Given", ...]
    job: JobConfig | None

    @property
    def config(self) -> Path | None:
        """The file of settings that it was given.

        A file that a command reads for something else is a place like others: what it names is for
        the command to find.
        """
        if self.job is None:
            return None
        return next((g.value for g in self.options if g.name == CONFIG), None)

    def words(self, resolve: Resolve) -> list[str]:
        """Write the command out, with its places resolved, without the file of settings."""
        kept = [g for g in self.options if g.name != CONFIG or self.job is None]
        options = [word for g in kept if g.is_option for word in g.words(resolve)]
        arguments = [word for g in kept if not g.is_option for word in g.words(resolve)]
        # Behind "--" an argument may begin with "-".
        return [*self.names, *options, *(["--"] if arguments else []), *arguments]

    def settings(self, resolve: Resolve) -> dict[str, object] | None:
        """Read the file of settings, with its places resolved; None without one.

        Places are known by the option of the same name.
        """
        if self.config is None:
            return None
        content = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        holds = {given.name: given for given in self.options}
        return {
            key: holds[name].resolved(value, resolve)
            if (name := str(key).replace("-", "_")) in holds
            else value
            for key, value in content.items()
        }


@dataclass(frozen=True, slots=True)
class Given:
    """A parameter of a command, what it holds, and its value; None where it was not given.

    `flag_off` is what turns a switch off that may be on by default, as --no-follow.
    """

    name: str
    flag: str
    flag_off: str | None
    is_option: bool
    holds: Holds | None
    value: Any

    def words(self, resolve: Resolve) -> Iterator[str]:
        """Write it as words of a command line."""
        if self.value is None:
            return
        if isinstance(self.value, bool):
            switch = self.flag if self.value else self.flag_off
            yield from [switch] if switch else []
            return
        for value in _several(self.value):
            text = str(self._placed(value, resolve))
            # "--option=-1" is a value, and "--option -1" may be two options.
            yield f"{self.flag}={text}" if self.is_option else text

    def resolved(self, value: object, resolve: Resolve) -> object:
        """Resolve the places of a value in a file of settings."""
        if isinstance(value, list):
            return [self._placed(one, resolve) for one in value]
        if isinstance(value, dict) and self.holds is Holds.NAMED_PLACE:
            return {name: resolve(self.flag, str(place)) for name, place in value.items()}
        return self._placed(value, resolve)

    def _placed(self, value: object, resolve: Resolve) -> object:
        if self.holds is None or value is None:
            return value
        if self.holds is Holds.PLACE:
            return resolve(self.flag, str(value))
        before, equals, after = str(value).partition("=")
        name, place = (before, after) if equals else ("", before)
        file, columns, chosen = place.partition("::")
        return f"{name}{equals}{resolve(self.flag, file)}{columns}{chosen}"


def parse(root: Any, words: Sequence[str]) -> Parsed:
    """Parse a command as the command line would, and rehearse it where it reads settings first.

    `root` is the command line, as typer made it. Raises ConfigError for what is no command, what
    the parser raises for its options, and what the job raises for its settings.
    """
    names, leaf, rest = _find(root, list(words))
    context = leaf.make_context(" ".join(("cisray", *names)), rest)
    hints = inspect.signature(leaf.callback).parameters
    options = tuple(
        _given(parameter, hints[parameter.name].annotation, context.params[parameter.name])
        for parameter in leaf.params
        if parameter.name in hints
    )
    job = _rehearse(leaf, context) if names in READ_SETTINGS else None
    if job is not None:
        _check_for_cluster(job)
    return Parsed(names, options, job)


def _find(group: Any, words: list[str]) -> tuple[tuple[str, ...], Any, list[str]]:
    """Follow the names of a command to the command; give them, it, and the words that are left."""
    names: list[str] = []
    while (commands := getattr(group, "commands", None)) is not None:
        word = words[0] if words else ""
        if word not in commands or (not names and word in NOT_SUBMITTED):
            known = sorted(set(commands) - (set() if names else NOT_SUBMITTED))
            raise ConfigError(
                f"{' '.join(['cisray', *names, word]).rstrip()!r} is not a command that can be "
                f"submitted.{near_matches(word, known)} After the options of submit goes a command "
                f"of cisray without that word, as: score genome --model m.safetensors. There are "
                f"{', '.join(known)}."
            )
        names.append(words.pop(0))
        group = commands[word]
    return tuple(names), group, words


def _given(parameter: Any, annotation: Any, value: Any) -> Given:
    return Given(
        name=parameter.name,
        flag=max(parameter.opts, key=len),
        flag_off=max(parameter.secondary_opts, key=len, default=None),
        is_option=parameter.opts[0].startswith("-"),
        holds=holds(annotation),
        value=value if value != () else None,
    )


def holds(annotation: Any) -> Holds | None:
    """Tell from its annotation what a parameter holds that is a place."""
    kind, *marks = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
    marked = next((mark for mark in marks if isinstance(mark, Holds)), None)
    return Holds.PLACE if marked is None and Path in _types(kind) else marked


def _types(kind: Any) -> Iterator[Any]:
    """List the types that a type is made of: `list[Path] | None` is made of Path, too."""
    yield kind
    for part in get_args(kind):
        yield from _types(part)


def _rehearse(leaf: Any, context: Any) -> JobConfig:
    """Run a command as far as its settings."""
    try:
        with rehearsed(), context:
            leaf.invoke(context)
    except SettingsRead as found:
        return found.job
    raise AssertionError(f"{context.info_name} has read no settings")


def _check_for_cluster(job: JobConfig) -> None:
    """Refuse what the job itself would refuse once it is on the cluster: who computes, on what."""
    fields = type(job).model_fields
    if not {"workers", "device", "address"} <= fields.keys():
        return
    told: Any = job
    if told.workers != 0:
        settle_device(
            told.device,
            told.workers,
            num_gpus=told.num_gpus,
            address=told.address or "auto",
            shard_timeout=None,
        )


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]
