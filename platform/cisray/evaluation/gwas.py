"""Summary statistics of traits: z-scores and people, found for variants of a panel.

Knows columns, alleles and which rows count; knows no regression. Every row is used once or has a
reason.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from cisray.errors import AssemblyMismatch, EvaluationError
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.tables import KEY, read_table, require_columns, scan_table, with_keys
from cisray.locus import alias_key

NO_Z = "no z or n"
NEITHER = "effect is of neither allele"
AGAIN = "twice in the table"
ABSENT = "not in the genotypes"
OTHER_ALLELES = "other alleles in the genotypes"
USED = "used"
PLACES = ("chrom", "pos", "ref", "alt", "id")
_BY_ID = ("snp", "a1", "a2")
_ROW = "__row"


@dataclass(slots=True, eq=False)
class Trait:
    """A table of z-scores, by alleles or by names of variants.

    `frame` has __row, z and n, and chrom, pos, ref and alt, or id, a1 and a2 (z is of a1).
    `status` says of every row of the table what became of it.
    """

    name: str
    path: Path
    frame: pl.DataFrame
    by_id: bool
    status: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, path: Path) -> "Trait":
        """Read a table whole; letter case of its columns does not matter.

        Columns are z (or beta and se), n, and either the variant (`variant`, or chrom, pos, ref
        and alt; z is of alt, or of `effect_allele`) or, as LDSC's, snp, a1 and a2, z of a1. Raises
        EvaluationError for missing columns and for a table without a row that counts.
        """
        scan = scan_table(path, {"chrom": pl.String, "CHROM": pl.String})
        names = scan.collect_schema().names()
        folded = {column: column.lower() for column in names}
        if len(set(folded.values())) < len(names):
            raise EvaluationError(
                f"{path} has two columns that differ in letter case alone: rename one."
            )
        frame = read_table(scan.rename(folded), path)
        has = set(frame.columns)
        by_id = "snp" in has and "variant" not in has and not set(KEY) <= has
        needed = ["n", *(["z"] if "z" in has else ["beta", "se"])]
        require_columns(frame, [*(_BY_ID if by_id else ()), *needed], path)
        frame = frame.with_row_index(_ROW)
        if not by_id:
            frame = _keyed(with_keys(frame, path))
        trait = cls(name, path, frame, by_id, [ABSENT] * frame.height)
        trait.frame = trait._counting(_with_z(frame, by_id=by_id))
        if not trait.frame.height:
            raise EvaluationError(
                f"{path} has no row that counts: {Counter(trait.status).most_common(3)}."
            )
        return trait

    def _counting(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave the rows that count, and tell of the others why they do not."""
        key = ("id",) if self.by_id else KEY
        finite = pl.col("z").is_finite() & pl.col("n").is_finite() & (pl.col("n") > 0)
        reason = (
            pl.when(pl.col("__sign").is_null())
            .then(pl.lit(NEITHER))
            .when(~finite.fill_null(value=False))
            .then(pl.lit(NO_Z))
            .otherwise(pl.lit(""))
        )
        frame = frame.with_columns(reason.alias("__reason"))
        again = (pl.col("__reason") == "") & (pl.int_range(pl.len()).over(*key, "__reason") > 0)
        frame = frame.with_columns(
            pl.when(again).then(pl.lit(AGAIN)).otherwise("__reason").alias("__reason")
        )
        for row, told in frame.filter(pl.col("__reason") != "").select(_ROW, "__reason").rows():
            self.status[row] = told
        return frame.filter(pl.col("__reason") == "").select(
            _ROW, "z", "n", *(("id", "a1", "a2") if self.by_id else KEY)
        )

    def at(self, variants: pl.DataFrame) -> tuple[Doubles, Doubles]:
        """Give z of alt, and n, of the variants of a panel; NaN where there is none.

        `variants` has PLACES, chromosomes folded by `locus.alias_key`. Rows that are found count
        as used from then on.
        """
        found = self._by_id(variants) if self.by_id else self._by_alleles(variants)
        for row in found[_ROW].drop_nulls().to_list():
            self.status[row] = USED
        z_V = found["z"].fill_null(np.nan).to_numpy().astype(np.float64)
        people_V = found["n"].fill_null(np.nan).to_numpy().astype(np.float64)
        return z_V, people_V

    def _by_alleles(self, variants: pl.DataFrame) -> pl.DataFrame:
        asked = variants.select(KEY)
        found = asked.join(self.frame, on=KEY, how="left", maintain_order="left")
        turned = asked.join(
            self.frame.rename({"ref": "alt", "alt": "ref"}),
            on=KEY,
            how="left",
            maintain_order="left",
        )
        missing = pl.Series(found["z"].is_null())
        return found.select(_ROW, "z", "n").with_columns(
            pl.when(missing).then(turned[_ROW]).otherwise(_ROW).alias(_ROW),
            pl.when(missing).then(-turned["z"]).otherwise("z").alias("z"),
            pl.when(missing).then(turned["n"]).otherwise("n").alias("n"),
        )

    def _by_id(self, variants: pl.DataFrame) -> pl.DataFrame:
        # Of several variants of one name, the one with these alleles.
        asked = variants.select("id", "ref", "alt")
        found = asked.join(self.frame, on="id", how="left", maintain_order="left")
        same = (pl.col("a1") == pl.col("alt")) & (pl.col("a2") == pl.col("ref"))
        turned = (pl.col("a1") == pl.col("ref")) & (pl.col("a2") == pl.col("alt"))
        sign = pl.when(same).then(1.0).when(turned).then(-1.0)
        found = found.with_columns(sign.alias("__sign"))
        for row in found.filter(pl.col("__sign").is_null())[_ROW].drop_nulls().to_list():
            if self.status[row] != USED:
                self.status[row] = OTHER_ALLELES
        there = pl.col("__sign").is_not_null()
        return found.select(
            pl.when(there).then(_ROW).alias(_ROW),
            pl.col("z") * pl.col("__sign"),
            pl.when(there).then("n").alias("n"),
        )

    def note(self, left_out: pl.DataFrame) -> None:
        """Tell of rows whose variant the panel leaves out why; `left_out` has KEY and reason."""
        if self.by_id or not left_out.height:
            return
        others = left_out.rename({"ref": "alt", "alt": "ref"}).select(left_out.columns)
        both = pl.concat([left_out, others])
        found = both.join(self.frame.select(*KEY, _ROW), on=KEY, how="inner")
        for row, reason in found.select(_ROW, "reason").iter_rows():
            if self.status[row] == ABSENT:
                self.status[row] = f"genotypes: {reason}"

    def counts(self) -> tuple[int, dict[str, int]]:
        """Count rows that are used, and the others by reason."""
        counted = Counter(self.status)
        used = counted.pop(USED, 0)
        return used, dict(counted.most_common())

    def require_matched(self, least: float) -> None:
        """Raise AssemblyMismatch where fewer than a share of the rows that count is in the panel.

        Variants that the panel leaves out for a reason count as being there.
        """
        told = Counter(self.status)
        lacking = told[ABSENT] + told[OTHER_ALLELES]
        if lacking > (1 - least) * self.frame.height:
            raise AssemblyMismatch(
                f"the genotypes have {self.frame.height - lacking:,} of {self.frame.height:,} "
                f"variants of {self.name} ({self.path}): they look like those of different "
                f"assemblies, or of other regions. Check that, or lower --min-matched (now "
                f"{least:g})."
            )


def _keyed(frame: pl.DataFrame) -> pl.DataFrame:
    folded = {name: alias_key(name) for name in frame["chrom"].unique().to_list()}
    return frame.with_columns(pl.col("chrom").replace_strict(folded, return_dtype=pl.String))


def _with_z(frame: pl.DataFrame, *, by_id: bool) -> pl.DataFrame:
    numbers = [name for name in ("z", "beta", "se", "n") if name in frame.columns]
    frame = frame.with_columns(pl.col(numbers).cast(pl.Float64, strict=False))
    if "z" not in frame.columns:
        frame = frame.with_columns(z=pl.col("beta") / pl.col("se"))
    sign = pl.lit(1.0)
    if by_id:
        frame = frame.with_columns(
            pl.col("snp").cast(pl.String).alias("id"),
            pl.col("a1", "a2").cast(pl.String).str.to_uppercase(),
        )
    elif "effect_allele" in frame.columns:
        allele = pl.col("effect_allele").cast(pl.String).str.to_uppercase()
        sign = pl.when(allele == pl.col("alt")).then(1.0).when(allele == pl.col("ref")).then(-1.0)
    return frame.with_columns(sign.alias("__sign")).with_columns(
        (pl.col("z") * pl.col("__sign")).alias("z")
    )
