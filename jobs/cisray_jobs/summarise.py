"""The job `cisray runs summarise`: the strongest track of each row, for groups of tracks.

Knows how groups are written on a command line; how they are summarised is the store's business.
"""

from pydantic import field_validator

from cisray.engine.progress import Display
from cisray.store.summarise import Summarised, summarise_run
from cisray_jobs.config import JobConfig, RunLocation, split_names
from cisray_jobs.shown import shards_shown


class SummariseRun(JobConfig):
    """Which run, which of its statistics, and which groups: `NAME=QUERY`, assays without any."""

    run: RunLocation
    groups: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()

    @field_validator("stats", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else value

    @field_validator("groups")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            name, _, query = text.partition("=")
            if not (name.strip() and query.strip()):
                raise ValueError("must be NAME=QUERY, such as liver='*liver*'")
        return value

    def summarise(self, display: Display) -> Summarised:
        """Write the table. Raises what `summarise_run` raises."""
        with shards_shown(display) as on_part:
            return summarise_run(
                self.run, groups=self._queries(), stats=self.stats or None, on_part=on_part
            )

    def _queries(self) -> dict[str, list[str]] | None:
        """Gather the queries of each group, which is their union."""
        queries: dict[str, list[str]] = {}
        for text in self.groups:
            name, _, query = text.partition("=")
            queries.setdefault(name.strip(), []).append(query.strip())
        return queries or None
