"""Who may import whom, and what no module may contain: read from the syntax trees of every file.

The specification is worth its independence. It must not know the implementation that it judges, nor the
other way round, and neither may lean on a package that changes under it.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CONFORMANCE = "spec/loopspec/conformance/"
ADAPTERS = CONFORMANCE + "loops/"
PLUGIN = CONFORMANCE + "pytest_plugin.py"
INSTRUMENTS = {"hypothesis", "click", "rich"}
NAMELESS = {"utils", "util", "common", "helpers", "helper", "base"}

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ("spec", "impl", "tests")
    for path in (ROOT / top).rglob("*.py")
)
SHIPPED = [path for path in FILES if not path.startswith("tests/")]


def allowed(path: str) -> set[str]:
    """The top-level packages that the file ``path`` may import, besides the standard library."""
    if path.startswith("impl/refloop/"):
        return {"refloop"}
    if path.startswith(ADAPTERS):  # each knows its own loop, and so only one file knows refloop
        return {"loopspec", Path(path).stem} | INSTRUMENTS
    if path == PLUGIN:  # pytest loads it, and so it is there
        return {"loopspec", "pytest", "_pytest"} | INSTRUMENTS
    if path.startswith(CONFORMANCE):
        return {"loopspec"} | INSTRUMENTS
    return {"loopspec"}


def imported(tree: ast.AST, path: str) -> Iterator[str]:
    """Every module that ``tree`` imports, anywhere in it, by its full name."""
    package = path.removesuffix("/__init__.py").removesuffix(".py").split("/")[1:]
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(origin + ([node.module] if node.module else []))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def foreign(source: str, path: str) -> set[str]:
    """What the file ``path``, which reads ``source``, imports and may not."""
    may = allowed(path) | set(sys.stdlib_module_names)
    names = set(imported(ast.parse(source), path))
    wrong = {name for name in names if name.split(".")[0] not in may}
    if path.startswith("spec/loopspec/") and not path.startswith(CONFORMANCE):
        wrong |= {name for name in names if f"{name}.".startswith("loopspec.conformance.")}
    return wrong


def escapes(source: str) -> set[str]:
    """How ``source`` gets round the type checker: ``Any``, ``cast``, or an unqualified ``type: ignore``."""
    found = {
        name
        for name in imported(ast.parse(source), "spec/x.py")
        if re.fullmatch(r"(typing|typing_extensions)\.(Any|cast)", name)
    }
    found |= {
        f"typing.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("typing", "Any"), ("typing", "cast")}
    }
    comments = (
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type is tokenize.COMMENT
    )
    return found | {comment for comment in comments if re.search(r"type:\s*ignore(?!\[)", comment)}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_shipped_file_imports_only_what_its_place_allows() -> None:
    assert {path: wrong for path in SHIPPED if (wrong := foreign(read(path), path))} == {}


@pytest.mark.full
def test_no_file_escapes_the_type_checker() -> None:
    assert {path: found for path in FILES if (found := escapes(read(path)))} == {}


def test_every_module_is_named_for_what_it_holds() -> None:
    parts = {part for path in FILES for part in path.removesuffix(".py").split("/")}
    assert parts & NAMELESS == set()


def test_every_shipped_module_opens_with_its_argument() -> None:
    assert [path for path in SHIPPED if not ast.get_docstring(ast.parse(read(path)))] == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("spec/loopspec/timer.py", "import hypothesis", "hypothesis"),
        ("spec/loopspec/timer.py", "from loopspec.conformance import cli", "loopspec.conformance.cli"),
        ("spec/loopspec/timer.py", "from loopspec import conformance", "loopspec.conformance"),
        ("spec/loopspec/timer.py", "from .conformance import cli", "loopspec.conformance.cli"),
        ("spec/loopspec/timer.py", "def late():\n    import refloop", "refloop"),
        ("spec/loopspec/conformance/campaign.py", "import refloop", "refloop"),
        ("spec/loopspec/conformance/campaign.py", "import trio", "trio"),
        ("spec/loopspec/conformance/campaign.py", "import pytest", "pytest"),
        (PLUGIN, "import pytest_asyncio", "pytest_asyncio"),
        ("spec/loopspec/watching/trio.py", "import trio", "trio"),
        (
            "spec/loopspec/watching/session.py",
            "from loopspec.conformance import cli",
            "loopspec.conformance.cli",
        ),
        ("spec/loopspec/conformance/loops/asyncio.py", "import refloop", "refloop"),
        ("impl/refloop/reactor.py", "from loopspec.trace import Event", "loopspec.trace.Event"),
        ("impl/refloop/reactor.py", "import hypothesis.strategies", "hypothesis.strategies"),
    ],
)
def test_an_import_across_a_border_is_found(path: str, source: str, wrong: str) -> None:
    assert foreign(source, path) == {wrong}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("spec/loopspec/timer.py", "from loopspec.trace import Event"),
        ("spec/loopspec/timer.py", "from .trace import Event"),
        ("spec/loopspec/conformance/cli.py", "import click, rich.table, loopspec"),
        (ADAPTERS + "refloop.py", "import refloop"),
        (PLUGIN, "import pytest"),
        ("impl/refloop/reactor.py", "import select\nfrom refloop.timers import Timers"),
    ],
)
def test_an_import_within_its_border_is_not(path: str, source: str) -> None:
    assert foreign(source, path) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from typing import Any", "typing.Any"),
        ("from typing import cast as believe", "typing.cast"),
        ("import typing\nx: typing.Any", "typing.Any"),
        ("x = 1  # type: " + "ignore", "# type: " + "ignore"),
    ],
)
def test_a_way_round_the_type_checker_is_found(source: str, found: str) -> None:
    assert escapes(source) == {found}


def test_a_qualified_ignore_is_no_way_round() -> None:
    assert escapes("x = 1  # type: " + "ignore[misc]") == set()


def test_to_import_loopspec_is_light() -> None:
    """Who does not watch loads nothing for it: not by the package, nor by the plugin that pytest finds."""
    program = (
        "import sys; before = set(sys.modules); import loopspec, loopspec.conformance.pytest_plugin; "
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('loopspec')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"import pytest; {program}"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [
        "loopspec",
        "loopspec.conformance",
        "loopspec.conformance.pytest_plugin",
    ]
