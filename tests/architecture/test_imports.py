"""What importing and asking for help may cost, and that `platform/` never hides the library's."""

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

PATHS = ("platform", "jobs", "schemas")


def python(code: str, *, cwd: Path, path: list[Path]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_folder_platform_is_no_package(root: Path) -> None:
    """With an __init__.py it would hide the standard library's module, and Ray's workers die."""
    assert (root / "platform").is_dir()
    assert not (root / "platform" / "__init__.py").exists()
    assert not (root / "tests" / "platform").exists()
    assert not list((root / "tests").rglob("__init__.py"))


def test_the_standard_library_wins_from_the_root_of_the_repository(root: Path) -> None:
    code = "import platform, uuid; platform.system(); print(platform.__file__)"
    result = python(code, cwd=root, path=[root])
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


LOADED = "\nprint('LOADED', *sorted(m for m in sys.modules if '.' not in m))"


def loaded_by(code: str, root: Path) -> set[str]:
    """The top-level modules in a fresh interpreter after running the code."""
    paths = [root / name for name in PATHS]
    result = python("import sys\n" + code + LOADED, cwd=root, path=paths)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED")[2].split())


def test_the_probe_sees_what_is_loaded(root: Path) -> None:
    assert "numpy" in loaded_by("import cisray; cisray.Interval; import numpy", root)


def test_a_run_on_a_disk_loads_nothing_of_object_stores(root: Path) -> None:
    code = "from cisray.store import locate, run, scan; locate.locate('runs/chr21').names()"
    assert "obstore" not in loaded_by(code, root)


def test_importing_cisray_loads_nothing_heavy(root: Path) -> None:
    loaded = loaded_by("import cisray", root)
    assert "cisray" in loaded
    assert loaded & {"torch", "polars", "ray", "pyarrow", "numpy", "pydantic"} == set()


def test_help_loads_nothing_heavy(root: Path) -> None:
    code = "from cisray_jobs.cli import run\n"
    for arguments in (
        ["--help"],
        ["score", "genome", "--help"],
        ["score", "variants", "--help"],
        ["model", "init", "--help"],
        ["runs", "export", "--help"],
        ["submit", "--help"],
        ["jobs", "logs", "--help"],
    ):
        code += f"assert run({arguments}) == 0\n"
    loaded = loaded_by(code, root)
    assert "cisray_jobs" in loaded
    heavy = {"torch", "polars", "ray", "pyarrow", "transformers", "matplotlib", "h5py", "pysam"}
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("cisray.genome.reference", {"torch", "polars", "ray"}),
        ("cisray.genome.alleles", {"torch", "polars", "ray"}),
        ("cisray.store.scan", {"torch", "ray", "matplotlib", "h5py", "pysam", "pybigtools"}),
        ("cisray.store.export.vcf", {"torch", "ray", "matplotlib", "h5py", "pybigtools"}),
        ("cisray_jobs.export", {"torch", "ray"}),
        ("cisray.scoring.tiles", {"polars", "ray"}),
        ("cisray_jobs.score_genome", {"ray"}),
        ("cisray_jobs.output", {"torch", "ray", "matplotlib"}),
        ("cisray_jobs.run_output", {"torch", "ray", "matplotlib"}),
        ("cisray.page.document", {"torch", "ray", "polars", "matplotlib", "pandas"}),
        ("cisray_jobs.report.write", {"torch", "ray", "sklearn", "pandas"}),
    ],
)
def test_a_layer_loads_only_what_it_needs(root: Path, module: str, without: set[str]) -> None:
    assert loaded_by(f"import {module}", root) & without == set()


@pytest.mark.slow
def test_help_answers_at_once(root: Path) -> None:
    code = "from cisray_jobs.cli import run; run(['--help'])"
    begun = time.monotonic()
    python(code, cwd=root, path=[root / name for name in PATHS])
    assert time.monotonic() - begun < 5  # 0.3 s on an idle machine; torch alone takes longer
