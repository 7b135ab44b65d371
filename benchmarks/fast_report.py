"""The numbers of the fast engine's benchmark: lines, ratios, rates and errors.

Knows what was measured and how to lay it out; measures nothing.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fast_cases import SPACING_BP, Part, Workload
from measuring import table
from numpy.typing import NDArray

SHARED_BY = 300  # alternates of a saturation run of 100 bp, which share a reference pass
MEMORY_GOAL_GB = 5.0

Seconds = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: seconds for a unit, out of those of a case's parts.

    `passes` of enformer-pytorch do the same; `goal` is the ratio that is hoped for.
    """

    label: str
    case: str
    seconds: Callable[[Seconds], float]
    passes: int
    goal: float | None


def lines(load: Workload) -> list[Line]:
    """List the table's lines for so much work.

    A goal for tiles is one for the bases of a run, so it stands on the mean of a shard.
    """
    rest = load.tiles - 1

    def shard(part: Seconds) -> float:
        return (part["first tile"] + rest * part["next tile"]) / load.tiles

    def shared(part: Seconds) -> float:
        return part["alternate"] + part["reference"] / SHARED_BY

    def alternate(part: Seconds) -> float:
        return part["alternate"]

    def tile(part: Seconds) -> float:
        return part["next tile"]

    def alone(part: Seconds) -> float:
        return part["reference"] + part["alternate"]

    def dense(part: Seconds) -> float:
        return part["next reference"] + part["next alternate"]

    def dense_first(part: Seconds) -> float:
        return part["first reference"] + part["first alternate"]

    mean = f"mean of a shard of {load.tiles}"
    spaced = f"one per {SPACING_BP} bp"
    saturated = f"SNV, saturation, reference shared by {SHARED_BY}"
    return [
        Line(f"tile, float32, {mean}", "tiles_float32", shard, 1, 2.0),
        Line("tile, float32, after a shard's first", "tiles_float32", tile, 1, None),
        Line(f"tile, bfloat16, {mean}", "tiles_bfloat16", shard, 1, 6.0),
        Line("tile, bfloat16, after a shard's first", "tiles_bfloat16", tile, 1, None),
        Line("SNV, saturation, its alternate alone, of 1 pass", "saturation", alternate, 1, 10.0),
        Line(f"{saturated}, of 1 pass", "saturation", shared, 1, 10.0),
        Line(f"{saturated}, of 2 passes", "saturation", shared, 2, 20.0),
        Line("SNV, centred, of 2 passes", "centred", alone, 2, 2.5),
        Line(f"SNV, grid, {spaced}, of 2 passes", "grid", dense, 2, 15.0),
        Line(f"SNV, grid, {spaced}, a stretch's first window", "grid", dense_first, 2, None),
    ]


def per_unit(parts: Sequence[Part]) -> dict[str, float]:
    """Add up parts of a name; tell the seconds of one unit of each."""
    names = dict.fromkeys(part.name for part in parts)
    return {
        name: sum(p.seconds for p in parts if p.name == name)
        / sum(p.units for p in parts if p.name == name)
        for name in names
    }


def flops_per_unit(parts: Sequence[Part]) -> dict[str, dict[str, float]]:
    """Add up parts of a name; tell the operations of one unit of each, by type."""
    counted: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(part.name for part in parts):
        named = [part for part in parts if part.name == name]
        units = sum(part.units for part in named)
        types = sorted({dtype for part in named for dtype in part.flops})
        counted[name] = {t: sum(part.flops.get(t, 0) for part in named) / units for t in types}
    return counted


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one case, and the passes of enformer-pytorch that took turns with them."""

    seconds: list[dict[str, float]]
    flops: dict[str, dict[str, float]]
    their_seconds: list[float]
    peak_rss_bytes: int

    def median(self, line: Line) -> float:
        """Tell the median over rounds of a line's seconds."""
        return statistics.median(line.seconds(parts) for parts in self.seconds)

    def part(self, name: str) -> float:
        """Tell the median over rounds of the seconds of one unit of a part."""
        return statistics.median(parts[name] for parts in self.seconds)


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured; `products` are operations per second of plain matrix products."""

    measured: dict[str, Measured]
    accuracy: dict[str, float]
    products: dict[str, float]
    their_peak_rss_bytes: int
    worker_peak_rss_bytes: int | None = None


def spelt(seconds: Seconds) -> str:
    """Write the seconds of parts."""
    return ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())


def largest_relative(ours: Path, theirs: Path) -> float:
    """Tell the largest difference of any value in relation to it, over all tiles in `theirs`."""
    found = []
    for file in sorted(theirs.glob("*.npy")):
        a, b = np.load(ours / file.name).astype(np.float64), np.load(file)
        found.append(float((np.abs(a - b) / b).max()))
    return max(found)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How each track of one set of tiles agrees with another's, over the bins of all; shape (T,).

    `pearson` is their correlation, `error` the norm of their difference over the other's norm, and
    `variation` the other's standard deviation over its mean. Where tracks hardly vary, a small
    error is a large one beside what they vary by, which is all that a correlation sees.
    """

    pearson: NDArray[np.float64]
    error: NDArray[np.float64]
    variation: NDArray[np.float64]


def agreement(ours: Path, theirs: Path) -> Agreement:
    """Compare every track over the bins of all tiles."""
    names = sorted(file.name for file in theirs.glob("*.npy"))
    a, b = (np.concatenate([np.load(folder / name) for name in names]) for folder in (ours, theirs))
    found = []
    for tracks in np.array_split(np.arange(a.shape[1]), max(1, a.shape[1] // 500)):
        x, y = (v[:, tracks].astype(np.float64) for v in (a, b))
        error = np.linalg.norm(x - y, axis=0) / np.linalg.norm(y, axis=0)
        variation = y.std(axis=0) / y.mean(axis=0)
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        norms = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
        found.append(((x * y).sum(axis=0) / norms, error, variation))
    pearson, error, variation = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Agreement(pearson, error, variation)


def summary(results: Results, load: Workload) -> list[dict[str, float | str | None]]:
    """Compute the table's lines, as far as their cases were measured."""
    found: list[dict[str, float | str | None]] = []
    for line in lines(load):
        if line.case in results.measured:
            measured = results.measured[line.case]
            ours = measured.median(line)
            theirs = line.passes * statistics.median(measured.their_seconds)
            found.append(
                {
                    "work": line.label,
                    "cisray_s": ours,
                    "theirs_s": theirs,
                    "ratio": theirs / ours,
                    "goal": line.goal,
                }
            )
    return found


def report(results: Results, load: Workload, size: str, *, peer: str, peer_flops: float) -> str:
    """Lay out speed, accuracy, rates and memory."""
    speed = [("for each", "cisray, s", f"{peer}, s", "ratio", "goal")]
    for line in summary(results, load):
        goal = "" if line["goal"] is None else f"{line['goal']:g}"
        numbers = (f"{line['cisray_s']:.3f}", f"{line['theirs_s']:.3f}", f"{line['ratio']:.2f}")
        speed.append((str(line["work"]), *numbers, goal))
    title = (
        f"The fast engine with the `{size}` model, the same weights in both; all bins of all "
        f"tracks of one head; medians of {_rounds(results)} rounds:"
    )
    executed = (
        "Products, as they were executed, in operations (two per multiply-add), and the share of "
        "the time that plain products of the same types by `products.linear` would take:"
    )
    plain = "; ".join(f"{way} {rate / 1e9:.0f}" for way, rate in results.products.items())
    return "\n\n".join(
        [
            title,
            table(speed),
            *_accuracy(results.accuracy),
            executed,
            table(_rates(results, peer, peer_flops)),
            f"Plain products of 4,096 x 1,536 with 1,536 x 3,072, GFLOP/s: {plain}.",
            "Peak memory of each process:",
            table(_memory(results, load, peer)),
            "The error of effects against float64 is measured by benchmarks/effect_accuracy.py.",
        ]
    )


def _rounds(results: Results) -> int:
    return max((len(measured.seconds) for measured in results.measured.values()), default=0)


def _accuracy(facts: Mapping[str, float]) -> list[str]:
    """Say how far tiles lie from what they should be, as far as that was compared."""
    said = []
    if "float32_largest_relative_error" in facts:
        error = facts["float32_largest_relative_error"]
        said.append(
            f"float32 tiles against the plain way: largest relative error of any value {error:.1e} "
            "(goal 1e-4)."
        )
    if "bfloat16_pearson_median" in facts:
        said.append(
            "bfloat16 tiles against float32, Pearson correlation of each track over all bins: "
            f"smallest {facts['bfloat16_pearson_smallest']:.6f} (goal 0.9999), "
            f"1st percentile {facts['bfloat16_pearson_1st_percentile']:.6f}, "
            f"median {facts['bfloat16_pearson_median']:.6f}. Relative error of a track, norms over "
            f"all bins: largest {facts['bfloat16_error_largest']:.1e}, "
            f"median {facts['bfloat16_error_median']:.1e}."
        )
        said.append(
            "Along the sequence the tracks of these random weights vary by "
            f"{facts['variation_median']:.1e} of their mean (standard deviation, median over "
            "tracks), and a correlation sees only what varies: where the relative error comes near "
            "that number it falls, however small both are. It says little of trained weights."
        )
    return said


def _rates(results: Results, peer: str, peer_flops: float) -> list[tuple[str, ...]]:
    rows = [("for each", "TFLOP float32", "TFLOP bfloat16", "s", "GFLOP/s", "share")]
    for case, measured in results.measured.items():
        for name, flops in measured.flops.items():
            rows.append(_rate(f"{case}: {name}", flops, measured.part(name), results.products))
    seconds = [s for measured in results.measured.values() for s in measured.their_seconds]
    if seconds:
        flops = {"float32": peer_flops}
        rows.append(_rate(f"{peer}: pass", flops, statistics.median(seconds), results.products))
    return rows


def _rate(
    label: str, flops: Mapping[str, float], seconds: float, products: Mapping[str, float]
) -> tuple[str, ...]:
    float32, bfloat16 = (flops.get(name, 0.0) for name in ("float32", "bfloat16"))
    assert set(flops) <= {"float32", "bfloat16"}, flops
    needed = sum(count / products[f"{name}, products.linear"] for name, count in flops.items())
    return (
        label,
        f"{float32 / 1e12:.4f}",
        f"{bfloat16 / 1e12:.4f}",
        f"{seconds:.3f}",
        f"{(float32 + bfloat16) / seconds / 1e9:.0f}",
        f"{needed / seconds:.0%}",
    )


def _memory(results: Results, load: Workload, peer: str) -> list[tuple[str, ...]]:
    peaks = {case: measured.peak_rss_bytes for case, measured in results.measured.items()}
    if results.worker_peak_rss_bytes is not None:
        name = f"worker of a run, {load.worker_tiles} tiles a shard, self-check and writing"
        peaks[name] = results.worker_peak_rss_bytes
    goal = f"{MEMORY_GOAL_GB:g}"
    rows = [(name, f"{peak / 1e9:.2f}", goal) for name, peak in peaks.items()]
    theirs = (peer, f"{results.their_peak_rss_bytes / 1e9:.2f}", "")
    return [("process", "GB", "goal, at most"), *rows, theirs]
