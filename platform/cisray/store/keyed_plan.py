"""The plan of a run whose rows are known by keys: which variants it scores, in which shard.

Knows Parquet and the columns of plans; knows nothing of files of variants or of models. Millions of
rows are planned without being held: a plan is a Parquet file with one row group for each shard, of
which a reader holds one at a time. What a shard is, and a digest of its rows, stands in the file's
metadata: opening a plan reads no rows, and rows are compared with their digest whenever they are.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from cisray.errors import ResultsError, RunIncomplete, StorageError, WrongRun
from cisray.store.digest import RowDigest
from cisray.store.folder import StoredFile
from cisray.store.local_folder import stored
from cisray.store.manifest import KeyedConfig, RunManifest, canonical_json
from cisray.store.plan import Plan, ShardSpan
from cisray.store.stored_table import count_rows, digest_rows
from cisray.version import __version__
from cisray_schemas.rejects import REJECTS
from cisray_schemas.table import Table

_SHARDS = b"cisray.shards"
_SHOWN_BASES = 20


@dataclass(frozen=True, slots=True)
class _PlannedShard:
    """What the metadata of a plan say of one shard; its number is its place among them.

    `entries` are those whose first row is in the shard.
    """

    chrom: str
    start: int
    end: int
    rows: int
    entries: int
    sha256: str


_PLANNED = TypeAdapter(list[_PlannedShard])


class KeyedPlan:
    """Shards of rows, each with its keys; every shard lies on one chromosome.

    `entries` are all columns of the plan, `keys` those that stand in the run's data files as well.
    A span's `start` .. `end` hold every base of every ref of the shard, 0-based half-open.
    With it goes the file of what was read beside these rows and cannot be scored, its rejects.
    """

    def __init__(
        self, file: StoredFile, plan: Table, data: Table, rejects: StoredFile | None = None
    ) -> None:
        """Open a plan that a `KeyedPlanWriter` wrote; raises OSError and pa.ArrowInvalid."""
        self.file = file
        self.plan = plan
        self.data = data
        self._rejects = rejects
        self._parquet = pq.ParquetFile(file.open(), page_checksum_verification=True)
        # The threads that write a shard's blocks read the plan to complain, perhaps at once.
        self._reading = Lock()
        self._shards = _planned_shards(self._parquet, plan)
        self._spans = {
            number: ShardSpan(number, shard.chrom, shard.start, shard.end, shard.rows)
            for number, shard in enumerate(self._shards)
        }

    def with_rejects(self, path: Path) -> "KeyedPlan":
        """Return the plan with the file of rejects, on the disk, that belongs to it."""
        return KeyedPlan(self.file, self.plan, self.data, stored(path))

    @property
    def num_shards(self) -> int:
        """How many shards there are; none where nothing is to be scored."""
        return len(self._shards)

    @property
    def chromosomes(self) -> list[str]:
        """The chromosomes of the plan, in its order."""
        return list(dict.fromkeys(shard.chrom for shard in self._shards))

    @property
    def spans(self) -> Mapping[int, ShardSpan]:
        """The shards, by number; each owes at least one row."""
        return MappingProxyType(self._spans)

    @property
    def rows(self) -> int:
        """The rows that the whole run owes."""
        return int(self._parquet.metadata.num_rows)

    @property
    def scored(self) -> int:
        """The entries of the input that have rows."""
        return sum(shard.entries for shard in self._shards)

    @property
    def sha256(self) -> str:
        """SHA-256 over every row of the plan and how it is cut, hexadecimal; reads no rows."""
        shards: list[JsonValue] = [asdict(shard) for shard in self._shards]
        content: JsonValue = {"format": self.plan.format, "shards": shards}
        return hashlib.sha256(canonical_json(content)).hexdigest()

    @property
    def rejects(self) -> StoredFile:
        """The file of rejects. Raises ValueError for a plan that has not been given one."""
        if self._rejects is None:
            raise ValueError(f"the plan in {self.file} has no file of rejects: use with_rejects")
        return self._rejects

    @property
    def rejects_sha256(self) -> str:
        """SHA-256 over every row of the rejects, hexadecimal; reads all of them."""
        return digest_rows(self.rejects, REJECTS)

    @property
    def parts(self) -> Sequence[tuple[Table, pa.Table | StoredFile]]:
        """The files of the plan and of its rejects, which a run copies."""
        return [(self.plan, self.file), (REJECTS, self.rejects)]

    def entries(self, shard: int) -> pa.Table:
        """Read all columns of a shard's rows, in their order.

        Raises StorageError when they cannot be read or are not those that were planned.
        """
        try:
            with self._reading:
                rows = self._parquet.read_row_group(shard).cast(self.plan.schema)
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(f"{self._told(shard)} cannot be read ({error}).") from error
        digest = RowDigest(self.plan)
        digest.add(rows)
        if digest.hexdigest() != self._shards[shard].sha256:
            raise StorageError(f"{self._told(shard)} are not those that were planned.")
        return rows

    def keys(self, shard: int) -> pa.Table:
        """Read the columns of a shard's rows that stand in its data files, as `entries` does."""
        return self.entries(shard).select(self.data.schema.names).cast(self.data.schema)

    def place(self, shard: int, row: int) -> str:
        """Name a row of a shard as chrom:pos:ref:alt, the position 1-based."""
        entry = self.entries(shard).slice(row, 1).to_pylist()[0]
        return variant_name(*(entry[name] for name in ("chrom", "pos", "ref", "alt")))

    def check(self, manifest: RunManifest) -> None:
        """Count entries in against those planned and rejected, and find none of them twice.

        Raises RunIncomplete, and StorageError when a file cannot be read or is not as digested.
        """
        config = KeyedConfig.of(manifest)
        found = {
            "rows": self.rows,
            "scored": self.scored,
            "rejected": count_rows(self.rejects, REJECTS),
        }
        found["entries"] = found["scored"] + found["rejected"]
        if any(getattr(config, name) != count for name, count in found.items()):
            raise RunIncomplete(
                f"rows in and rows out differ: the run was given {config.entries:,} entries, of "
                f"which {config.scored:,} are to be scored, in {config.rows:,} rows, and "
                f"{config.rejected:,} are rejected; there are {self.rows:,} rows in {self.file} "
                f"(of {self.scored:,} entries) and {found['rejected']:,} in "
                f"{self.rejects}. Nothing of it can be trusted: start again with --restart, "
                f"and report it if that does not help."
            )
        if self.rejects_sha256 != config.rejects_sha256:
            raise StorageError(
                f"{self.rejects} is not the one that the run was begun with. Bring the file "
                f"back from a copy, or start again with --restart."
            )
        self._check_numbers(config.entries)

    def _check_numbers(self, entries: int) -> None:
        seen = np.zeros(entries, dtype=bool)
        begins = _Begins(self.plan)
        for shard in self._spans:
            rows = self.entries(shard)
            numbers = rows["variant"].to_numpy()
            if numbers.min() < 0 or numbers.max() >= entries:
                raise RunIncomplete(
                    f"shard {shard} of {self.file} numbers its variants {numbers.min()} to "
                    f"{numbers.max()}, of {entries:,} entries counted from 0."
                )
            begun = numbers[begins.among(rows)]
            twice = seen[begun].any() or np.unique(begun).size != begun.size
            seen[begun] = True
            if twice:
                raise RunIncomplete(f"shard {shard} of {self.file} has a variant a second time.")

    def _told(self, shard: int) -> str:
        return (
            f"Bring {self.file} back from a copy, or start again with --restart: the rows of its "
            f"shard {shard}"
        )


class KeyedPlanWriter:
    """Writes a plan, a shard at a time. A context manager: `plan` is there once it is closed."""

    def __init__(self, path: Path, plan: Table, data: Table) -> None:
        """Begin a file; chromosomes stand together, their rows in the order of `sort_by`."""
        self._path, self._plan, self._data = path, plan, data
        self._writer = pq.ParquetWriter(
            path, plan.schema, compression="zstd", write_page_checksum=True
        )
        self._shards: list[_PlannedShard] = []
        self._begins = _Begins(plan)
        self._last: tuple[Any, ...] = ()
        self._is_open = True

    def add_shard(self, rows: pa.Table) -> int:
        """Write the rows of one shard, in their order, and give its number.

        Raises ResultsError for a shard without rows or of several chromosomes, and for rows out of
        order.
        """
        number = len(self._shards)
        if pc.count_distinct(rows["chrom"]).as_py() != 1:
            raise ResultsError(
                f"shard {number} of a plan must have rows, all of one chromosome, and has "
                f"{rows.num_rows} of {pc.unique(rows['chrom']).to_pylist()[:5]}."
            )
        table = rows.select(self._plan.schema.names).cast(self._plan.schema)
        self._check_order(table)
        self._writer.write_table(table, row_group_size=table.num_rows)
        entries = int(self._begins.among(table).sum())
        self._shards.append(_described(table, self._plan, entries))
        return number

    def close(self) -> KeyedPlan:
        """Finish the file and open it as a plan."""
        self._finish()
        return KeyedPlan(stored(self._path), self._plan, self._data)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the file; after an error it stays without what makes it a plan."""
        if kind is None:
            self._finish()
        self._writer.close()

    def _finish(self) -> None:
        if self._is_open:
            self._is_open = False
            notes = {
                "cisray.format": self._plan.format,
                "cisray.version": __version__,
                _SHARDS.decode(): _PLANNED.dump_json(self._shards).decode(),
            }
            self._writer.add_key_value_metadata(notes)
            self._writer.close()

    def _check_order(self, table: pa.Table) -> None:
        """Check that rows ascend, from shard to shard too, and that no chromosome comes again."""
        order = [name for name in self._plan.sort_by if name != "chrom"]
        sorting = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in order])
        chrom = table["chrom"][0].as_py()
        first, last = (
            tuple(table[name][row].as_py() for name in order) for row in (0, table.num_rows - 1)
        )
        before = self._shards[-1].chrom if self._shards else None
        ascends = sorting.equals(pa.array(np.arange(table.num_rows), pa.uint64()))
        if chrom == before:
            ascends = ascends and self._last < first
        elif any(chrom == shard.chrom for shard in self._shards):
            ascends = False
        if not ascends:
            raise ResultsError(
                f"shard {len(self._shards)} of a plan, on {chrom} from {first} to {last}, is out "
                f"of order: rows ascend by {', '.join(order)}, from shard to shard too, and the "
                f"shards of a chromosome stand together."
            )
        self._last = last


def variant_name(chrom: str, pos: int, ref: str, alt: str) -> str:
    """Name a variant as people look it up, `pos` 1-based; long alleles are cut."""
    return ":".join((chrom, str(pos), _short(ref), _short(alt)))


def as_keyed(plan: Plan) -> KeyedPlan:
    """Take a run's plan for one of rows known by keys. Raises WrongRun for a run of tiles."""
    if not isinstance(plan, KeyedPlan):
        raise WrongRun(
            "This run has no variants: its rows are bins along the genome. Its plan is "
            "open_run(...).windows."
        )
    return plan


def _planned_shards(file: pq.ParquetFile, plan: Table) -> list[_PlannedShard]:
    if file.schema_arrow.names != plan.schema.names:
        raise pa.ArrowInvalid(
            f"its columns are {file.schema_arrow.names}, a plan of {plan.name} has "
            f"{plan.schema.names}"
        )
    text = (file.metadata.metadata or {}).get(_SHARDS)
    if text is None:
        raise pa.ArrowInvalid("it does not say what its shards are: its writer did not finish")
    shards = _PLANNED.validate_json(text)
    counted = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    if [shard.rows for shard in shards] != counted:
        raise pa.ArrowInvalid(f"its {len(counted)} row groups are not its {len(shards)} shards")
    return shards


class _Begins:
    """Finds the rows at which entries begin, in rows that come shard by shard.

    An entry goes on where `variant` stays and the last column of the plan's order ascends. Where
    that column is `variant` itself, every row is an entry.
    """

    def __init__(self, plan: Table) -> None:
        self._columns = ("variant", plan.sort_by[-1])
        self._before: pa.Table = plan.schema.empty_table()

    def among(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Tell of each row whether an entry begins there; a row that comes twice is two."""
        joined = pa.concat_tables([self._before, rows]).select(self._columns)
        numbers, within = (column.to_numpy() for column in joined.columns)
        begins = np.ones(joined.num_rows, dtype=bool)
        begins[1:] = (np.diff(numbers) != 0) | (np.diff(within) <= 0)
        first = self._before.num_rows
        self._before = rows.slice(rows.num_rows - 1)
        return begins[first:]


def _described(rows: pa.Table, plan: Table, entries: int) -> _PlannedShard:
    digest = RowDigest(plan)
    digest.add(rows)
    start = pc.subtract(pc.cast(rows["pos"], pa.int64()), 1)
    end = pc.add(start, pc.binary_length(rows["ref"]))
    return _PlannedShard(
        chrom=rows["chrom"][0].as_py(),
        start=pc.min(start).as_py(),
        end=pc.max(end).as_py(),
        rows=rows.num_rows,
        entries=entries,
        sha256=digest.hexdigest(),
    )


def _short(allele: str) -> str:
    return allele if len(allele) <= _SHOWN_BASES else f"{allele[:_SHOWN_BASES]}..."
