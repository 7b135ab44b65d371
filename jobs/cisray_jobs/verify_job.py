"""The job `cisray runs verify`: a run read again, and a sample of it computed again.

Knows which options go together; the work is that of `cisray.store.verify` and `rescore`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from cisray.errors import ConfigError
from cisray.store.problems import Problem, Verification
from cisray.store.scan import open_run
from cisray.store.verify import OnFile, verify_run
from cisray.store.verify_links import link_problems
from cisray_jobs.config import JobConfig, RunLocation
from cisray_jobs.execute import torch_threads
from cisray_jobs.rescore import Rescored, rescore
from cisray_jobs.scoring_job import Auto, at_least_one, given, whole_or_auto


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, what was computed again (None where nothing was), and all that is wrong.

    `linked` is how many rows of other runs were held against the links to them.
    """

    read: Verification
    linked: int
    rescored: Rescored | None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong."""
        return self.read.problems + (() if self.rescored is None else self.rescored.problems)


class VerifyRun(JobConfig):
    """Which run, and how many of its rows are computed again with what."""

    run: RunLocation
    unsealed: bool = False
    rescore: int | None = Field(None, ge=1)
    model: Path | None = None
    fasta: Path | None = None
    since: tuple[RunLocation, ...] = ()
    seed: int = Field(0, ge=0)
    device: str = "auto"
    threads: int | Auto = "auto"

    @field_validator("threads", mode="before")
    @classmethod
    def _number_or_auto(cls, value: object) -> object:
        return whole_or_auto(value)

    @field_validator("threads")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        return at_least_one(value)

    @model_validator(mode="after")
    def _what_to_rescore_with(self) -> Self:
        if self.rescore is not None and not (self.model and self.fasta):
            raise ConfigError("--rescore computes rows again: it needs --model and --fasta.")
        if self.rescore is None and (self.model or self.fasta):
            raise ConfigError("--model and --fasta are for --rescore N: say how many rows.")
        if self.rescore is not None and self.unsealed:
            raise ConfigError("--rescore draws from all rows of a run: it must be sealed first.")
        return self

    def verify(self, on_file: OnFile | None = None) -> Verified:
        """Read the run and those it links to; compute a sample again if nothing is wrong with them.

        Links are read if the run itself is sound. Raises RunNotFound, StorageError for a damaged
        run.json, and RunConflict for another model or genome.
        """
        read = verify_run(self.run, allow_unsealed=self.unsealed, on_file=on_file)
        linked = 0
        if read.is_sound:
            run = open_run(self.run, allow_unsealed=self.unsealed, since=self.since)
            linked = run.links.rows if run.links else 0
            read = replace(read, problems=tuple(link_problems(run, on_file)))
        if self.rescore is None or not read.is_sound or not (self.model and self.fasta):
            return Verified(read, linked, None)
        with torch_threads(given(self.threads)):
            found = rescore(
                open_run(self.run),
                model=self.model,
                fasta=self.fasta,
                count=self.rescore,
                seed=self.seed,
                device=self.device,
            )
        return Verified(read, linked, found)
