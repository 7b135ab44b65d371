"""Where things lie on a made-up genome: bases, genes, promoters, enhancers, and planted sites.

Knows how they are drawn; knows nothing of what they do (`expression`) or of files.
"""

from dataclasses import dataclass

import numpy as np

from cisray.dataset.synthetic.motifs import Codes, Motif
from cisray.dataset.synthetic.settings import (
    ROLES,
    ElementKind,
    Role,
    SiteKind,
    Span,
    SyntheticSettings,
)
from cisray.genome.encode import reverse_complement

# From one base to the next, order A C G T, before the GC content: CpG is rare, as in mammals.
_NEIGHBOURS_AA = np.array(
    [[1.1, 0.9, 1.2, 0.8], [1.2, 1.1, 0.25, 1.2], [1.0, 1.0, 1.1, 0.9], [0.8, 0.9, 1.2, 1.1]]
)
_CORE = next(n for n, role in enumerate(ROLES) if role.name == "CORE")
_CHAIN_BP = 1_000
_CLEAR_BP = 250  # between a decoy and the nearest element
_EDGE_BP = 600  # at both ends of a chromosome, without elements
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Element:
    """A promoter or enhancer: the bases in which sites act, 0-based half-open."""

    name: str
    chrom: str
    start: int
    end: int
    kind: ElementKind

    @property
    def middle(self) -> int:
        """The base that distances are measured from."""
        return (self.start + self.end) // 2


@dataclass(frozen=True, slots=True)
class Gene:
    """A gene by its start: the 0-based base, the strand, and the number of its promoter."""

    name: str
    chrom: str
    tss: int
    strand: str
    promoter: int


@dataclass(frozen=True, slots=True)
class Site:
    """A planted site: its factor's number, its bases, and whether it lies in an element."""

    chrom: str
    start: int
    end: int
    strand: str
    factor: int
    kind: SiteKind


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticGenome:
    """The reference: bases of every chromosome (uint8 codes), and what lies on them."""

    settings: SyntheticSettings
    motifs: tuple[Motif, ...]
    codes: dict[str, Codes]
    elements: tuple[Element, ...]
    genes: tuple[Gene, ...]
    sites: tuple[Site, ...]


def lay_out(settings: SyntheticSettings) -> SyntheticGenome:
    """Draw motifs, bases, elements, genes and sites from the seed."""
    drawing = settings.generator("motifs")
    motifs = tuple(
        Motif.draw(role.name, drawing, settings.motif_bp, settings.consensus) for role in ROLES
    )
    draft = _Draft(settings, motifs)
    for chrom, length in settings.chromosomes.items():
        for locus in range(length // settings.locus_bp):
            draft.add_locus(chrom, locus)
    for number, element in enumerate(draft.elements):
        draft.fill(number, element)
    for chrom, length in settings.chromosomes.items():
        draft.add_decoys(chrom, length)
    order = list(settings.chromosomes)
    sites = sorted(draft.sites, key=lambda site: (order.index(site.chrom), site.start))
    return SyntheticGenome(
        settings, motifs, draft.codes, tuple(draft.elements), tuple(draft.genes), tuple(sites)
    )


def background(generator: np.random.Generator, length: int, gc: float) -> Codes:
    """Draw bases as a Markov chain of first order with few CpG and about the given GC content.

    Chains of a thousand bases are drawn side by side and joined.
    """
    content_A = np.array([1 - gc, gc, gc, 1 - gc]) / 2
    step_AA = _NEIGHBOURS_AA * content_A
    limits_AA = (step_AA / step_AA.sum(axis=1, keepdims=True)).cumsum(axis=1)
    chains = -(-length // _CHAIN_BP)
    drawn = generator.random((_CHAIN_BP, chains, 1))
    codes = np.empty((_CHAIN_BP, chains), np.uint8)
    limits = content_A.cumsum()[None, :]
    for step in range(_CHAIN_BP):
        codes[step] = np.minimum((drawn[step] >= limits).sum(axis=1), 3)
        limits = limits_AA[codes[step]]
    return codes.T.reshape(-1)[:length].copy()


class _Draft:
    """A genome that is being laid out."""

    def __init__(self, settings: SyntheticSettings, motifs: tuple[Motif, ...]) -> None:
        self.settings = settings
        self.motifs = motifs
        self.random = settings.generator("layout")
        self.codes = {
            chrom: background(self.random, length, settings.gc)
            for chrom, length in settings.chromosomes.items()
        }
        self.elements: list[Element] = []
        self.genes: list[Gene] = []
        self.sites: list[Site] = []

    def add_locus(self, chrom: str, locus: int) -> None:
        """Add a gene with its promoter and its enhancers, which overlap nothing."""
        settings = self.settings
        half = settings.farthest_enhancer_bp + settings.enhancer_bp
        first = locus * settings.locus_bp + half
        end = (locus + 1) * settings.locus_bp - half
        tss = max(int(self.random.integers(first, max(first + 1, end))), _EDGE_BP + half)
        name = f"GENE{len(self.genes):04d}"
        strand = "+-"[int(self.random.integers(2))]
        self.genes.append(Gene(name, chrom, tss, strand, len(self.elements)))
        own = [_element(f"{name}_P", chrom, tss, settings.promoter_bp, "promoter")]
        for number in range(self.count(settings.enhancers_per_locus)):
            for _ in range(_TRIES):
                middle = tss + self.distance()
                new = _element(f"{name}_E{number}", chrom, middle, settings.enhancer_bp, "enhancer")
                if all(new.start >= other.end or new.end <= other.start for other in own):
                    own.append(new)
                    break
        self.elements.extend(own)

    def count(self, span: Span) -> int:
        """Draw a number from a range with both ends included."""
        return int(self.random.integers(*span, endpoint=True))

    def distance(self) -> int:
        """Draw the signed distance of an enhancer, uniform in its logarithm."""
        near, far = self.settings.nearest_enhancer_bp, self.settings.farthest_enhancer_bp
        size = np.exp(self.random.uniform(np.log(near), np.log(far)))
        return round(float(size)) * int(self.random.choice([-1, 1]))

    def fill(self, number: int, element: Element) -> None:
        """Give an element its own composition, and its sites."""
        settings = self.settings
        gc = settings.promoter_gc if element.kind == "promoter" else settings.enhancer_gc
        content_A = np.array([1 - gc, gc, gc, 1 - gc]) / 2
        width = element.end - element.start
        bases_L = self.random.choice(4, width, p=content_A).astype(np.uint8)
        self.codes[element.chrom][element.start : element.end] = bases_L
        taken: list[tuple[int, int]] = []
        if element.kind == "promoter":
            gene = next(gene for gene in self.genes if gene.promoter == number)
            start = gene.tss - self.motifs[_CORE].width // 2
            self.plant(element.chrom, start, _CORE, "active", gene.strand)
            taken.append((start, start + self.motifs[_CORE].width))
        for factor in self.factors_of(element):
            start_or_none = self.free_place((element.start, element.end), factor, taken)
            if start_or_none is not None:
                self.plant(element.chrom, start_or_none, factor, "active")

    def factors_of(self, element: Element) -> list[int]:
        """Choose the factors that have sites in an element: an enhancer serves one cell or both."""
        roles = list(enumerate(ROLES))
        if element.kind == "promoter":
            allowed = [n for n, role in roles if role.in_promoters and n != _CORE]
            return [int(n) for n in self.random.choice(allowed, int(self.random.integers(1, 4)))]
        cell = int(self.random.integers(3))
        own = [n for n, role in roles if role.in_enhancers and _serves(role, cell)]
        others = [n for n, role in roles if role.in_enhancers and not _serves(role, 2)]
        chosen = self.random.choice(own, self.count(self.settings.sites_per_enhancer))
        extra = self.random.choice(others, int(self.random.integers(2)))
        return [int(n) for n in (*chosen, *extra)]

    def add_decoys(self, chrom: str, length: int) -> None:
        """Plant sites of every factor, as good as those in elements, where nothing acts."""
        taken = [
            (element.start - _CLEAR_BP, element.end + _CLEAR_BP)
            for element in self.elements
            if element.chrom == chrom
        ]
        for _ in range(self.settings.decoys_per_locus * (length // self.settings.locus_bp)):
            factor = int(self.random.integers(len(self.motifs)))
            start = self.free_place((0, length), factor, taken)
            if start is not None:
                self.plant(chrom, start, factor, "decoy")

    def free_place(
        self, within: tuple[int, int], factor: int, taken: list[tuple[int, int]]
    ) -> int | None:
        """Find and take a place for a site that overlaps no other; None after many tries."""
        width = self.motifs[factor].width
        for _ in range(_TRIES):
            start = int(self.random.integers(within[0], within[1] - width))
            if all(start >= end or start + width <= begin for begin, end in taken):
                taken.append((start, start + width))
                return start
        return None

    def plant(
        self, chrom: str, start: int, factor: int, kind: SiteKind, strand: str | None = None
    ) -> None:
        """Write a site into the bases, on a strand drawn unless it is given."""
        motif = self.motifs[factor]
        drawn = "+-"[int(self.random.integers(2))]
        chosen = drawn if strand is None else strand
        codes_W = motif.sample(self.random)
        end = start + motif.width
        written = codes_W if chosen == "+" else reverse_complement(codes_W)
        self.codes[chrom][start:end] = written
        self.sites.append(Site(chrom, start, end, chosen, factor, kind))


def _element(name: str, chrom: str, middle: int, width: int, kind: ElementKind) -> Element:
    start = middle - width // 2
    return Element(name, chrom, start, start + width, kind)


def _serves(role: Role, cell: int) -> bool:
    """Tell whether a factor raises activity in a cell type; 2 is either."""
    if min(role.weights) < 0 or not role.is_expressed:
        return False
    return cell == len(role.weights) or role.weights[cell] > 0
