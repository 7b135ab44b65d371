"""What the readers of all pages have, in small: the files that commands of the documents name.

Knows the file names of README.md and docs/, but for those of the guides (`documented_world`, on
which this is built); knows nothing of what comes out. Tables are of the small genome: what they say
of a place is true of it, so that no command is refused for its input.
"""

import gzip
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import made_up_eqtls as made
import measured_genomes as measured
import numpy as np
import polars as pl
from documented_world import LENGTHS, TRACKS, write_bgzip_like, write_world
from documents import DOCS, blocks
from effect_jobs import HEADER, command, score
from genotype_files import lines_of, made_up_counts, write_vcf
from reported_runs import write_training
from tensor_bundle_writer import write_bundle
from tfrecord_writer import payload, write_folder
from tiny_checkpoints import TINY, tiny_tensorflow

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

MODEL = ("--model", "enformer.safetensors", "--fasta", "hg38.fa")
K562 = ("--tracks", "CAGE:*K562*")
PEOPLE = tuple(f"p{number}" for number in range(60))
FIRST, STEP = 2_500, 30  # of the variants of chr21, 1-based
# Ends of blocks of linkage are multiples, and one of them ends the first file of genotypes.
BLOCK_BP, BOUND = 300, 6_600
GENES = {
    "A": ("chr20", 2_600, "+"), "B": ("chr20", 4_900, "-"), "C": ("chr20", 6_700, "+"),
    "D": ("chr21", 3_300, "-"), "E": ("chr21", 5_200, "+"), "F": ("chr21", 6_900, "-"),
    "G": ("chr21", 9_100, "+"), "H": ("chr21", 11_400, "-"),
}  # fmt: skip
# A model of 4,096 bp in the place of Enformer's, on this machine alone.
TRAINING = (
    ("size: enformer", "size: tiny"), ("steps: 300000", "steps: 2"),
    ("batch_size: 64", "batch_size: 2"),
    ("precision: bfloat16", "precision: float32"), ("workers: 8", "workers: 0"),
    ("device: cuda", "device: cpu"), ("valid_every: 2000", "valid_every: 2"),
    ("checkpoint_every: 2000", "checkpoint_every: 2"),
)  # fmt: skip
FINE_TUNING = (
    ("steps: 5000", "steps: 2"), ("batch_size: 8", "batch_size: 2"),
    ("device: cuda", "device: cpu"), ("precision: bfloat16", "precision: float32"),
    ("adapter_rank: 8", "adapter_rank: 4"),
)  # fmt: skip
# Windows and targets of a published record.
RECORD_BP, RECORD_BINS = 8_192, 32


def write_reader_world(folder: Path) -> Path:
    """Write all inputs; the current folder has to be `folder`."""
    write_world(folder)
    for name in ("m.safetensors", "model.safetensors"):
        shutil.copyfile("enformer.safetensors", name)
    with Genome.open(folder / "hg38.fa") as genome:
        write_variants(genome)
        write_assays(genome)
        write_records(genome)
    shutil.copyfile("hg38.fa", "genome.fa")
    write_genes()
    write_measured()
    write_second_genome()
    write_source_of_a_model()
    write_training(Path("model"))
    few = ("    kind: eqtl\n", "    kind: eqtl\n    repeats: 1\n    folds: 2\n")
    here = ("workers: auto", "workers: 0")
    write_settings(Path("evaluations.yaml"), "evaluate-all.md", few, here)
    write_settings(Path("train.yaml"), "training.md", *TRAINING)
    write_settings(Path("fine-tune.yaml"), "how-to/fine-tune.md", *FINE_TUNING)
    make_runs()
    make_datasets()
    make_evaluations()
    return folder


def write_text(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines, compressed where the name says so."""
    text = "".join(f"{line}\n" for line in lines)
    if str(path).endswith(("gz", "bgz")):
        Path(path).write_bytes(gzip.compress(text.encode()))
    else:
        Path(path).write_text(text)


def write_table(path: str, frame: pl.DataFrame) -> None:
    """Write a table by tabs."""
    write_text(path, frame.write_csv(separator="\t").splitlines())


def write_variants(genome: Genome) -> None:
    """Write variants of chr21 as labels, as VCF with frequencies, as genotypes, and as traits."""
    labels = made.associations()
    bases = genome.fetch(Interval("chr21", 0, LENGTHS["chr21"]))
    pos = FIRST + STEP * np.arange(labels.height)
    refs = [made.BASES[bases[at - 1]] for at in pos]
    alts = [made.BASES[(bases[at - 1] + 1) % 4] for at in pos]
    placed = labels.with_columns(
        chrom=pl.lit("chr21"), pos=pl.Series(pos), ref=pl.Series(refs), alt=pl.Series(alts)
    )
    write_table("GTEx_49tissues_release1.tsv.bgz", placed)
    placed.write_parquet("eqtls.parquet")
    Path("labels").mkdir()
    placed.write_parquet("labels/labels.parquet")
    Path("tables").mkdir()
    key = placed.select("chrom", "pos", "ref", "alt")
    both = pl.concat([key, assayed(genome).select(key.columns)])
    write_table("tables/cadd.tsv.gz", both.with_columns(cadd=(pl.col("pos") % 97).sqrt()))
    shares = [0.02 + 0.003 * (at % 150) for at in range(len(pos))]
    records = [
        f"{c}\t{at}\trs{at}\t{ref}\t{alt}\t.\tPASS\tAF={share:.3f}"
        for (c, at, ref, alt), share in zip(key.iter_rows(), shares, strict=True)
    ]
    for name in ("1000G.vcf.gz", "common.vcf.gz"):
        write_text(name, [*HEADER.splitlines(), *records])
    entries = list(key.head(12).iter_rows())
    for name in ("cohort_v2.vcf.gz", "clinvar_20260907.vcf.gz", "clinvar.vcf.gz"):
        shutil.copyfile("cohort.vcf.gz", name)
    write_bgzip_like(Path("cohort_v2.vcf.gz"), entries)
    write_genotypes_and_traits(key)


def write_genotypes_and_traits(key: pl.DataFrame) -> None:
    """Write genotypes of the variants, whole and in two files, and what hangs on them."""
    counts_VI = made_up_counts(len(PEOPLE), key.height, 3)
    alleles = key.select("ref", "alt").rows()
    lines = [
        (pos, *pair, *rest)
        for (pos, _, _, *rest), pair in zip(lines_of(counts_VI, FIRST, STEP), alleles, strict=True)
    ]
    whole = ("panel", "people", "1000g", "1000g.chr20")
    first = [line for line in lines if line[0] <= BOUND]
    parts = {"1000g.eur.chr1": first, "1000g.eur.chr2": lines[len(first) :]}
    for name, chosen in {**dict.fromkeys(whole, lines), **parts}.items():
        write_vcf(Path(f"{name}.vcf.gz"), chosen, PEOPLE, chrom="chr21")
    dice = np.random.default_rng(2)
    trait = key.with_columns(z=pl.Series(dice.normal(size=key.height)), n=pl.lit(30_000))
    for name in ("blood", "height"):
        write_table(f"{name}.sumstats.gz", trait)
    of_gene = trait.with_columns(gene=pl.lit("D"), tissue=pl.lit("Blood"))
    for name in ("gtex_blood", "blood"):
        write_table(f"{name}.tsv.gz", of_gene)
    for name in ("ld_blocks", "blocks"):
        spans = range(0, LENGTHS["chr21"], BLOCK_BP)
        write_text(f"{name}.bed", [f"chr21\t{first}\t{first + BLOCK_BP}" for first in spans])
    write_expression(dice)


def write_expression(dice: np.random.Generator) -> None:
    """Write the expression of two genes, and covariates, of all people."""
    rows = ["\t".join(["#chr", "start", "end", "gene_id", *PEOPLE])]
    for gene in ("D", "E"):
        chrom, start, _ = GENES[gene]
        values = [f"{value:.4f}" for value in dice.normal(5, 1, size=len(PEOPLE))]
        rows.append("\t".join([chrom, str(start), str(start + 1), gene, *values]))
    write_text("blood.bed.gz", rows)
    sexes = [str(at % 2) for at in range(len(PEOPLE))]
    write_text("covariates.txt", ["\t".join(["id", *PEOPLE]), "\t".join(["sex", *sexes])])


def assayed(genome: Genome) -> pl.DataFrame:
    """Give every substitution of 120 bases of chr20."""
    first = 4_000
    bases = genome.fetch(Interval("chr20", first - 1, first + 119))
    rows = [
        ("chr20", first + at, made.BASES[base], alt)
        for at, base in enumerate(bases)
        for alt in made.BASES
        if alt != made.BASES[base]
    ]
    return pl.DataFrame(rows, schema=["chrom", "pos", "ref", "alt"], orient="row")


def write_assays(genome: Genome) -> None:
    """Write a reporter assay of 120 bases of chr20, and CRISPRi pairs of its genes."""
    dice = np.random.default_rng(5)
    rows = ["Chrom\tPos\tRef\tAlt\tBarcodes\tDNA\tRNA\tCoefficient\tpValue\tElement\tRelease"]
    for _, pos, ref, alt in assayed(genome).iter_rows():
        effect = f"{dice.normal():.4f}"
        rows.append(f"20\t{pos}\t{ref}\t{alt}\t20\t1\t1\t{effect}\t0.5\tE\tGRCh38")
    write_text("elements.tsv.gz", rows)
    columns = "chrom chromStart chromEnd measuredGeneSymbol startTSS endTSS Regulated CellType"
    pairs = ["\t".join(columns.split())]
    for gene in ("A", "B", "C"):
        tss = GENES[gene][1]
        for _ in range(5):
            start = int(dice.integers(2_100, 6_900))
            regulated = str(bool(dice.random() < 0.4)).upper()
            pairs.append(
                f"chr20\t{start}\t{start + 301}\t{gene}\t{tss}\t{tss + 1}\t{regulated}\tK562"
            )
    for name in ("EPCrisprBenchmark.tsv.gz", "crispri.tsv.gz"):
        write_text(name, pairs)
    with_scores = [
        "\t".join([*row.split("\t"), "abc" if at == 0 else f"{dice.random():.4f}"])
        for at, row in enumerate(pairs)
    ]
    write_text("abc.tsv", with_scores)


def write_genes() -> None:
    """Write starts of genes as BED and as GTF, and the regions in which they count."""
    beds = [f"{chrom}\t{at}\t{at + 1}\t{name}" for name, (chrom, at, _) in GENES.items()]
    for name in ("tss.bed", "genes.bed"):
        write_text(name, beds)
    rows = []
    for name, (chrom, at, strand) in GENES.items():
        first, last = (at + 1, at + 400) if strand == "+" else (at - 398, at + 1)
        told = (
            f'gene_id "{name}"; transcript_id "{name}1"; gene_name "{name}"; '
            f'gene_type "protein_coding"; transcript_type "protein_coding";'
        )
        rows += [
            f"{chrom}\tme\t{feature}\t{first}\t{last}\t.\t{strand}\t.\t{told}"
            for feature in ("gene", "transcript", "exon")
        ]
    for name in ("gencode.v32.gtf.gz", "gencode.gtf.gz", "genes.gtf.gz"):
        write_text(name, rows)
    write_text("test.bed", [f"{chrom}\t0\t{bp}" for chrom, bp in LENGTHS.items()])


def write_measured() -> None:
    """Write a bigWig for each track of the model, and their table."""
    rows: list[Mapping[str, object]] = []
    for at in range(len(TRACKS)):
        entries = measured.steps(LENGTHS, 1 + at / 4)
        measured.write_bigwig(Path(f"{at}.bw"), entries, LENGTHS)
        rows.append({"file": f"{at}.bw", "identifier": f"ID{at}"})
    table = measured.write_table(Path("targets.txt"), rows)
    # Tracks are found by description; the writer names them by number.
    text = table.read_text()
    for at, description in enumerate(TRACKS):
        text = text.replace(f"CHIP:track {at}", description)
    table.write_text(text)


def write_second_genome() -> None:
    """Write a mouse of one chromosome, what of it is aligned, and what is left out of both."""
    measured.write_fasta(Path("mm10.fa"), {"chr1": 12_000})
    net = (
        "net chr20 9000", " fill 200 900 chr1 + 3000 800 id 1", " fill 5000 50 chr1 - 100 40 id 2",
        "net chr21 14000", " fill 0 700 chr1 - 7000 700 id 3",
    )  # fmt: skip
    write_text("hg38.mm10.syn.net.gz", net)
    write_text("hg38_gaps.bed", ["chr20\t0\t100", "chr21\t13900\t14000"])
    write_text("hg38-blacklist.v2.bed.gz", ["chr20\t8900\t9000"])
    write_text("mm10-blacklist.v2.bed.gz", ["chr1\t0\t100"])


def write_records(genome: Genome) -> None:
    """Write a folder of published records, twice: under its name and as FOLDER."""
    rows: list[tuple[str, int, int, str]] = [
        ("chr21", 0, RECORD_BP, "train"), ("chr21", 2_048, 2_048 + RECORD_BP, "train"),
        ("chr20", 0, RECORD_BP, "valid"), ("chr20", 512, 512 + RECORD_BP, "test"),
    ]  # fmt: skip
    dice = np.random.default_rng(4)
    files: dict[str, Sequence[bytes]] = {}
    for split in ("train", "valid", "test"):
        files[f"{split}-0.tfr"] = [
            payload(
                genome.fetch(Interval(chrom, start, end)),
                dice.gamma(1, 2, (RECORD_BINS, 3)).astype(np.float16),
            )
            for chrom, start, end, of in rows
            if of == split
        ]
    numbers = {
        "num_targets": 3, "seq_length": RECORD_BP, "pool_width": 128,
        "crop_bp": (RECORD_BP - 128 * RECORD_BINS) // 2, "target_length": RECORD_BINS,
    }  # fmt: skip
    for root in ("basenji_barnyard/human", "FOLDER"):
        write_folder(Path(root), rows, files, **numbers)


def write_source_of_a_model() -> None:
    """Write a TensorFlow checkpoint under the name of the published one."""
    folder = Path("enformer-fine-tuned-human-1")
    folder.mkdir()
    write_bundle(folder / "ckpt", tiny_tensorflow())
    names = [f"{at}\tC{at}\tCAGE:track {at}" for at in range(TINY.heads["human"])]
    write_text("targets_of_three.txt", ["index\tidentifier\tdescription", *names])


def write_settings(folder: Path, page: str, *stand_ins: tuple[str, str]) -> None:
    """Write the first file of settings that a page shows, with what stands in for some of it."""
    text = next(block.text for block in blocks(DOCS / page) if block.language == "yaml")
    for words, other in stand_ins:
        assert words in text, f"{page} does not say {words}"
        text = text.replace(words, other)
    folder.write_text(text)


def make_runs() -> None:
    """Score what the commands name as runs that are there, and copy them to their other names."""
    on_chr21 = (*MODEL, *K562, "--chromosomes", "chr21")
    score("genome", Path("runs/chr21"), *on_chr21)
    score("genome", Path("runs/chr21-bfloat16"), *on_chr21, "--precision", "bfloat16")
    score("genome", Path("runs/genome"), *MODEL)
    cohort = ("--vcf", "cohort.vcf.gz", "--stats", "SAD,SADR")
    score("variants", Path("runs/cohort"), *MODEL, *K562, *cohort)
    eqtls = ("--vcf", "1000G.vcf.gz", "--stats", "SAD,SADR,logSAD")
    score("variants", Path("runs/gtex"), *MODEL, *eqtls)
    place = ("--region", "chr20:5,001-5,010", "--stats", "SAD")
    score("saturation", Path("runs/promoter"), *MODEL, *place)
    make("evaluate mpra-variants --table elements.tsv.gz --fasta hg38.fa --out mpra.vcf")
    assay = ("--vcf", "mpra.vcf", "--bins", 4, "--stats", "SAD,logSAD")
    score("variants", Path("runs/mpra"), *MODEL, *assay)
    copies = {
        "chr21": ("peaks", "enhancers", "hg38"),
        "genome": ("again",),
        "cohort": ("cohort2", "clinvar_20260831"),
        "gtex": ("eqtls", "eqtl", "1000g", "1000G", "common", "patient"),
    }
    for run, names in copies.items():
        for name in names:
            shutil.copytree(Path("runs") / run, Path("runs") / name)


def make_datasets() -> None:
    """Make a made-up genome, splits, and datasets."""
    make("dataset synthetic --out made-up --chromosomes 3 --chromosome-bp 60000 --individuals 20")
    make(
        "dataset split --genome human=hg38.fa --input-bp 4096 --region-bp 4500 --out SPLIT"
        " --test-chromosomes human=chr20 --test 0 --valid 0.3"
    )
    built = "dataset build --split SPLIT --tracks human=targets.txt --fasta human=hg38.fa"
    # The model called tiny predicts 16 bins, the one that is tuned 8.
    for name, bins in (("DATASET", 16), ("my/dataset", 8)):
        make(f"{built} --input-bp 4096 --target-bins {bins} --workers 0 --quiet --out {name}")
    shutil.copytree("SPLIT", "split")
    for name in ("data", "barnyard"):
        shutil.copytree("DATASET", name)


def make_evaluations() -> None:
    """Make the evaluations that others are made of."""
    labels = "--labels GTEx_49tissues_release1.tsv.bgz"
    make(f"evaluate eqtl {labels} --run enformer=runs/gtex --score max-abs --out eqtl")
    make(f"evaluate eqtl {labels} --run enformer=runs/gtex --score mean-abs --out eqtl-other")
    shutil.copytree("eqtl", "eqtl-enformer")
    shutil.copytree("eqtl-other", "eqtl-basenji2")
    make("evaluate calibration --run runs/common --out calibrations/common")
    make("evaluate all --config evaluations.yaml --out evaluations")
    shutil.copytree("evaluations", "evaluations-of-another")
    make(
        "evaluate enhancers --pairs EPCrisprBenchmark.tsv.gz --model enformer.safetensors"
        " --fasta hg38.fa --tss tss.bed --out evaluations/enhancers --threads 1"
    )


def make(line: str) -> None:
    """Run a command of cisray in this process."""
    assert command(*line.split()) == 0, line
