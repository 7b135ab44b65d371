"""docs/queries.md is run, block by block, on runs of a tiny model; answers are worked out again.

Checks read the data files by pyarrow and compute in numpy, not by the queries that they hold.
"""

import math
import random
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pybigtools
import pytest
from effect_jobs import command, score, write_genome, write_vcf
from numpy.typing import NDArray

from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.store.scan import open_run
from cisray.tracks import TrackSet
from cisray_jobs.models import SIZES

GUIDE = Path(__file__).parents[2] / "docs/queries.md"
TRACKS = (
    "DNASE:K562", "DNASE:liver male adult (31 years)", "ATAC:brain", "CHIP:CTCF:K562",
    "CHIP:H3K27ac:liver", "CAGE:chronic myelogenous leukemia cell line:K562",
    "CAGE:liver, adult, pool1", "CAGE:brain, adult",
)  # fmt: skip
LIVER, K562, CAGE = (1, 4, 6), (0, 3, 5), (5, 6, 7)
# The last 3,000 bases of chr20 are N: tiles without a base are not scored.
LENGTHS = {"chr20": 14_000, "chr21": 22_300}
GAP = ("chr20", 6_000, 14_000)
BIN = 128
# gene, chromosome, strand, exons (1-based inclusive, as in a GTF)
GENES = (
    ("ABC1", "chr21", "+", ((10_241, 10_600), (10_641, 10_900), (15_000, 15_100))),
    ("DEF2", "chr21", "-", ((3_000, 3_200), (4_000, 4_096))),
    ("GHI3", "20", "+", ((5_000, 5_300), (10_000, 10_500))),
)
PROMOTER = ("chr21", 10_201, 10_240)


@dataclass(frozen=True)
class World:
    """A folder with everything that the guide names, and what it was made of."""

    folder: Path
    texts: dict[str, str]
    snvs: list[tuple[str, int, str, str]]

    def table(self, pattern: str) -> dict[str, NDArray[Any]]:
        """Columns of data files, in the order of their names; the chromosome out of the name."""
        files = sorted(self.folder.glob(f"runs/{pattern}/**/*.parquet"))
        assert files
        tables = [pq.ParquetFile(file).read() for file in files]
        columns = {
            name: np.concatenate([table[name].to_numpy(zero_copy_only=False) for table in tables])
            for name in tables[0].column_names
        }
        if "chrom" not in columns:
            names = [
                [file.name.split("_")[0]] * t.num_rows
                for file, t in zip(files, tables, strict=True)
            ]
            columns["chrom"] = np.concatenate(names)
        return columns


def other(base: str) -> str:
    return {"A": "G", "C": "A", "G": "T", "T": "C"}[base]


def write_inputs(folder: Path, dice: random.Random) -> World:
    texts = {name: "".join(dice.choices("ACGT", k=count)) for name, count in LENGTHS.items()}
    name, start, end = GAP
    texts[name] = texts[name][:start] + "N" * (end - start)
    write_genome(folder / "genome.fa", texts)
    places = [(chrom, pos) for chrom, top in (("chr20", 5_900), ("chr21", 22_000))
              for pos in sorted(dice.sample(range(200, top), 20))]  # fmt: skip
    snvs = [(c, pos, texts[c][pos - 1], other(texts[c][pos - 1])) for c, pos in places]
    wrong = [("chr21", 500, other(texts["chr21"][499]), texts["chr21"][499]), ("chr9", 5, "A", "C")]
    records = [(c, pos, f"rs{pos}", ref, alt) for c, pos, ref, alt in [*snvs, *wrong]]
    # Padded by a base on either side: stated otherwise than it is scored.
    padded = texts["chr21"][11_999:12_002]
    records.append(("chr21", 12_000, ".", padded, padded[0] + other(padded[1]) + padded[2]))
    write_vcf(folder / "cohort.vcf", records)
    asked = [*snvs[::3], *wrong, records[-1][:2] + records[-1][3:], ("chr21", 7, "A", "C")]
    lines = ["\t".join(map(str, (c.removeprefix("chr"), pos, ref, alt, round(dice.gauss(0, 1), 3))))
             for c, pos, ref, alt in asked]  # fmt: skip
    (folder / "eqtl.tsv").write_text("\n".join(["chrom\tpos\tref\talt\tslope", *lines, ""]))
    (folder / "genes.gtf").write_text("#!made-up\n" + "".join(gtf_lines()))
    return World(folder, texts, snvs)


def gtf_lines() -> list[str]:
    lines = []
    for gene, chrom, strand, exons in GENES:
        bounds = [("gene", exons[0][0], exons[-1][1]), *(("exon", *exon) for exon in exons)]
        lines += [
            f'{chrom}\tmade\t{feature}\t{first}\t{last}\t.\t{strand}\t.\tgene_id "G"; '
            f'gene_name "{gene}";\n'
            for feature, first, last in bounds
        ]
    return lines


def write_model(path: Path, seed: int) -> Path:
    table = path.with_suffix(".txt")
    rows = [f"{i}\tID{i}\t{text}" for i, text in enumerate(TRACKS)]
    table.write_text("\n".join(["index\tidentifier\tdescription", *rows, ""]))
    model = initialise(Enformer(SIZES["tiny"]), seed, randomise_all=True)
    tracks = {
        "human": TrackSet.read_table(table, "human", expect=8),
        "mouse": TrackSet.unnamed("mouse", 4),
    }
    checkpoint = Checkpoint.build(SIZES["tiny"], model.state_dict(), tracks=tracks, provenance={})
    return save_native(path, checkpoint)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("guide")
    made = write_inputs(folder, random.Random(4))
    chrom, first, last = PROMOTER
    for number, suffix in ((1, ""), (2, "_2")):
        model = write_model(folder / f"tiny{suffix}.safetensors", seed=number)
        given = ("--model", model, "--fasta", folder / "genome.fa")
        score("genome", folder / f"runs/genome{suffix}", *given, "--tiles-per-shard", 4)
        if number == 1:
            vcf = ("--vcf", folder / "cohort.vcf", "--stats", "SAD,SADR")
            score("variants", folder / "runs/cohort", *given, *vcf)
            place = ("--region", f"{chrom}:{first}-{last}")
            score("saturation", folder / "runs/promoter", *given, *place)
    return made


def sections() -> dict[str, list[tuple[str, str]]]:
    """The numbered sections of the guide: their blocks, each with its language."""
    parts = re.split(r"^## (\d+)\. .*$", GUIDE.read_text(), flags=re.MULTILINE)
    blocks = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return {
        number: blocks.findall(text) for number, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.fixture(scope="module")
def answers(world) -> dict[str, Any]:
    """Run every block in its order, as in one notebook; keep the names of each section."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        for number, blocks in sections().items():
            for language, text in blocks:
                if language == "python":
                    exec(compile(text, f"{GUIDE.name}, section {number}", "exec"), names)
                else:
                    assert language == "bash"
                    program, *words = shlex.split(text)
                    assert program == "cisray"
                    assert command(*words) == 0
    return names


def close(found: float, owed: float) -> bool:
    return math.isclose(found, owed, rel_tol=1e-5, abs_tol=1e-7)


def top_variants(world: World, answers: dict[str, Any]) -> None:
    effects = world.table("cohort/data/effects")
    order = np.argsort(effects["variant"])
    for group, tracks in (("liver", LIVER), ("K562", K562)):
        values = np.stack([effects[f"SAD_t{t:04d}"][order] for t in tracks])
        strength = np.abs(values).max(axis=0)
        best = np.argsort(-strength, kind="stable")[:10]
        some = answers["top"].filter(pl.col("group") == group)
        assert some["SAD"].abs().to_list() == strength[best].tolist()
        assert some["variant"].to_list() == effects["variant"][order][best].tolist()
        assert set(some["track"]) <= {f"t{t:04d}" for t in tracks}
    assert set(answers["named"]["description"]) <= {TRACKS[t] for t in (*LIVER, *K562)}
    assert answers["named"].height == 20


def eqtl_join(world: World, answers: dict[str, Any]) -> None:
    scored, table = answers["scored"], answers["eqtl"]
    assert scored.select(table.columns).equals(table)
    statuses = scored["status"].to_list()
    assert statuses == ["scored"] * 14 + [
        "rejected: reference_mismatch", "rejected: unknown_chromosome", "scored", "not in run",
    ]  # fmt: skip
    effects = world.table("cohort/data/effects")
    by_place = dict(zip(zip(effects["chrom"], effects["source_pos"], strict=True),
                        effects["SAD_t0006"], strict=True))  # fmt: skip
    rows = [row for row in scored.iter_rows(named=True) if row["status"] == "scored"]
    values = [by_place[f"chr{row['chrom']}", row["pos"]] for row in rows]
    assert [row["SAD_t0006"] for row in rows] == [float(value) for value in values]
    slopes = np.array([row["slope"] for row in rows])
    pearson, same_sign = answers["agreement"].row(0)
    assert math.isclose(pearson, np.corrcoef(slopes, values)[0, 1], abs_tol=1e-6)
    assert close(same_sign, float((np.sign(slopes) == np.sign(values)).mean()))


def rejects(world: World, answers: dict[str, Any]) -> None:
    found = {row["reason"]: (row["len"], row["pos"]) for row in answers["rejected"].to_dicts()}
    assert found == {"reference_mismatch": (1, 500), "unknown_chromosome": (1, 5)}
    assert answers["scored_rows"] == 41
    assert answers["read"] == 43


def gene_sums(world: World, answers: dict[str, Any]) -> None:
    bins = world.table("genome/data/tracks")
    place = {
        key: row for row, key in enumerate(zip(bins["chrom"], bins["start"].tolist(), strict=True))
    }

    def rows_of(chrom: str, bases: set[int]) -> tuple[list[int], int]:
        wanted = {base // BIN * BIN for base in bases}
        name = f"chr{chrom.removeprefix('chr')}"
        there = sorted(place[name, start] for start in wanted if (name, start) in place)
        return there, len(wanted) - len(there)

    for (gene, chrom, strand, exons), at_start, over in zip(
        GENES, answers["at_start"].to_dicts(), answers["over_exons"].to_dicts(), strict=True
    ):
        assert (at_start["gene"], at_start["bins"], over["gene"]) == (gene, 1, gene)
        first_base = exons[0][0] - 1 if strand == "+" else exons[-1][1] - 1
        (row,), _ = rows_of(chrom, {first_base})
        rows, missing = rows_of(chrom, {b for first, last in exons for b in range(first - 1, last)})
        assert (over["bins"], over["bins_missing"]) == (len(rows), missing)
        for track in CAGE:
            column = f"t{track:04d}"
            assert at_start[column] == bins[column][row]
            assert close(over[column], bins[column][rows].astype(float).sum())
    assert answers["incomplete"]["gene"].to_list() == ["GHI3"]


def two_models(world: World, answers: dict[str, Any]) -> None:
    first, second = (world.table(f"{name}/data/tracks") for name in ("genome", "genome_2"))
    assert first["start"].tolist() == second["start"].tolist()
    assert list(answers["correlation"]) == [f"t{track:04d}" for track in CAGE]
    for column, found in answers["correlation"].items():
        assert math.isclose(found, np.corrcoef(first[column], second[column])[0, 1], abs_tol=1e-4)
    assert answers["wide"].height == len(first["start"])


def browser(world: World, answers: dict[str, Any]) -> None:
    bins = world.table("genome/data/tracks")
    with pybigtools.open(str(world.folder / "ctcf.bw")) as file:
        found = [(chrom, *record) for chrom in LENGTHS for record in file.records(chrom)]
    owed = zip(bins["chrom"], bins["start"].tolist(), bins["t0003"].tolist(), strict=True)
    assert [(c, start, value) for c, start, _, value in found] == list(owed)


def promoter(world: World, answers: dict[str, Any]) -> None:
    chrom, first, last = PROMOTER
    effects = world.table("promoter/data/effects")
    owed = np.full((4, last - first + 1), np.nan)
    for pos, alt, value in zip(effects["pos"], effects["alt"], effects["SAD_t0005"], strict=True):
        owed["ACGT".index(alt), pos - first] = value
    assert answers["positions"] == list(range(first, last + 1))
    np.testing.assert_array_equal(answers["effects_AL"], owed)
    reference = ["ACGT".index(base) for base in world.texts[chrom][first - 1 : last]]
    assert np.isnan(owed).argmax(axis=0).tolist() == reference
    assert answers["strongest_base"] == first + int(np.nanargmax(np.abs(owed)) % owed.shape[1])


def variances(world: World, answers: dict[str, Any]) -> None:
    bins = world.table("genome/data/tracks")
    values = np.stack([bins[f"t{t:04d}"].astype(float) for t in range(8)])
    across = np.sort(values.var(axis=0, ddof=1))[::-1][:5]
    np.testing.assert_allclose(np.sort(answers["across_tracks"]["variance"])[::-1], across)
    along = answers["along_genome"]["column_0"].to_numpy()
    np.testing.assert_allclose(along, values.var(axis=1, ddof=1))


def matrix(world: World, answers: dict[str, Any]) -> None:
    bins = world.table("genome/data/tracks")
    # Bases 10,000 to 19,999 (0-based) lie in bins 9,984 to 19,968.
    there = (bins["chrom"] == "chr21") & (bins["start"] >= 9_984) & (bins["start"] <= 19_968)
    assert answers["obs"]["start"].to_list() == bins["start"][there].tolist()
    assert answers["x_NT"].dtype == np.float32
    np.testing.assert_array_equal(
        answers["x_NT"], np.stack([bins[f"t{t:04d}"][there] for t in range(8)], axis=1)
    )
    assert answers["var"]["description"].to_list() == list(TRACKS)


def in_sql(world: World, answers: dict[str, Any]) -> None:
    region = answers["region"].select("chrom", "start", "t0005", "t0006")
    assert answers["in_sql"].rows() == region.rows()
    effects = world.table("cohort/data/effects")["SAD_t0005"]
    assert len(answers["strongest"]) == 5
    assert [abs(row[-1]) for row in answers["strongest"]] == np.sort(np.abs(effects))[::-1][
        :5
    ].tolist()


CHECKS: dict[str, Callable[[World, dict[str, Any]], None]] = {
    "1": top_variants, "2": eqtl_join, "3": rejects, "4": gene_sums, "5": two_models,
    "6": browser, "7": promoter, "8": variances, "9": matrix, "10": in_sql,
}  # fmt: skip


@pytest.mark.parametrize("number", CHECKS)
def test_the_answer_is_right(world, answers, number) -> None:
    CHECKS[number](world, answers)


def test_joins_and_rankings_of_saturation_and_site_runs(world) -> None:
    """Of these the guide says little: rows are known by more, or the input stated no alleles."""
    chrom, first, _ = PROMOTER
    ref = world.texts[chrom][first - 1]
    asked = pl.DataFrame({"chrom": ["21"], "pos": [first], "ref": [ref], "alt": [other(ref)]})
    run = open_run(world.folder / "runs/promoter")
    effects = world.table("promoter/data/effects")
    (row,) = np.flatnonzero((effects["pos"] == first) & (effects["alt"] == other(ref)))
    joined = run.join_variants(asked, tracks=5, stats="SAD").collect()
    assert joined.columns[4:] == ["status", "variant", "region", "SAD_t0005"]
    assert joined.row(0)[4:] == ("scored", effects["variant"][row], 0, effects["SAD_t0005"][row])
    best = np.abs(effects["SAD_t0005"]).argmax()
    ranked = run.top(1, tracks=5).to_dicts()[0]
    assert (ranked["pos"], ranked["alt"]) == (effects["pos"][best], effects["alt"][best])

    chrom, pos, ref, alt = world.snvs[25]
    sites = [
        (pos + 200, pos + 201, "far"),
        (pos - 1, pos, "here"),
        (pos + 6_000, pos + 6_001, "off"),
    ]
    lines = (f"{chrom}\t{start}\t{end}\t{name}\n" for start, end, name in sites)
    (world.folder / "tss.bed").write_text("".join(lines))
    write_vcf(world.folder / "one.vcf", [(chrom, pos, ".", ref, alt)])
    at = ("--vcf", world.folder / "one.vcf", "--at", world.folder / "tss.bed", "--stats", "SAD")
    model = ("--model", world.folder / "tiny.safetensors", "--fasta", world.folder / "genome.fa")
    run = score("variants", world.folder / "runs/sites", *model, *at)
    asked = pl.DataFrame({"chrom": [chrom], "pos": [pos], "ref": [ref], "alt": [alt]})
    joined = run.join_variants(asked, tracks=5).collect()
    assert joined["site_name"].to_list() == ["far", "here"]
    assert joined["site"].to_list() == [0, 1]
    values = world.table("sites/data/effects")["SAD_t0005"]
    assert joined["SAD_t0005"].to_list() == values.tolist()
    assert run.top(1, tracks=5)["site"].to_list() == [int(np.abs(values).argmax())]


def test_every_question_has_a_query_and_a_check() -> None:
    assert list(sections()) == list(CHECKS)
    assert all(sections().values())
    # Blocks outside of the numbered sections would not be run.
    assert GUIDE.read_text().count("\n```") == 2 * sum(map(len, sections().values()))
