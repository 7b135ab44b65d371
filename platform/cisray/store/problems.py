"""What can be wrong with a run on the disk, told one by one.

Knows words for damage; knows nothing of how it is found.
"""

from dataclasses import dataclass
from typing import Literal

ProblemKind = Literal[
    "plan",  # the plan, its rejects: missing, damaged, not what the run was begun with
    "tracks",
    "unsealed",
    "record",  # a commit record that is damaged, or tells of other rows than its shard owes
    "missing-record",
    "missing-shard",  # neither record nor files
    "file-list",  # _manifest.parquet: missing, damaged, or not what the records say
    "missing-file",
    "size",
    "digest",
    "unreadable",
    "foreign",  # a data file of another run, or of no run
    "misplaced",  # a data file of another block or shard of this run, or under another name
    "columns",
    "missing-rows",
    "foreign-rows",
    "duplicate-rows",
    "row-order",
    "not-finite",
    "not-rounded",
    "stray",  # a file that nothing names
    "summary",
    "link",  # a run whose scores this one links to: gone, damaged, or with other alleles there
    "rescored",  # a value that is not what model and genome give
]

AGAIN = "Bring it back from a copy, or score again into another --out."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what, in which file (below the run) and shard, and the way out."""

    kind: ProblemKind
    file: str
    shard: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read of a run, and everything that is wrong with it.

    Files, rows and values are those that records and the list of files tell of; a row counts once,
    in however many blocks it lies.
    """

    path: str
    run_id: str
    sealed: bool
    shards: int
    files: int
    rows: int
    values: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Tell that nothing is wrong."""
        return not self.problems
