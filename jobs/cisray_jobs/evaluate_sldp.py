"""The job `cisray evaluate sldp`: scores of variants against summary statistics of traits.

Knows how the parts are put together; the regression is `cisray.evaluation.sldp`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, JsonValue

from cisray.errors import AssemblyMismatch, ConfigError
from cisray.evaluation.figure import draw_tasks
from cisray.evaluation.gwas import Trait
from cisray.evaluation.metrics import Estimate, Metric, Z
from cisray.evaluation.panel import BLOCK_BP, Blocks, PanelCounts
from cisray.evaluation.scores import Joined
from cisray.evaluation.sldp import (
    CHUNKS,
    FLIPS,
    LEAST_H2,
    BlockSums,
    chunks_of,
    flip_test,
    functional_correlation,
    regress,
)
from cisray.evaluation.sldp_panel import (
    Annotations,
    Heritability,
    scored_share,
    sum_blocks,
    survey,
)
from cisray.genome.genotypes import GenotypeFile, GenotypeLimits
from cisray.locus import parse_locus
from cisray.store.place import run_root
from cisray_jobs.config import JobConfig, expanded
from cisray_jobs.evaluation_output import (
    EvaluationFolder,
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_record,
)
from cisray_jobs.evaluation_sources import Sources, open_sources, pairs_of

EVALUATION = "sldp"
# The extended major histocompatibility complex, as the published method leaves it out (hg19).
MHC = "chr6:25,684,588-35,455,756"
_RESULTS = "sldp.parquet"
_SHOWN = 30
_TOLD = 10
_RECALLED = {
    "background": "signed annotations of minor alleles in five equally large bins of frequency; "
    "how their values scale with frequency within a bin",
    "blocks": "published blocks are of an approximate independence; windows stand in without them",
    "h2": f"heritability counts as no less than {LEAST_H2:g}",
}
_COLUMNS = {
    "trait": pl.String,
    "scores": pl.String,
    "feature": pl.String,
    "assay": pl.String,
    "description": pl.String,
    "mu": pl.Float64,
    "mu_se": pl.Float64,
    "r_f": pl.Float64,
    "r_f_se": pl.Float64,
    "h2v_share": pl.Float64,
    "z": pl.Float64,
    "p_value": pl.Float64,
    "p_least": pl.Float64,
    "chunks": pl.Int64,
    "flips": pl.Int64,
    "variants": pl.Int64,
    "squares": pl.Float64,
    "support": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class EvaluatedSldp:
    """Where the numbers lie, what became of rows, and the strongest of them."""

    path: str
    new: bool
    rows: dict[str, JsonValue]
    strongest: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """The rows of one trait, and what is told of it."""

    rows: list[dict[str, Any]]
    trait: dict[str, Any]


class EvaluateSldp(JobConfig):
    """Which scores are held against which traits, over which genotypes, and how."""

    out: Path
    genotypes: tuple[Path, ...]
    sumstats: tuple[str, ...]
    run: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    statistic: Literal["SAD", "SADR", "logSAD", "SAX"] = "SAD"
    tracks: tuple[str, ...] = ()
    blocks: Path | None = None
    block_bp: Annotated[int, Field(ge=1)] = BLOCK_BP
    exclude: tuple[str, ...] = (MHC,)
    no_background: bool = False
    chunks: Annotated[int, Field(ge=2)] = CHUNKS
    flips: Annotated[int, Field(ge=1_000)] = FLIPS
    min_maf: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    max_missing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    min_scored: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_matched: Annotated[float, Field(ge=0, le=1)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0

    def evaluate(self) -> EvaluatedSldp:
        """Regress every trait on every score and write the tables, or find them there.

        Raises ConfigError where scores, traits or genotypes are missing, RunConflict for another
        evaluation in `out`, and what reading and matching raise.
        """
        if not self.genotypes or not self.sumstats:
            raise ConfigError("give --genotypes and --sumstats TRAIT=TABLE, each once or more.")
        out = run_root(self.out)
        sources = open_sources(
            self.run, self.external, statistic=self.statistic, tracks=self.tracks or None
        )
        record = self._record(sources)
        if is_finished(out, record):
            return _told(out, new=False)
        traits = [Trait.read(name, path) for name, path in self._tables().items()]
        limits = GenotypeLimits(self.min_maf, self.max_missing)
        files = [GenotypeFile.open(path, limits) for path in self.genotypes]
        blocks = self._blocks()
        surveyed = survey(files, blocks, traits)
        for trait in traits:
            trait.require_matched(self.min_matched)
        held = [
            Heritability.of(trait.name, facts, surveyed.counts.used)
            for trait, facts in zip(traits, surveyed.facts, strict=True)
        ]
        edges = None if self.no_background else surveyed.edges
        variances = [each.variance for each in held]
        summed = sum_blocks(files, blocks, (traits, variances), sources.scores, edges)
        self._require_scored(summed.annotations)
        judged = [
            self._judge(trait.name, each, sums, summed.annotations)
            for trait, each, sums in zip(traits, held, summed.sums, strict=True)
        ]
        with evaluation_folder(out, record) as folder:
            self._write(folder, judged)
            folder.finish(_rows(traits, surveyed.counts, summed.annotations))
        return _told(out, new=True)

    def _tables(self) -> dict[str, Path]:
        return {
            name: expanded(Path(place))
            for name, place in pairs_of(self.sumstats, "sumstats").items()
        }

    def _blocks(self) -> Blocks:
        excluded = tuple(parse_locus(text) for text in self.exclude)
        if self.blocks is not None:
            return Blocks.read(self.blocks, excluded)
        return Blocks(self.block_bp, excluded=excluded)

    def _require_scored(self, known: Annotations) -> None:
        for joined, statuses in zip(known.named, known.statuses, strict=True):
            if scored_share(statuses) < self.min_scored:
                raise AssemblyMismatch(
                    f"{joined.name} has scores of {scored_share(statuses):.1%} of the "
                    f"{known.variants:,} variants of the genotypes "
                    f"({dict(statuses.most_common(3))}). They look like those of different "
                    f"assemblies: check that, score these variants, or lower --min-scored (now "
                    f"{self.min_scored:g})."
                )

    def _judge(
        self, trait: str, held: Heritability, sums: Sequence[BlockSums], known: Annotations
    ) -> _Judged:
        chunks = chunks_of(sums, self.chunks)
        found = regress(chunks)
        tested = flip_test(found.score_GT, flips=self.flips, seed=self.seed)
        rows = []
        for at, (joined, number) in enumerate(_features(known.named)):
            row: dict[str, Any] = {
                "trait": trait,
                "scores": joined.name,
                "feature": joined.features[number],
                "assay": joined.assays[number],
                "description": joined.descriptions[number],
                "mu": float(found.mu_T[at]),
                "mu_se": float(found.error_T[at]),
                "z": float(tested.z_T[at]),
                "p_value": float(tested.p_T[at]),
                "p_least": tested.least,
                "chunks": len(chunks),
                "flips": int(tested.draws_T[at]),
                "variants": held.typed,
                "squares": float(known.squares_T[at]),
                "support": int(known.support_T[at]),
            }
            numbers = functional_correlation(row["mu"], row["mu_se"], row["squares"], held.h2)
            row |= dict(zip(("r_f", "r_f_se", "h2v_share"), numbers, strict=True))
            rows.append(row)
        told = {
            "trait": trait,
            "variants": held.typed,
            "people": held.people,
            "mean_chi2": held.mean_chi2,
            "h2_estimate": held.estimate,
            "h2": held.h2,
            "variance_per_variant": held.variance,
            "blocks": len(sums),
            "chunks": len(chunks),
            "p_least": tested.least,
            "all_flips": tested.exact,
        }
        return _Judged(rows, told)

    def _write(self, folder: EvaluationFolder, judged: Sequence[_Judged]) -> None:
        rows = [row for each in judged for row in each.rows]
        table = pl.DataFrame(rows, schema=_COLUMNS).fill_nan(None)
        metrics = [metric for row in table.iter_rows(named=True) for metric in self._metrics(row)]
        folder.write_metrics(metrics)
        folder.write_table(_RESULTS, table.to_arrow())
        folder.write_table("traits.parquet", pl.DataFrame([j.trait for j in judged]).to_arrow())
        strongest = table.sort(pl.col("z").abs(), descending=True, nulls_last=True).head(_SHOWN)
        shown = {(f"{r['trait']} x {_feature(r)}", r["scores"]) for r in strongest.to_dicts()}
        draw_tasks(
            [m for m in metrics if m.metric == "r_f" and (m.task, m.scores) in shown],
            folder.path / "sldp.png",
            title=f"Functional correlation, the {len(shown)} of largest |z|",
            label="r_f, with its interval of 95 %",
            chance=0.0,
        )

    def _metrics(self, row: dict[str, Any]) -> Iterator[Metric]:
        reason = "" if row["mu"] is not None else "the annotation does not vary"
        least = f"no smaller p than {row['p_least']:.3g} with {row['chunks']} chunks"
        values = {
            "mu": _estimate(row["mu"], row["mu_se"], row["variants"], reason),
            "r_f": _estimate(row["r_f"], row["r_f_se"], row["variants"], reason),
            "h2v_share": Estimate(
                row["h2v_share"], row["variants"], reason=reason or "no interval"
            ),
            "z": Estimate(row["z"], row["variants"], reason=reason or least),
            "p_value": Estimate(row["p_value"], row["variants"], reason=reason or least),
        }
        for name, estimate in values.items():
            yield Metric(
                evaluation=EVALUATION,
                task=f"{row['trait']} x {_feature(row)}",
                scores=row["scores"],
                metric=name,
                estimate=estimate,
                seed=self.seed,
            )

    def _record(self, sources: Sources) -> EvaluationRecord:
        files = {f"genotypes {number}": path for number, path in enumerate(self.genotypes, 1)}
        files |= {f"sumstats {name}": path for name, path in self._tables().items()}
        files |= {"blocks": self.blocks} if self.blocks is not None else {}
        left = {"out", "genotypes", "sumstats", "run", "external", "blocks"}
        return EvaluationRecord(
            evaluation=EVALUATION,
            settings=self.model_dump(mode="json", exclude=left),
            inputs=sources.inputs | input_facts(files, {}),
            recalled=_RECALLED,
        )


def _estimate(value: float | None, se: float | None, n: int, reason: str) -> Estimate:
    if value is None or se is None:
        return Estimate(value, n, reason=reason or "no error")
    method = "jackknife over chunks, normal"
    return Estimate(value, n, None, se, value - Z * se, value + Z * se, method)


def _features(named: Sequence[Joined]) -> Iterator[tuple[Joined, int]]:
    for joined in named:
        for number in range(len(joined.features)):
            yield joined, number


def _feature(row: dict[str, Any]) -> str:
    """Name a feature for people: a track's column, and its description."""
    told = row["description"]
    return row["feature"] if told in ("", row["feature"]) else f"{row['feature']} {told}"


def _rows(traits: Sequence[Trait], panel: PanelCounts, known: Annotations) -> dict[str, JsonValue]:
    left_out: dict[str, int] = {}
    read = used = 0
    for trait in traits:
        count, reasons = trait.counts()
        read, used = read + len(trait.status), used + count
        left_out |= {f"{trait.name}: {reason}": n for reason, n in reasons.items()}
    scores: dict[str, JsonValue] = {
        f"scores of {joined.name}": dict(statuses.most_common())
        for joined, statuses in zip(known.named, known.statuses, strict=True)
    }
    return {
        "read": read,
        "used": used,
        "left out": dict(left_out),
        "genotypes read": panel.read,
        "genotypes used": panel.used,
        "genotypes unknown, of people": panel.unknown,
        "genotypes left out": dict(panel.left_out.most_common()),
        **scores,
    }


def _told(out: Path, *, new: bool) -> EvaluatedSldp:
    rows = read_record(out)["rows"]
    table = pl.read_parquet(out / _RESULTS)
    strongest = table.sort(pl.col("z").abs(), descending=True, nulls_last=True).head(_TOLD)
    lines = []
    for row in strongest.iter_rows(named=True):
        numbers = "undefined"
        if row["z"] is not None:
            numbers = f"z {row['z']:.2f}, p {row['p_value']:.2g}, r_f {row['r_f']:.3f}"
        lines.append(f"{row['scores']}, {row['trait']} x {_feature(row)}: {numbers}")
    largest = table["p_least"].max()
    least = largest if isinstance(largest, float) else 1.0
    lines.append(f"smallest p that there can be: {least:.3g}")
    return EvaluatedSldp(str(out), new, rows if isinstance(rows, dict) else {}, tuple(lines))
