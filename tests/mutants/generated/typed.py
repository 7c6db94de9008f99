"""The type checker as a detector: a mutant that it refuses could not be committed, and need not be tried on.

It is asked last, about what survives the tests, since it says nothing of what the suite notices; and it is
asked as the gate asks it, with the same configuration. mypy's daemon keeps all that it knows of a copy of the
sources, so that an answer takes a fraction of a second: the text of the mutant is put in its file's place
there, and taken out again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.generated.suite import ROOT

CHECKED = ("spec/loopspec", "impl/refloop")
"""What is checked: the mutated packages, whatever of them uses the mutant included."""

APART = ("conformance",)
"""What is left out of them, since it is large, brings in libraries, and is not mutated."""


@dataclass(frozen=True)
class TypeChecker:
    """mypy's daemon on a copy of the sources, in the directory ``copy``."""

    copy: Path

    def refuses(self, file: str, text: str, original: str) -> str:
        """What is wrong first when ``text`` stands in ``file`` in place of ``original``, or nothing."""
        if not self._running.exists():
            self._start()
        path = self.copy / file
        path.write_text(text, encoding="utf-8")
        told = self._daemon("recheck")
        path.write_text(original, encoding="utf-8")
        if self._daemon("recheck").returncode != 0:  # it has kept something of the mutant
            self._daemon("stop")
        match told.returncode:
            case 0:
                return ""
            case 1:
                return told.stdout.partition("\n")[0]
            case _:
                raise ChildProcessError(f"mypy's daemon ended with status {told.returncode}: {told.stderr}")

    def stop(self) -> None:
        """End the daemon, if it has been needed."""
        if self._running.exists():
            self._daemon("stop")

    @property
    def _running(self) -> Path:
        """The file by which the daemon is found, which is there while it runs."""
        return self.copy / "daemon.json"

    def _start(self) -> None:
        for name in CHECKED:
            ignored = shutil.ignore_patterns(*APART)
            shutil.copytree(ROOT / name, self.copy / name, ignore=ignored, dirs_exist_ok=True)
        shutil.copy(ROOT / "pyproject.toml", self.copy)
        told = self._daemon("run", "--", *CHECKED)
        if told.returncode != 0:
            raise ChildProcessError(f"mypy refuses the code as it is: {told.stdout}{told.stderr}")

    def _daemon(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mypy.dmypy", "--status-file", str(self._running), *command],
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
    checker = TypeChecker(copy)
    try:
        yield checker
    finally:
        checker.stop()
        shutil.rmtree(copy)
