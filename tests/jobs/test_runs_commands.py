"""`cisray runs list, show, verify, diff, rerun` on runs that were really scored, and damaged."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from damage import enter, file_of, record_of, rewrite, with_value
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf

from cisray.store.scan import open_run

QUIET = ("--quiet",)


@pytest.fixture(scope="module")
def genome_run(inputs, tmp_path_factory) -> Path:
    """A sealed run of 8 tracks, 95 bins in 3 shards: chrA has 5 tiles, chrB 2."""
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("runs") / "run"
    given = inputs.options(out, "--quiet", "--tiles-per-shard", 3, "--self-check", 2)
    assert cli.run(list(given)) == 0
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("variants")
    texts = genome_with_traps()
    letters = texts["chr1"].upper()
    records = [
        ("chr1", pos, f"rs{pos}", letters[pos - 1], "ACGT"["CGTA".index(letters[pos - 1])])
        for pos in (600, 610, 900, 1000, 2000)
    ]
    records += [
        ("chr1", 620, "ins", letters[619], letters[619] + "GGT"),
        ("chr1", 640, "bad", letters[639], "*"),
        ("chr2", 700, "dup", texts["chr2"][699], "N"),
    ]
    return {
        "fasta": write_genome(folder / "g.fa", texts),
        "model": write_model(folder / "m.safetensors"),
        "vcf": write_vcf(folder / "v.vcf", records),
    }


def options(files: dict[str, Path], kind: str, out: Path, *more: object) -> tuple[object, ...]:
    named = [word for name, path in files.items() for word in (f"--{name}", path)]
    if kind == "saturation":
        named = [word for word in named if word not in ("--vcf", files["vcf"])]
    here = ("--workers", 0, "--threads", 1, "--quiet", "--precision", "float32")
    return ("score", kind, *named, "--out", out, *here, *more)


@pytest.fixture(scope="module")
def variant_run(files, tmp_path_factory) -> Path:
    """Six variants in two shards, both strands and two shifts, with spreads; two are rejected."""
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("runs") / "variants"
    asked = ("--rc", "--shifts=-3,0", "--std", "--stats", "SAD,SADR,SAX,D2,JS")
    given = options(files, "variants", out, *asked, "--rows-per-shard", 3)
    assert cli.run(list(map(str, given))) == 0
    return out


def copied(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def told(answer) -> dict:
    return json.loads(answer.out)


# list


def test_list_tells_every_state(cisray, inputs, genome_run, variant_run, tmp_path) -> None:
    shutil.copytree(genome_run, tmp_path / "runs/sealed")
    shutil.copytree(variant_run, tmp_path / "runs/deep/er/variants")
    for name in ("open", "failed", "torn", "broken"):
        shutil.copytree(genome_run, tmp_path / "runs" / name)
    for name in ("open", "failed"):
        (tmp_path / "runs" / name / "_SUCCESS").unlink()
        record_of(tmp_path / "runs" / name, 1).unlink()
    (tmp_path / "runs/failed/_failed").mkdir()
    record = {"shard": 1, "reason": "no luck", "attempts": 3}
    begun = open_run(genome_run).manifest.begun
    (tmp_path / f"runs/failed/_failed/000001.{begun}.json").write_text(json.dumps(record))
    next((tmp_path / "runs/torn/data").rglob("*.parquet")).unlink()
    (tmp_path / "runs/broken/run.json").write_text("{")
    (tmp_path / "runs/other").mkdir()
    listed = json.loads(cisray("runs", "list", tmp_path / "runs", "--json").out)
    states = {
        run["name"]: (run["state"], run["done"], run["shards"], run["failed"]) for run in listed
    }
    assert states == {
        "broken": ("damaged", 0, 0, 0),
        "failed": ("failed", 2, 3, 1),
        "open": ("unfinished", 2, 3, 0),
        "sealed": ("sealed", 3, 3, 0),
        "torn": ("damaged", 3, 3, 0),
    }
    run = open_run(genome_run)
    sealed = next(run for run in listed if run["name"] == "sealed")
    assert (sealed["rows"], sealed["job"]) == (95, "score-genome")
    assert sealed["bytes"] == sum(
        p.stat().st_size for p in (genome_run / "data").rglob("*.parquet")
    )
    assert (sealed["model"], sealed["genome"]) == (
        run.manifest.model_sha256[:12],
        run.manifest.genome_sha256[:12],
    )
    answer = cisray("runs", "list", tmp_path / "runs")
    assert answer.code == 0
    lines = {line.split()[0]: line for line in answer.out.splitlines()[1:6]}
    assert "2 of 3 shards, 1 failed" in lines["failed"]
    assert "2 of 3 shards" in lines["open"]
    assert "variants" not in answer.out
    deep = json.loads(cisray("runs", "list", tmp_path / "runs", "--depth", 3, "--json").out)
    assert len(deep) == 6
    # Never into a run: the folder itself may be one.
    (only,) = json.loads(cisray("runs", "list", genome_run, "--json").out)
    assert only["name"] == "run"


def test_list_of_nothing(cisray, tmp_path) -> None:
    answer = cisray("runs", "list", tmp_path)
    assert (answer.code, answer.out.startswith("No runs in")) == (0, True)
    assert told(cisray("runs", "list", tmp_path, "--json")) == []
    cisray("runs", "list", tmp_path / "none").assert_one_paragraph("is no folder")


# show


def test_show_tells_where_a_run_comes_from(cisray, inputs, genome_run) -> None:
    facts = told(cisray("runs", "show", genome_run, "--json"))
    assert (facts["state"], facts["shards"], facts["done"], facts["rows"]) == ("sealed", 3, 3, 95)
    assert sum(facts["tracks"].values()) == 8
    assert facts["self_check"]["checked"] == 2
    provenance = facts["provenance"]
    assert provenance["files"]["fasta"]["path"] == str(inputs.fasta)
    assert provenance["files"]["fasta"]["sha256"] == facts["identity"]["genome_sha256"]
    assert provenance["files"]["model"]["sha256"] == facts["identity"]["model_sha256"]
    assert provenance["options"]["tiles_per_shard"] == 3
    assert provenance["options"]["model"] == str(inputs.model)
    assert set(provenance["versions"]) == {
        *("cisray", "python", "torch", "numpy", "pyarrow", "polars", "ray")
    }
    assert provenance["host"]["cores"] >= 1
    assert provenance["host"]["memory_bytes"] > 10**8
    text = cisray("runs", "show", genome_run)
    assert text.code == 0
    for words in ("sealed: 3 of 3 shards", "95 of 95", "2 checked", str(inputs.fasta), "torch"):
        assert words in text.out


def test_show_prices_a_million_rows(cisray, genome_run) -> None:
    facts = told(cisray("runs", "show", genome_run, "--cost-per-hour", 3600, "--json"))
    wall = facts["times"]["wall_s"]
    assert wall > 0
    assert facts["rows_per_second"] == pytest.approx(95 / wall)
    # 3,600 an hour is 1 a second.
    assert facts["cost"] == pytest.approx(wall)
    assert facts["cost_per_million_rows"] == pytest.approx(wall * 1e6 / 95)
    assert 0 < facts["times"]["device_s"] <= wall
    assert "for a million rows" in cisray("runs", "show", genome_run, "--cost-per-hour", 2).out
    assert "cost" not in cisray("runs", "show", genome_run).out


def test_show_counts_rejects_and_statistics(cisray, variant_run) -> None:
    facts = told(cisray("runs", "show", variant_run, "--json"))
    assert facts["rejected"] == {"non_acgt_allele": 1, "spanning_deletion": 1}
    assert facts["statistics"][:2] == ["SAD", "SADR"]
    text = cisray("runs", "show", variant_run).out
    assert "2 rejected (1 non_acgt_allele, 1 spanning_deletion)" in text


def test_show_of_an_unfinished_run_names_what_failed(cisray, genome_run, tmp_path) -> None:
    run = copied(genome_run, tmp_path)
    (run / "_SUCCESS").unlink()
    record_of(run, 2).unlink()
    (run / "_failed").mkdir()
    record = {"shard": 2, "reason": "out of luck", "attempts": 3}
    begun = open_run(genome_run).manifest.begun
    (run / f"_failed/000002.{begun}.json").write_text(json.dumps(record))
    facts = told(cisray("runs", "show", run, "--json"))
    # Shard 2 is chrB, 24 bins.
    assert (facts["state"], facts["rows_done"], facts["rows"]) == ("failed", 71, 95)
    assert facts["failures"][0]["reason"] == "out of luck"
    assert "shard 2 failed (3 attempts): out of luck" in cisray("runs", "show", run).out
    assert told(cisray("runs", "show", run, "--json"))["times"]["shards"] == 2


def test_a_resumed_run_adds_its_sessions_up(cisray, inputs, genome_run, tmp_path) -> None:
    run = copied(genome_run, tmp_path)
    for name in ("_SUCCESS", "summary.json", "_manifest.parquet"):
        (run / name).unlink()
    record_of(run, 1).unlink()
    given = inputs.options(run, "--quiet", "--tiles-per-shard", 3, "--self-check", 2)
    before = told(cisray("runs", "show", run, "--json"))["times"]
    assert cisray(*given).code == 0
    times = json.loads((run / "summary.json").read_text())
    assert [session["shards"] for session in times["sessions"]] == [2, 1]
    walls = [
        datetime.fromisoformat(s["ended"]) - datetime.fromisoformat(s["begun"])
        for s in times["sessions"]
    ]
    assert times["wall_s"] == pytest.approx(sum(w.total_seconds() for w in walls), abs=1e-2)
    assert times["device_s"] > before["device_s"] > 0
    assert times == told(cisray("runs", "show", run, "--json"))["times"]


# verify


def test_verify_passes_a_sound_run(cisray, genome_run, variant_run) -> None:
    for run in (genome_run, variant_run):
        answer = cisray("runs", "verify", run)
        assert (answer.code, answer.err) == (0, "")
        assert "problems  none" in answer.out
    assert told(cisray("runs", "verify", genome_run, "--json"))["read"]["values"] == 95 * 8


def test_verify_lists_all_that_is_wrong(cisray, genome_run, variant_run, tmp_path) -> None:
    """A flipped byte, a deleted shard, a shard under another's name, and a foreign one."""
    run = copied(genome_run, tmp_path)
    flipped, gone, foreign = (file_of(run, shard, "sel") for shard in range(3))
    damaged = bytearray(flipped.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    flipped.write_bytes(damaged)
    gone.unlink()
    shutil.copy(file_of(variant_run, 0, "sel"), foreign)
    answer = cisray("runs", "verify", run)
    assert answer.code == 1
    flat = " ".join(answer.out.split())
    named = ((flipped, "digest"), (gone, "missing-file"), (foreign, "foreign"))
    for shard, (path, kind) in enumerate(named):
        assert f"{kind}, shard {shard}: {path.relative_to(run)}" in flat
    found = told(cisray("runs", "verify", run, "--json"))["read"]["problems"]
    assert {(p["kind"], p["shard"]) for p in found} >= {
        *(("digest", 0), ("missing-file", 1), ("foreign", 2))
    }
    shutil.copytree(genome_run, tmp_path / "second")
    second = tmp_path / "second"
    shutil.copy(file_of(second, 0, "sel"), file_of(second, 1, "sel"))
    enter(second, 1, "sel")
    answer = cisray("runs", "verify", second)
    assert (answer.code, "misplaced" in answer.out) == (1, True)
    assert "those are rows of shard 0" in " ".join(answer.out.split())


def test_verify_of_an_unsealed_run(cisray, genome_run, tmp_path) -> None:
    run = copied(genome_run, tmp_path)
    (run / "_SUCCESS").unlink()
    record_of(run, 1).unlink()
    answer = cisray("runs", "verify", run)
    assert (answer.code, "1 of 3 shards have no record (1)" in " ".join(answer.out.split())) == (
        *(1, True),
    )
    assert cisray("runs", "verify", run, "--unsealed").code == 0
    cisray("runs", "verify", tmp_path).assert_one_paragraph("holds no cisray run")


def rescoring(files: dict[str, Path], count: int, *more: object) -> tuple[object, ...]:
    given = ("--model", files["model"], "--fasta", files["fasta"])
    return ("--rescore", count, *given, "--threads", 1, "--json", *more)


def test_rescoring_tiles(cisray, inputs, genome_run, tmp_path) -> None:
    files = {"model": inputs.model, "fasta": inputs.fasta}
    answer = cisray("runs", "verify", genome_run, *rescoring(files, 4))
    assert answer.code == 0, answer.out
    again = told(answer)["rescored"]
    assert (again["checked"], again["unit"]) == (4, "tile")
    assert 0 < again["worst"] < 1
    run = copied(genome_run, tmp_path)
    change = with_value(np.float32(2.0), 5)
    path = rewrite(run, 2, change, "sel")
    assert cisray("runs", "verify", run).code == 0
    answer = cisray("runs", "verify", run, *rescoring(files, 8))
    assert answer.code == 1
    (problem,) = told(answer)["rescored"]["problems"]
    assert (problem["kind"], problem["shard"]) == ("rescored", 2)
    assert problem["file"] == path.relative_to(run).as_posix()
    # Bin 5 of chrB is 641 to 768.
    assert "at chrB:641-768 2 is stored" in problem["message"]
    assert "track t0007" in problem["message"]


def test_rescoring_rows(cisray, files, variant_run, tmp_path) -> None:
    answer = cisray("runs", "verify", variant_run, *rescoring(files, 6))
    assert answer.code == 0, answer.out
    again = told(answer)["rescored"]
    assert (again["checked"], again["unit"], again["problems"]) == (6, "row", [])
    assert 0 < again["worst"] < 1
    run = copied(variant_run, tmp_path)
    held = open_run(run)
    column = f"JS_sd_{held.tracks.columns[-1]}"  # the last column of a file
    value = held.scan().collect()[column][0]
    path = rewrite(run, 0, with_value(rounded(value * 1.1), 0), "sel")
    found = told(cisray("runs", "verify", run, *rescoring(files, 6)))["rescored"]["problems"]
    (problem,) = found
    assert problem["file"] == path.relative_to(run).as_posix()
    assert column in problem["message"]
    assert held.plan.place(0, 0) in problem["message"]


def rounded(value: float) -> np.float32:
    """Cut a value to 10 bits of mantissa."""
    bits = np.float32(value).view(np.uint32) & ~np.uint32((1 << 13) - 1)
    return bits.view(np.float32)


@pytest.mark.parametrize("more", [(), ("--predictor", "plain")])
def test_rescoring_gradients(cisray, files, tmp_path, more) -> None:
    run = tmp_path / "run"
    asked = ("--region", "chr1:600-601", "--region", "chr2:20-21", "--method", "gradient")
    exact = ("--rank-then-exact", 3, "--stats", "SAD,logSAD", *more)
    assert cisray(*options(files, "saturation", run, *asked, *exact)).code == 0
    answer = cisray("runs", "verify", run, *rescoring(files, 5))
    assert answer.code == 0, answer.out
    again = told(answer)["rescored"]
    assert (again["checked"], again["unit"], again["problems"]) == (5, "window", [])
    block = next(iter(open_run(run).blocks))
    # The last column is exact: logSAD of the last track, where it has a value.
    frame = open_run(run).scan().collect()
    last = frame[frame.columns[-1]]
    row = last.is_not_null().arg_max()
    shard = 0
    assert open_run(run).plan.spans[0].rows > row
    rewrite(run, shard, with_value(rounded(last[row] * 1.5 + 0.5), row), block)
    found = told(cisray("runs", "verify", run, *rescoring(files, 12)))["rescored"]["problems"]
    assert {problem["shard"] for problem in found} == {0}
    assert any(frame.columns[-1] in problem["message"] for problem in found)


def test_rescoring_wants_what_was_scored_with(cisray, inputs, genome_run, files) -> None:
    command = ("runs", "verify", genome_run, "--rescore", 1)
    cisray(*command).assert_one_paragraph("needs --model and --fasta")
    cisray(*command, *rescoring(files, 1), "--unsealed").assert_one_paragraph("sealed first")
    cisray(*command[:-2], "--model", inputs.model).assert_one_paragraph("--rescore N")
    wrong = cisray(*command, "--model", files["model"], "--fasta", inputs.fasta)
    wrong.assert_one_paragraph("is not the model that", "its digest is")
    wrong = cisray(*command, "--model", inputs.model, "--fasta", files["fasta"])
    wrong.assert_one_paragraph("is not the genome that")


# diff and rerun


def test_a_rerun_is_equal(cisray, genome_run, variant_run, tmp_path, monkeypatch) -> None:
    for name, run in (("g", genome_run), ("v", variant_run)):
        monkeypatch.chdir(tmp_path)  # paths are kept whole
        answer = cisray("runs", "rerun", run, "--out", name, *QUIET)
        assert answer.code == 0, answer.err
        assert f"Sealed {tmp_path / name}" in answer.out
        same = cisray("runs", "diff", run, name)
        assert (same.code, "The runs are equal." in same.out) == (0, True)
        assert told(cisray("runs", "diff", run, name, "--json"))["identity"] == []
        # And so is the rerun of a rerun.
        again = cisray("runs", "rerun", name, "--out", f"{name}2", *QUIET)
        assert again.code == 0, again.err
        assert cisray("runs", "diff", run, f"{name}2").code == 0


def test_a_rerun_keeps_the_shards_of_another_machine(cisray, genome_run, tmp_path, inputs) -> None:
    """What was left open is taken from the run, not from the speed of this machine."""
    run = tmp_path / "auto"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cisray_jobs.score_genome.tiles_per_shard", lambda seconds: 2)
        assert cisray(*inputs.options(run, "--quiet")).code == 0
    assert open_run(run).manifest.config["tiles_per_shard"] == 2
    assert cisray("runs", "rerun", run, "--out", tmp_path / "again", *QUIET).code == 0
    assert cisray("runs", "diff", run, tmp_path / "again").code == 0


def test_a_rerun_refuses_inputs_that_changed(cisray, files, variant_run, tmp_path) -> None:
    fewer = tmp_path / "fewer.vcf"
    lines = files["vcf"].read_text().splitlines(keepends=True)
    fewer.write_text("".join(lines[:-1]))
    command = ("runs", "rerun", variant_run, "--out", tmp_path / "new", *QUIET)
    refused = cisray(*command, "--vcf", fewer)
    refused.assert_one_paragraph(f"--vcf {fewer} has the digest", "--allow-changed-inputs")
    assert not (tmp_path / "new").exists()
    cisray(*command, "--vcf", tmp_path / "none").assert_one_paragraph("cannot be read")
    cisray(*command, "--bed", fewer).assert_one_paragraph("has no such input")
    assert cisray(*command, "--vcf", fewer, "--allow-changed-inputs").code == 0
    found = told(cisray("runs", "diff", variant_run, tmp_path / "new", "--json"))
    assert {field["field"] for field in found["identity"]} >= {"config.entries"}
    assert found["rows"]["only_a"] == 0
    # Of the same name: rejects tell that of their file.
    moved = tmp_path / "elsewhere" / files["vcf"].name
    moved.parent.mkdir()
    shutil.copy(files["vcf"], moved)
    other = ("runs", "rerun", variant_run, "--out", tmp_path / "other", *QUIET)
    assert cisray(*other, "--vcf", moved).code == 0
    assert cisray("runs", "diff", variant_run, tmp_path / "other").code == 0


def test_a_run_that_does_not_say_how_it_was_made(cisray, genome_run, tmp_path) -> None:
    run = copied(genome_run, tmp_path)
    kept = json.loads((run / "run.json").read_text())
    kept["provenance"]["options"]["no_such_option"] = 1
    (run / "run.json").write_text(json.dumps(kept))
    command = ("runs", "rerun", run, "--out", tmp_path / "new")
    cisray(*command).assert_one_paragraph("no_such_option")
    del kept["provenance"]["options"]
    (run / "run.json").write_text(json.dumps(kept))
    cisray(*command).assert_one_paragraph("does not say with which options")


def test_diff_names_what_differs(cisray, inputs, genome_run, tmp_path) -> None:
    run = copied(genome_run, tmp_path)
    rewrite(run, 2, with_value(np.float32(2.0), 5), "sel")
    answer = cisray("runs", "diff", genome_run, run)
    assert answer.code == 1
    # Bin 5 of chrB is 641 to 768; the last track is 7.
    assert "chrB:641-768 t0007" in answer.out
    assert "2 in B" in answer.out
    bits = tmp_path / "bits"
    given = inputs.options(bits, "--quiet", "--tiles-per-shard", 3, "--mantissa-bits", 23)
    assert cisray(*given).code == 0
    found = told(cisray("runs", "diff", genome_run, bits, "--json"))
    assert [field["field"] for field in found["identity"]] == ["mantissa_bits"]
    assert 0 < max(group["largest_relative"] for group in found["groups"]) <= 2**-11 * 1.001
    close = told(cisray("runs", "diff", genome_run, bits, "--tolerance", 1e-3, "--json"))
    assert sum(group["differing"] for group in close["groups"]) == 0
    assert cisray("runs", "diff", genome_run, bits, "--tolerance", 1e-3).code == 1
    cisray("runs", "diff", genome_run, tmp_path / "none").assert_one_paragraph("no cisray run")
