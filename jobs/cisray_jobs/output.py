"""How results, plans and errors look on a terminal, and as JSON.

Knows text; knows nothing of how the results came about. Results go to stdout, everything else to
stderr, so that `--json` output can be piped.
"""

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import typer

from cisray.store.layout import table_file
from cisray_jobs.units import counted, duration, size
from cisray_schemas import REJECTS

if TYPE_CHECKING:  # torch would come with them, for the sake of a line of text
    from cisray.scoring.planned import SiteCount
    from cisray.store.compact import Compacted, CompactionPlan
    from cisray.store.node_cache import Cleared, NodeCopy
    from cisray.store.summarise import Summarised
    from cisray_jobs.effect_job import ScoredEffects
    from cisray_jobs.export import Exported
    from cisray_jobs.gradient_costs import GradientPlan
    from cisray_jobs.models import ModelInfo
    from cisray_jobs.plan import Resources
    from cisray_jobs.prepared_effects import EffectPlan
    from cisray_jobs.score_genome import RunPlan, ScoredGenome

WIDTH = 100
SHOWN_FILES = 6


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def error(message: str) -> None:
    """Print an error as one paragraph on stderr."""
    paragraph = textwrap.fill(
        f"Error: {message}", WIDTH, break_long_words=False, break_on_hyphens=False
    )
    typer.echo(paragraph, err=True)


def as_json(result: Dataclass | Sequence[Dataclass]) -> None:
    """Print a result for machines, as one JSON object, or several as a list."""
    if isinstance(result, Sequence):
        told: object = [dataclasses.asdict(one) for one in result]
    else:
        told = dataclasses.asdict(result)
    typer.echo(json.dumps(told, default=str, indent=2))


def facts(title: str, lines: Mapping[str, str]) -> None:
    """Print named facts under a title, aligned."""
    width = max(len(name) for name in lines)
    typer.echo(title)
    for name, value in lines.items():
        typer.echo(f"  {name:<{width}}  {value}")


def model(info: "ModelInfo") -> None:
    """Print what is known about a model."""
    g = info.geometry
    lines = {
        "architecture": info.architecture,
        "parameters": f"{info.parameters:,}",
        "digest": info.digest,
        "input": f"{g['input_bp']:,} bp",
        "output": f"{g['target_bins']:,} bins of {g['bin_bp']} bp, "
        f"the central {g['target_bp']:,} bp",
    }
    for head, about in info.heads.items():
        by_assay = ", ".join(f"{a or 'unnamed'} {n:,}" for a, n in about["by_assay"].items())
        lines[f"head {head}"] = f"{counted(about['tracks'], 'track')}: {by_assay}"
    lines |= {f"from {key}": str(value) for key, value in info.provenance.items()}
    facts(info.path, lines)


def plan(told: "RunPlan") -> None:
    """Print what a run will do and what it will cost."""
    facts(
        f"Plan of {told.job} into {told.out}",
        {
            "model": told.model_sha256[:16],
            "tracks": f"{told.tracks:,} of head {told.head}",
            "tiles": f"{told.tiles:,} on {counted(told.chromosomes, 'chromosome')}, "
            f"{told.tiles_without_acgt:,} of them without any A, C, G or T and skipped",
            "shards": f"{told.shards:,} of up to {counted(told.tiles_per_shard, 'tile')}, "
            f"{told.shards_done:,} done",
            "rows": f"{told.rows:,}, {told.rows_left:,} left",
            "disk": _disk(told),
            "predictor": f"{told.predictor}: {told.predictor_reason}",
            "precision": f"{told.precision}: {told.precision_reason}",
            "self-check": f"{counted(told.tiles_to_check, 'tile')} left to predict both ways",
            **_spread(told.resources, told.teraflop, "window"),
            "memory": f"about {size(told.worker_bytes)} per worker",
            "time": f"about {duration(told.estimated_seconds)}, roughly, until shards are done",
        },
    )


def effect_plan(told: "EffectPlan") -> None:
    """Print what a run over variants will do and what it will cost."""
    members = "" if told.members == 1 else f", each read {told.members} ways"
    facts(
        f"Plan of {told.job} into {told.out}",
        {
            "model": told.model_sha256[:16],
            "tracks": f"{told.tracks:,} of head {told.head}, for each {', '.join(told.statistics)}",
            **entries(told),
            **sites(told.sites),
            "windows": f"{told.windows:,} {told.placement}{members}, "
            f"{counted(told.alternates, 'distinct alternate')}; indels by {told.indels}",
            **_gradients(told.gradients),
            "shards": f"{told.shards:,}, {told.shards_done:,} done",
            "rows": f"{told.rows:,}, {told.rows_left:,} left",
            "disk": _disk(told),
            "predictor": f"{told.predictor}: {told.predictor_reason}",
            "precision": f"{told.precision}: {told.precision_reason}",
            "self-check": f"{counted(told.rows_to_check, 'row')} left to compute both ways",
            **_spread(told.resources, told.teraflop, "gradient" if told.gradients else "alternate"),
            "memory": f"about {size(told.worker_bytes)} per worker",
            "time": f"about {duration(told.estimated_seconds)}, roughly, until shards are done",
        },
    )


def _disk(told: "RunPlan | EffectPlan") -> str:
    """Tell how much will be written, how far values are rounded, and how much room there is."""
    free = "" if told.free_bytes is None else f", {size(told.free_bytes)} free"
    error = told.max_relative_error
    bound = f"a relative error of at most {error:.1e}" if error else "exact"
    bits = f"{told.mantissa_bits} mantissa bits ({bound})"
    return f"about {size(told.estimated_bytes)} at {bits}{free}"


def _gradients(told: "GradientPlan | None") -> dict[str, str]:
    """Tell how many gradients there are of each window, and which rows are exact as well."""
    if told is None:
        return {}
    exact = "" if told.exact_rows is None else f"; at most {told.exact_rows:,} rows exact as well"
    return {"gradients": f"{told.per_window:,} of each window{exact}"}


def entries(told: "EffectPlan | ScoredEffects") -> dict[str, str]:
    """Count what became, or will become, of the entries of the input; linked ones have scores."""
    linked = "" if told.linked is None else f"{told.linked:,} linked, "
    counts = f"{told.entries:,}: {told.scored:,} scored, {linked}{rejects(told.rejected)}"
    have_scores = told.scored + (told.linked or 0)
    return {"entries": counts, **rejects_warning(told.entries, have_scores)}


def rejects(counts: Mapping[str, int]) -> str:
    """Count rejects by reason, in words.

    >>> rejects({"missing_alt": 2, "too_long": 1}), rejects({})
    ('3 rejected (2 missing_alt, 1 too_long)', 'none rejected')
    """
    if not counts:
        return "none rejected"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{sum(counts.values()):,} rejected ({reasons})"


def rejects_warning(entries: int, scored: int) -> dict[str, str]:
    """Warn where most of what came in is not scored, which is seldom what was meant.

    >>> [rejects_warning(7, scored).get("WARNING") for scored in (0, 3, 4)]
    ['none of the 7 entries is scored', 'only 3 of the 7 entries are scored', None]
    """
    if 2 * scored >= entries:
        return {}
    few = f"only {scored:,}" if scored else "none"
    return {"WARNING": f"{few} of the {entries:,} entries {'are' if scored > 1 else 'is'} scored"}


def sites(counts: "SiteCount | None") -> dict[str, str]:
    """Tell of sites, where there are such, how many have rows."""
    return {} if counts is None else {"sites": f"{counts.given:,}, {counts.scored:,} with rows"}


def _spread(resources: "Resources", teraflop: float, unit: str) -> dict[str, str]:
    """Tell how the work is spread; `unit` is what comes in batches."""
    r = resources
    where = counted(r.workers, "worker") if r.workers else "this process"
    gpus = f", GPUs per worker {r.num_gpus:g}" if r.num_gpus else ""
    return {
        "arithmetic": f"{teraflop:,.1f} TFLOP on {r.device}",
        "workers": f"{where}, {counted(r.threads, 'thread')} each{gpus}",
        "batches": "auto" if r.batch_size is None else f"of {counted(r.batch_size, unit)}",
    }


def effects(summary: "ScoredEffects") -> None:
    """Print what a sealed run over variants consists of, and how to read it."""
    check = summary.self_check
    facts(
        f"Sealed {summary.path}",
        {
            **entries(summary),
            **sites(summary.sites),
            "rows": f"{summary.rows:,}",
            "files": f"{counted(summary.files, 'file')} of {counted(summary.shards, 'shard')}, "
            f"{size(summary.bytes)}",
            "self-check": f"{check.checked:,} of {counted(check.sampled, 'sampled row')}: "
            f"{check.note}",
            "read it": f'cisray.open_run("{summary.path}").scan()',
            **_rejects_place(summary),
        },
    )


def _rejects_place(summary: "ScoredEffects") -> dict[str, str]:
    """Tell where the rejects are listed, if there are any."""
    if not summary.rejected:
        return {}
    file = f"{summary.path}/{table_file(REJECTS)}"
    return {"rejects": f'{file}, cisray.open_run("{summary.path}").rejects'}


def run(summary: "ScoredGenome") -> None:
    """Print what a sealed run consists of, and how to read it."""
    check = summary.self_check
    facts(
        f"Sealed {summary.path}",
        {
            "rows": counted(summary.rows, "bin"),
            "tiles": f"{summary.tiles_scored:,} scored, {summary.tiles_skipped:,} without any "
            "A, C, G or T skipped",
            "files": f"{counted(summary.files, 'file')} of {counted(summary.shards, 'shard')}, "
            f"{size(summary.bytes)}",
            "self-check": f"{check.checked:,} of {counted(check.sampled, 'sampled tile')}: "
            f"{check.note}",
            "read it": f'cisray.open_run("{summary.path}").scan()',
        },
    )


def exported(written: "Exported") -> None:
    """Print which files were written from a run."""
    shown = [Path(file).name for file in written.files[:SHOWN_FILES]]
    more = len(written.files) - len(shown)
    facts(
        f"Exported {written.run}",
        {
            "format": written.format,
            "rows": f"{written.rows:,} of {counted(written.tracks, 'track')}",
            "into": str(Path(written.files[0]).parent),
            "files": ", ".join(shown) + (f" and {more:,} more" if more else ""),
            "size": size(written.bytes),
        },
    )


def compaction_plan(told: "CompactionPlan") -> None:
    """Print what a compaction will do, or that there is nothing to do."""
    if not (told.shards or told.leftovers):
        typer.echo(f"Nothing to compact in {told.path}: {_files(told.files, told.bytes)}.")
        return
    lines = {
        "files": f"{told.files:,}, of which {told.files_after:,} will be left",
        "bytes": f"{size(told.bytes)}, about {size(told.bytes_after)} afterwards",
        "rewritten": f"{told.rows:,} rows of {counted(told.shards, 'shard')}",
    }
    if told.leftovers:
        lines["left over"] = f"{counted(told.leftovers, 'file')} that the run does not name"
    facts(f"Plan of compacting {told.path}", lines)


def compacted(done: "Compacted") -> None:
    """Print what a compaction has done, or that there was nothing to do."""
    if not (done.shards or done.removed):
        typer.echo(f"Nothing to compact in {done.path}: {_files(done.files, done.bytes)}.")
        return
    lines = {
        "files": f"{done.files_before:,} before, {done.files:,} now",
        "bytes": f"{size(done.bytes_before)} before, {size(done.bytes)} now",
        "rewritten": f"{done.rows:,} rows of {counted(done.shards, 'shard')}, every bit compared",
    }
    if done.removed:
        lines["removed"] = f"{counted(done.removed, 'file')} that the run does not name"
    facts(f"Compacted {done.path}", lines)


def _files(count: int, bytes_: int) -> str:
    return f"{counted(count, 'file')} of {size(bytes_)}"


def summarised(done: "Summarised") -> None:
    """Print what was summarised, and how to read it."""
    groups = [f"{name} ({counted(tracks, 'track')})" for name, tracks in done.groups.items()]
    facts(
        f"Summarised {done.path}",
        {
            "rows": f"{done.rows:,}",
            "of each": f"the strongest track, by {', '.join(done.statistics)}",
            "groups": ", ".join(groups),
            "file": f"{done.file}, {size(done.bytes)}",
            "read it": f'cisray.open_run("{done.path}").summary()',
        },
    )


def copies(found: "Sequence[NodeCopy]") -> None:
    """Print what a machine keeps, a line each, and how much that is."""
    for copy in found:
        typer.echo(
            f"{copy.kind:<6} {copy.digest[:12]}  {size(copy.bytes):>9}  read in full "
            f"{copy.checked}  {copy.source}"
        )
    total = size(sum(copy.bytes for copy in found))
    typer.echo(f"{len(found)} {'copy' if len(found) == 1 else 'copies'}, {total}")


def cleared(done: "Cleared") -> None:
    """Print what was removed, and what could not be."""
    typer.echo("Removed:")
    copies(done.removed)
    if done.kept:
        typer.echo("In use right now, and kept:")
        copies(done.kept)
