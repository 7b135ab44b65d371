"""The job `cisray runs rerun`: the command that made a run, once more into another folder.

Knows which job made a run and how its options are kept; knows nothing of what they mean. What was
left open then and depends on the machine is taken from the run: how its work is cut, its precision.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from cisray.engine.progress import Display
from cisray.errors import ConfigError, RunConflict
from cisray.genome.reference import Genome
from cisray.model.registry import read_model
from cisray.store.directory import read_manifest
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest
from cisray.version import __version__
from cisray_jobs.config import JobConfig, RunLocation, load_config
from cisray_jobs.effect_job import ScoredEffects
from cisray_jobs.provenance import digest_of
from cisray_jobs.saturate import Saturate
from cisray_jobs.score_genome import ScoredGenome, ScoreGenome
from cisray_jobs.score_variants import ScoreVariants

ScoringJobType = type[ScoreGenome] | type[ScoreVariants] | type[Saturate]
_JOBS: dict[str, ScoringJobType] = {
    "score-genome": ScoreGenome,
    "score-variants": ScoreVariants,
    "score-saturation": Saturate,
}
_OF_THE_TRY = {"out", "restart", "like", "node_cache"}
_OVERRIDES = ("model", "fasta", "vcf", "at", "bed", "workers", "device")

log = logging.getLogger(__name__)


class Rerun(JobConfig):
    """Which run, into which folder, and where its inputs lie now if they were moved."""

    run: RunLocation
    out: RunLocation
    model: Path | None = None
    fasta: Path | None = None
    vcf: Path | None = None
    at: Path | None = None
    bed: Path | None = None
    workers: str | None = None
    device: str | None = None
    allow_changed_inputs: bool = False

    def again(self, display: Display = Display.AUTO) -> ScoredGenome | ScoredEffects:
        """Run the command.

        Raises RunConflict for inputs that are not those of the run, ConfigError for a run that does
        not say how it was made, and what the job itself raises.
        """
        job = self.job()
        self.check_inputs(job)
        return job.run(display)

    def job(self) -> ScoreGenome | ScoreVariants | Saturate:
        """Build the job from the options that the run keeps, with those that are given instead."""
        manifest = self._manifest
        kind = _JOBS.get(manifest.job)
        kept = manifest.provenance.get("options")
        if kind is None or not isinstance(kept, dict):
            raise ConfigError(
                f"{self.run} does not say with which options it was made (job {manifest.job}, "
                f"cisray {manifest.code_version}): give the command again by hand."
            )
        if manifest.code_version != __version__:
            log.warning(
                "the run was made by cisray %s, this is %s", manifest.code_version, __version__
            )
        options = dict(_stated(kind, kept))
        given = {name: getattr(self, name) for name in _OVERRIDES}
        for name, value in given.items():
            if value is not None and name not in kind.model_fields:
                raise ConfigError(f"--{name}: a run of {manifest.job} has no such input.")
        told = {name: value for name, value in given.items() if value is not None}
        return load_config(
            kind, {**options, **told, "out": self.out, "like": locate(self.run).place}
        )

    def check_inputs(self, job: ScoreGenome | ScoreVariants | Saturate) -> None:
        """Compare the digest of every input with the one that the run keeps.

        Raises RunConflict naming each that differs, unless that is allowed.
        """
        changed = list(self._changed(job))
        if not changed:
            return
        if not self.allow_changed_inputs:
            raise RunConflict(
                f"The inputs of {self.run} are not what they were: {'; '.join(changed)}. Say where "
                "the old ones are now (--model, --fasta, --vcf, --at, --bed), or give "
                "--allow-changed-inputs."
            )
        for text in changed:
            log.warning("%s", text)

    def _changed(self, job: ScoreGenome | ScoreVariants | Saturate) -> Iterator[str]:
        manifest = self._manifest
        files = manifest.provenance.get("files")
        for option, path in job.files.items():
            told = files.get(option) if isinstance(files, dict) else None
            recorded = told.get("sha256") if isinstance(told, dict) else None
            found = _digest(option, path)
            if found != recorded:
                yield f"--{option} {path} has the digest {found}, the run has {recorded}"

    @property
    def _manifest(self) -> RunManifest:
        return read_manifest(RunLayout(locate(self.run)))


def _stated(kind: ScoringJobType, kept: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the options that are not as they are by default: a job may ask which were given."""
    for name, value in kept.items():
        field = kind.model_fields.get(name)
        if field is None:
            raise ConfigError(
                f"The run was made with the option {name} ({value!r}), which this version of "
                f"cisray ({__version__}) does not have: give the command again by hand."
            )
        is_default = not field.is_required() and to_jsonable_python(field.default) == value
        if name not in _OF_THE_TRY and not is_default:
            yield name, value


def _digest(option: str, path: Path) -> str:
    """Take the digest that runs keep of an input: of weights by value, of others by bytes."""
    if option == "model":
        return read_model(path).digest
    if option == "fasta":
        with Genome.open(path) as genome:
            return genome.sha256
    try:
        return digest_of(path)
    except OSError as error:
        raise ConfigError(
            f"--{option} {path} cannot be read: {error.strerror}. Say where it is now with "
            f"--{option}."
        ) from None
