"""The wheel that a job takes along: made of this code, the same bytes each time, good for pip."""

import base64
import csv
import hashlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from cisray.errors import StorageError
from cisray.version import __version__
from cisray_jobs.submit import wheel
from cisray_jobs.submit.wheel import PACKAGES, build_wheel, installed_files, stamped_version


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def folders() -> dict[str, Path]:
    return {name: Path(importlib.import_module(name).__file__ or "").parent for name in PACKAGES}


def test_it_holds_the_three_packages_as_they_lie_here(built: Path) -> None:
    expected = {
        f"{name}/{path.relative_to(folder)}": path.read_bytes()
        for name, folder in folders().items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(built) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert {name: archive.read(name) for name in names} == expected
    assert len(names) == len(expected)
    assert f"{PACKAGES[0]}/engine/pool.py" in names


def test_its_bytes_are_the_same_each_time(built: Path, tmp_path: Path) -> None:
    """Also of copies of the files with other times, permissions and stray neighbours."""
    again = build_wheel(tmp_path)
    assert again.name == built.name
    assert again.read_bytes() == built.read_bytes()
    for name, folder in folders().items():
        shutil.copytree(folder, tmp_path / "src" / name)
    for path in (tmp_path / "src").rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    (tmp_path / "src" / "cisray" / ".editor.swp").write_text("stray")
    (tmp_path / "out").mkdir()
    code = "from pathlib import Path; from cisray_jobs.submit.wheel import build_wheel as b; "
    path = os.pathsep.join([str(tmp_path / "src"), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", code + f"b(Path({str(tmp_path / 'out')!r}))"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        check=True,
    )
    (copied,) = (tmp_path / "out").iterdir()
    assert copied.name == built.name
    assert copied.read_bytes() == built.read_bytes()


def test_its_name_follows_every_byte_and_name(built: Path) -> None:
    contents = installed_files()
    stamp = stamped_version(contents)
    assert built.name == f"cisray-{stamp}-py3-none-any.whl"
    assert stamp.startswith(f"{__version__}+g")
    first = next(iter(contents))
    changed = [
        contents | {first: contents[first] + b" "},
        contents | {"cisray/new.py": b""},
        {name: content for name, content in contents.items() if name != first},
        {f"{name}x" if name == first else name: c for name, c in contents.items()},
        # A byte that moves from the end of one name to the beginning of its content.
        {name[:-1] if name == first else name: c for name, c in contents.items()}
        | {first[:-1]: first[-1:].encode() + contents[first]},
    ]
    stamps = [stamped_version(one) for one in changed]
    assert len({stamp, *stamps}) == len(changed) + 1


def test_its_record_is_right(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(io.StringIO(archive.read(name).decode())))
        assert [row[0] for row in rows] == archive.namelist()
        for path, digest, size in rows[:-1]:
            content = archive.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
            assert digest == f"sha256={expected.decode().rstrip('=')}"
            assert int(size) == len(content)
    assert rows[-1] == [name, "", ""]


def test_it_brings_no_dependencies(built: Path, pytestconfig: pytest.Config) -> None:
    """Ray runs pip without --no-deps: each of them would be fetched again on every node."""
    with zipfile.ZipFile(built) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(name).decode())
    assert told.get_all("Requires-Dist") is None
    declared = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())["project"]
    assert told["Requires-Python"] == declared["requires-python"]
    assert (told["Name"], told["Version"]) == ("cisray", built.name.split("-")[1])


def test_pip_installs_it_as_ray_does(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index"]
    subprocess.run([*pip, str(built), f"--target={target}"], check=True, capture_output=True)
    code = "import cisray, cisray_jobs.cli as c; print(cisray.__file__, c.run(['--version'])); "
    # What is installed from it is sent on as the same wheel.
    code += "from cisray_jobs.submit.wheel import *; print(build_wheel(Path('.')))"
    # Behind what is installed, the libraries; without the folders of the source.
    ours = {folder.parent for folder in folders().values()}
    libraries = [entry for entry in sys.path if entry and Path(entry) not in ours]
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *libraries])},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    init = str(target / "cisray" / "__init__.py")
    assert answer == ["cisray", __version__, init, "0", built.name]
    assert (tmp_path / built.name).read_bytes() == built.read_bytes()


def test_a_package_that_is_no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "PACKAGES", ("cisray_missing",))
    with pytest.raises(StorageError, match="cisray_missing"):
        installed_files()
