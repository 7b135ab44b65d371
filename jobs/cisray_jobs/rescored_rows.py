"""Rows of a run over variants, computed again and compared with what is stored.

Knows how a run's rows were computed, from its manifest. What statistics are computed from is held
against the plain way as the self-check does it; the stored statistics against those that the same
computation gives now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from cisray.genome.windows import Placement
from cisray.inference.choose import Method, effect_predictor
from cisray.inference.effects import PlainEffects
from cisray.inference.ensemble import Ensemble
from cisray.inference.precision import Precision
from cisray.inference.selfcheck import EFFECT_TOLERANCES, LEAST_NOISE, MOST_NOISE, TOLERANCES
from cisray.scoring.alignment import Policy
from cisray.scoring.effect_check import EffectCheck
from cisray.scoring.tolerance import tolerated
from cisray.scoring.variants import SPREAD, EffectArrays, EffectOptions, ScoredRow, VariantScorer
from cisray.store.keyed_plan import as_keyed
from cisray.store.layout import value_columns
from cisray.store.manifest import RunManifest
from cisray.store.problems import AGAIN, Problem
from cisray.store.scan import Run
from cisray_jobs.effect_task import Twin
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import scored_rows
from cisray_jobs.worker import Bench


@dataclass(frozen=True, slots=True)
class Found:
    """One comparison: its size in shares of what is tolerated, and what is wrong, if anything."""

    worst: float
    problems: tuple[Problem, ...]


class RowRescorer:
    """Compute the effects of sampled rows as the run did, and the plain way as well."""

    unit = "row"

    def __init__(self, run: Run, bench: Bench, stats: Sequence[str] | None = None) -> None:
        """Take `stats` for those of the run where it has others as well."""
        self._run = run
        manifest = run.manifest
        self._names = list(run.statistics or ()) if stats is None else list(stats)
        self._options = effect_options(manifest, self._names)
        self._bins = counted_bins(manifest, bench)
        self._method, self._precision = method_of(manifest), precision_of(manifest)
        predictor = effect_predictor(
            bench.model,
            run.tracks,
            device=bench.device,
            precision=self._precision,
            batch_size=1,
            method=self._method,
        )
        self._scorer = VariantScorer(predictor, bench.genome, self._options)
        twin = Twin.of(bench, needed=True)
        plain = PlainEffects(twin.model, run.tracks, device=bench.device, dtype=twin.dtype)
        self._check = EffectCheck(plain, bench.genome, self._options)

    def compare(self, count: int, seed: str) -> Iterator[Found]:
        """Draw so many rows and compare each."""
        plan = as_keyed(self._run.plan)
        sample = RowSample.of(plan, count, seed, self._precision)
        for shard in sorted(sample.rows):
            keys = plan.keys(shard).take(sorted(sample.rows[shard]))
            for at, row in enumerate(scored_rows(keys, self._bins)):
                yield self.compare_row(shard, keys.slice(at, 1), row)

    def compare_row(self, shard: int, key: pa.Table, row: ScoredRow) -> Found:
        """Compute one row again."""
        seen: list[EffectArrays] = []
        scores = self._scorer.score([row], watch=lambda _, arrays: seen.append(_copied(arrays)))
        self._scorer.predictor.release()
        arrays = seen[0]
        allowed = tolerated(
            self._names,
            arrays,
            row.bins,
            precision=self._precision,
            noise=MOST_NOISE if self._method == "plain" else LEAST_NOISE,
            mantissa_bits=self._run.manifest.mantissa_bits,
        )
        now_ST = np.stack([scores.values[name][:, 0] for name in self._names])
        allowed_ST = np.stack([allowed[name] for name in self._names])
        stored_ST = stored_values(self._run, key, [row], self._names)[0].reshape(now_ST.shape)
        off_ST = np.abs(stored_ST.astype(np.float64) - now_ST)
        share_ST = np.where(off_ST == 0, 0, off_ST / np.maximum(allowed_ST, np.finfo(float).tiny))
        share_ST[~np.isfinite(share_ST)] = np.inf
        stat, track = np.unravel_index(int(share_ST.argmax()), share_ST.shape)
        column = f"{self._names[stat]}_{self._run.tracks.columns[track]}"
        text = (
            f"the variant {row.variant} of shard {shard} is not what model and genome give: "
            f"{column} is stored as {stored_ST[stat, track]:.6g}, computed again it is "
            f"{now_ST[stat, track]:.6g}, and {allowed_ST[stat, track]:.2g} is tolerated."
        )
        found = told(self._run, shard, column, float(share_ST[stat, track]), text)
        return Found(found.worst, (*found.problems, *self._twin_problems(shard, row, arrays)))

    def _twin_problems(self, shard: int, row: ScoredRow, arrays: EffectArrays) -> Iterator[Problem]:
        """Hold what the statistics were computed from against the plain way."""
        if self._method == "plain":
            return
        deviation = self._check.check(row, arrays)
        if not deviation.is_within(self._precision):
            text = (
                f"the variant {row.variant} of shard {shard} is computed otherwise by the plain "
                f"way: its differences are off by {deviation.effect.error:.2g}, where "
                f"{EFFECT_TOLERANCES[self._precision]:g} is tolerated, and the reference's "
                f"prediction by {deviation.reference.error:.2g}, where {TOLERANCES['float32']:g} "
                f"is. Score anew with --predictor plain, and please report this."
            )
            yield Problem("rescored", "", shard, text)


def effect_options(manifest: RunManifest, names: Sequence[str]) -> EffectOptions:
    """Say how a run's rows were computed, from what it is made from; `names` may have spreads."""
    config = manifest.config
    return EffectOptions(
        stats=tuple(name for name in names if not name.endswith(SPREAD)),
        placement=cast("Placement", config["window_placement"]),
        policy=Policy.named(str(config["indels"])),
        ensemble=Ensemble(
            bool(config["reverse_complement"]), tuple(cast("list[int]", config["shifts"]))
        ),
        spread=any(name.endswith(SPREAD) for name in names),
    )


def counted_bins(manifest: RunManifest, bench: Bench) -> range:
    """Say in which bins of its window every row counts that is at no site."""
    told = manifest.config["bins"]
    if isinstance(told, list):
        first, end = cast("list[int]", told)
        return range(first, end)
    return range(bench.model.target_bins)


def stored_values(
    run: Run, keys: pa.Table, rows: Sequence[ScoredRow], names: Sequence[str]
) -> NDArray[np.float32]:
    """Read what the run holds of rows, (rows, statistics x tracks), in the order of `keys`."""
    known = [name for name in ("variant", "site") if name in keys.column_names]
    columns = value_columns(list(names), run.tracks.columns)
    wanted = pl.DataFrame(keys.select(known))
    places = [row.variant.interval for row in rows]
    region = (places[0].chrom, min(p.start for p in places), max(p.end for p in places))
    frame = run.scan(region=region, stats=list(names), linked=False).select(*known, *columns)
    held = frame.filter(pl.col("variant").is_in(wanted["variant"].implode())).collect()
    there = wanted.join(held, on=known, how="left", maintain_order="left")
    return matrix(there.lazy().select(columns))


def told(run: Run, shard: int, column: str, share: float, text: str) -> Found:
    """Tell of a comparison; what is beyond tolerance is a problem of the file of that column."""
    if share <= 1:
        return Found(share, ())
    track = column.rpartition("_")[2]
    block = next(
        block
        for block, members in run.blocks.items()
        if track in run.tracks.select(members).columns
    )
    holds = pl.lit(shard).is_between(pl.col("shard"), pl.col("last_shard"))
    files = run.files.filter(holds, pl.col("block") == block)
    place = str(files["path"][0])
    message = f"{run.layout.tell(place)}: {text} {AGAIN}"
    return Found(share, (Problem("rescored", place, shard, message),))


def matrix(frame: pl.LazyFrame) -> NDArray[np.float32]:
    """Read all rows of a frame of values, (rows, columns); NaN where there is no value."""
    values: NDArray[np.float32] = frame.collect().to_numpy().astype(np.float32)
    return values


def _copied(seen: EffectArrays) -> EffectArrays:
    """Keep arrays that are valid during a call only."""
    return EffectArrays(seen.bins, seen.prediction_NT.clone(), seen.difference_NT.clone())


def precision_of(manifest: RunManifest) -> Precision:
    """Tell the precision that a run was computed in."""
    return cast("Precision", manifest.config["precision"])


def method_of(manifest: RunManifest) -> Method:
    """Tell whether a run was computed the fast way or the plain one."""
    return cast("Method", manifest.config["predictor"])
