"""A whole run read again: everything that is wrong with it, each thing named.

Knows the parts of a run directory and how they must agree; what a data file must be is
`verify_file`'s business. Nothing stops at the first problem, and nothing is mended. One file is
read at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from cisray.errors import CisrayError, CoordinateError, RunIncomplete, StorageError
from cisray.store.directory import (
    data_metadata,
    read_files,
    read_manifest,
    read_plan,
    read_tracks,
)
from cisray.store.kinds import kind_of
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan, ShardSpan
from cisray.store.problems import AGAIN, Problem, Verification
from cisray.store.receipt import Receipt, WrittenFile, read_receipts
from cisray.store.run import block_schemas
from cisray.store.seal import is_sealed, list_files
from cisray.store.verify_derived import group_problems, times_problems
from cisray.store.verify_file import Wanted, check_file

OnFile = Callable[[int, int], None]
SCORE_AGAIN = "Remove it and run the same command again: its shard is scored anew."
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Counted:
    """A data file that something names: a commit record, or else the list of files.

    It holds the rows of the shards `shard` to `last_shard`: of one, unless it was compacted.
    """

    shard: int
    last_shard: int
    attempt: str
    file: WrittenFile


@dataclass(frozen=True, slots=True)
class _Opened:
    """The parts of a run as far as they can be read: None stands for what cannot.

    Of a run that was `compacted` the list of files alone says what there is.
    """

    layout: RunLayout
    manifest: RunManifest
    sealed: bool
    compacted: bool
    plan: Plan | None
    schemas: Mapping[str, pa.Schema] | None


def verify_run(
    path: str | Path, *, allow_unsealed: bool = False, on_file: OnFile | None = None
) -> Verification:
    """Read a run again, from its manifest to its last value, and list all that is wrong.

    With `allow_unsealed` the shards that are done are all that is asked of a run that is not
    sealed. `on_file` is told how many files were read, of how many.

    Raises RunNotFound where there is no run, and StorageError when run.json is damaged: without it
    nothing else can be judged.
    """
    layout = RunLayout(locate(path))
    manifest = read_manifest(layout)
    layout = layout.of(manifest.begun)
    problems: list[Problem] = []
    opened = _open(layout, manifest, problems)
    receipts = _receipts(opened, problems)
    files = _files(opened, receipts, problems)
    problems += _absent(opened, receipts, files, allow_unsealed=allow_unsealed)
    checked = 0
    for shards, group in groupby(files, key=lambda entry: (entry.shard, entry.last_shard)):
        keys = _keys(opened, range(shards[0], shards[1] + 1), problems)
        for entry in group:
            problems += check_file(layout, _wanted(opened, entry, keys))
            checked += 1
            if on_file is not None:
                on_file(checked, len(files))
    problems += _strays(opened, files)
    if opened.sealed and opened.plan is not None:
        told = receipts or _history(opened, problems)
        problems += times_problems(layout, manifest, opened.plan, told)
    if opened.sealed:
        problems += group_problems(layout)
    return _verification(opened, files, problems)


def require_sound(path: str | Path, *, allow_unsealed: bool = False) -> int:
    """Verify a run and count its data files. Raises StorageError for the first thing wrong."""
    found = verify_run(path, allow_unsealed=allow_unsealed)
    if found.problems:
        first, *others = found.problems
        more = f" (And {len(others)} more: see cisray runs verify.)" if others else ""
        raise StorageError(first.message + more)
    return found.files


def _verification(
    opened: _Opened, files: Sequence[Counted], problems: Sequence[Problem]
) -> Verification:
    rows = {entry.shard: entry.file.n_rows for entry in files}
    return Verification(
        path=str(opened.layout.root),
        run_id=opened.manifest.run_id,
        sealed=opened.sealed,
        shards=len(rows),
        files=len(files),
        rows=sum(rows.values()),
        values=sum(entry.file.n_rows * entry.file.n_cols for entry in files),
        bytes=sum(entry.file.bytes for entry in files),
        problems=tuple(dict.fromkeys(problems)),
    )


def _open(layout: RunLayout, manifest: RunManifest, problems: list[Problem]) -> _Opened:
    """Open plan and tracks, and count the plan against what the manifest says of it."""
    plan, schemas = None, None
    name = kind_of(manifest).tables[0].name + ".parquet"
    try:
        plan = read_plan(layout, manifest)
        if plan.num_shards != manifest.num_shards:
            text = f"{layout.tell(name)} has {plan.num_shards} shards, run.json says "
            problems.append(Problem("plan", name, None, f"{text}{manifest.num_shards}. {AGAIN}"))
        plan.check(manifest)
    except (StorageError, RunIncomplete, CoordinateError, ValueError) as error:
        problems.append(Problem("plan", name, None, str(error)))
    try:
        tracks, blocks = read_tracks(layout, manifest)
        schemas = block_schemas(manifest, tracks, blocks)
    except (CisrayError, ValueError) as error:
        name, text = layout.tracks, str(error)
        if name not in text:
            text = f"{layout.tell(name)} is damaged: {text} {AGAIN}"
        problems.append(Problem("tracks", name, None, text))
    sealed = is_sealed(layout)
    return _Opened(layout, manifest, sealed, sealed and layout.has(layout.history), plan, schemas)


def _receipts(opened: _Opened, problems: list[Problem]) -> list[Receipt]:
    """Read every commit record, and keep those that are of this run and of the shard they name."""
    receipts: list[Receipt] = []
    layout = opened.layout
    if opened.compacted:
        return receipts  # what they say of files is of before
    for name in sorted(filter(layout.owns, layout.folder.below(layout.commits))):
        try:
            receipt = Receipt.model_validate_json(layout.folder.read(name) or b"")
        except ValidationError as error:
            text = f"{layout.tell(name)} is no commit record, or a damaged one ({_first(error)}). "
            problems.append(Problem("record", name, _number(name), text + SCORE_AGAIN))
            continue
        wrong = list(_record_findings(opened, receipt, name))
        problems += [Problem("record", name, receipt.shard, text) for text in wrong]
        if receipt.begun == layout.begun and name == layout.commit(receipt.shard):
            receipts.append(receipt)
    return receipts


def _record_findings(opened: _Opened, receipt: Receipt, name: str) -> Iterator[str]:
    """Say what a record tells that cannot be of its shard."""
    path = opened.layout.tell(name)
    if receipt.begun != opened.manifest.begun:
        yield (
            f"{path} is the record of another beginning of a run ({receipt.begun[:12]}, this is "
            f"{opened.manifest.begun[:12]}): its shard {receipt.shard} counts for nothing here. "
            f"{SCORE_AGAIN}"
        )
    if name != opened.layout.commit(receipt.shard):
        yield f"{path} is the record of shard {receipt.shard}, not of its name. {SCORE_AGAIN}"
    blocks = sorted(file.block for file in receipt.files)
    if opened.schemas is not None and blocks != sorted(opened.schemas):
        yield (
            f"{path} names the blocks {blocks}, the run has {sorted(opened.schemas)}. {SCORE_AGAIN}"
        )
    span = None if opened.plan is None else opened.plan.spans.get(receipt.shard)
    if opened.plan is not None and span is None:
        yield f"{path} is of shard {receipt.shard}, which owes no rows in the plan. Remove it."
    for file in receipt.files if span else ():
        owed = _as_owed(opened, span, file)
        for name, value in owed.items():
            if getattr(file, name) != value:
                yield (
                    f"{path} says of {file.path} that its {name} is {getattr(file, name)}, in the "
                    f"plan it is {value}. {SCORE_AGAIN}"
                )
        named = (
            kind_of(opened.manifest).data_path(file.block, span, receipt.attempt) if span else ""
        )
        if file.path != named:
            yield f"{path} names the file {file.path}; its own would be {named}. {SCORE_AGAIN}"


def _as_owed(opened: _Opened, span: ShardSpan | None, file: WrittenFile) -> dict[str, object]:
    """List what the plan says of a file of a shard."""
    if span is None:
        return {}
    kind = kind_of(opened.manifest)
    owed: dict[str, object] = {"table": kind.data.name, "chrom": span.chrom, "start": span.start}
    owed |= {"end": span.end, "n_rows": span.rows}
    schema = (opened.schemas or {}).get(file.block)
    return owed if schema is None else owed | {"n_cols": len(schema) - len(kind.data.schema)}


def _files(opened: _Opened, receipts: Sequence[Receipt], problems: list[Problem]) -> list[Counted]:
    """List every data file that a record names, or the list of files; in the order of shards."""
    files = {
        (receipt.shard, file.path): Counted(receipt.shard, receipt.shard, receipt.attempt, file)
        for receipt in receipts
        for file in receipt.files
    }
    if opened.sealed:
        for row in _listed(opened, receipts, problems):
            file = WrittenFile.model_validate(
                {name: row[name] for name in WrittenFile.model_fields}
            )
            entry = Counted(row["shard"], row["last_shard"], row["attempt"], file)
            files.setdefault((entry.shard, file.path), entry)
    owners = defaultdict(list)
    for shard, path in files:
        owners[path].append(shard)
    for path, shards in owners.items():
        if len(shards) > 1:
            text = f"{opened.layout.tell(path)} is named as the file of the shards {shards}: "
            text += f"rows of one of them stand in the run twice. {AGAIN}"
            problems += [Problem("duplicate-rows", path, shard, text) for shard in shards]
    return sorted(files.values(), key=lambda entry: (entry.shard, entry.file.block))


def _listed(
    opened: _Opened, receipts: Sequence[Receipt], problems: list[Problem]
) -> list[dict[str, Any]]:
    """Read the list of files of a sealed run, and compare it with the records."""
    name = opened.layout.files
    path = opened.layout.tell(name)
    try:
        listed: list[dict[str, Any]] = read_files(opened.layout).to_pylist()
        expected = list_files(list(receipts)).to_pylist()
        by_path = {(row["shard"], row["path"]): row for row in listed}
    except (StorageError, KeyError) as error:
        problems.append(Problem("file-list", name, None, str(error)))
        return []
    if len(by_path) != len(listed):
        text = f"{path} names a file more than once. {AGAIN}"
        problems.append(Problem("file-list", name, None, text))
    for row in expected:
        there = by_path.get((row["shard"], row["path"]))
        if there == row:
            continue
        if there is None:
            what = "does not name it"
        else:
            what = ", ".join(
                f"has {k} {there.get(k)} for {v}" for k, v in row.items() if there.get(k) != v
            )
        text = f"{path} and the record of shard {row['shard']} differ about "
        text += f"{row['path']}: the list {what}. {AGAIN}"
        problems.append(Problem("file-list", row["path"], row["shard"], text))
    return listed


def _absent(
    opened: _Opened, receipts: Iterable[Receipt], files: Iterable[Counted], *, allow_unsealed: bool
) -> Iterator[Problem]:
    """Name shards without a record, and a run that is not sealed."""
    recorded = {receipt.shard for receipt in receipts}
    named = {shard for entry in files for shard in range(entry.shard, entry.last_shard + 1)}
    if opened.compacted:
        recorded = named
    owed = list(opened.plan.spans) if opened.plan is not None else []
    missing = [shard for shard in owed if shard not in recorded]
    root = opened.layout.root
    if not opened.sealed:
        if not allow_unsealed:
            yield Problem("unsealed", opened.layout.success, None, _not_sealed(opened, missing))
        return
    for shard in missing:
        place = opened.layout.commit(shard)
        record = opened.layout.tell(place)
        if shard in named:
            text = f"{record}, the record of shard {shard}, is missing or counts for nothing; its "
            text += f"files are judged by the list of files. {AGAIN}"
            yield Problem("missing-record", place, shard, text)
        else:
            text = f"shard {shard} of {root} is missing: neither a record nor the list of files "
            yield Problem("missing-shard", place, shard, f"{text}names a file of it. {AGAIN}")


def _not_sealed(opened: _Opened, missing: Sequence[int]) -> str:
    owed = len(opened.plan.spans) if opened.plan is not None else 0
    named = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
    return (
        f"{opened.layout.root} is not sealed: it has no {opened.layout.success} of its own. "
        f"{len(missing)} of {owed} shards have no record{f' ({named})' if missing else ''}. Run "
        f"the same command again to finish it, or verify what is there with --unsealed."
    )


def _keys(opened: _Opened, shards: range, problems: list[Problem]) -> pa.Table | None:
    """Read what the shards of a file owe, those between them that owe nothing left out."""
    plan = opened.plan
    owing = [shard for shard in shards if plan is not None and shard in plan.spans]
    if plan is None or not owing:
        return None
    try:
        return pa.concat_tables([plan.keys(shard) for shard in owing])
    except StorageError as error:
        name = kind_of(opened.manifest).tables[0].name + ".parquet"
        problems.append(Problem("plan", name, shards[0], str(error)))
        return None


def _wanted(opened: _Opened, entry: Counted, keys: pa.Table | None) -> Wanted:
    """State what a file must be, as far as the parts of the run can be read."""
    file = entry.file
    span = None
    if opened.plan is not None and entry.shard == entry.last_shard:
        span = opened.plan.spans.get(entry.shard)
    span = span or ShardSpan(entry.shard, file.chrom, file.start, file.end, file.n_rows)
    return Wanted(
        shard=entry.shard,
        last_shard=entry.last_shard,
        file=file,
        notes=data_metadata(opened.manifest, file.block, span),
        schema=(opened.schemas or {}).get(file.block),
        key_columns=len(kind_of(opened.manifest).data.schema),
        mantissa_bits=opened.manifest.mantissa_bits,
        plan=opened.plan if keys is not None else None,
        keys=keys,
    )


def _strays(opened: _Opened, files: Iterable[Counted]) -> Iterator[Problem]:
    """Name files below data/ that nothing names; a run that is still open may have some."""
    if not opened.sealed:
        return
    layout = opened.layout
    known = {entry.file.path for entry in files}
    for name in sorted(layout.folder.below(layout.data).keys() - known):
        text = f"{layout.tell(name)} is named by no record and not in the list of files: whatever "
        text += "scans the folder reads rows too many. Remove it."
        yield Problem("stray", name, None, text)
    for name in sorted(layout.folder.below(layout.commits)):
        if not layout.owns(name):
            text = f"{layout.tell(name)} is a record of another beginning of a run. Remove it."
            yield Problem("stray", name, _number(name), text)


def _history(opened: _Opened, problems: list[Problem]) -> list[Receipt]:
    """Read the records of before a compaction, for what they say of times."""
    if not opened.compacted or opened.plan is None:
        return []
    try:
        return read_receipts(opened.layout, opened.plan.spans, sealed=True)
    except StorageError as error:
        problems.append(Problem("record", opened.layout.history, None, str(error)))
        return []


def _number(name: str) -> int | None:
    """Read the number of a shard off the name of its record."""
    stem = name.rpartition("/")[2].partition(".")[0]
    return int(stem) if stem.isdigit() else None


def _first(error: ValidationError) -> str:
    """Give the first thing that is wrong: pydantic tells many."""
    return str(error.errors()[0]["msg"])
