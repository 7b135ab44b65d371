"""A plan of rows written to disk, and the count that every entry is in it, linked or rejected.

Knows plans, shards and the rejects table; knows nothing of where entries come from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cisray.errors import ResultsError
from cisray.scoring.rejects import count_rejects
from cisray.scoring.shards import BinCount, Shard
from cisray.store.files import writing_to
from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.links import Origin
from cisray.store.local_folder import stored
from cisray_schemas import LINKED, Reason
from cisray_schemas.table import Table


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """What a plan is written to, and `source`, the name of its input in the rejects table.

    `scratch` is a folder for temporary files; the system's place for them where it is None.
    `linked` is there where entries may be linked to what other runs have scored.
    """

    plan: Path
    rejects: Path
    source: str
    scratch: Path | None = None
    linked: Path | None = None


@dataclass(frozen=True, slots=True)
class SiteCount:
    """How many sites were given, and how many of them have rows."""

    given: int
    scored: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what it consists of: entries = scored + linked + rejected.

    An entry has rows, a link to the row of another run, or a reason. `links` is the plan of links,
    and `origins` are the runs that they lead to, by their ids.

    `windows` are opened and `alternates` are scored, each as often as there are shards that do so:
    once, but for a window with more rows than a shard may have. `sites`, and `bins` that are
    computed, are counted where rows are at sites.
    """

    plan: KeyedPlan
    rejects_sha256: str
    entries: int
    rejected: Mapping[Reason, int]
    windows: int
    alternates: int
    bins: BinCount | None = None
    sites: SiteCount | None = None
    links: KeyedPlan | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """The entries that have rows in the plan, duplicates included."""
        return self.plan.scored

    @property
    def linked(self) -> int | None:
        """The entries that have links; None where none may have."""
        return None if self.links is None else self.links.rows


def write_plan(
    shards: Iterable[Shard],
    tables: tuple[Table, Table],
    files: PlanFiles,
    *,
    entries: int,
    rejects_sha256: str,
    rows: int | None = None,
) -> Planned:
    """Write shards as a plan; `tables` are those of the plan and of the run's data files.

    The file of rejects is whole, and that of links is when the last shard has come. Raises
    `ResultsError` unless `entries` are as many as have rows in the plan, are linked or rejected,
    and the plan has as many `rows` as are owed: one for each entry that it has, unless told.
    """
    windows = alternates = 0
    bins: list[BinCount] = []
    with KeyedPlanWriter(files.plan, *tables) as writer:
        for shard in shards:
            with writing_to(files.plan):
                writer.add_shard(shard.rows)
            windows += shard.windows
            alternates += shard.alternates
            if shard.bins is not None:
                bins.append(shard.bins)
        plan = writer.close()
    links = None if files.linked is None else KeyedPlan(stored(files.linked), LINKED, tables[1])
    linked = 0 if links is None else links.rows
    rejected = count_rejects(files.rejects)
    owed = plan.scored if rows is None else rows
    if (entries, owed) != (plan.scored + linked + rejected.total(), plan.rows):
        told = "" if links is None else f", {linked:,} linked"
        raise ResultsError(
            f"{files.source} has {entries:,} entries, but {plan.scored:,} are planned{told} and "
            f"{rejected.total():,} rejected, in {plan.rows:,} rows of {owed:,}: some were lost or "
            "doubled. This is a fault of cisray; nothing of this plan should be used."
        )
    return Planned(
        plan,
        rejects_sha256,
        entries,
        dict(rejected),
        windows,
        alternates,
        bins=_add_up(bins),
        links=links,
    )


def _add_up(counts: Sequence[BinCount]) -> BinCount | None:
    """Put the counts of all shards together; None where none of them has one."""
    if not counts:
        return None
    of_alternates, widest = zip(*counts, strict=True)
    return BinCount(sum(of_alternates), max(widest))
