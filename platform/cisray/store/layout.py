"""Where things lie in a run directory, and how tracks are grouped into files.

Knows names and paths; knows nothing of what the files hold. Everything a directory scan should
not see stays outside of `data/`.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from cisray.tracks import TrackSet

MAX_BLOCK_TRACKS = 700
SPLIT_BLOCK_TRACKS = 512
_BLOCK_OF_ASSAY = {"CAGE": "cage", "DNASE": "dnase_atac", "ATAC": "dnase_atac", "CHIP": "chip"}
_BLOCK_ORDER = ("cage", "dnase_atac", "chip", "other")


def run_root(path: str | Path) -> Path:
    """Give a run's folder as an absolute path, `~` resolved.

    pyarrow reads a leading `~` as the home folder and Python does not: one path, one meaning.
    """
    return Path(path).expanduser().absolute()


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The names below one run directory.

    `begun` is the beginning that the run goes back to (`RunManifest.begun`). What is on its way
    lies in a folder named after it: a writer of a run that was discarded finds nowhere to write.
    """

    root: Path
    begun: str = ""

    @property
    def run_json(self) -> Path:
        """The manifest; a directory without it is not a run."""
        return self.root / "run.json"

    @property
    def tracks(self) -> Path:
        """The tracks of the run, with their blocks."""
        return self.root / "tracks.parquet"

    @property
    def windows(self) -> Path:
        """The shard plan."""
        return self.root / "windows.parquet"

    @property
    def data(self) -> Path:
        """The tree that a directory scan may read once the run is sealed."""
        return self.root / "data"

    @property
    def commits(self) -> Path:
        """One record per finished shard."""
        return self.root / "_commits"

    @property
    def failures(self) -> Path:
        """One record per shard that was given up."""
        return self.root / "_failed"

    @property
    def all_staging(self) -> Path:
        """The parent of `staging`; there only while a run is open for writing."""
        return self.root / "_staging"

    @property
    def staging(self) -> Path:
        """Files on their way; without this folder nothing can be published."""
        return self.all_staging / self.begun

    @property
    def closed_staging(self) -> Path:
        """The staging folder under the name it gets while the run is being sealed."""
        return self.root / "_closed"

    @property
    def lock(self) -> Path:
        """The file that the driver locks."""
        return self.root / "_lock"

    @property
    def files(self) -> Path:
        """The list of data files of a sealed run."""
        return self.root / "_manifest.parquet"

    @property
    def success(self) -> Path:
        """An empty file: the run is sealed."""
        return self.root / "_SUCCESS"

    def commit(self, shard: int) -> Path:
        """Locate the commit record of a shard."""
        return self.commits / f"{shard:06d}.json"

    def failure(self, shard: int) -> Path:
        """Locate the failure record of a shard."""
        return self.failures / f"{shard:06d}.json"


def data_path(block: str, chrom: str, span: tuple[int, int], attempt: str) -> str:
    """Name a data file below the run directory. `span` is 0-based half-open.

    Two attempts at a shard are not equal bit by bit, hence the attempt in the name. Chromosome
    names are percent-encoded in the way that readers of `key=value` folders decode, and so is a
    leading dot or underscore, for which many readers would take the file as hidden.

    >>> data_path("sel", "HLA-A*01:01", (128, 384), "3f9a1c07")
    'data/tracks/block=sel/chrom=HLA-A%2A01%3A01/HLA-A%2A01%3A01_000000128_000000384.3f9a1c07.parquet'
    """
    name = quote(chrom, safe="")
    if name[:1] in {".", "_"}:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    start, end = span
    return f"data/tracks/block={block}/chrom={name}/{name}_{start:09d}_{end:09d}.{attempt}.parquet"


def assign_blocks(tracks: TrackSet) -> dict[str, list[int]]:
    """Group tracks into blocks of columns that are written as files of their own.

    Up to 700 tracks are one block, `sel`. More are grouped by assay into `cage`, `dnase_atac`,
    `chip` and `other`; a group of more than 700, and chip always, is cut evenly into parts of at
    most 512 (`chip_0`, `chip_1`, ...). Values are indices in the head, ascending.
    """
    if len(tracks) <= MAX_BLOCK_TRACKS:
        return {"sel": [int(track) for track in tracks.indices]}
    groups: dict[str, list[int]] = {name: [] for name in _BLOCK_ORDER}
    for track, assay in zip(tracks.indices, tracks.table["assay"].to_pylist(), strict=True):
        groups[_BLOCK_OF_ASSAY.get(assay, "other")].append(int(track))
    blocks: dict[str, list[int]] = {}
    for name, members in groups.items():
        if members and (name == "chip" or len(members) > MAX_BLOCK_TRACKS):
            parts = _cut_evenly(sorted(members), SPLIT_BLOCK_TRACKS)
            blocks |= {f"{name}_{number}": part for number, part in enumerate(parts)}
        elif members:
            blocks[name] = sorted(members)
    return blocks


def _cut_evenly(members: list[int], most: int) -> list[list[int]]:
    count = -(-len(members) // most)
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[low:high] for low, high in pairwise(bounds)]
