"""Where things lie in a run directory, and how tracks are grouped into files.

Knows names and paths; knows nothing of what the files hold. Everything a directory scan should
not see stays outside of `data/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote

from cisray.store.folder import Folder, StoredFile
from cisray.store.place import RunPlace
from cisray.store.plan import ShardSpan
from cisray.tracks import TrackSet
from cisray_schemas.table import Table

# More columns than this in a file make every reader slow, and pyarrow hungry.
MAX_VALUE_COLUMNS = 2_100
MAX_BLOCK_TRACKS = 700
SPLIT_BLOCK_TRACKS = 512
_BLOCK_OF_ASSAY = {"CAGE": "cage", "DNASE": "dnase_atac", "ATAC": "dnase_atac", "CHIP": "chip"}
_BLOCK_ORDER = ("cage", "dnase_atac", "chip", "other")


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The names below one run directory, and the folder that they are in.

    `begun` is the beginning that the run goes back to (`RunManifest.begun`). It stands in the names
    of records: a writer of a run that was discarded cannot touch those of the next.
    """

    folder: Folder
    begun: str = ""

    @property
    def root(self) -> RunPlace:
        """What people call the directory."""
        return self.folder.place

    @property
    def run_json(self) -> str:
        """The manifest; a directory without it is not a run."""
        return "run.json"

    @property
    def tracks(self) -> str:
        """The tracks of the run, with their blocks."""
        return "tracks.parquet"

    @property
    def data(self) -> str:
        """The tree that a directory scan may read once the run is sealed."""
        return "data"

    @property
    def commits(self) -> str:
        """One record per finished shard."""
        return "_commits"

    @property
    def failures(self) -> str:
        """One record per shard that was given up."""
        return "_failed"

    @property
    def files(self) -> str:
        """The list of data files of a sealed run."""
        return "_manifest.parquet"

    @property
    def summary(self) -> str:
        """How long the run took, once sealed."""
        return "summary.json"

    @property
    def history(self) -> str:
        """The receipts of a run whose files were compacted since, which name what was there."""
        return "_history.jsonl"

    @property
    def summaries(self) -> str:
        """What was summarised of a sealed run: a table and its record, which names it."""
        return "summary"

    @property
    def summary_record(self) -> str:
        """The record of the table of summaries; without it there is none."""
        return f"{self.summaries}/groups.json"

    @property
    def success(self) -> str:
        """The file that makes a run sealed: it holds `begun`."""
        return "_SUCCESS"

    def table(self, table: Table) -> str:
        """Locate a table that belongs to the plan, such as `windows.parquet`."""
        return table_file(table)

    def commit(self, shard: int) -> str:
        """Locate the commit record of a shard."""
        return f"{self.commits}/{shard:06d}.{self.begun}.json"

    def failure(self, shard: int) -> str:
        """Locate the failure record of a shard."""
        return f"{self.failures}/{shard:06d}.{self.begun}.json"

    def owns(self, record: str) -> bool:
        """Tell whether a record is of this beginning."""
        return record.endswith(f".{self.begun}.json")

    def file(self, name: str) -> StoredFile:
        """Take one of these names for a file."""
        return StoredFile(self.folder, name)

    def tell(self, name: str) -> str:
        """Name a file as people would."""
        return self.folder.tell(name)

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return name in self.folder.sizes_of([name])

    def of(self, begun: str) -> "RunLayout":
        """Give the names of one beginning."""
        return RunLayout(self.folder, begun)


def table_file(table: Table) -> str:
    """Name the file of a table that belongs to a plan."""
    return f"{table.name}.parquet"


def track_path(block: str, span: ShardSpan, attempt: str) -> str:
    """Name a data file of bins below the run directory.

    Two attempts at a shard are not equal bit by bit, hence the attempt in the name.

    >>> track_path("sel", ShardSpan(0, "HLA-A*01:01", 128, 384, rows=2), "3f9a1c07")
    'data/tracks/block=sel/chrom=HLA-A%2A01%3A01/HLA-A%2A01%3A01_000000128_000000384.3f9a1c07.parquet'
    """
    name = _as_file_name(span.chrom)
    place = f"{name}_{span.start:09d}_{span.end:09d}"
    return f"data/tracks/block={block}/chrom={name}/{place}.{attempt}.parquet"


def effect_path(block: str, span: ShardSpan, attempt: str) -> str:
    """Name a data file of effects below the run directory.

    Shards can lie at the same place, hence their number in the name. All chromosomes share a
    folder: few variants lie on each, and a file's footer outweighs few rows.

    >>> effect_path("sel", ShardSpan(7, "chr21", 99, 384, rows=2), "3f9a1c07")
    'data/effects/block=sel/chr21_000000099_000000384_000007.3f9a1c07.parquet'
    """
    place = f"{_as_file_name(span.chrom)}_{span.start:09d}_{span.end:09d}_{span.shard:06d}"
    return f"data/effects/block={block}/{place}.{attempt}.parquet"


def assign_blocks(tracks: TrackSet, statistics: int = 1) -> dict[str, list[int]]:
    """Group tracks into blocks of columns that are written as files of their own.

    Up to 700 tracks are one block, `sel`. More are grouped by assay into `cage`, `dnase_atac`,
    `chip` and `other`; a group of more than 700, and chip always, is cut evenly into parts of at
    most 512 (`chip_0`, `chip_1`, ...). Values are indices in the head, ascending.

    Where each track has a column for every one of several `statistics`, blocks have fewer tracks:
    a file never has more than 2,100 columns of values, unless there are more statistics than that.
    """
    room = max(1, MAX_VALUE_COLUMNS // statistics)
    most, part_of = min(MAX_BLOCK_TRACKS, room), min(SPLIT_BLOCK_TRACKS, room)
    if len(tracks) <= most:
        return {"sel": [int(track) for track in tracks.indices]}
    groups: dict[str, list[int]] = {name: [] for name in _BLOCK_ORDER}
    for track, assay in zip(tracks.indices, tracks.table["assay"].to_pylist(), strict=True):
        groups[_BLOCK_OF_ASSAY.get(assay, "other")].append(int(track))
    blocks: dict[str, list[int]] = {}
    for name, members in groups.items():
        if members and (name == "chip" or len(members) > most):
            parts = _cut_evenly(sorted(members), part_of)
            blocks |= {f"{name}_{number}": part for number, part in enumerate(parts)}
        elif members:
            blocks[name] = sorted(members)
    return blocks


def value_columns(statistics: Sequence[str] | None, tracks: Sequence[str]) -> list[str]:
    """Name the value columns of a file: by statistic and then track, or None for tracks alone.

    >>> value_columns(["SAD", "SADR"], ["t0003", "t0005"])
    ['SAD_t0003', 'SAD_t0005', 'SADR_t0003', 'SADR_t0005']
    >>> value_columns(None, ["t0003", "t0005"])
    ['t0003', 't0005']
    """
    if statistics is None:
        return list(tracks)
    return [f"{statistic}_{track}" for statistic in statistics for track in tracks]


def _as_file_name(chrom: str) -> str:
    """Encode a chromosome's name in the way that readers of `key=value` folders decode.

    So is a leading dot or underscore, for which many readers would take the file as hidden.
    """
    name = quote(chrom, safe="")
    return f"%{ord(name[0]):02X}{name[1:]}" if name[:1] in {".", "_"} else name


def _cut_evenly(members: list[int], most: int) -> list[list[int]]:
    count = -(-len(members) // most)
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[low:high] for low, high in pairwise(bounds)]
