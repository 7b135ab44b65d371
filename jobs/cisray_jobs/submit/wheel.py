"""A wheel of cisray as it is installed here, whose name says what is in it.

Knows files and the wheel format; knows nothing of clusters. Ray knows a wheel by its file name: one
of the same name and other content runs the old code (docs/decisions/0032). So the version carries a
digest of the content, and equal content gives equal bytes.
"""

import base64
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from cisray.errors import StorageError
from cisray.version import __version__

PACKAGES = ("cisray", "cisray_jobs", "cisray_schemas")
REQUIRES_PYTHON = ">=3.11"
DIGITS = 12  # of the digest, 48 bits

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_MODE = 0o100644 << 16  # a plain file, readable by all
_UNIX = 3
_NOT_SHIPPED = ("__pycache__",)


def build_wheel(folder: Path) -> Path:
    """Write the wheel into a folder and return its path.

    It has no dependencies: Ray installs it with pip and without --no-deps, which would fetch torch
    and the others once more into every node's cache. They belong to the image of the cluster.
    """
    contents = installed_files()
    version = stamped_version(contents)
    about = f"cisray-{version}.dist-info"
    metadata = {
        f"{about}/METADATA": (
            f"Metadata-Version: 2.1\nName: cisray\nVersion: {version}\n"
            f"Requires-Python: {REQUIRES_PYTHON}\n"
        ).encode(),
        f"{about}/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: cisray\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    files = {**contents, **metadata}
    files[f"{about}/RECORD"] = _record(files, f"{about}/RECORD")
    path = folder / f"cisray-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(_entry(name), content, zipfile.ZIP_DEFLATED, compresslevel=6)
    return path


def installed_files() -> dict[str, bytes]:
    """Read the files of the three packages, by their names in a wheel, in the order of names."""
    return {
        str(path.relative_to(root.parent)): path.read_bytes()
        for package in PACKAGES
        for root in [_root(package)]
        for path in sorted(_shipped(root))
    }


def stamped_version(contents: Mapping[str, bytes]) -> str:
    """Give the version with a digest of names and contents, as 0.1.0+g0123456789ab (PEP 440)."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return f"{__version__}+g{digest.hexdigest()[:DIGITS]}"


def _root(package: str) -> Path:
    """Find the folder of a package, however it was installed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise StorageError(
            f"The package {package} does not lie in a folder here, so it cannot be sent: install "
            f"cisray with pip."
        )
    return Path(spec.origin).parent


def _shipped(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        is_hidden = any(part.startswith(".") or part in _NOT_SHIPPED for part in parts)
        if path.is_file() and not is_hidden:
            yield path


def _entry(name: str) -> zipfile.ZipInfo:
    """Describe a file by nothing that differs between two machines."""
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr, entry.create_system = _MODE, _UNIX
    return entry


def _record(files: Mapping[str, bytes], own_name: str) -> bytes:
    """List the files with digests and sizes; names here need no quoting as CSV."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{own_name},,\n"]).encode()
