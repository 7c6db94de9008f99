"""The hunt of a mutant of the kernel model: a copy of the specification with one rule changed is compared
with the live kernel, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parent.parent.parent
CALLS = 20_000

COMPARE = """
import json, sys
from loopspec.conformance.live import compare
report = compare(int(sys.argv[1]), int(sys.argv[2]))
found = report.disagreement
print(json.dumps(found and [report.calls, len(found.calls), sorted(found.clauses)]))
"""


class Refuted(NamedTuple):
    """The live kernel disagrees after ``made`` calls; ``size`` of them are enough. ``clauses`` had allowed
    something else."""

    made: int
    size: int
    clauses: tuple[str, ...]


def compared(mutant: Mutant, folder: Path) -> Refuted | None:
    """What the live kernel says of a model with ``mutant`` in it; None if it agrees."""
    shutil.copytree(ROOT / "spec", folder / "spec", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / mutant.path
    source = file.read_text()
    assert source.count(mutant.old) == 1, "what the mutant changes must occur exactly once"
    file.write_text(source.replace(mutant.old, mutant.new))
    ended = subprocess.run(
        [sys.executable, "-c", COMPARE, str(CALLS), "20261"],
        env=os.environ | {"PYTHONPATH": str(folder / "spec")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return Refuted(int(found[0]), int(found[1]), tuple(found[2])) if found else None
