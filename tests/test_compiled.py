"""The build of a compiled refloop: what it compiles, what it needs, and what the suite leaves out of it."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import tomllib
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import refloop
from tests.compiled import LEFT_OUT, header, is_compiled, outlived

ROOT = Path(__file__).parent.parent
REFLOOP = ROOT / "impl" / "refloop"

MODULES = tomllib.loads((ROOT / "compiled" / "modules.toml").read_text(encoding="utf-8"))


def test_every_module_is_compiled_or_has_a_reason_why_not() -> None:
    modules = {
        path.stem for path in REFLOOP.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted([*MODULES["compiled"], *MODULES["interpreted"]]) == sorted(modules)


def miscompiled(source: str) -> list[str]:
    """What mypyc makes something else of than the interpreter does, without a word."""
    found = []
    for node in (each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.stmt)):
        if isinstance(node, ast.FunctionDef) and "types.coroutine" in map(ast.unparse, node.decorator_list):
            found.append(f"{node.name} could not be awaited")
        if isinstance(node, ast.AsyncWith) or any(isinstance(each, ast.Await) for each in handling(node)):
            found.append(f"what is handled in line {node.lineno} is seen by whoever runs meanwhile")
    return found


def handling(node: ast.stmt) -> Iterator[ast.AST]:
    """What in ``node`` may be run while an exception is handled."""
    if isinstance(node, ast.Try):
        for statement in (*node.handlers, *node.finalbody):
            yield from ast.walk(statement)


def test_what_mypyc_miscompiles_is_in_no_compiled_module() -> None:
    sources = {name: (REFLOOP / f"{name}.py").read_text(encoding="utf-8") for name in MODULES["compiled"]}
    assert {name: found for name, source in sources.items() if (found := miscompiled(source))} == {}


@pytest.mark.parametrize("name", ["generators", "primitives", "streams"])
def test_what_mypyc_miscompiles_is_found_where_it_is(name: str) -> None:
    assert miscompiled((REFLOOP / f"{name}.py").read_text(encoding="utf-8")) != []


def test_without_a_compiler_make_says_so_in_one_line(tmp_path: Path) -> None:
    made = subprocess.run(
        ["make", "compiled", f"VENV={tmp_path}", f"CC={tmp_path}/cc", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": "0"},
        check=False,
    )
    ours = [line for line in made.stderr.splitlines() if not line.startswith("make: ***")]
    assert (made.returncode, len(ours)) == (2, 1)
    assert f"no {tmp_path}/cc: install gcc" in ours[0]


def test_a_run_says_what_it_leaves_out_of_a_compiled_refloop_and_why() -> None:
    first, line = header({"tests/test_x.py::test_x": "it reads the source"})
    assert first.endswith("; 1 tests are left out:")
    assert line == "  test_x: it reads the source"


def test_a_test_that_is_left_out_and_is_not_there_is_named() -> None:
    name, *_ = LEFT_OUT
    assert list(outlived(LEFT_OUT, LEFT_OUT.keys())) == []
    assert list(outlived({name: ""}, [])) == [f"tests/compiled.py leaves out {name}, and there is none"]


async def nothing() -> None:
    pass


def test_a_weak_reference_to_a_task_is_refused_or_dead_when_the_task_is() -> None:
    told: list[weakref.ref[refloop.Task[None]]] = []
    reactor = refloop.Reactor()
    runtime = refloop.Runtime(reactor)
    task = runtime.spawn(nothing)
    refused = is_compiled() and sys.version_info >= (3, 12)  # where mypyc leaves no room for one
    with pytest.raises(TypeError) if refused else nullcontext():
        told.append(weakref.ref(task, told.append))
    runtime.run_until_done(task)
    runtime.close()
    reactor.close()
    del task
    gc.collect()
    assert [reference() for reference in told] == ([] if refused else [None, None])
