"""A user's table of variants beside the scores of a run, with every row of the table accounted for.

Knows keys of variants and the plan and rejects of a run; knows no statistics of effects. The keys
are looked up in the plan first, and only rows at their places are read of the scores: Polars does
not push the keys of a join into a scan.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from cisray.errors import FrameError
from cisray.locus import alias_key
from cisray.store.keyed_plan import as_keyed
from cisray.store.queries.frames import (
    AnyFrame,
    as_run_spells,
    collected,
    refuse_same_names,
    texts,
    whole_numbers,
)
from cisray.store.queries.parts import holding

if TYPE_CHECKING:
    from cisray.store.scan import Run
    from cisray.store.selection import TrackQuery

KEY = ("chrom", "pos", "ref", "alt")
STATUS = "status"
_WHAT = "the frame of variants"
_SOURCE = {"pos": "source_pos", "ref": "source_ref", "alt": "source_alt"}
# Key columns of a run that repeat what the frame says, or that `run.variants` tells.
_LEFT_OUT = {*KEY, *_SOURCE.values(), "source_chrom", "id", "missing_bp"}
# Columns of our own must not meet those of a user.
_OURS = "__cisray_"
_ROW = f"{_OURS}row"
_SCORED = {name: f"{_OURS}{name}" for name in KEY}
_REASON = f"{_OURS}reason"


def join_variants(
    run: "Run",
    frame: AnyFrame,
    *,
    on: Sequence[str] = KEY,
    tracks: "TrackQuery | None" = None,
    stats: str | Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Set the scores of a run beside a frame of variants, as `Run.join_variants` says."""
    plan = as_keyed(run.plan)
    asked = _asked(frame, on)
    keys = _keys(asked, on)
    matched = _matched(run, keys, stated="source_pos" in plan.plan.schema.names)
    places = matched.select(
        pl.col(_SCORED["chrom"]).cast(pl.String).alias("chrom"),
        (pl.col(_SCORED["pos"]) - 1).alias("start"),
        pl.col(_SCORED["pos"]).alias("end"),
    )
    scores = holding(run, places).scan(tracks=tracks, stats=stats)
    brought = [name for name in scores.collect_schema().names() if name not in _LEFT_OUT]
    refuse_same_names(asked, [STATUS, *brought], _WHAT)
    positions = places["end"].unique()
    # The bounds leave out row groups, by their statistics; the positions leave out pages.
    scores = scores.filter(
        pl.col("pos").is_between(positions.min(), positions.max()),
        pl.col("pos").is_in(positions.implode()),
    )
    return (
        asked.lazy()
        .with_row_index(_ROW)
        .join(matched.lazy(), on=_ROW, how="left", maintain_order="left")
        .join(_reasons(run, keys).lazy(), on=_ROW, how="left", maintain_order="left")
        .join(
            scores.select(*KEY, *brought),
            left_on=[_SCORED[name] for name in KEY],
            right_on=KEY,
            how="left",
            maintain_order="left_right",
        )
        .with_columns(_status().alias(STATUS))
        .select(*asked.columns, STATUS, *brought)
    )


def _asked(frame: AnyFrame, on: Sequence[str]) -> pl.DataFrame:
    if len(on) != len(KEY):
        raise FrameError(
            f"a variant is joined on four columns, chromosome, position, reference and alternative "
            f"allele; got on={list(on)}."
        )
    asked = collected(frame, on, _WHAT)
    ours = [name for name in asked.columns if name.startswith(_OURS)]
    if ours:
        raise FrameError(f"{_WHAT} has the column {ours[0]!r}; rename it.")
    return asked


def _keys(asked: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """Take the keys out of a frame: chromosomes as stated, alleles in upper case, and the row."""
    chrom, pos, ref, alt = on
    return pl.DataFrame(
        {
            "chrom": texts(asked, chrom, _WHAT),
            "pos": whole_numbers(asked, pos, _WHAT),
            "ref": texts(asked, ref, _WHAT).str.to_uppercase(),
            "alt": texts(asked, alt, _WHAT).str.to_uppercase(),
        }
    ).with_row_index(_ROW)


def _matched(run: "Run", keys: pl.DataFrame, *, stated: bool) -> pl.DataFrame:
    """Tell for each row which variant of the run it means, as it is scored; none is left out.

    A key is that of a variant as it is scored or as the input stated it.
    """
    chroms = pl.Enum(run.chromosomes)
    named = keys.with_columns(as_run_spells(keys["chrom"], run.chromosomes).cast(chroms))
    positions = named["pos"].drop_nulls().unique().implode()
    is_asked = pl.col("pos").cast(pl.Int64).is_in(positions)
    if stated:
        is_asked |= pl.col("source_pos").is_in(positions)
    read = (*KEY, *_SOURCE.values()) if stated else KEY
    # What other runs have scored has its keys in the links, and its scores in a scan.
    every = [frame.select(read) for frame in (run.variants, *_links_of(run))]
    found = pl.concat(every).filter(is_asked).unique().collect()
    scored = [pl.col(name).alias(_SCORED[name]) for name in KEY]
    names = [found.select(pl.col("pos").cast(pl.Int64), pl.col("chrom", "ref", "alt"), *scored)]
    if stated:
        as_stated = (pl.col(source).alias(name) for name, source in _SOURCE.items())
        upper = pl.col("ref", "alt").str.to_uppercase()
        names.append(found.select(*as_stated, "chrom", *scored).with_columns(upper))
    known = pl.concat(names, how="diagonal").unique()
    return named.join(known, on=KEY, how="inner").select(_ROW, *_SCORED.values())


def _links_of(run: "Run") -> list[pl.LazyFrame]:
    return [] if run.links is None else [run.linked]


def _reasons(run: "Run", keys: pl.DataFrame) -> pl.DataFrame:
    """Tell of the rows that the run has rejected the reason, under any spelling of a chromosome."""
    positions = keys["pos"].drop_nulls().unique().implode()
    rejects = (
        run.rejects.filter(pl.col("pos").is_in(positions))
        .select(*KEY, "reason")
        .with_columns(pl.col("ref", "alt").str.to_uppercase())
        .collect()
    )
    known = rejects.with_columns(_folded(rejects["chrom"])).unique(KEY, keep="first")
    rows = keys.with_columns(_folded(keys["chrom"])).join(known, on=KEY, how="inner")
    return rows.select(_ROW, pl.col("reason").alias(_REASON))


def _folded(names: pl.Series) -> pl.Series:
    folded = {name: alias_key(name) for name in names.drop_nulls().unique().to_list()}
    return names.replace_strict(folded, default=None, return_dtype=pl.String)


def _status() -> pl.Expr:
    """Say what became of a row; it can be planned and without scores in an unsealed run only."""
    return (
        pl.when(pl.col("variant").is_not_null())
        .then(pl.lit("scored"))
        .when(pl.col(_SCORED["pos"]).is_not_null())
        .then(pl.lit("not scored yet"))
        .when(pl.col(_REASON).is_not_null())
        .then(pl.concat_str(pl.lit("rejected: "), pl.col(_REASON)))
        .otherwise(pl.lit("not in run"))
    )
