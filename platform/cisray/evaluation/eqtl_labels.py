"""Fine-mapped eQTLs as they are published, read into one form: a row for variant, gene and tissue.

Knows the layouts of tables and which allele an effect is of; chooses no positives and no negatives.
Every row that is read is in the result or is counted with its reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.tables import KEY, read_table, require_columns, scan_table, with_keys
from cisray.genome.vcf import BadLine, read_records

ASSOCIATIONS: Mapping[str, type[pl.DataType]] = {
    "tissue": pl.String,
    "gene": pl.String,
    "chrom": pl.String,
    "pos": pl.Int64,
    "ref": pl.String,
    "alt": pl.String,
    "pip": pl.Float64,
    "z": pl.Float64,
    "effect": pl.Float64,
    "tss_distance": pl.Int64,
    "group": pl.String,
    "positive": pl.Boolean,
}
SUSIE = "SUSIE"
_ENDINGS = ("_pos.vcf", "_neg.vcf")


_GTEX_EFFECT = ("beta_posterior", "allele2")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of table calls what is needed; `renamed` is by name here, `mark` tells it apart.

    `effect_alleles` names the column of the allele that effects are of, where it is not alt.
    """

    name: str
    mark: str
    renamed: Mapping[str, str]
    variant: str = "variant"
    effect_allele: str = "effect_allele"
    required: tuple[str, ...] = ()


LAYOUTS = (
    Layout(
        "gtex-susie",
        "variant_hg38",
        {"effect": "beta_posterior"},
        variant="variant_hg38",
        effect_allele="allele2",
        required=(
            "variant_hg38",
            "method",
            "tissue",
            "gene",
            "pip",
            "z",
            "beta_posterior",
            "allele2",
        ),
    ),
    Layout(
        "eqtl-catalogue",
        "molecular_trait_id",
        {"gene": "gene_id", "effect": "beta"},
        required=("variant", "gene_id", "pip", "z", "beta"),
    ),
    Layout(
        "synthetic",
        "true_beta",
        {"tissue": "cell", "effect": "beta"},
        required=("id", "gene", "cell", "tss_distance", "beta", "se", "pip"),
    ),
    Layout("prepared", "label", {"positive": "label"}, required=("tissue", "label")),
    Layout("plain", "pip", {}, required=("tissue", "pip")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """How a table is to be read where it does not say so itself.

    `columns` maps names here to other names in the table; `tissue` is of a table of one tissue;
    `method` is the fine-mapper whose rows count where a table has several.
    """

    layout: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    tissue: str = ""
    method: str = SUSIE
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """Associations with the columns of `ASSOCIATIONS`, and what became of the rows that were read.

    Of prepared labels `positive` is there, and `pip` is not needed.
    """

    frame: pl.DataFrame
    layout: str
    read: int
    left_out: Mapping[str, int]

    @property
    def prepared(self) -> bool:
        """Tell whether somebody else has chosen positives and negatives."""
        return self.layout in ("prepared", "folder")


def read_labels(path: Path, options: LabelOptions) -> Labels:
    """Read fine-mapped eQTLs: a table of a known layout, or a folder of VCFs by tissue.

    Raises EvaluationError that names what is missing.
    """
    if path.is_dir():
        return _read_folder(path)
    scan = scan_table(path, {"chrom": pl.String, "chromosome": pl.String})
    renamed = {there: here for here, there in options.columns.items()}
    require_columns(scan, list(renamed), path)
    clashing = [here for here in options.columns if here in scan.collect_schema().names()]
    scan = scan.drop(clashing).rename(renamed)
    layout = _layout(scan, options, path)
    require_columns(scan, layout.required, path)
    frame = read_table(_narrowed(scan, layout), path)
    read = frame.height
    frame, left_out = _of_method(frame, options.method)
    if layout.name == "synthetic":
        frame = _with_made_up_alleles(frame, path)
    frame = with_keys(_in_our_names(frame, layout), path, options.variant or layout.variant)
    frame = _with_tissue(frame, path, options)
    frame, flipped = _effects_of_alt(frame, layout)
    frame, more = _with_pip(_typed(frame, path), layout)
    return Labels(frame, layout.name, read, _told({**left_out, **flipped, **more}))


def _told(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def _layout(scan: pl.LazyFrame, options: LabelOptions, path: Path) -> Layout:
    has = scan.collect_schema().names()
    known = {layout.name: layout for layout in LAYOUTS}
    if options.layout != "auto":
        if options.layout not in known:
            raise EvaluationError(
                f"there is no layout {options.layout!r} of labels: use auto, {', '.join(known)}."
            )
        return known[options.layout]
    for layout in LAYOUTS:
        if layout.mark in has:
            return layout
    raise EvaluationError(
        f"{path} is of no layout that is known: it has {', '.join(has[:20])}. A table needs "
        f"tissue, pip (or label) and variant; --column NAME=COLUMN says what they are called."
    )


def _narrowed(scan: pl.LazyFrame, layout: Layout) -> pl.LazyFrame:
    """Leave the columns that something is made of: tables of all tissues are long."""
    used = {*layout.required, *layout.renamed.values(), *ASSOCIATIONS, *KEY, "method", "variant"}
    used |= {layout.effect_allele, layout.variant}
    return scan.select([name for name in scan.collect_schema().names() if name in used])


def _of_method(frame: pl.DataFrame, method: str) -> tuple[pl.DataFrame, dict[str, int]]:
    if "method" not in frame.columns:
        return frame, {}
    kept = frame.filter(pl.col("method") == method)
    if not kept.height:
        known = ", ".join(sorted(frame["method"].drop_nulls().unique().to_list()))
        raise EvaluationError(
            f"no row of the labels is of the method {method!r}; there is {known}."
        )
    return kept, {f"not of method {method}": frame.height - kept.height}


def _with_made_up_alleles(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Bring chrom, pos, ref and alt from the table of variants beside a made-up genome's eQTLs."""
    beside = path.with_name("variants.parquet")
    variants = scan_table(beside)
    require_columns(variants, ("id", *KEY), beside)
    found = frame.join(read_table(variants.select("id", *KEY), beside), on="id", how="left")
    return found.with_columns(z=pl.col("beta") / pl.col("se"))


def _in_our_names(frame: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    present = {there: here for here, there in layout.renamed.items() if there in frame.columns}
    clashing = [here for here in present.values() if here in frame.columns and here not in present]
    return frame.drop(clashing).rename(present)


def _with_tissue(frame: pl.DataFrame, path: Path, options: LabelOptions) -> pl.DataFrame:
    """Give a table of one tissue its name: `--tissue`, or that of the file."""
    if options.tissue:
        return frame.with_columns(tissue=pl.lit(options.tissue))
    if "tissue" in frame.columns:
        return frame
    return frame.with_columns(tissue=pl.lit(path.name.split(".")[0]))


def _effects_of_alt(frame: pl.DataFrame, layout: Layout) -> tuple[pl.DataFrame, dict[str, int]]:
    """Turn effects that are of the reference allele; of neither allele there is no effect."""
    name = layout.effect_allele
    if name not in frame.columns or "effect" not in frame.columns:
        return frame, {}
    allele = pl.col(name).str.to_uppercase()
    of_alt, of_ref = allele == pl.col("alt"), allele == pl.col("ref")
    sign = pl.when(of_alt).then(1.0).when(of_ref).then(-1.0)
    kept = frame.filter(of_alt | of_ref).with_columns(pl.col("effect") * sign)
    return kept, {"effect is of neither allele": frame.height - kept.height}


def _typed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Give the columns of `ASSOCIATIONS`, null where a table lacks them."""
    if "positive" in frame.columns:
        frame = frame.with_columns(_yes_or_no(frame["positive"], path))
    missing = [
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in ASSOCIATIONS.items()
        if name not in frame.columns
    ]
    try:
        typed = frame.with_columns(missing).select(
            pl.col(name).cast(kind) for name, kind in ASSOCIATIONS.items()
        )
    except pl.exceptions.PolarsError as error:
        told = " ".join(str(error).split())[:200]
        raise EvaluationError(f"{path} has a column that is not of numbers: {told}.") from error
    unnamed = typed["tissue"].null_count()
    if unnamed:
        raise EvaluationError(f"{path} has {unnamed:,} rows without a tissue: name it in each.")
    return typed


def _yes_or_no(labels: pl.Series, path: Path) -> pl.Series:
    texts = labels.cast(pl.String).str.to_lowercase()
    known = {"1": True, "true": True, "0": False, "false": False}
    strange = texts.filter(~texts.is_in(list(known)) | texts.is_null())
    if len(strange):
        raise EvaluationError(
            f"{path}: a label is {strange[0]!r}; write 1 or true for positives, 0 or false for "
            f"negatives. {len(strange):,} rows are like that."
        )
    return texts.replace_strict(known, return_dtype=pl.Boolean).alias("positive")


def _with_pip(frame: pl.DataFrame, layout: Layout) -> tuple[pl.DataFrame, dict[str, int]]:
    """Leave out rows without a probability, and refuse those that cannot be one."""
    if layout.name == "prepared":
        return frame, {}
    has = pl.col("pip").is_not_null() & pl.col("pip").is_not_nan()
    kept = frame.filter(has)
    strange = kept.filter(~pl.col("pip").is_between(0, 1 + 1e-6))
    if strange.height:
        raise EvaluationError(
            f"{strange.height:,} rows of the labels have a pip outside 0 to 1, the first "
            f"{strange['pip'][0]:g} of {strange['tissue'][0]}: is the column another one?"
        )
    return kept, {"no pip": frame.height - kept.height}


def _read_folder(folder: Path) -> Labels:
    """Read {tissue}_pos.vcf and {tissue}_neg.vcf, as Basenji's scripts write them."""
    tissues = {name: _tissues_with(folder, name) for name in _ENDINGS}
    positive, negative = tissues.values()
    if not positive or positive != negative:
        alone = sorted(positive ^ negative)
        raise EvaluationError(
            f"{folder} must have a TISSUE_pos.vcf and a TISSUE_neg.vcf for each tissue; "
            f"{'without its counterpart is ' + alone[0] if alone else 'there is none'}."
        )
    rows, malformed = [], 0
    for tissue in sorted(positive):
        for ending in _ENDINGS:
            for row in _vcf_rows(folder / f"{tissue}{ending}"):
                malformed += row is None
                if row is not None:
                    rows.append((tissue, *row, ending == _ENDINGS[0]))
    names = ("tissue", *KEY, "positive")
    kinds = {name: ASSOCIATIONS[name] for name in names}
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    typed = _typed(frame, folder).with_columns(pl.col("ref", "alt").str.to_uppercase())
    return Labels(typed, "folder", len(rows) + malformed, _told({"malformed line": malformed}))


def _tissues_with(folder: Path, ending: str) -> set[str]:
    return {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")}


def _vcf_rows(path: Path) -> Iterator[tuple[str, int, str, str] | None]:
    for record in read_records(path):
        if isinstance(record, BadLine):
            yield None
            continue
        for alt in record.alts:
            yield record.chrom, record.pos, record.ref, alt
