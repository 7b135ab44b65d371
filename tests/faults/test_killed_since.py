"""Runs that build on another one, killed by SIGKILL at random moments: every row is there once."""

import random
from pathlib import Path

import pytest
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf
from killed_jobs import KILLED, Nursery
from polars.testing import assert_frame_equal

from cisray.store.scan import open_run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS = 6


@pytest.mark.long
def test_runs_killed_at_random_link_and_score_as_undisturbed_ones(tmp_path: Path) -> None:
    text = genome_with_traps()["chr1"].upper()
    records = [
        ("chr1", pos, f"rs{pos}", text[pos - 1], "ACGT"["CGTA".index(text[pos - 1])])
        for pos in range(400, 640, 12)
    ]
    records.append(("chr1", 5, "gone", text[4], "<DEL>"))
    dice = random.Random(2)
    new = dice.sample(records, len(records))
    given = {
        "model": str(write_model(tmp_path / "m.safetensors")),
        "fasta": str(write_genome(tmp_path / "g.fa", genome_with_traps())),
        "mantissa_bits": 23,
        "precision": "float32",
        "rows_per_shard": 1,
    }
    old = given | {"vcf": str(write_vcf(tmp_path / "old.vcf", records[::2]))}
    full = given | {"vcf": str(write_vcf(tmp_path / "new.vcf", new))}
    since = full | {"since": [str(tmp_path / "old")]}
    with Nursery() as nursery:
        nursery.warm("variants", {**full, "out": str(tmp_path / "full")})
        assert nursery.run("variants", {**old, "out": str(tmp_path / "old")})[0] == 0
        options = {**since, "out": str(tmp_path / "undisturbed")}
        code, seconds = nursery.run("variants", options)
        assert code == 0
        reference = open_run(tmp_path / "undisturbed")
        rows = open_run(tmp_path / "full").scan().collect()
        assert_frame_equal(reference.scan().collect(), rows, check_exact=True)
        kills = 0
        for trial in range(TRIALS):
            out = tmp_path / f"{trial}"
            for _ in range(2):
                moment = dice.uniform(0, seconds)
                code, _ = nursery.run("variants", {**since, "out": str(out)}, kill_after=moment)
                kills += code == KILLED
            assert nursery.run("variants", {**since, "out": str(out)})[0] == 0
            run = open_run(out)
            assert_frame_equal(run.scan().collect(), rows, check_exact=True)
            assert_frame_equal(run.linked.collect(), reference.linked.collect())
            assert run.manifest.digest == reference.manifest.digest
        config = reference.manifest.config
        assert (config["linked"], config["scored"], config["rejected"]) == (10, 10, 1)
        assert kills >= TRIALS / 2
