"""How a dataset is told to people.

Knows text; knows nothing of how a dataset is made.
"""

import typer

from cisray_jobs.describe_dataset import Described, HeadFacts, SplitFacts
from cisray_jobs.units import counted, size

_TRACKS_SHOWN = 20


def told(described: Described) -> None:
    """Print what a dataset holds, and a table of the first tracks of each set looked at."""
    typer.echo(described.path)
    typer.echo(
        f"  input {described.input_bp:,} bp, {described.target_bins:,} bins of "
        f"{described.bin_bp} bp, margin {described.margin_bp} bp"
    )
    for head, facts in described.heads.items():
        _head(head, facts)
    for figure in described.figures:
        typer.echo(f"  drawn: {figure}")


def _head(head: str, facts: HeadFacts) -> None:
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in facts.dropped.items())
    typer.echo(
        f"  {head}: {counted(facts.tracks, 'track')}; {counted(facts.sequences, 'sequence')} = "
        f"{counted(facts.examples, 'example')} + {sum(facts.dropped.values()):,} dropped"
        f"{f' ({dropped})' if dropped else ''}"
    )
    if facts.all_zero_tracks:
        typer.echo(f"    zero in every example: {counted(len(facts.all_zero_tracks), 'track')}")
    for name, split in facts.splits.items():
        typer.echo(
            f"    {name}: {counted(split.examples, 'example')}, "
            f"{counted(split.files, 'file')}, {size(split.bytes)}"
        )
        if split.tracks:
            _tracks(split)


def _tracks(split: SplitFacts) -> None:
    typer.echo(f"      of {counted(split.looked_at, 'example')}:")
    typer.echo("      track         mean    median      0.99       max   zeros  clipped")
    for column, track in list(split.tracks.items())[:_TRACKS_SHOWN]:
        clipped = "" if track.clipped is None else f"{track.clipped:.2%}"
        typer.echo(
            f"      {column:8s} {track.mean:9.4g} {track.quantiles['0.5']:9.4g} "
            f"{track.quantiles['0.99']:9.4g} {track.max:9.4g} {track.zeros:7.1%}  {clipped:>7s}"
        )
    if len(split.tracks) > _TRACKS_SHOWN:
        typer.echo(f"      and {len(split.tracks) - _TRACKS_SHOWN:,} more (--json has all)")
