"""CrossHair, many times over, without starting it each time.

Most of what a proof of one step takes is the start of the tool and of the package that it is about. So one
process imports both, and forks for each question; as many are answered at a time as there are processors. A
question names a module or a function of one; with it may come a mutant, one module with one change in it,
which the fork imports in place of what is there, and anew all that has read it.

Of the tool one thing is changed: a number that stands in a text. A rule that says what was allowed and what
was seen instead writes numbers into its message, and to spell a number that might be any the tool has to try
each. What a message says is not what is proved; so an unknown number is spelt as an ellipsis. Texts of known
numbers are what they are.

``python -m tests.spec.prover`` reads the questions from standard input, as a list in JSON, and writes a line
in JSON as each is answered: its number, and what CrossHair says.
"""

from __future__ import annotations

import ast
import importlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType


@dataclass(frozen=True)
class Question:
    """What does CrossHair say of ``target``, if the source of ``module`` is ``source``?"""

    target: str
    module: str | None = None
    source: str | None = None


def _spell(value: object, spec: str = "") -> object:
    from crosshair.libimpl.builtinslib import SymbolicInt, _format
    from crosshair.tracers import NoTracing

    with NoTracing():  # type: ignore[no-untyped-call]  # the tool is not annotated there
        unknown = isinstance(value, SymbolicInt)
    return "…" if unknown else _format(value, spec)


def _prepare(targets: Iterable[str]) -> None:
    """Import the tool and what it is asked about."""
    import crosshair.core_and_libs  # noqa: F401  # which registers what it knows of the builtins
    from crosshair.core import _PATCH_REGISTRATIONS
    from crosshair.libimpl.builtinslib import SymbolicInt

    # Until Python 3.12 the tool has f-strings call its own format, and from 3.13 on the interpreter's.
    _PATCH_REGISTRATIONS[format] = _spell
    type.__setattr__(SymbolicInt, "__format__", lambda _number, _spec: "…")
    for target in targets:
        try:
            importlib.import_module(target)
        except ModuleNotFoundError:
            importlib.import_module(target.rpartition(".")[0])


def _readers(module: str) -> set[str]:
    """``module``, and all modules of its package that have imported it, be it by others."""
    package = module.partition(".")[0]
    imports = {
        name: _imported(Path(loaded.__file__))
        for name, loaded in sys.modules.items()
        if name.partition(".")[0] == package and loaded.__file__
    }
    readers = {module}
    while more := {name for name, imported in imports.items() if imported & readers} - readers:
        readers |= more
    return readers & sys.modules.keys()


@cache
def _imported(file: Path) -> frozenset[str]:
    source = file.with_name(file.name.partition(".")[0] + ".py")  # beside it, if the module is compiled
    found = [
        node for node in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    return frozenset(
        name
        for node in found
        if node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    )


class _Instead(MetaPathFinder):
    """Finds ``module`` in ``file``."""

    def __init__(self, module: str, file: Path) -> None:
        self.module, self.file = module, file

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_file_location(name, self.file) if name == self.module else None


def _answer(question: Question, tell: Connection) -> None:
    from crosshair.main import unwalled_main

    with TemporaryDirectory() as directory, redirect_stdout(io.StringIO()) as said:
        if question.module is not None and question.source is not None:
            file = Path(directory, "mutant.py")
            file.write_text(question.source, encoding="utf-8")
            for name in _readers(question.module):
                del sys.modules[name]
            sys.meta_path.insert(0, _Instead(question.module, file))
        unwalled_main(["check", "--report_all", "--per_condition_timeout", "30", question.target])
    tell.send(said.getvalue())


def answers(questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
    """What CrossHair says of each question, by its place; in the order in which they are answered."""
    _prepare(sorted({question.target for question in questions}))
    for question in questions:  # what is read once here is known to all forks
        if question.module is not None:
            _readers(question.module)
    context = multiprocessing.get_context("fork")
    todo = list(enumerate(questions))[::-1]
    out: dict[Connection, tuple[int, BaseProcess]] = {}
    while todo or out:
        while todo and len(out) < (os.cpu_count() or 1):
            place, question = todo.pop()
            hear, tell = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_answer, args=(question, tell), daemon=True)
            process.start()
            tell.close()
            out[hear] = (place, process)
        for hear in [each for each in wait(list(out)) if isinstance(each, Connection)]:
            place, process = out.pop(hear)
            try:
                said = hear.recv()
            except EOFError:
                said = "it ended without a word"
            hear.close()
            process.join()
            yield place, str(said)


def asked(questions: Sequence[Question]) -> str:
    """``questions`` as this module reads them."""
    return json.dumps([asdict(question) for question in questions])


def main() -> None:
    """Answer what standard input asks."""
    for place, said in answers([Question(**entry) for entry in json.load(sys.stdin)]):
        sys.stdout.write(json.dumps([place, said]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
