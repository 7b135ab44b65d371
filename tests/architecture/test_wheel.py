"""What a user installs: a wheel and an editable tree, each in a fresh environment, offline.

The fresh environment sees the libraries of the current one through a .pth file, and nothing of
the source tree: no PYTHONPATH, another working directory.
"""

import os
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from cisray.version import __version__

PACKAGES = {"cisray": "platform", "cisray_jobs": "jobs", "cisray_schemas": "schemas"}


def call(*command: object, cwd: Path) -> str:
    """Run a command with nothing inherited that could find the source tree; give its output."""
    ours = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def fresh_environment(folder: Path) -> Path:
    """A virtual environment with the libraries of this one, but without its cisray."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    libraries = [p for p in site.getsitepackages() if Path(p).is_dir()]
    # Plain paths only: the .pth files in them, an editable cisray among them, are not followed.
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a distribution is built from, so that the working tree stays clean."""
    copy = tmp_path_factory.mktemp("copy") / "cisray"
    copy.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in PACKAGES.values():
        shutil.copytree(root / folder, copy / folder, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, tree, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path, tree: Path) -> None:
    assert wheel.name == f"cisray-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(tree / folder))
        for package, folder in PACKAGES.items()
        for path in (tree / folder / package).rglob("*")
        if path.is_file()
    }
    assert names == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not any("test" in name or name.startswith("platform/") for name in names)


def test_the_metadata_of_the_wheel(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(name).decode())
        entries = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
        licences = [n for n in archive.namelist() if n.endswith("licenses/LICENSE")]
    assert told["Name"] == "cisray"
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    assert len(licences) == 1
    declared = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    assert told["Requires-Python"] == declared["requires-python"]
    plain = [r for r in told.get_all("Requires-Dist") or [] if "extra ==" not in r]
    assert len(plain) == len(declared["dependencies"])
    assert "cisray = cisray_jobs.cli:main" in entries


def install(folder: Path, *source: object) -> Path:
    """Install into a fresh environment; give its folder of commands."""
    binaries = fresh_environment(folder / "venv")
    given = ("install", "--no-deps", "--ignore-installed", *source)
    call(binaries / "python", "-m", "pip", *given, cwd=folder)
    return binaries


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"), wheel)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_an_installed_command_answers(
    kind: str, installed: Path, tree: Path, tmp_path: Path
) -> None:
    editable = ("--no-build-isolation", "--editable", tree)
    binaries = install(tmp_path, *editable) if kind == "editable" else installed
    python = binaries / "python"
    assert call(binaries / "cisray", "--version", cwd=tmp_path) == f"cisray {__version__}\n"
    assert "score" in call(binaries / "cisray", "--help", cwd=tmp_path)
    asked = "import cisray, cisray_jobs, cisray_schemas as s; print(cisray.__file__, s.__file__)"
    files = [Path(file) for file in call(python, "-c", asked, cwd=tmp_path).split()]
    home = tree if kind == "editable" else binaries.parent
    assert all(file.is_relative_to(home) for file in files), files


@pytest.mark.long
def test_an_installed_command_makes_a_model(installed: Path, tmp_path: Path) -> None:
    """The heavy imports work too, from the installed files alone."""
    cisray = installed / "cisray"
    call(cisray, "model", "init", "m.safetensors", "--size", "tiny", cwd=tmp_path)
    assert "human" in call(cisray, "model", "info", "m.safetensors", cwd=tmp_path)
