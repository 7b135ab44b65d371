"""The canonical form of a variant, against its definition on whole sequences and by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import CoordinateError
from cisray.genome import normalise as module
from cisray.genome.interval import Interval
from cisray.genome.normalise import ReferenceText, normalise
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant

FastaMaker = Callable[..., Path]


def haplotype(sequence: str, variant: Variant) -> str:
    """The chromosome with the variant written into it."""
    place = variant.interval
    assert sequence[place.start : place.end] == variant.ref
    return sequence[: place.start] + variant.alt + sequence[place.end :]


def canonical(sequence: str, changed: str) -> Variant:
    """The definition, on whole sequences: longest common end, then longest common beginning.

    Where that leaves an empty allele it is anchored on the base before, or after at the start.
    """
    most = min(len(sequence), len(changed))
    end = next(n for n in range(most, -1, -1) if sequence.endswith(changed[len(changed) - n :]))
    begin = next(n for n in range(most - end, -1, -1) if sequence.startswith(changed[:n]))
    ref, alt = sequence[begin : len(sequence) - end], changed[begin : len(changed) - end]
    if ref and alt:
        return Variant.from_start("c", begin, ref, alt)
    if begin:
        anchor = sequence[begin - 1]
        return Variant.from_start("c", begin - 1, anchor + ref, anchor + alt)
    anchor = sequence[len(ref)]
    return Variant.from_start("c", 0, ref + anchor, alt + anchor)


@contextmanager
def block_size(bp: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BP", bp)
        patch.setattr(module, "_BLOCKS_KEPT", 2)
        yield


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, Variant]:
    """A short, repetitive chromosome and any change of it, with unchanged bases around."""
    unit = draw(st.text("ACG", min_size=1, max_size=3))
    middle = unit * draw(st.integers(0, 8))
    sequence = draw(st.text("AC", max_size=6)) + middle + draw(st.text("ACN", max_size=6)) + "G"
    start = draw(st.integers(0, len(sequence) - 1))
    end = draw(st.integers(start + 1, len(sequence)))
    ref = sequence[start:end]
    if draw(st.booleans()):  # an insertion or deletion of repeats, padded on both sides
        cut = draw(st.integers(0, len(ref)))
        alt = draw(st.sampled_from([ref[:cut] + unit + ref[cut:], ref[: cut // 2] + ref[cut:]]))
    else:
        alt = draw(st.text("ACG", min_size=1, max_size=6))
    alt = alt or "C"
    return sequence, Variant.from_start("c", start, ref, alt)


@pytest.fixture(scope="module")
def genome_of(make_fasta: FastaMaker) -> Callable[[str], Genome]:
    return lambda sequence: Genome.open(make_fasta({"c": sequence}, line=7))


@given(edit=edits(), block=st.sampled_from([1, 3, 8, 1 << 15]))
def test_the_form_is_that_of_the_two_sequences(
    genome_of: Callable[[str], Genome], edit: tuple[str, Variant], block: int
) -> None:
    sequence, variant = edit
    changed = haplotype(sequence, variant)
    with genome_of(sequence) as genome, block_size(block):
        if variant.ref == variant.alt:
            return
        found = normalise(variant, ReferenceText(genome))
        again = normalise(found, ReferenceText(genome))
    assert haplotype(sequence, found) == changed
    assert again == found
    # Also says that two ways of writing one haplotype have one form: it is a function of the two.
    assert found == canonical(sequence, changed)


# position 1:1234567890123456789012345
SEQUENCE = "GGGCACACACAAAAATCCTGTAGGC"


@pytest.mark.parametrize(
    ("given_as", "form"),
    [
        # A SNV, and a SNV with unchanged neighbours: 17 and 18 are CC, 19 is T.
        ("c:16:T:G", "c:16:T:G"),
        ("c:15:ATC:AGC", "c:16:T:G"),
        # One A less of the run 11..15: anchored on the C at 10, however it is written.
        ("c:14:AA:A", "c:10:CA:C"),
        ("c:11:AA:A", "c:10:CA:C"),
        ("c:13:AAATC:AATC", "c:10:CA:C"),
        # One A more.
        ("c:15:A:AA", "c:10:C:CA"),
        ("c:15:AT:AAT", "c:10:C:CA"),
        # CA less of CACACAC (4..10): 9-10 AC = 8-9 CA = ... = 4-5 CA; the base before 4 is G at 3.
        ("c:9:ACA:A", "c:3:GCA:G"),
        ("c:8:CAC:C", "c:3:GCA:G"),
        ("c:5:ACACA:ACA", "c:3:GCA:G"),
        # AC more, between 9 and 10: moves left to CA after the G at 3.
        ("c:9:A:ACA", "c:3:G:GCA"),
        # GGG at the start: nothing stands before, so the base after is the anchor. Deleting one G
        # leaves GGC.. for GGGC..; the first G goes, and the second is the anchor.
        ("c:3:GC:C", "c:1:GG:G"),
        ("c:1:GG:G", "c:1:GG:G"),
        ("c:1:GGGC:C", "c:1:GGGC:C"),
        ("c:2:G:GG", "c:1:G:GG"),
        # Inserting T before everything cannot be anchored before it either.
        ("c:1:G:TG", "c:1:G:TG"),
        # A multi-nucleotide variant keeps what lies within: TGT at 19..21 to CGC.
        ("c:19:TGT:CGC", "c:19:TGT:CGC"),
        ("c:18:CTGTA:CCGCA", "c:19:TGT:CGC"),
        # Complex: TGT to C, with nothing common; and with C (18) before and A (22) after.
        ("c:19:TGT:C", "c:19:TGT:C"),
        ("c:18:CTGTA:CCA", "c:19:TGT:C"),
        # The last base: C at 25 to CT, and CT at the end written with the GC before.
        ("c:25:C:CT", "c:25:C:CT"),
        ("c:24:GC:GCT", "c:25:C:CT"),
        # TCC to C: the ends C go, TC is deleted at 16-17, and A at 15 is no C: anchored there.
        ("c:16:TCC:C", "c:15:ATC:A"),
    ],
)
def test_by_hand(make_fasta: FastaMaker, given_as: str, form: str) -> None:
    with Genome.open(make_fasta({"c": SEQUENCE}, line=10)) as genome:
        variant = Variant.from_id(given_as)
        found = normalise(variant, ReferenceText(genome))
        assert str(found) == form
        assert haplotype(SEQUENCE, found) == haplotype(SEQUENCE, variant)


def test_a_long_way_left(make_fasta: FastaMaker) -> None:
    # C at 1, 99,999 A from 2 on, T at 100,001: one A less moves across four blocks of 32 kb.
    sequence = "C" + "A" * 99_999 + "T"
    with Genome.open(make_fasta({"c": sequence})) as genome:
        found = normalise(Variant("c", 99_990, "AA", "A"), ReferenceText(genome))
    assert found == Variant("c", 1, "CA", "C")


@pytest.mark.parametrize("text", ["c:4:CT:C", "c:4:CA:CA", "c:2:GT:G"])
def test_what_disagrees_with_the_reference_is_refused(make_fasta: FastaMaker, text: str) -> None:
    with (
        Genome.open(make_fasta({"c": SEQUENCE})) as genome,
        pytest.raises(CoordinateError, match="cannot be normalised"),
    ):
        normalise(Variant.from_id(text), ReferenceText(genome))


@given(
    places=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 40)), max_size=30),
    block=st.sampled_from([1, 5, 32, 1000]),
)
def test_letters_in_any_order_are_those_of_the_sequence(
    make_fasta: FastaMaker, places: list[tuple[int, int]], block: int
) -> None:
    letters = "".join("ACGTNacgtnR"[i * i % 11] for i in range(100))
    truth = letters.upper().replace("R", "N")
    with Genome.open(make_fasta({"c": letters})) as genome, block_size(block):
        reference = ReferenceText(genome)
        for start, width in places:
            end = min(start + width, 100)
            assert reference.letters(Interval("c", start, end)) == truth[start:end]
            assert reference.base("c", start) == truth[start]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (20, 26), (25, 26), (90_000, 90_001)])
def test_letters_beyond_the_chromosome_are_refused(
    make_fasta: FastaMaker, start: int, end: int
) -> None:
    with (
        Genome.open(make_fasta({"c": SEQUENCE})) as genome,
        pytest.raises(CoordinateError, match="leaves c, which has 25 bases"),
    ):
        ReferenceText(genome).letters(Interval("c", start, end))


def watched(genome: Genome, monkeypatch: pytest.MonkeyPatch) -> list[Interval]:
    """What is fetched from the genome from now on."""
    fetched: list[Interval] = []
    fetch = genome.fetch
    monkeypatch.setattr(genome, "fetch", lambda place: fetched.append(place) or fetch(place))
    return fetched


def test_few_reads_for_sorted_places(
    make_fasta: FastaMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Genome.open(make_fasta({"c": "ACGT" * 25_000})) as genome:
        fetched = watched(genome, monkeypatch)
        reference = ReferenceText(genome)
        for start in range(0, 100_000, 50):
            reference.letters(Interval("c", start, start + 1))
    # 100,000 bases in blocks of 32,768: 3.05, so four reads for 2,000 places.
    assert [place.width for place in fetched] == [32_768, 32_768, 32_768, 1_696]


def test_the_latest_blocks_stay_and_the_others_go(
    make_fasta: FastaMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Genome.open(make_fasta({"c": SEQUENCE})) as genome, block_size(5):  # two are kept
        fetched = watched(genome, monkeypatch)
        reference = ReferenceText(genome)
        for start in (3, 8, 4, 12, 2, 9):
            reference.base("c", start)
    # Blocks 0 and 1 are read; 4 is in 0; 12, in block 2, drives 1 out; 2 is in 0; 9 needs 1 anew.
    assert [place.start for place in fetched] == [0, 5, 10, 5]
