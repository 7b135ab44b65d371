"""Pages of the reference are what the code makes of itself, and hold all that it has."""

import doctest
import os
import re
from pathlib import Path

import architecture_picture
import pytest
import reference_pages
from documents import DOCS, ROOT

import cisray
from cisray import errors
from cisray_schemas import TABLES

REFERENCE = DOCS / "reference"
STALE = "run `make reference`, and commit what it writes"
CLI_SNAPSHOT = ROOT / "tests/architecture/snapshots/cli.txt"


def text_of(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return reference_pages.reference_pages()


def test_the_picture_of_the_layers_is_what_is_enforced() -> None:
    assert architecture_picture.PICTURE.read_text(encoding="utf-8") == (
        architecture_picture.picture()
    ), STALE


def test_pages_are_what_the_code_makes(made) -> None:
    assert {name: text_of(name) == text for name, text in made.items()} == dict.fromkeys(
        made, True
    ), STALE
    there = {f"cli/{page.name}" for page in (REFERENCE / "cli").iterdir()}
    assert there == {name for name in made if name.startswith("cli/")}, STALE


def test_every_command_and_option_is_there() -> None:
    """Of the frozen command line, which is written by other code."""
    command = ""
    for line in CLI_SNAPSHOT.read_text().splitlines():
        if line.startswith("cisray"):
            command = line
        elif command not in ("cisray ...",):
            group = command.split()[1]
            section = text_of(f"cli/{group}.md").split(f"## {command}\n")[1].split("\n## ")[0]
            assert f"`{line.split()[0]}`" in section, (command, line)


def test_every_table_and_column_is_there(made) -> None:
    for table in TABLES.values():
        section = made["tables.md"].split(f"## {table.format}\n")[1].split("\n## ")[0]
        found = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert found == table.schema.names


def test_every_named_error_is_there(made) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", made["errors.md"], re.MULTILINE))
    names = {name for name in vars(errors) if name[0].isupper()}
    classes = {n for n in names if isinstance(vars(errors)[n], type)} - {"Iterable", "ClassVar"}
    assert set(rows) == classes
    assert (rows["ConfigError"], rows["StorageError"]) == ("2", "1")


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = text_of("python.md")
    homes = dict(cisray._HOMES)
    documented = {
        name: home
        for home, name in re.findall(r"^\.\. auto\w+:: (\S+)\.(\w+)$", page, re.MULTILINE)
    }
    assert documented == homes
    table = page.split("```")[0]
    assert all(f"`{name}`" in table for name in homes)


def test_environment_variables_are_those_of_the_code() -> None:
    page = text_of("environment.md")
    named = set(re.findall(r"`([A-Z][A-Z_]+)(?:=0)?`", page))
    ours = set(re.findall(r"\bCISRAY_[A-Z]+(?:_[A-Z]+)*\b", source("platform", "jobs")))
    assert len(ours) > 1
    assert ours <= named
    # What the libraries read, and no line of ours: obstore and huggingface-hub.
    elsewhere = {
        "AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN",
        "HF_HOME", "HF_TOKEN",
    }  # fmt: skip
    code = source("platform", "jobs", "tests", "deploy")
    assert {name for name in named - elsewhere if name not in code} == set()


def source(*folders: str) -> str:
    """Join the text of all files of some folders, this one left out."""
    files = [
        Path(folder) / name
        for part in folders
        for folder, _, names in os.walk(ROOT / part)
        for name in names
        if name.endswith((".py", ".sh", ".yaml", "Dockerfile"))
    ]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file != Path(__file__))


def test_the_examples_of_the_generator() -> None:
    found = doctest.testmod(reference_pages)
    assert found.attempted > 0
    assert found.failed == 0
