"""What a report says of any scored run: what it is, its rows, its times, where it came from.

Knows the facts of a run and the parts of a page; knows no kind of run in particular.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import JsonValue

from cisray.page.document import Cell, Column, DataTable, Section
from cisray_jobs.run_facts import RunFacts
from cisray_jobs.run_words import flat, made_from, number_of, times_told
from cisray_jobs.units import counted, duration, size

_SHOWN_FAILURES = 20


def warning_of(facts: RunFacts) -> str:
    """Say what is missing of a run that is not sealed; nothing of a sealed one."""
    if facts.state == "sealed":
        return ""
    missing = facts.rows - facts.rows_done
    told = (
        f"The run is not sealed: {facts.done:,} of {counted(facts.shards, 'shard')} are done, and "
        f"{missing:,} of {facts.rows:,} rows are missing. Whatever follows is of the others."
    )
    if facts.failures:
        told += f" {counted(len(facts.failures), 'shard')} failed; the reasons are below."
    return told


def overview(facts: RunFacts, rows: Mapping[str, str]) -> Section:
    """Lay out what a run is; `rows` tell of its rows in the words of its kind."""
    tracks = ", ".join(f"{assay} {count:,}" for assay, count in facts.tracks.items())
    lines = {
        "run": facts.run_id,
        "table": facts.table,
        "state": f"{facts.state}: {facts.done:,} of {counted(facts.shards, 'shard')} done",
        **rows,
        **{f"linked to {run_id}": f"{count:,} rows" for run_id, count in facts.linked.items()},
        "files": f"{counted(facts.files, 'file')}, {size(number_of(facts.times, 'bytes'))}",
        "tracks": f"{sum(facts.tracks.values()):,} of head {facts.head}: {tracks}",
    }
    if facts.statistics is not None:
        lines["statistics"] = ", ".join(facts.statistics)
    lines["self-check"] = f"{facts.self_check.checked:,} checked: {facts.self_check.note}"
    return Section(title="What it is", anchor="run", facts=list(lines.items()))


def opening(path: str, *, sealed: bool) -> Section:
    """Give the lines that open the run in Python."""
    more = "" if sealed else ", allow_unsealed=True"
    code = f'import cisray\n\nrun = cisray.open_run("{path}"{more})\nrun.scan().head().collect()'
    lead = ["Columns are chosen by tracks=, rows by region=; see the query guide of cisray."]
    return Section(title="Open it with Polars", anchor="open", lead=lead, code=code)


def origin(facts: RunFacts) -> Section:
    """Lay out where a run came from and where its time went."""
    parts = [
        Section(title="Where the time went", anchor="times", tables=[_sessions(facts)],
                facts=list(times_told(facts).items())),
        Section(title="Made from", anchor="made-from", facts=list(made_from(facts).items())),
        Section(title="Command", anchor="command", facts=list(_options(facts)), folded=True,
                lead=["Every option as it stood; `cisray runs rerun` gives the command again."]),
    ]  # fmt: skip
    if facts.failures:
        parts.insert(0, Section(title="Failures", anchor="failures", tables=[_failures(facts)]))
    return Section(title="Where it came from", anchor="origin", parts=parts)


def _sessions(facts: RunFacts) -> DataTable:
    columns = (
        Column("session"),
        Column("ended"),
        Column("shards", numeric=True),
        Column("rows", numeric=True),
        Column("seconds", numeric=True),
    )
    rows = []
    for one in _mappings(facts.times.get("sessions")):
        begun, ended = str(one["begun"]), str(one["ended"])
        seconds = _seconds(begun, ended)
        rows.append(
            [
                Cell(begun, begun),
                Cell(ended, ended),
                *(Cell(f"{number_of(one, key):,.0f}", number_of(one, key))
                  for key in ("shards", "rows")),
                Cell(duration(seconds), seconds),
            ]
        )  # fmt: skip
    return DataTable("Sessions, each from its beginning to its last shard.", columns, rows)


def _seconds(begun: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()


def _failures(facts: RunFacts) -> DataTable:
    columns = (Column("shard"), Column("attempts", numeric=True), Column("reason", wide=True))
    rows = [
        [
            Cell(str(one["shard"]), number_of(one, "shard")),
            Cell(str(one["attempts"]), number_of(one, "attempts")),
            Cell(str(one["reason"]), str(one["reason"])),
        ]
        for one in facts.failures[:_SHOWN_FAILURES]
    ]
    told = f"The first {len(rows):,} of {counted(len(facts.failures), 'shard')} that failed."
    return DataTable(told, columns, rows)


def _options(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """List the options of the command, as they stood, and digests of what it read."""
    yield "command", f"cisray {facts.job.replace('-', ' ', 1)}"
    options = facts.provenance.get("options")
    for name, value in options.items() if isinstance(options, dict) else ():
        if value not in (None, [], ""):
            yield f"--{name.replace('_', '-')}", flat(value)
    files = facts.provenance.get("files")
    for name, told in files.items() if isinstance(files, dict) else ():
        if isinstance(told, dict):
            yield f"SHA-256 of {name}", str(told.get("sha256"))


def _mappings(told: JsonValue) -> list[dict[str, JsonValue]]:
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
