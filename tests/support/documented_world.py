"""A folder with everything that the guides name, in small: what a reader has, for tests to run.

Knows the file names of the pages in docs/how-to and of docs/troubleshooting.md; knows nothing of
what comes out. The model is tiny and random, the genome a few thousand bases.
"""

import gzip
import random
from collections.abc import Iterable
from pathlib import Path

from effect_jobs import HEADER, write_genome, write_vcf

from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.tracks import TrackSet

TRACKS = (
    "DNASE:K562", "DNASE:liver male adult (31 years)", "ATAC:brain", "CHIP:CTCF:K562",
    "CHIP:H3K27ac:liver", "CAGE:chronic myelogenous leukemia cell line:K562",
    "CAGE:liver, adult, pool1", "CAGE:brain, adult",
)  # fmt: skip
# 32 tokens of 128 bp, the middle 8 predicted: windows of 4,096 bp, targets of 1,024 bp.
SMALL = EnformerConfig(
    channels=24,
    num_transformer_layers=1,
    num_heads=2,
    key_size=8,
    channels_divisible_by=4,
    input_bp=4_096,
    target_bins=8,
    heads={"human": len(TRACKS), "mouse": 4},
)
LENGTHS = {"chr20": 9_000, "chr21": 14_000}
# What pages say of the human genome, and what it is in this one.
STAND_INS = {
    "chr20:44,355,520-44,355,804": "chr20:5,001-5,010",
    "chr21:25,000,000-25,100,000": "chr21:5,000-6,000",
}
Entry = tuple[str, int, str, str]


def in_small(text: str) -> str:
    """Put places of this genome in the place of the human genome's."""
    for place, other in STAND_INS.items():
        text = text.replace(place, other)
    return text


def write_world(folder: Path) -> Path:
    """Write genome, model, variants and regions."""
    dice = random.Random(11)
    texts = {name: "".join(dice.choices("ACGT", k=count)) for name, count in LENGTHS.items()}
    write_genome(folder / "hg38.fa", texts)
    write_tracks_table(folder / "targets_human.txt")
    write_named_model(folder / "enformer.safetensors", folder / "targets_human.txt")
    entries = [entry(texts, name, pos) for name in LENGTHS for pos in range(2_000, 8_000, 750)]
    write_bgzip_like(folder / "cohort.vcf.gz", [*entries, ("chr21", 4_000, "N", "A")])
    write_vcf(folder / "clinvar_1.vcf", as_records(entries[:6]))
    write_vcf(folder / "clinvar_2.vcf", as_records(entries[:8]))
    (folder / "promoters.bed").write_text("chr20\t5000\t5008\tfirst\nchr21\t6000\t6008\tsecond\n")
    write_wrong_files(folder, texts, entries)
    return folder


def entry(texts: dict[str, str], chrom: str, pos: int, shift: int = 0) -> Entry:
    """Make a substitution of the base at `pos`, 1-based; `shift` states it elsewhere."""
    base = texts[chrom][pos - 1]
    return chrom, pos + shift, base, "ACGT"[("ACGT".index(base) + 1) % 4]


def as_records(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """Name each entry by its number."""
    return [(c, pos, f"rs{i}", ref, alt) for i, (c, pos, ref, alt) in enumerate(entries)]


def write_bgzip_like(path: Path, entries: Iterable[Entry]) -> None:
    """Write a VCF, compressed."""
    lines = ["\t".join(map(str, (*record, ".", "PASS", "."))) for record in as_records(entries)]
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "".join(f"{line}\n" for line in lines))


def write_tracks_table(path: Path) -> None:
    """Write a table of targets, as Basenji's is."""
    rows = [f"{i}\tID{i}\t{text}" for i, text in enumerate(TRACKS)]
    path.write_text("\n".join(["index\tidentifier\tdescription", *rows, ""]))


def write_named_model(path: Path, table: Path) -> None:
    """Write a tiny random model whose tracks have names."""
    model = initialise(Enformer(SMALL), 1, randomise_all=True)
    tracks = {
        "human": TrackSet.read_table(table, "human", expect=len(TRACKS)),
        "mouse": TrackSet.unnamed("mouse", 4),
    }
    checkpoint = Checkpoint.build(SMALL, model.state_dict(), tracks=tracks, provenance={})
    save_native(path, checkpoint)


def write_wrong_files(folder: Path, texts: dict[str, str], entries: list[Entry]) -> None:
    """Write what docs/troubleshooting.md is about."""
    shifted = [entry(texts, name, pos, -1) for name in LENGTHS for pos in range(2_000, 8_000, 250)]
    write_vcf(folder / "zero_based.vcf", as_records(shifted))
    scaffold = [(f"NC_0000{i}.9", pos, ref, alt) for i, (_, pos, ref, alt) in enumerate(entries)]
    write_vcf(folder / "refseq.vcf", as_records(scaffold))
    whole = (folder / "cohort.vcf.gz").read_bytes()
    (folder / "cut.vcf.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "peaks.bed").write_text("chr20\t5000\t5020\nchr20\t6000\t5990\n")
    with gzip.open(folder / "plain_gzip.fa.gz", "wb") as file:
        file.write((folder / "hg38.fa").read_bytes())
    write_genome(folder / "patched.fa", {**texts, "chr20": texts["chr20"][:-10]})
    fai = (folder / "old_index.fa", folder / "old_index.fa.fai")
    write_genome(fai[0], texts)
    fai[1].write_text("chr20\t8000\t15\t60\t61\nchr21\t14000\t8164\t60\t61\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1005341972\n"
    (folder / "pointer.safetensors").write_text(pointer)
