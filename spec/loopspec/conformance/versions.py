"""One loop under several interpreters: what differs between them, by clause, with the scenario that shows it.

A loop that ships with its interpreter is another loop in each version of it, and a mended bug is a difference
that nobody had to put there. So the campaign runs under each interpreter, with one seed; then the smallest
counterexample of every broken clause is played under all of them, and a clause is shown where one
interpreter keeps what another breaks *in the very same scenario*. That some campaign did not come upon a
scenario is so never taken for a difference.

Each interpreter is one in which this very loopspec is installed: that of a virtual environment, mostly.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import loopspec
from loopspec.clause import Clause
from loopspec.conformance.result import UsageError

_RUN = "from loopspec.conformance.cli import main; main()"


@dataclass(frozen=True)
class Interpreter:
    """A Python to run; ``version`` is what it says of itself."""

    command: str
    version: str


@dataclass(frozen=True)
class Breach:
    """The smallest scenario found that breaks ``clause`` under one of the interpreters, in words and as a
    token; ``observed`` is what was refused there."""

    clause: str
    token: str
    scenario: tuple[str, ...]
    observed: str


@dataclass(frozen=True)
class Difference:
    """``breach`` breaks its clause under the interpreters ``broken``, and under those of ``kept`` it does
    not."""

    breach: Breach
    broken: tuple[Interpreter, ...]
    kept: tuple[Interpreter, ...]


def interpreter(command: str) -> Interpreter:
    """The interpreter that ``command`` starts. Raises :class:`UsageError` if it has not this loopspec."""
    ask = "import loopspec, platform; print(loopspec.__version__, platform.python_version())"
    try:
        ran = subprocess.run([command, "-c", ask], capture_output=True, text=True, check=True)
        installed, version = ran.stdout.split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        raise UsageError(
            f"{command!r} starts no Python that has loopspec: make a virtual environment with that Python, "
            "install loopspec there, and give the path of its python"
        ) from None
    if installed != loopspec.__version__:
        raise UsageError(f"{command} has loopspec {installed}, not {loopspec.__version__}: install this one")
    return Interpreter(command, version)


def differences(
    loop: str,
    interpreters: Sequence[Interpreter],
    clauses: Sequence[Clause],
    *,
    examples: int,
    seed: int,
    on_progress: Callable[[str], None],
) -> tuple[Difference, ...]:
    """What differs between ``interpreters`` when ``loop`` is judged by ``clauses`` under each.

    Raises :class:`UsageError` where an interpreter cannot judge the loop; its own complaint says why.
    """
    smallest: dict[str, Breach] = {}
    selectors = [part for entry in clauses for part in ("--clause", entry.id)]
    for one in interpreters:
        on_progress(f"{loop} under {one.version}: looking")
        options = ["--examples", str(examples), "--seed", str(seed), *selectors]
        for breach in _breaches(one, loop, options):
            known = smallest.get(breach.clause)
            if known is None or len(breach.scenario) < len(known.scenario):
                smallest[breach.clause] = breach
    found = []
    for breach in smallest.values():
        on_progress(f"{loop}: playing the scenario of {breach.clause} under each")
        broken = tuple(one for one in interpreters if _breaks(one, loop, breach))
        kept = tuple(one for one in interpreters if one not in broken)
        if broken and kept:
            found.append(Difference(breach, broken, kept))
    return tuple(found)


def _breaks(one: Interpreter, loop: str, breach: Breach) -> bool:
    options = ["--clause", breach.clause, "--replay", breach.token]
    return any(again.clause == breach.clause for again in _breaches(one, loop, options))


def _breaches(one: Interpreter, loop: str, options: Sequence[str]) -> list[Breach]:
    """What ``loopspec check LOOP`` with ``options`` finds broken under ``one``."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "results.json")
        command = [one.command, "-c", _RUN, "check", loop, *options, "--json", str(file)]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if ended.returncode not in (0, 1) or not file.exists():
            complaint = (ended.stderr.splitlines() or [f"it ended with exit status {ended.returncode}"])[-1]
            raise UsageError(f"under {one.command}, {complaint}")
        results = json.loads(file.read_text(encoding="utf-8"))
    return [
        _breach(id, entry["counterexample"])
        for id, entry in results["loops"][loop]["clauses"].items()
        if entry["counterexample"] is not None
    ]


def _breach(clause: str, told: Mapping[str, object]) -> Breach:
    scenario = told["scenario"]
    assert isinstance(scenario, list)
    return Breach(clause, str(told["token"]), tuple(map(str, scenario)), str(told["observed"]))
