"""A sample of a run computed again: tiles, rows or windows, whatever the run holds.

Knows which kind of run is computed again how, and tiles themselves; rows and windows are the
business of `rescored_rows` and `rescored_windows`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cisray.errors import RunConflict
from cisray.genome.reference import Genome
from cisray.inference.precision import resolve_device
from cisray.inference.predictor import PlainPredictor
from cisray.inference.selfcheck import TOLERANCES, measure
from cisray.locus import format_locus
from cisray.model.registry import load_model
from cisray.scoring.tolerance import rounding_of
from cisray.store.problems import Problem
from cisray.store.run import ShardSink
from cisray.store.scan import Run
from cisray.store.tile_plan import TilePlan, as_tiles
from cisray_jobs.rescored_rows import Found, RowRescorer, matrix, precision_of, told
from cisray_jobs.rescored_windows import WindowRescorer
from cisray_jobs.tile_check import TileSample
from cisray_jobs.tile_task import planned_windows
from cisray_jobs.worker import Bench


@dataclass(frozen=True, slots=True)
class Rescored:
    """How many tiles, variants or windows were computed again, and the worst that was found.

    `worst` is the largest deviation of a stored value, where 1 is as much as is tolerated.
    """

    unit: str
    checked: int
    seed: int
    worst: float
    problems: tuple[Problem, ...]


class _Rescorer(Protocol):
    unit: str

    def compare(self, count: int, seed: str) -> Iterator[Found]: ...


def rescore(
    run: Run, *, model: Path, fasta: Path, count: int, seed: int = 0, device: str = "auto"
) -> Rescored:
    """Compute a sample of a sealed run again and compare it with what is stored.

    The sample follows from the run's identity and `seed`. Raises RunConflict for a model or a
    genome other than those that were scored, CheckpointError, FastaError and ConfigError as opening
    them does.
    """
    bench = _bench(run, model, fasta, device)
    text = hashlib.sha256(f"verify {run.manifest.digest} {seed}".encode()).hexdigest()[:16]
    rescorer = _rescorer(run, bench)
    found = list(rescorer.compare(count, text))
    return Rescored(
        unit=rescorer.unit,
        checked=len(found),
        seed=seed,
        worst=max((one.worst for one in found), default=0.0),
        problems=tuple(problem for one in found for problem in one.problems),
    )


def _bench(run: Run, model: Path, fasta: Path, device: str) -> Bench:
    loaded, genome = load_model(model), Genome.open(fasta)
    for what, path, digest, scored in (
        ("model", model, loaded.digest, run.manifest.model_sha256),
        ("genome", fasta, genome.sha256, run.manifest.genome_sha256),
    ):
        if digest != scored:
            raise RunConflict(
                f"{path} is not the {what} that {run.path} was scored with: its digest is "
                f"{digest}, the run has {scored}. Give the same file."
            )
    settled = resolve_device(device)
    return Bench(ShardSink.attach(run.path), loaded.to(settled), genome, settled)


def _rescorer(run: Run, bench: Bench) -> _Rescorer:
    if run.statistics is None:
        return _TileRescorer(run, bench, as_tiles(run.plan))
    if run.manifest.config.get("method") == "gradient":
        return WindowRescorer(run, bench)
    return RowRescorer(run, bench)


class _TileRescorer:
    """Predict sampled tiles the plain way; nothing but rounding and tolerance lies between."""

    unit = "tile"

    def __init__(self, run: Run, bench: Bench, plan: TilePlan) -> None:
        self._run, self._plan, self._genome = run, plan, bench.genome
        self._plain = PlainPredictor(bench.model, run.tracks, device=bench.device)
        manifest = run.manifest
        self._tolerance = TOLERANCES[precision_of(manifest)] + rounding_of(manifest.mantissa_bits)

    def compare(self, count: int, seed: str) -> Iterator[Found]:
        sample = TileSample.of(self._plan, count, seed, self._tolerance)
        for shard in self._plan.spans:
            for window, bins in planned_windows(self._plan.tiles(shard), self._plan.bin_bp):
                if not sample.holds(window):
                    continue
                tile = window.target
                end = tile.start + bins * self._plan.bin_bp
                frame = self._run.scan(region=(tile.chrom, tile.start, end))
                stored_TM = matrix(frame.select(self._run.tracks.columns)).T
                plain = self._plain.predict(self._genome.fetch_padded(window.input)[None])
                found = measure(stored_TM, plain[0, :bins].T)
                place = format_locus(tile.chrom, tile.start, end)
                at = window.bin_interval(found.bin)
                column = self._run.tracks.columns[found.track]
                text = (
                    f"the tile {place} of shard {shard} is not what model and genome give: track "
                    f"{column} is off by {found.error:.2g} of its norm, and {self._tolerance:.2g} "
                    f"is tolerated; at {format_locus(at.chrom, at.start, at.end)} "
                    f"{found.value:.6g} is stored, computed again it is {found.plain:.6g}."
                )
                yield told(self._run, shard, column, found.error / self._tolerance, text)
