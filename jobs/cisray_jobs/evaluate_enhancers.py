"""The job `cisray evaluate enhancers`: element-gene pairs of CRISPRi screens, and scores of pairs.

Knows which files belong together and the two steps: a model scores pairs, if there is one, and all
scores are judged. What scores and numbers are, is the business of the modules below.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import polars as pl
import pyarrow as pa
from pydantic import Field, JsonValue, model_validator

from cisray.engine.progress import Display
from cisray.engine.task import RunLabel
from cisray.errors import ConfigError
from cisray.evaluation.enhancer_figure import draw_enhancers
from cisray.evaluation.enhancers import (
    EDGES_BP,
    EVALUATION,
    NEAREST_BP,
    EnhancerSettings,
    judge_pairs,
)
from cisray.evaluation.metrics import BOOTSTRAPS
from cisray.evaluation.pairs import PAIR, PairTable, read_pairs
from cisray.genome.reference import Genome
from cisray.model.registry import read_model
from cisray.scoring.enhancer_scores import PairOptions
from cisray.store.place import run_root
from cisray_jobs.config import JobConfig, WorkerCount, expanded
from cisray_jobs.devices import settle_device
from cisray_jobs.evaluation_output import (
    EvaluationRecord,
    evaluation_folder,
    input_facts,
    is_finished,
    read_metrics,
    read_record,
)
from cisray_jobs.evaluation_sources import pairs_of
from cisray_jobs.evaluation_units import units_folder
from cisray_jobs.execute import open_executor, run_shards, shards_failed
from cisray_jobs.pair_task import PairTask, write_units
from cisray_jobs.plan import spread
from cisray_jobs.score_pairs import ModelPlace, read_starts, stated_starts
from cisray_schemas import PAIR_SCORES

TRACKS = ("CAGE:*K562*",)
_OF_THE_MODEL = ("fasta", "tss", "tracks")
_OF_THE_MACHINE = ("device", "workers", "num_gpus", "threads", "address")
_SCORES = ("gradient", "attention", "mutagenesis")
_RECALLED = {
    "element_bp": "a window of 2 kb around the element",
    "bins": "the prediction is the sum of three bins around the main TSS",
    "replacement": "mutagenesis replaces the element by random sequence",
    "edges_bp": "bins of distance as others use them with the authors' table",
    "gradient": "sizes of gradient x input are summed, so that signs do not cancel",
    "nearest_bp": "activity is divided by the distance and 1 kb",
}


@dataclass(frozen=True, slots=True)
class EnhancerEvaluation:
    """Where the numbers lie, and average precision over all pairs by score."""

    path: str
    rows: JsonValue
    auprc: dict[str, float | None]
    already_there: bool


class EvaluateEnhancers(JobConfig):
    """A benchmark, a model that scores its pairs, and scores of others as NAME=TABLE."""

    pairs: Path
    out: Path
    model: Path | None = None
    name: str = "model"
    fasta: Path | None = None
    tss: Path | None = None
    head: str = "human"
    tracks: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    cell_type: str | None = None
    bins: int = Field(3, ge=1)
    element_bp: int = Field(2_000, ge=1)
    replacement: Literal["random", "shuffled"] = "random"
    samples: int = Field(3, ge=1)
    max_unknown: float = Field(0.5, ge=0, le=1)
    edges: tuple[int, ...] = EDGES_BP
    bootstraps: int = Field(BOOTSTRAPS, ge=2)
    control: bool = False
    device: str = "auto"
    workers: WorkerCount = 0
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    address: str | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _what_a_model_needs(self) -> Self:
        given = [name for name in _OF_THE_MODEL if getattr(self, name)]
        if self.model is None and given:
            raise ConfigError(f"--{given[0]} is for --model, which is not given.")
        if self.model is not None and self.fasta is None:
            raise ConfigError("--model reads the genome: give --fasta.")
        return self

    def evaluate(self, display: Display = Display.AUTO) -> EnhancerEvaluation:
        """Evaluate, or read what the same evaluation wrote before.

        Raises RunConflict for an `out` of anything else and while another process scores the same
        pairs, ShardsFailed, and what reading, scoring and judging raise.
        """
        out = run_root(self.out)
        settings = EnhancerSettings(
            edges_bp=self.edges,
            bootstraps=self.bootstraps,
            seed=self.seed,
            control=self.control,
        )
        tables = {
            name: expanded(Path(path)) for name, path in pairs_of(self.external, "external").items()
        }
        record = self._record(tables)
        if is_finished(out, record):
            return _finished(out, already_there=True)
        pairs = read_pairs(self.pairs, self.cell_type)
        external = [PairTable.read(name, path) for name, path in tables.items()]
        with ExitStack() as stack:
            scored = None
            if self.model is not None and self.fasta is not None:
                work = stack.enter_context(units_folder(out, record))
                scored = self._scored(pairs, self.model, self.fasta, work, display)
            pairs = _with_distances(pairs, scored)
            own = [] if scored is None else [_as_table(self.name, scored)]
            judged = judge_pairs(pairs, [*own, *external], settings)
            folder = stack.enter_context(evaluation_folder(out, record))
            folder.write_metrics(judged.metrics)
            folder.write_table("pairs.parquet", judged.frame.to_arrow())
            if scored is not None:
                folder.write_table("pair_scores.parquet", scored, PAIR_SCORES)
            draw_enhancers(judged.metrics, self.edges, folder.path / "enhancers.png")
            left: dict[str, JsonValue] = dict(judged.counts())
            folder.finish({"read": judged.frame.height, "used": judged.used, "left out": left})
        return _finished(out, already_there=False)

    def _scored(
        self, pairs: pl.DataFrame, model: Path, fasta: Path, work: Path, display: Display
    ) -> pa.Table:
        """Score the pairs that count, the genes that are left, and read what all came to."""
        asked = pairs.filter(pl.col("left_out") == "")
        starts = stated_starts(asked)
        if self.tss is not None:
            with Genome.open(fasta) as genome:
                starts = read_starts(self.tss, genome)
        write_units(work, asked, starts)
        workers = None if self.workers == "auto" else self.workers
        device = settle_device(
            self.device, self.workers, num_gpus=self.num_gpus, address=self.address
        )
        place = ModelPlace(
            model.absolute(), fasta.absolute(), self.head, self.tracks or TRACKS, device
        )
        task = PairTask(work, place, self._options())
        pending = task.pending()
        resources = spread(
            device=device,
            workers=workers,
            threads=self.threads,
            num_gpus=self.num_gpus,
            batch=None,
        )
        if pending:
            with open_executor(resources, shards=len(pending), address=self.address) as executor:
                label = RunLabel(self.out.name, "evaluate-enhancers")
                outcome = run_shards(executor, task, pending, label=label, display=display)
            if outcome.failed:
                raise shards_failed(outcome, work)
        return task.results()

    def _options(self) -> PairOptions:
        """Say what a score is."""
        return PairOptions(
            bins=self.bins,
            element_bp=self.element_bp,
            replacement=self.replacement,
            samples=self.samples,
            max_unknown=self.max_unknown,
            seed=self.seed,
        )

    def _record(self, tables: dict[str, Path]) -> EvaluationRecord:
        files = {"pairs": self.pairs}
        files |= {name: path for name in ("fasta", "tss") if (path := getattr(self, name))}
        files |= {f"external {name}": path for name, path in tables.items()}
        inputs = input_facts(files, {})
        if self.model is not None:
            digest = read_model(self.model).digest
            inputs["model"] = {"path": str(self.model.absolute()), "sha256": digest}
        left = {"pairs", "out", "model", "fasta", "tss", "external", *_OF_THE_MACHINE}
        settings = self.model_dump(mode="json", exclude=left)
        settings["tracks"] = list(self.tracks or TRACKS) if self.model is not None else []
        settings["distance"] = "main TSS" if self.model is not None else "stated TSS"
        settings["nearest_bp"] = NEAREST_BP
        return EvaluationRecord(
            evaluation=EVALUATION, settings=settings, inputs=inputs, recalled=_RECALLED
        )


def _with_distances(pairs: pl.DataFrame, scored: pa.Table | None) -> pl.DataFrame:
    """Set distances beside pairs, from the main TSS if there is one; leave out what has no scores.

    Without a model, and where a row is left out, distances are those from the stated TSS.
    """
    middle = pl.col("start") + (pl.col("end") - pl.col("start") - 1) // 2
    stated = pairs.with_columns(distance_bp=(middle - pl.col("tss")).abs())
    if scored is None:
        return stated
    found = pl.DataFrame(scored).select("row", "reason", main="distance_bp")
    return (
        stated.join(found, on="row", how="left", maintain_order="left")
        .with_columns(
            distance_bp=pl.coalesce("main", "distance_bp"),
            left_out=pl.when(pl.col("left_out") == "").then("reason").otherwise("left_out"),
        )
        .drop("main", "reason")
    )


def _as_table(name: str, scored: pa.Table) -> PairTable:
    """Take the scores of pairs; of one that two screens have, the first, since both are alike."""
    frame = pl.DataFrame(scored).filter(pl.col("reason") == "")
    frame = frame.unique(PAIR, keep="first", maintain_order=True)
    there = [column for column in _SCORES if frame[column].count() or not frame.height]
    return PairTable.of(name, frame.select(*PAIR, *there), "the model's scores")


def _finished(out: Path, *, already_there: bool) -> EnhancerEvaluation:
    rows: Sequence[dict[str, object]] = read_metrics(out).to_pylist()
    return EnhancerEvaluation(
        path=str(out),
        rows=read_record(out)["rows"],
        auprc={
            str(row["scores"]): row["value"] if isinstance(row["value"], float) else None
            for row in rows
            if (row["metric"], row["stratum"], row["control"]) == ("auprc", "all", "")
        },
        already_there=already_there,
    )
