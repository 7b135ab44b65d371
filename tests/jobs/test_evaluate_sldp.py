"""From genotypes, scores and summary statistics to regressions, by the command line."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from genotype_files import lines_of, made_up_counts, write_vcf

import cisray
from cisray.genome.genotypes import frequencies, standardised
from cisray_jobs.evaluation_output import read_metrics, read_record

PEOPLE = tuple(f"p{number}" for number in range(150))
BLOCKS, SIZE, BLOCK_BP, STEP = 26, 40, 5_000, 100
N = 30_000
MU = 0.008


@dataclass(frozen=True)
class Study:
    """Made-up genotypes in 26 blocks, one variant rare; scores of alt per allele, and z of alt."""

    genotypes: Path
    variants: pl.DataFrame


def counts_of_blocks() -> list[np.ndarray]:
    return [made_up_counts(len(PEOPLE), SIZE, 50 + at, linkage=0.9) for at in range(BLOCKS)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    dice = np.random.default_rng(4)
    rare = (4_990, "A", "G", "GT", " ".join(["0|1", *["0|0"] * (len(PEOPLE) - 1)]))
    lines, frames = [], []
    for at, counts_VI in enumerate(counts_of_blocks()):
        first = at * BLOCK_BP + 1
        lines += [*lines_of(counts_VI, first, STEP), *([rare] if at == 0 else [])]
        share_V = frequencies(counts_VI)
        assert (np.minimum(share_V, 1 - share_V) >= 0.01).all()
        columns_IV, deviation_V = standardised(counts_VI)
        signal_V = dice.normal(size=SIZE)
        effect_V = MU * signal_V + dice.normal(0, 0.005, SIZE)
        _, singular, vectors = np.linalg.svd(columns_IV, full_matrices=False)
        noise_V = vectors.T @ (singular * dice.normal(size=len(singular)))
        z_V = np.sqrt(N) * columns_IV.T @ (columns_IV @ effect_V) + noise_V
        frames.append(
            pl.DataFrame(
                {
                    "chrom": "chr20",
                    "pos": first + STEP * np.arange(SIZE),
                    "ref": "A",
                    "alt": "G",
                    "signal": signal_V / deviation_V,
                    "noise": dice.normal(size=SIZE) / deviation_V,
                    "z": z_V,
                    "n": N,
                }
            )
        )
    genotypes = write_vcf(folder / "people.vcf.gz", lines, PEOPLE)
    variants = pl.concat(frames).with_columns(snp=pl.format("rs{}", "pos"))
    return Study(genotypes, variants)


KEY = ("chrom", "pos", "ref", "alt")


def sldp(cisray_command, study: Study, folder: Path, *more: object, **tables: pl.DataFrame):
    """Write the tables and evaluate; `scores` is made of the study unless given."""
    scores = tables.pop("scores", study.variants.select(*KEY, "signal", "noise"))
    scores.write_parquet(folder / "scores.parquet")
    given = ["--genotypes", study.genotypes, "--external", f"s={folder / 'scores.parquet'}"]
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.tsv", separator="\t")
        given += ["--sumstats", f"{name}={folder / f'{name}.tsv'}"]
    given += ["--block-bp", BLOCK_BP, "--out", folder / "out", "--flips", 20_000]
    return cisray_command("evaluate", "sldp", *map(str, [*given, *more]))


def results(folder: Path) -> dict[tuple[str, str], dict[str, object]]:
    table = pl.read_parquet(folder / "out" / "sldp.parquet")
    return {(row["trait"], row["feature"]): row for row in table.iter_rows(named=True)}


def test_a_planted_direction_is_found_and_rows_are_accounted_for(cisray, study, tmp_path) -> None:
    table = study.variants.select(*KEY, "z", "n")
    odd = table.head(4).with_columns(
        pos=pl.Series([1, 2, 5_101, 10_101]),
        alt=pl.Series(["G", "G", "T", "G"]),
        z=pl.Series([0.1, 0.1, 0.1, None]),
    )
    there = table["pos"].to_list()
    assert 1 in there
    assert 5_101 in there
    table = pl.concat([table.filter(pl.col("pos") != 10_101), odd])
    told = sldp(cisray, study, tmp_path, trait=table)
    assert told.code == 0, told.err
    found = results(tmp_path)
    signal, noise = found["trait", "signal"], found["trait", "noise"]
    assert signal["z"] > 3
    assert signal["mu"] == pytest.approx(MU, abs=4 * signal["mu_se"])
    assert abs(noise["z"]) < 3
    assert signal["chunks"] == BLOCKS
    assert signal["p_least"] == pytest.approx(1 / 20_001)
    # The annotation is the score per allele times the genotype's deviation: of unit variance.
    assert signal["squares"] == pytest.approx(study.variants.height, rel=0.2)
    facts = pl.read_parquet(tmp_path / "out" / "traits.parquet").row(0, named=True)
    assert signal["r_f"] == pytest.approx(signal["mu"] * (signal["squares"] / facts["h2"]) ** 0.5)
    assert facts["variants"] == table.height - 4
    assert facts["h2_estimate"] == pytest.approx((MU**2 + 0.005**2) * facts["variants"], rel=0.5)
    rows = read_record(tmp_path / "out")["rows"]
    assert rows["read"] == table.height
    assert rows["used"] == table.height - 4
    assert rows["left out"] == {
        "trait: twice in the table": 1,
        "trait: not in the genotypes": 2,
        "trait: no z or n": 1,
    }
    assert rows["genotypes left out"] == {"minor allele too rare": 1}
    assert rows["genotypes used"] == study.variants.height
    metrics = {(m["task"], m["metric"]): m for m in read_metrics(tmp_path / "out").to_pylist()}
    r_f = metrics["trait x signal", "r_f"]
    assert r_f["ci_low"] < r_f["value"] < r_f["ci_high"]
    assert r_f["ci_method"] == "jackknife over chunks, normal"
    assert "no smaller p than" in metrics["trait x signal", "p_value"]["reason"]
    assert (tmp_path / "out" / "sldp.png").stat().st_size > 1_000


def test_ways_to_write_a_trait_are_the_same_and_a_turned_one_turns(cisray, study, tmp_path) -> None:
    plain = study.variants.select(*KEY, "z", "n")
    half = pl.col("pos") % 200 == 1
    swapped = plain.with_columns(
        ref=pl.when(half).then("alt").otherwise("ref"),
        alt=pl.when(half).then("ref").otherwise("alt"),
        z=pl.when(half).then(-pl.col("z")).otherwise("z"),
    )
    ldsc = swapped.with_columns(study.variants["snp"]).select(
        SNP="snp", A1="alt", A2="ref", Z="z", N="n"
    )
    effects = plain.select(
        pl.format("{}_{}_{}_{}_b37", *KEY).alias("variant"), beta=pl.col("z") * 0.1, se=0.1, n="n"
    )
    of_ref = plain.with_columns(z=-pl.col("z"), effect_allele=pl.col("ref"))
    turned = plain.with_columns(z=-pl.col("z"))
    tables = {"plain": plain, "swapped": swapped, "ldsc": ldsc, "effects": effects}
    told = sldp(cisray, study, tmp_path, **tables, of_ref=of_ref, turned=turned)
    assert told.code == 0, told.err
    found = results(tmp_path)
    numbers = ("mu", "mu_se", "z", "p_value", "r_f")
    for name in ("swapped", "ldsc", "effects", "of_ref"):
        for feature in ("signal", "noise"):
            for number in numbers:
                expected = found["plain", feature][number]
                assert found[name, feature][number] == pytest.approx(expected, rel=1e-9)
    assert found["turned", "signal"]["z"] == -found["plain", "signal"]["z"]
    assert found["turned", "signal"]["mu"] == -found["plain", "signal"]["mu"]


def test_background_takes_out_effects_of_minor_alleles(cisray, study, tmp_path) -> None:
    """A score that is the direction of minor alleles alone finds nothing beside the background."""
    share_V = np.concatenate([frequencies(c) for c in counts_of_blocks()])
    minor_V = np.where(share_V <= 0.5, 1.0, -1.0)
    trait = study.variants.select(*KEY, "z", "n")
    scores = trait.select(KEY).with_columns(signal=minor_V, noise=study.variants["noise"])
    assert sldp(cisray, study, tmp_path, scores=scores, t=trait).code == 0
    assert results(tmp_path)["t", "signal"]["mu"] is None
    reasons = {
        m["reason"] for m in read_metrics(tmp_path / "out").to_pylist() if m["value"] is None
    }
    assert reasons == {"the annotation does not vary"}
    told = sldp(cisray, study, tmp_path, "--no-background", scores=scores, t=trait)
    assert told.code != 0
    assert "no_background False there, True now" in told.told


def test_blocks_of_a_bed_and_excluded_places(cisray, study, tmp_path) -> None:
    bed = tmp_path / "blocks.bed"
    spans = [(at * BLOCK_BP, (at + 1) * BLOCK_BP) for at in range(BLOCKS) if at != 3]
    header = "chr \t start \t stop\n"
    bed.write_text(header + "".join(f"chr20 \t{start} \t{end}\n" for start, end in spans))
    trait = study.variants.select(*KEY, "z", "n")
    told = sldp(cisray, study, tmp_path, "--blocks", bed, "--exclude", "20:1-10", t=trait)
    assert told.code == 0, told.err
    rows = read_record(tmp_path / "out")["rows"]
    assert rows["genotypes left out"]["outside the blocks"] == SIZE
    assert rows["genotypes left out"]["in an excluded block"] == SIZE + 1
    assert results(tmp_path)["t", "signal"]["chunks"] == BLOCKS - 2
    assert rows["read"] == rows["used"] + sum(rows["left out"].values())


def test_a_run_gives_what_its_table_of_scores_gives(cisray_tool, inputs, tmp_path) -> None:
    """SAD of a tiny model; in the genotypes every fourth variant has its alleles exchanged."""
    sequence = "".join(inputs.fasta.read_text().split(">")[1].split("\n")[1:])
    positions = range(3_000, 6_000, 20)
    counts_VI = made_up_counts(len(PEOPLE), len(positions), 9, linkage=0.5)
    lines, vcf, rows = [], ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT"], []
    dice = np.random.default_rng(1)
    for at, (pos, line) in enumerate(zip(positions, lines_of(counts_VI), strict=True)):
        ref = sequence[pos - 1]
        alt = "ACGT"["ACGT".index(ref) - 1]
        vcf.append(f"chrA\t{pos}\t.\t{ref}\t{alt}")
        pair = (alt, ref) if at % 4 == 0 else (ref, alt)
        lines.append((pos, *pair, *line[3:]))
        rows.append(("chrA", pos, *pair, float(dice.normal()), 1_000))
    genotypes = write_vcf(tmp_path / "g.vcf.gz", lines, PEOPLE, chrom="chrA")
    (tmp_path / "v.vcf").write_text("\n".join(vcf) + "\n")
    run = tmp_path / "run"
    scored = ("--model", inputs.model, "--fasta", inputs.fasta, "--vcf", tmp_path / "v.vcf")
    more = ("--stats", "SAD", "--workers", 0, "--threads", 1, "--quiet", "--out", run)
    assert cisray_tool(*map(str, ("score", "variants", *scored, *more))).code == 0
    pl.DataFrame(rows, schema=[*KEY, "z", "n"], orient="row").write_parquet(tmp_path / "t.parquet")
    opened = cisray.open_run(run)
    values = opened.scan(stats="SAD").sort("variant").collect()
    names = [f"SAD_{column}" for column in opened.tracks.columns]
    sign = np.where(np.arange(len(positions)) % 4 == 0, -1.0, 1.0)
    table = pl.DataFrame(rows, schema=[*KEY, "z", "n"], orient="row").select(KEY)
    table = table.with_columns(pl.Series(name, values[name].to_numpy() * sign) for name in names)
    table.write_parquet(tmp_path / "s.parquet")
    told = cisray_tool(
        *map(str, (
            "evaluate", "sldp", "--genotypes", genotypes, "--run", f"model={run}", "--external",
            f"table={tmp_path / 's.parquet'}", "--sumstats", f"t={tmp_path / 't.parquet'}",
            "--block-bp", 250, "--flips", 2_000, "--out", tmp_path / "out",
        ))
    )  # fmt: skip
    assert told.code == 0, told.err
    found = pl.read_parquet(tmp_path / "out" / "sldp.parquet")
    one, two = found.filter(scores="model"), found.filter(scores="table")
    assert one.height == two.height == 8
    np.testing.assert_allclose(one["mu"], two["mu"], rtol=1e-5)
    np.testing.assert_allclose(one["p_value"], two["p_value"])
    statuses = read_record(tmp_path / "out")["rows"]["scores of model"]
    assert statuses["scored with swapped alleles"] == sum(
        1 for at in range(len(positions)) if at % 4 == 0
    )


@pytest.fixture(name="cisray_tool")
def of_the_command_line(request: pytest.FixtureRequest):
    """The fixture `cisray`, under a name that does not hide the package."""
    return request.getfixturevalue("cisray")


def bad(study: Study, kind: str) -> tuple[dict[str, pl.DataFrame], tuple[object, ...]]:
    """Tables, and options, that are wrong in one way each."""
    trait = study.variants.select(*KEY, "z", "n")
    scores = study.variants.select(*KEY, "signal", "noise")
    more: tuple[object, ...] = ()
    if kind == "columns":
        trait = trait.drop("ref")
    elif kind == "n":
        trait = trait.drop("n")
    elif kind == "assembly":
        trait = trait.with_columns(pl.col("pos") + 7)
    elif kind == "scores":
        scores = scores.with_columns(pl.col("pos") + 7)
    elif kind == "empty":
        trait = trait.with_columns(z=pl.lit(None, pl.Float64))
    elif kind == "block":
        more = ("--block-bp", 10_000_000)
    elif kind == "twice":
        more = ("--genotypes", study.genotypes)
    elif kind == "places":
        more = ("--exclude", "chr20")
    return {"trait": trait, "scores": scores}, more


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("columns", "lacks the columns ref"),
        ("n", "lacks the columns n\\."),
        ("assembly", r"genotypes have 0 of [\d,]+ variants of trait .* --min-matched"),
        ("scores", r"s has scores of 0.0% of the [\d,]+ variants .* --min-scored"),
        ("empty", "has no row that counts: .*no z or n"),
        ("block", "1 block has z-scores"),
        ("twice", "20:1-5,000, which was there already.*each part of the genome once"),
        ("places", "no variant of the genotypes counts and lies in a block.*excluded"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(cisray, study, tmp_path, kind, told) -> None:
    tables, more = bad(study, kind)
    found = sldp(cisray, study, tmp_path, *more, **tables)
    assert found.code != 0
    assert re.search(told, found.told), found.told
    assert not (tmp_path / "out").exists()
