"""The type checker as a detector: a mutant that it refuses could not be committed, and need not be tried on.

It is asked last, about what survives the tests, since it says nothing of what the suite notices; but first
of a mutant that has to be imported, since it answers sooner. It is asked as the gate asks it, with the same
configuration. The text of the mutant is put in its file's place in a copy of the sources, and taken out
again. mypy runs anew each time, on what it keeps of the other files: its daemon now and then keeps something
of a mutant that is gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.mutants.generated.suite import ROOT

CHECKED = ("spec/loopspec", "impl/refloop")
"""What is checked: the mutated packages, whatever of them uses the mutant included."""

APART = ("conformance",)
"""What is left out of them, since it is large, brings in libraries, and is not mutated."""


@dataclass(frozen=True)
class TypeChecker:
    """mypy on a copy of the sources, in the directory ``copy``."""

    copy: Path
    _times: Iterator[int] = field(default_factory=count)

    def refuses(self, file: str, text: str, original: str) -> str:
        """What is wrong first when ``text`` stands in ``file`` in place of ``original``, or nothing."""
        path = self.copy / file
        if not path.exists():
            self._begin()
        self._put(path, text)
        told = self._mypy(file)
        self._put(path, original)
        match told.returncode:
            case 0:
                return ""
            case 1:
                return told.stdout.partition("\n")[0]
            case _:
                raise ChildProcessError(f"mypy ended with status {told.returncode}: {told.stderr}")

    def _put(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        time = next(self._times)  # mypy takes what is as long and as old, in seconds, for the same
        os.utime(path, (time, time))

    def _begin(self) -> None:
        for name in CHECKED:
            shutil.copytree(ROOT / name, self.copy / name, ignore=shutil.ignore_patterns(*APART))
        shutil.copy(ROOT / "pyproject.toml", self.copy)
        told = self._mypy(*CHECKED)
        if told.returncode != 0:
            raise ChildProcessError(f"mypy refuses the code as it is: {told.stdout}{told.stderr}")

    def _mypy(self, *names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mypy", *names],
            cwd=self.copy,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def type_checker(copy: Path) -> Iterator[TypeChecker]:
    """A type checker that works in the directory ``copy``, which is made anew and goes with it."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        yield TypeChecker(copy)
    finally:
        shutil.rmtree(copy)
