"""What a made-up genome is made of: its numbers, and the cast of factors and tracks.

Knows which quantities there are; draws nothing. Symbols in brackets are those of docs/synthetic.md.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

CELLS = ("alpha", "beta")
STEP_BP = 16  # bases that share one value of a track

SiteKind = Literal["active", "decoy"]
ElementKind = Literal["promoter", "enhancer"]
Measure = Literal["open", "bound", "start"]
Span = tuple[int, int]  # both ends included


class SyntheticSettings(BaseModel):
    """The numbers behind a made-up genome; lengths and distances in bases.

    `consensus` is the range of the probability of a motif position's likeliest base.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    chromosomes: dict[str, int] = Field(
        default_factory=lambda: {f"chr{i}": 600_000 for i in range(1, 6)}
    )
    locus_bp: int = Field(default=4_600, ge=1_000)
    gc: float = Field(default=0.40, gt=0, lt=1)
    promoter_gc: float = Field(default=0.62, gt=0, lt=1)
    enhancer_gc: float = Field(default=0.56, gt=0, lt=1)
    promoter_bp: int = Field(default=400, ge=100)
    enhancer_bp: int = Field(default=300, ge=100)
    nearest_enhancer_bp: int = Field(default=500, ge=400)
    farthest_enhancer_bp: int = Field(default=1_500, ge=1_000)
    enhancers_per_locus: Span = (3, 5)
    sites_per_enhancer: Span = (1, 6)
    motif_bp: Span = (9, 12)
    consensus: tuple[float, float] = (0.82, 0.98)
    reach_bp: int = Field(default=2_500, ge=1)  # R
    decay_bp: float = Field(default=1_200.0, gt=0)  # λ
    decoys_per_locus: int = Field(default=3, ge=0)
    depth: float = Field(default=4.0, gt=0)  # counts per base and unit of a track
    variants_per_locus: int = Field(default=6, ge=1)
    individuals: int = Field(default=200, ge=10)
    founders: int = Field(default=24, ge=4)
    block_bp: int = Field(default=4_000, ge=1)
    switch: float = Field(default=0.3, ge=0, le=1)  # ρ
    min_maf: float = Field(default=0.05, ge=0, lt=0.5)
    expression_noise: float = Field(default=0.5, gt=0)
    mapping_bp: int = Field(default=20_000, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.chromosomes or min(self.chromosomes.values()) < 2 * self.locus_bp:
            raise ValueError(
                f"every chromosome needs at least two loci of {self.locus_bp} bp, got "
                f"{self.chromosomes}"
            )
        if self.farthest_enhancer_bp <= self.nearest_enhancer_bp:
            raise ValueError(
                f"farthest_enhancer_bp {self.farthest_enhancer_bp} must be beyond "
                f"nearest_enhancer_bp {self.nearest_enhancer_bp}"
            )
        for name in ("enhancers_per_locus", "sites_per_enhancer", "motif_bp", "consensus"):
            least, most = getattr(self, name)
            if not 0 < least <= most:
                raise ValueError(f"{name} must grow from a positive number, got {least, most}")
        if self.consensus[1] >= 1 or self.consensus[0] <= 0.25:
            raise ValueError(f"consensus must lie between 0.25 and 1, got {self.consensus}")
        half = self.farthest_enhancer_bp + self.enhancer_bp
        if self.locus_bp < 2 * half + self.promoter_bp:
            raise ValueError(
                f"a locus of {self.locus_bp} bp has no room for enhancers on both sides that reach "
                f"{half} bp from a promoter"
            )
        return self

    def generator(self, purpose: str) -> np.random.Generator:
        """Give a stream of random numbers of its own to each purpose.

        More individuals, say, leave the genome as it is.
        """
        return np.random.default_rng([self.seed, *purpose.encode()])


@dataclass(frozen=True, slots=True)
class Role:
    """What a factor does: its weight in each cell type, and where its sites are planted.

    A weight of zero in both is a factor that no cell expresses: its sites have no effect.
    """

    name: str
    weights: tuple[float, float]
    in_promoters: bool = False
    in_enhancers: bool = False

    @property
    def is_expressed(self) -> bool:
        """Tell whether any cell type has the factor."""
        return any(self.weights)


ROLES = (
    Role("CORE", (1.4, 1.4), in_promoters=True),
    Role("GEN", (1.0, 1.0), in_promoters=True, in_enhancers=True),
    Role("ALFA", (1.6, 0.0), in_enhancers=True),
    Role("ALFB", (1.2, 0.0), in_promoters=True, in_enhancers=True),
    Role("BETA", (0.0, 1.6), in_enhancers=True),
    Role("BETB", (0.0, 1.2), in_promoters=True, in_enhancers=True),
    Role("REP", (-1.2, -1.2), in_promoters=True, in_enhancers=True),
    Role("MUTA", (0.0, 0.0), in_promoters=True, in_enhancers=True),
    Role("MUTB", (0.0, 0.0), in_enhancers=True),
)


@dataclass(frozen=True, slots=True)
class Assay:
    """A track: what it measures in which cell type, and the shape of a peak.

    `height` is the signal of one base at the middle of a peak of strength one, `background` that
    of a base without any, `width_bp` the standard deviation of the peak.
    """

    assay: str
    what: str
    cell: int
    measure: Measure
    height: float
    background: float
    width_bp: float
    sum_stat: str
    factor: str = ""

    @property
    def description(self) -> str:
        """Describe the track as tables of targets do."""
        return ":".join(word for word in (self.assay, self.what, CELLS[self.cell]) if word)

    @property
    def identifier(self) -> str:
        """Name the track and its file."""
        return self.description.replace(":", "_")


ASSAYS = (
    Assay("DNASE", "", 0, "open", 3.0, 0.05, 80.0, "mean"),
    Assay("DNASE", "", 1, "open", 3.0, 0.05, 80.0, "mean"),
    Assay("CHIP", "ALFA", 0, "bound", 3.0, 0.05, 80.0, "mean", factor="ALFA"),
    Assay("CAGE", "", 0, "start", 0.15, 0.002, 24.0, "sum"),
    Assay("CAGE", "", 1, "start", 0.15, 0.002, 24.0, "sum"),
)
