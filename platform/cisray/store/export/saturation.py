"""The effects of every base at every position of a region, as a matrix.

Knows the rows of a saturation run; knows nothing of drawing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cisray.errors import ConfigError, CoordinateError, ResultsError
from cisray.store.export.columns import Scores

BASES = "ACGT"
SUBSTITUTIONS = len(BASES) - 1
ABSENT = "N"


@dataclass(frozen=True, slots=True)
class SaturationMap:
    """Effects of single-base substitutions along a region.

    `first` is the position of the first base, 1-based. `effects_LA` (L, 4) float64 is NaN for the
    reference base and at positions without rows, where `reference` has N.
    """

    chrom: str
    first: int
    reference: str
    effects_LA: npt.NDArray[np.float64]

    @property
    def last(self) -> int:
        """Position of the last base, 1-based."""
        return self.first + len(self.reference) - 1

    @property
    def substitutions(self) -> int:
        """Count the substitutions that have an effect."""
        return int(np.count_nonzero(~np.isnan(self.effects_LA)))

    @property
    def importance_L(self) -> npt.NDArray[np.float64]:
        """Importance of each reference base: minus the mean effect of its three substitutions.

        A base whose loss lowers the signal is positive. `ism_matrix` of AlphaGenome divides the
        same sum by four, counting the reference itself.
        """
        known_L = np.array([base != ABSENT for base in self.reference])
        mean_L = np.nansum(self.effects_LA, axis=1) / SUBSTITUTIONS
        return np.where(known_L, -mean_L, np.nan)

    def rows(self, width: int) -> list["SaturationMap"]:
        """Cut into rows of at most `width` bases, as even as can be."""
        count = -(-len(self.reference) // width)
        each = -(-len(self.reference) // count)
        return [
            SaturationMap(
                self.chrom,
                self.first + start,
                self.reference[start : start + each],
                self.effects_LA[start : start + each],
            )
            for start in range(0, len(self.reference), each)
        ]


def locus_text(chrom: str, first: int, last: int) -> str:
    """Write 1-based positions, both included, as the locus that `parse_locus` reads.

    >>> locus_text("chr21", 25_000_001, 25_000_200)
    'chr21:25,000,001-25,000,200'
    """
    name = f"{{{chrom}}}" if ":" in chrom else chrom
    return f"{name}:{first:,}-{last:,}"


def choose_region(scores: Scores, wanted: Scores | None = None) -> int:
    """Find the number of the region to draw: the only one that has rows in `wanted`.

    `wanted` holds the rows of a locus. Where several regions reach into it, the one that it
    covers from end to end is meant, if there is just one. Raises ConfigError otherwise, with the
    regions there are.
    """
    regions = _extents(scores)
    if regions.height == 0:
        raise ConfigError(
            "there is nothing to draw: the run has no rows, since no base of its regions is A, C, "
            "G or T. Its rejects table lists them."
        )
    met = _extents(wanted) if wanted is not None else regions
    if met.height == 1:
        return int(met["region"][0])
    whole = met.join(regions, on=met.columns)
    if wanted is not None and whole.height == 1:
        return int(whole["region"][0])
    if met.height == 0:
        raise ConfigError(f"no region of the run has rows there: it has {_told(regions)}.")
    raise ConfigError(
        f"a figure shows one region, and there are {met.height:,}: {_told(met)}. Choose one with "
        f"--region, by all of its bases."
    )


def _extents(scores: Scores) -> pl.DataFrame:
    keys = scores.frame.select("region", pl.col("chrom").cast(pl.String), "pos")
    ends = (pl.col("pos").min().alias("first"), pl.col("pos").max().alias("last"))
    return keys.group_by("region", "chrom").agg(*ends).sort("region").collect()


def _told(regions: pl.DataFrame, most: int = 5) -> str:
    rows = regions.head(most).iter_rows(named=True)
    places = [locus_text(row["chrom"], row["first"], row["last"]) for row in rows]
    more = f" and {regions.height - most:,} more" if regions.height > most else ""
    return ", ".join(places) + more


def saturation_map(scores: Scores, stat: str, region: int) -> SaturationMap:
    """Collect one region's effects, each the mean over the tracks of `scores`.

    Positions between the first and the last that have no rows, such as N of the reference, stay
    empty. Raises ResultsError for a position with other than three substitutions of one base, and
    ConfigError for a statistic that only some substitutions have.
    """
    mean = pl.mean_horizontal(pl.col(name).cast(pl.Float64) for name in scores.by_track(stat))
    keys = [pl.col(name).cast(pl.String) for name in ("chrom", "ref", "alt")]
    rows = (
        scores.frame.filter(pl.col("region") == region)
        .select(*keys, "pos", mean.alias("effect"))
        .collect()
    )
    there = rows.height - rows["effect"].null_count()
    if there < rows.height:
        raise ConfigError(
            f"{stat} has values for {there:,} of {rows.height:,} substitutions of the region, and "
            f"a figure would show the others as if they did nothing. Draw its first-order "
            f"estimate, --stats grad{stat}, or score the region with --method ism."
        )
    first, last = rows["pos"].min(), rows["pos"].max()
    if not isinstance(first, int) or not isinstance(last, int):
        raise CoordinateError(f"region {region} has no rows to draw.")
    return _fill(rows, first, last)


def _fill(rows: pl.DataFrame, first: int, last: int) -> SaturationMap:
    _check_complete(rows)
    length = last - first + 1
    effects_LA = np.full((length, len(BASES)), np.nan)
    reference = [ABSENT] * length
    for ref, alt, position, effect in rows.select("ref", "alt", "pos", "effect").iter_rows():
        offset = position - first
        effects_LA[offset, BASES.index(alt)] = effect
        reference[offset] = ref
    return SaturationMap(str(rows["chrom"][0]), first, "".join(reference), effects_LA)


def _check_complete(rows: pl.DataFrame) -> None:
    found = rows.group_by("pos").agg(
        pl.col("ref").n_unique().alias("refs"),
        pl.col("alt").n_unique().alias("alts"),
        pl.len(),
        pl.col("alt").is_in([*BASES]).all().alias("known"),
        (pl.col("ref") == pl.col("alt")).any().alias("same"),
    )
    odd = found.filter(
        (pl.col("len") != SUBSTITUTIONS)
        | (pl.col("alts") != SUBSTITUTIONS)
        | (pl.col("refs") != 1)
        | pl.col("same")
        | ~pl.col("known")
    ).sort("pos")
    if odd.height:
        place, count = odd["pos"][0], odd["len"][0]
        raise ResultsError(
            f"{rows['chrom'][0]}:{place:,} has {count} substitutions, not each of three once: the "
            f"rows are not those of one region of a saturation run."
        )
