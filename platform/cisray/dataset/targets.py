"""The tracks of a head as they are measured: which file each one is in, and its rule.

Knows tables of targets and bigWig files; knows nothing of how examples are stored. Every file is
opened and compared with the genome before anything is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import JsonValue

from cisray.dataset.bigwig import BigWig, fit_to_genome, is_empty
from cisray.dataset.coverage import (
    BLACKLIST_BUFFER_BP,
    Stretches,
    TrackRule,
    cap_unmappable,
    checked_rule,
    fill_bases,
    pool,
    to_float16,
    unmappable_bins,
)
from cisray.dataset.sequences import window_of
from cisray.errors import TargetsError, TrackError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window, WindowSpec
from cisray.tracks import TrackSet

_ABSENT = {"", "na", "nan"}
_MEAN = "mean"


@dataclass(frozen=True, slots=True)
class MeasuredTrack:
    """One track: its name for messages, its file, its rule."""

    identifier: str
    path: Path
    rule: TrackRule


@dataclass(frozen=True, slots=True)
class MaskedRegions:
    """Stretches of a genome that are handled apart; None for none.

    Values of blacklisted ones are capped to the window's median. Unmappable bins are capped to a
    quantile of their track's bins.
    """

    blacklist: Stretches | None = None
    unmappable: Stretches | None = None
    unmappable_quantile: float = 0.25


def read_targets(
    path: Path, head: str, bigwig_dir: Path | None = None
) -> tuple[TrackSet, list[MeasuredTrack]]:
    """Read a table of targets: `file` names the bigWig of each track, `clip_soft` may be there.

    Relative paths start at `bigwig_dir`, or at the table's folder. A blank `sum_stat` is the mean,
    a blank `scale` 1. Raises TrackError for the table and TargetsError for a rule, with the line.
    """
    tracks = TrackSet.read_table(path, head)
    columns = _text_columns(path)
    if "file" not in columns:
        raise TrackError(f"{path}:1 has no column file, which names the bigWig of each track.")
    home = bigwig_dir or path.parent
    measured = []
    for row, described in enumerate(tracks.table.to_pylist()):
        place = f"{path}:{row + 2}"
        named = columns["file"][row].strip()
        if not named:
            raise TrackError(f"{place}: the column file is empty: name the bigWig of the track.")
        rule = TrackRule(
            sum_stat=described["sum_stat"] or _MEAN,
            scale=1.0 if described["scale"] is None else described["scale"],
            clip=described["clip"],
            clip_soft=_number(columns.get("clip_soft", [""] * len(tracks))[row], place),
        )
        file = home / Path(named).expanduser()
        measured.append(MeasuredTrack(described["identifier"], file, checked_rule(rule, place)))
    return tracks, measured


def _text_columns(path: Path) -> dict[str, list[str]]:
    try:
        frame = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TrackError(f"{path} cannot be read as a table of tracks: {error}.") from error
    return {name: frame[name].fill_null("").to_list() for name in frame.columns if name}


def _number(text: str, place: str) -> float | None:
    if text.strip().casefold() in _ABSENT:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise TrackError(f"{place}: clip_soft {text!r} is not a number.") from error


@dataclass(frozen=True, slots=True)
class Coverage:
    """The tracks of a head and the genome that they are measured on."""

    tracks: Sequence[MeasuredTrack]
    genome: Genome
    spec: WindowSpec
    masked: MaskedRegions

    def targets_BNT(self, inputs: Sequence[Interval]) -> NDArray[np.float16]:
        """Give the targets of input windows, float16 (windows, bins, tracks).

        One file after another is open. A chromosome that a file lacks counts as 0: `check_files`
        has asked for that. Raises TargetsError, naming the track and the place, for values that
        float16 cannot hold.
        """
        shape = (len(inputs), self.spec.target_bins, len(self.tracks))
        values_BNT = np.zeros(shape, dtype=np.float16)
        windows = [window_of(interval, self.spec) for interval in inputs]
        chroms = dict.fromkeys(interval.chrom for interval in inputs)
        for number, track in enumerate(self.tracks):
            with BigWig(track.path) as bigwig:
                names = fit_to_genome(bigwig, self.genome, chroms, allow_missing=True)
                for row, window in enumerate(windows):
                    name = names[window.input.chrom]
                    if name is not None:
                        values_BNT[row, :, number] = self._track_N(track, bigwig, name, window)
        if self.masked.unmappable is not None:
            for row, window in enumerate(windows):
                marked_N = unmappable_bins(self.masked.unmappable, window.target, window.bin_bp)
                quantile = self.masked.unmappable_quantile
                values_BNT[row] = cap_unmappable(values_BNT[row], marked_N, quantile)
        return values_BNT

    def _track_N(
        self, track: MeasuredTrack, bigwig: BigWig, name: str, window: Window
    ) -> NDArray[np.float16]:
        inside = _on_chromosome(window.input, self.genome)
        bases_L = bigwig.values(Interval(name, inside.start, inside.end))
        blacklist = self.masked.blacklist
        black = blacklist.within(inside, BLACKLIST_BUFFER_BP) if blacklist else []
        filled_L = fill_bases(bases_L, black, window.target_bins)
        first = window.target.start - inside.start
        target_L = filled_L[first : first + window.target.width]
        try:
            return to_float16(pool(target_L, track.rule, window.bin_bp))
        except ValueError as error:
            raise TargetsError(
                f"track {track.identifier} ({track.path}) at {window.target}: {error}. Give the "
                f"track a clip, or a smaller scale, in the table of targets."
            ) from error


def check_files(
    tracks: Sequence[MeasuredTrack],
    genome: Genome,
    chroms: Sequence[str],
    *,
    allow_empty: bool = False,
    allow_missing: bool = False,
) -> list[dict[str, JsonValue]]:
    """Open every file once, before any work; tell what each holds, for the dataset's manifest.

    Raises TargetsError for the first that does not fit the genome, lacks a chromosome or has no
    value but 0, with the number of others that are wrong.
    """
    told: list[dict[str, JsonValue]] = []
    problems: list[str] = []
    for track in tracks:
        try:
            told.append(_checked(track, genome, chroms, allow_empty, allow_missing))
        except TargetsError as error:
            problems.append(f"track {track.identifier}: {error}")
    if problems:
        more = f" ({len(problems) - 1:,} more tracks are wrong.)" if len(problems) > 1 else ""
        raise TargetsError(problems[0] + more)
    return told


def _checked(
    track: MeasuredTrack,
    genome: Genome,
    chroms: Sequence[str],
    allow_empty: bool,
    allow_missing: bool,
) -> dict[str, JsonValue]:
    with BigWig(track.path) as bigwig:
        fit_to_genome(bigwig, genome, chroms, allow_missing=allow_missing)
    if is_empty(bigwig) and not allow_empty:
        raise TargetsError(
            f"{bigwig.path} has no value but 0 anywhere: is it the right file? Give "
            f"--allow-empty-tracks to take it as it is."
        )
    return {
        "file": track.path.name,
        "bytes": track.path.stat().st_size,
        "bases": int(bigwig.summary["basesCovered"]),
        "sum": float(bigwig.summary["sum"]),
    }


def _on_chromosome(window: Interval, genome: Genome) -> Interval:
    """Give the part of a window that lies on its chromosome; a target always does."""
    inside = window.intersect(Interval(window.chrom, 0, genome.chromosomes[window.chrom]))
    if inside is None:
        raise TargetsError(f"no base of {window} lies on its chromosome in {genome.path}.")
    return inside
