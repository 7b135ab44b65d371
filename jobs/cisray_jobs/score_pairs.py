"""A model asked for the scores of the element-gene pairs of a gene.

Knows which of a gene's annotated starts are candidates, and the rows of results; how a score comes
about is `cisray.scoring.enhancer_scores`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features
from cisray.inference.choose import effect_predictor, gradient_predictor, has_fast_form
from cisray.inference.effect_batch import settle_effect_batch
from cisray.inference.fast.attention import FastAttention
from cisray.inference.precision import resolve_device
from cisray.locus import alias_key
from cisray.model.registry import load_model
from cisray.scoring.enhancer_scores import GeneWindow, PairOptions, PairScore, PairScorer, Readers

Starts = Mapping[str, Sequence[Interval]]


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Which model, which of its tracks, on which genome, and what it runs on."""

    model: Path
    fasta: Path
    head: str
    tracks: tuple[str, ...]
    device: str


def open_scorer(place: ModelPlace, options: PairOptions) -> PairScorer:
    """Load the model and open the genome, which stays open as long as the scorer is there.

    A model without attention has no such score. Raises what loading, selecting tracks and opening
    the FASTA raise, ConfigError for a device that is not there.
    """
    device = resolve_device(place.device)
    model = load_model(place.model).to(device)
    model.check_head(place.head)
    tracks = model.tracks[place.head].select(place.tracks)
    effects = effect_predictor(
        model, tracks, device=device, precision="float32", batch_size=1, method="fast"
    )
    settle_effect_batch(effects, device, None, limit=options.samples)
    gradients = gradient_predictor(model, tracks, device=device, batch_size=1, method="fast")
    attention = FastAttention(model, device=device) if has_fast_form(model) else None
    genome = Genome.open(place.fasta)
    return PairScorer(Readers(effects, gradients, attention), genome, options)


def read_starts(tss: Path, genome: Genome) -> dict[str, list[Interval]]:
    """Read a BED of genes' starts: their name in column 4, the middle base of a line is the TSS.

    Lines on chromosomes that the FASTA lacks are passed over. Raises RegionsError.
    """
    starts: dict[str, list[Interval]] = {}
    for feature in read_features(tss, genome, lacking=[]):
        starts.setdefault(feature.name, []).append(feature.interval.resize(1))
    return starts


def stated_starts(pairs: pl.DataFrame) -> dict[str, list[Interval]]:
    """Take the starts that the benchmark itself states for its genes."""
    starts: dict[str, list[Interval]] = {}
    stated = pairs.select("gene", "chrom", "tss").unique(maintain_order=True)
    for gene, chrom, tss in stated.iter_rows():
        starts.setdefault(gene, []).append(Interval(chrom, tss, tss + 1))
    return starts


def score_gene(members: pl.DataFrame, starts: Starts, scorer: PairScorer) -> list[dict[str, Any]]:
    """Score the pairs (row, chrom, start, end, gene) of one gene and one chromosome.

    A start counts if it lies on the elements' chromosome, however that is called.
    """
    gene, chrom = members.select("gene", "chrom").row(0)
    candidates = [tss for tss in starts.get(gene, ()) if same(tss.chrom, chrom)]
    main = scorer.main_tss(candidates)
    elements = [
        Interval(chrom, start, end) for start, end in members.select("start", "end").iter_rows()
    ]
    if isinstance(main, str):
        scores = [PairScore(reason=main)] * len(elements)
    else:
        scores = scorer.score(main, elements)
    return [
        _row(key, element, main, score)
        for key, element, score in zip(members.iter_rows(named=True), elements, scores, strict=True)
    ]


def same(chrom: str, other: str) -> bool:
    """Tell whether two names mean one chromosome.

    >>> same("chr20", "20")
    True
    """
    return alias_key(chrom) == alias_key(other)


def _row(
    key: Mapping[str, Any], element: Interval, main: GeneWindow | str, score: PairScore
) -> dict[str, Any]:
    tss = None if isinstance(main, str) else main.tss.start
    return {
        **{name: key[name] for name in ("row", "chrom", "start", "end", "gene")},
        "main_tss": tss,
        "distance_bp": None if tss is None else abs(element.resize(1).start - tss),
        "reach": score.reach,
        "gradient": score.gradient,
        "attention": score.attention,
        "mutagenesis": score.mutagenesis,
        "mutagenesis_change": score.change,
        "reason": score.reason,
    }
