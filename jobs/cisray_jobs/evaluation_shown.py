"""How evaluations are told to people.

Knows text; knows nothing of how numbers come about.
"""

from collections.abc import Sequence

import typer
from pydantic import JsonValue

from cisray_jobs.compare_evaluations import ComparedEvaluations
from cisray_jobs.evaluate_direction import EvaluatedDirection
from cisray_jobs.evaluate_eqtl import EvaluatedEqtls
from cisray_jobs.evaluation_job import Headline

_SHOWN_MATCHES = 60


def eqtls(found: EvaluatedEqtls) -> None:
    """Print what became of the labels, and the mean areas over tissues."""
    _where(found.path, new=found.new)
    _rows(found.rows)
    typer.echo("  mean AUROC over tissues")
    _numbers(found.headline, found.tissues)


def directions(found: EvaluatedDirection) -> None:
    """Print what became of the labels, which tracks speak for tissues, and the mean areas."""
    _where(found.path, new=found.new)
    _rows(found.rows)
    typer.echo("  tracks of tissues")
    for match in found.matches[:_SHOWN_MATCHES]:
        typer.echo(f"    {match}")
    if len(found.matches) > _SHOWN_MATCHES:
        typer.echo(f"    and {len(found.matches) - _SHOWN_MATCHES:,} more in matches.parquet")
    typer.echo("  mean AUROC of the sign over tissues")
    _numbers(found.headline, found.tissues)


def compared(every: Sequence[ComparedEvaluations]) -> None:
    """Print the differences over all rows, evaluation by evaluation."""
    for found in every:
        _compared(found)


def _compared(found: ComparedEvaluations) -> None:
    typer.echo(f"  {found.first} less {found.second}: {found.pairing}")
    for line in found.lines:
        typer.echo(f"    {line}")
    for name, count in found.alone.items():
        typer.echo(f"  {count:,} numbers are in {name} alone")
    if found.path:
        typer.echo(found.path)


def _where(path: str, *, new: bool) -> None:
    typer.echo(path if new else f"{path} (there already, of the same inputs and settings)")


def _rows(rows: dict[str, JsonValue]) -> None:
    typer.echo(f"  {rows['read']:,} rows read, {rows['used']:,} used")
    left_out = rows["left out"]
    for reason, count in left_out.items() if isinstance(left_out, dict) else ():
        typer.echo(f"    {count:>10,} left out: {reason}")


def _numbers(numbers: dict[str, Headline], tissues: int) -> None:
    width = max((len(name) for name in numbers), default=0)
    for name, mean in numbers.items():
        told = "undefined (see reason in metrics.parquet)"
        if mean.value is not None:
            told = (
                f"{mean.value:.3f} over {mean.tissues:,} of {tissues:,} tissues, {mean.rows:,} rows"
            )
        typer.echo(f"    {name:<{width}}  {told}")
