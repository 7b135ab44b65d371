"""Rules of the source that no linter knows. Each rule is shown a violation as well."""

import ast
from collections.abc import Iterator

import pytest

FUNCTION_LINES = 80
MODULE_LINES = 400

# Base arithmetic: only these may turn 1-based into 0-based positions or back.
MAY_SHIFT_POS = {"platform/cisray/genome/variant.py", "platform/cisray/locus.py"}
VALUES = ("platform/cisray/genome/", "platform/cisray/store/", "platform/cisray/tracks.py")
MAY_START_RAY = {"platform/cisray/engine/cluster.py"}


def name_of(node: ast.expr) -> str:
    """The last word of a name, an attribute or a subscript: `record.pos` and `row["pos"]`."""
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word):
            return word
        case ast.Subscript(slice=ast.Constant(value=str(word))):
            return word
        case ast.Call(func=ast.Name(id="int"), args=[inner]):
            return name_of(inner)
    return ""


def shifts_of_base(tree: ast.AST) -> Iterator[int]:
    """Lines with `pos + 1`, `pos - 1`, `1 + pos`, `pos -= 1` or `start + 1`."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                pair = [(left, right), (right, left)]
            case ast.AugAssign(target=left, op=ast.Add() | ast.Sub() as op, value=right):
                pair = [(left, right)]
            case _:
                continue
        for named, number in pair:
            if isinstance(number, ast.Constant) and number.value == 1:
                name = name_of(named)
                is_pos = name == "pos" or name.endswith("_pos")
                if is_pos or (name == "start" and isinstance(op, ast.Add)):
                    yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        "start = variant.pos - 1",
        "pos = 1 + pos",
        "x = int(row['pos']) - 1",
        "tss_pos -= 1",
        "text = interval.start + 1",
    ],
)
def test_the_rule_sees_shifts_of_base(line: str) -> None:
    assert list(shifts_of_base(ast.parse(line))) == [1]


def test_the_rule_leaves_other_arithmetic_alone() -> None:
    lines = "last = end - 1\nbin = pos // 128\nwide = start + 128\nplace = start + here + 1"
    assert list(shifts_of_base(ast.parse(lines))) == []


def test_only_variant_and_locus_shift_between_bases(sources) -> None:
    shifts = {(s.name, line) for s in sources for line in shifts_of_base(s.tree)}
    strays = {shift for shift in shifts if shift[0] not in MAY_SHIFT_POS}
    assert not strays, f"use Variant.interval or cisray.locus: {sorted(strays)}"
    assert {name for name, _ in shifts} == MAY_SHIFT_POS


def open_dataclasses(tree: ast.AST) -> Iterator[str]:
    """Dataclasses that are not both frozen and slotted."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            options = decorator.keywords if isinstance(decorator, ast.Call) else []
            callee = decorator.func if isinstance(decorator, ast.Call) else decorator
            given = {o.arg for o in options if getattr(o.value, "value", None) is True}
            if name_of(callee) == "dataclass" and not given >= {"frozen", "slots"}:
                yield node.name


@pytest.mark.parametrize(
    "decorator",
    [
        "@dataclass",
        "@dataclasses.dataclass",
        "@dataclass(frozen=True)",
        "@dataclass(slots=True, frozen=False)",
    ],
)
def test_the_rule_sees_open_dataclasses(decorator: str) -> None:
    assert list(open_dataclasses(ast.parse(f"{decorator}\nclass X:\n    a: int"))) == ["X"]


def test_values_of_genome_store_and_tracks_are_frozen_and_slotted(sources) -> None:
    about = [s for s in sources if s.name.startswith(VALUES)]
    assert sum(s.text.count("@dataclass") for s in about) >= 10
    assert {(s.name, name) for s in about for name in open_dataclasses(s.tree)} == set()


def starts_of_ray(tree: ast.AST) -> Iterator[int]:
    """Lines that call `ray.init`, or take it out of ray to call it."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="ray"), attr="init"):
                yield node.lineno
            case ast.ImportFrom(module="ray", names=names) if "init" in {n.name for n in names}:
                yield node.lineno


@pytest.mark.parametrize("text", ["ray.init()", "from ray import get, init", "f = ray.init"])
def test_the_rule_sees_starts_of_ray(text: str) -> None:
    assert list(starts_of_ray(ast.parse(text))) == [1]


def test_only_the_engine_starts_ray(sources) -> None:
    """A bare `ray.init()` joins whatever cluster it finds and rewires logging and signals."""
    assert {s.name for s in sources if list(starts_of_ray(s.tree))} == MAY_START_RAY


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the docstring to the end; a command's signature is a table of its options."""
    return (function.end_lineno or 0) - function.body[0].lineno + 1


def test_functions_and_modules_fit_on_a_screen_or_a_few(sources) -> None:
    long_functions = {
        (s.name, node.name, body_lines(node))
        for s in sources
        for node in ast.walk(s.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > FUNCTION_LINES
    }
    assert long_functions == set()
    lines = {s.name: len(s.text.splitlines()) for s in sources}
    assert {name: n for name, n in lines.items() if n > MODULE_LINES} == {}


def test_every_file_says_what_it_knows(sources) -> None:
    assert [s.name for s in sources if not ast.get_docstring(s.tree)] == []
