"""What is told of a run in words, wherever it is shown: its times, and what it is made from.

Knows the facts of a run; knows nothing of terminals or pages.
"""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from cisray.store.encode import max_relative_error
from cisray.store.worker_time import GpuUse, WorkerTime
from cisray_jobs.run_facts import RunFacts
from cisray_jobs.units import counted, duration, size

SHOWN_SHARE = 0.005
LAP_WORDS = {
    "model": "in the model",
    "input": "waiting for input",
    "check": "in the self-check",
    "write": "encoding and writing",
    "idle": "waiting for a shard",
    "open": "opening",
    "failed": "in attempts that failed",
    "other": "elsewhere",
}
_SETTINGS_LEFT_OUT = {"statistics", "entries", "scored", "rows", "rejected", "rejects_sha256"}


def times_told(facts: RunFacts) -> dict[str, str]:
    """Tell times, rate and price, as far as the shards tell of theirs."""
    sessions = facts.times["sessions"]
    count = len(sessions) if isinstance(sessions, list) else 0
    untimed = number_of(facts.times, "untimed")
    missing = f", without those of {counted(int(untimed), 'shard')}" if untimed else ""
    wall, device, writing = (
        duration(number_of(facts.times, key)) for key in ("wall_s", "device_s", "write_s")
    )
    lines = {
        "time": f"{wall} in {counted(count, 'session')}{missing}",
        "work": f"devices busy for {device}, writing for {writing}",
    }
    lines |= _workers(facts.workers)
    if facts.rows_per_second is not None:
        lines["speed"] = f"{facts.rows_per_second:,.1f} rows a second"
    if facts.cost is not None and facts.cost_per_million_rows is not None:
        lines["cost"] = (
            f"{facts.cost:,.4g} in all, {facts.cost_per_million_rows:,.4g} for a million rows, at "
            f"{facts.cost_per_hour:g} an hour"
        )
    return lines


def _workers(told: WorkerTime | None) -> dict[str, str]:
    """Tell where workers' time went, as far as that was measured."""
    if told is None:
        return {}
    total = sum(told.seconds.values())
    shares = {name: told.share(name) or 0.0 for name in LAP_WORDS}
    parts = [
        f"{share:.0%} {LAP_WORDS[name]}"
        for name, share in shares.items()
        if share >= SHOWN_SHARE or name == "input"
    ]
    lines = {
        "workers": f"{duration(total)} of {counted(told.shards, 'shard')}: {', '.join(parts)}",
        "beside": f"{duration(told.away_s)} until they had started, and after their last shard",
        "GPU": _gpu(told.gpu),
    }
    for host in told.hosts if len(told.hosts) > 1 else ():
        rate = host.rows_per_second
        speed = "" if rate is None else f", {rate:,.1f} rows a second each"
        gpu = "" if host.gpu is None else f", GPU {_gpu(host.gpu)}"
        lines[f"on {host.host}"] = f"{counted(host.workers, 'worker')}{speed}{gpu}"
    return lines


def _gpu(use: GpuUse | None) -> str:
    if use is None:
        return "not measured"
    return f"{use.mean:.0f}% busy while computing, at most {use.max:.0f}%"


def _mantissa(bits: int) -> str:
    bound = max_relative_error(bits)
    return f"{bits} bits: " + (f"values within {bound:.2g} of themselves" if bound else "exact")


def made_from(facts: RunFacts) -> dict[str, str]:
    """Tell what a run is made from, and on what it was made."""
    identity, provenance = facts.identity, facts.provenance
    config = identity["config"]
    settings = config if isinstance(config, dict) else {}
    lines = {
        "model": str(identity["model_sha256"]),
        "genome": f"{identity['genome_sha256']} {facts.genome}".rstrip(),
        **{f"file {name}": path for name, path in _paths(provenance)},
        "settings": "; ".join(
            f"{name} {flat(value)}"
            for name, value in settings.items()
            if name not in _SETTINGS_LEFT_OUT and value not in (None, [])
        ),
        "mantissa": _mantissa(int(str(identity["mantissa_bits"]))),
        "created": facts.created,
    }
    host, versions = provenance.get("host"), provenance.get("versions")
    if isinstance(host, dict):
        memory = host.get("memory_bytes")
        shown = f", {size(memory)}" if isinstance(memory, int) else ""
        lines["begun on"] = f"{host.get('name')}: {host.get('cores')} cores of {host.get('cpu')}"
        lines["begun on"] += f"{shown}{f', {gpus} GPUs' if (gpus := host.get('gpus')) else ''}"
    if facts.times["hosts"]:
        hosts, devices = (flat(facts.times[key]) for key in ("hosts", "devices"))
        lines["scored on"] = f"{hosts}: {devices}"
    if isinstance(versions, dict):
        lines["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items())
    return lines


def _paths(provenance: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
    files = provenance.get("files")
    for name, told in files.items() if isinstance(files, dict) else ():
        if isinstance(told, dict):
            yield name, str(told.get("path"))


def number_of(told: Mapping[str, JsonValue], key: str) -> float:
    """Take a number out of what is told; 0 where it is none."""
    value = told[key]
    return float(value) if isinstance(value, int | float) else 0.0


def flat(value: JsonValue) -> str:
    """Write a value of a record in one line."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
