"""Windows of a gradient run, differentiated again and compared with what is stored.

Knows how such a run was computed, from its manifest; the gradients are held against plain passes
as the self-check does it, and exact scores beside them are `rescored_rows`' business.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cisray.inference.central_difference import CentralDifference
from cisray.inference.choose import gradient_predictor
from cisray.inference.selfcheck import EFFECT_TOLERANCES, measure
from cisray.scoring.first_order import PREFIX, GradientScorer, WindowGradients
from cisray.scoring.gradient_check import GradientCheck
from cisray.scoring.tolerance import rounding_of
from cisray.scoring.variants import ScoredRow
from cisray.store.keyed_plan import as_keyed
from cisray.store.problems import Problem
from cisray.store.scan import Run
from cisray_jobs.effect_task import Twin
from cisray_jobs.rescored_rows import (
    Found,
    RowRescorer,
    counted_bins,
    effect_options,
    method_of,
    stored_values,
    told,
)
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import scored_rows
from cisray_jobs.worker import Bench


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows of one shard that are computed again: their keys, and what to score."""

    shard: int
    keys: pa.Table
    rows: list[ScoredRow]


class WindowRescorer:
    """Compute the gradients of sampled rows' windows again, and exact scores where there are."""

    unit = "window"

    def __init__(self, run: Run, bench: Bench) -> None:
        self._run = run
        names = run.statistics or []
        self._names = [name for name in names if name.startswith(PREFIX)]
        stats = tuple(name.removeprefix(PREFIX) for name in self._names)
        self._options = effect_options(run.manifest, stats)
        self._bins = counted_bins(run.manifest, bench)
        predictor = gradient_predictor(
            bench.model,
            run.tracks,
            device=bench.device,
            batch_size=1,
            method=method_of(run.manifest),
        )
        self._spec = predictor.spec
        self._scorer = GradientScorer(predictor, bench.genome, self._options)
        twin = Twin.of(bench, needed=True)
        plain = CentralDifference(
            twin.model,
            run.tracks,
            self._options.ensemble,
            device=bench.device,
            dtype=twin.dtype,
        )
        self._check = GradientCheck(plain, stats)
        partial = [name for name in names if name not in self._names]
        self._exact = RowRescorer(run, bench, partial) if partial else None
        self._tolerance = EFFECT_TOLERANCES["float32"] + rounding_of(run.manifest.mantissa_bits)

    def compare(self, count: int, seed: str) -> Iterator[Found]:
        """Draw so many rows and compare the window of each."""
        plan = as_keyed(self._run.plan)
        sample = RowSample.of(plan, count, seed, "float32")
        for shard in sorted(sample.rows):
            keys = plan.keys(shard)
            rows = scored_rows(keys, self._bins)
            windows = [self._options.window(row.variant, self._spec) for row in rows]
            for chosen in sorted(sample.rows[shard]):
                members = [at for at, window in enumerate(windows) if window == windows[chosen]]
                asked = Asked(shard, keys.take(members), [rows[at] for at in members])
                yield self._compare_window(asked, members.index(chosen))

    def _compare_window(self, asked: Asked, chosen: int) -> Found:
        """Compare all rows of a window, and the plain way along the gradient of a chosen one."""
        seen: list[WindowGradients] = []
        now = self._scorer.score(asked.rows, watch=lambda _, gradients: seen.append(gradients))
        stored = stored_values(self._run, asked.keys, asked.rows, self._names)
        tracks = len(self._run.tracks)
        stored_STV = stored.T.reshape(len(self._names), tracks, len(asked.rows))
        worst, problems = 0.0, list(self._twin_problems(asked, chosen, seen[0]))
        for name, stored_TV in zip(self._names, stored_STV, strict=True):
            found = measure(stored_TV, now[name])
            column = f"{name}_{self._run.tracks.columns[found.track]}"
            text = (
                f"the window of {asked.rows[chosen].variant} in shard {asked.shard} is not what "
                f"model and genome give: {column} is off by {found.error:.2g} of its norm, and "
                f"{self._tolerance:.2g} is tolerated; of {asked.rows[found.bin].variant} "
                f"{found.value:.6g} is stored, computed again it is {found.plain:.6g}."
            )
            share = found.error / self._tolerance
            here = told(self._run, asked.shard, column, share, text)
            worst, problems = max(worst, here.worst), [*problems, *here.problems]
        if self._exact is not None and self._has_exact(asked, chosen):
            key = asked.keys.slice(chosen, 1)
            exact = self._exact.compare_row(asked.shard, key, asked.rows[chosen])
            worst, problems = max(worst, exact.worst), [*problems, *exact.problems]
        return Found(worst, tuple(problems))

    def _has_exact(self, asked: Asked, chosen: int) -> bool:
        partial = [name for name in self._run.statistics or () if name not in self._names]
        key = asked.keys.slice(chosen, 1)
        stored = stored_values(self._run, key, [asked.rows[chosen]], partial)
        return bool(np.isfinite(stored).all())

    def _twin_problems(self, asked: Asked, chosen: int, seen: WindowGradients) -> Iterator[Problem]:
        deviation = self._check.check(seen, chosen)
        if not deviation.is_within:
            text = (
                f"the gradients of the window of {asked.rows[chosen].variant} in shard "
                f"{asked.shard} promise a change of {deviation.slope:.6g} by a small step, and "
                f"plain passes find {deviation.found:.6g}. Score anew with --predictor plain, and "
                "please report this."
            )
            yield Problem("rescored", "", asked.shard, text)
