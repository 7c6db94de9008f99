"""The hunt: does the campaign, as it runs on every loop, find a mutant of refloop by itself?

Each mutant is hunted in a process of its own, forked from one in which everything but refloop is warm: the
copy of refloop with the change in it is imported there under refloop's name, and the campaign looks for the
first of its scenarios that breaks the mutant's clause. Nothing in the scenarios knows of the mutant; seed
and number of examples are the same for all, so that what is printed here is found again.

That scenario then runs on refloop as it is. A kill counts only if refloop keeps the clause there: what breaks
both shows something else.

A mutant that hangs is broken off by the lockstep's own alarm, as any loop is. What hangs beyond that is
killed from outside, which is the last resort and no verdict on a clause: such a mutant is not killed.

``python -m tests.mutants.hunt [NAME ...]`` prints what the hunts find.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeAlias

import click

from loopspec.clause import Clause, select
from loopspec.conformance.campaign import Campaign, MakeLoop
from loopspec.conformance.lockstep import Hand, hand
from loopspec.conformance.result import ClauseResult
from loopspec.conformance.scenario import Scenario, in_words, scenario_of, token_of
from loopspec.consequences import alone
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]
PACKAGE = "impl/refloop"
SERVERS = f"{PACKAGE}/servers"
"""Its servers are processes of their own: tests/conformance/test_servers.py hunts their mutants."""

ADAPTER = "loopspec.conformance.loops.refloop"

SEED = 1
ROUNDS = (100, 500, 1500)
"""Scenarios of each family that is for the clause's area, a round after the other: which family kills is not
known beforehand, and it mostly takes few of its scenarios."""

CONTROL = 6000
"""How many scenarios refloop itself has to survive."""

AGAIN = 20
"""How often a scenario that has killed a mutant is played to see it killed again."""

_LAST_RESORT = 600.0
"""Seconds of silence of every hunter that is out, after which they are called off."""


@dataclass(frozen=True)
class Hunted:
    """What a hunt has come to: ``token`` is that of the scenario that breaks the clause, None if none of
    ``scenarios`` does; ``spares`` says that refloop as it is keeps the clause there. Where it has been made
    small, ``size`` is the number of its steps, and ``breaks`` are all the clauses that it breaks."""

    scenarios: int
    token: str | None = None
    spares: bool = True
    trouble: str | None = None
    size: int = 0
    breaks: tuple[str, ...] = ()


class MisfitError(ValueError):
    """The source has moved on from under a mutant."""


def hunted_by_scenarios(mutants: Iterable[Mutant] = MUTANTS) -> list[Mutant]:
    """Those of ``mutants`` that change the loop."""
    return [
        mutant
        for mutant in mutants
        if mutant.path.startswith(PACKAGE + "/") and not mutant.path.startswith(SERVERS + "/")
    ]


def mutate(mutant: Mutant, directory: Path) -> None:
    """Put a copy of refloop into ``directory``, with ``mutant`` in it."""
    shutil.copytree(
        ROOT / PACKAGE, directory / Path(PACKAGE).name, ignore=shutil.ignore_patterns("__pycache__")
    )
    changed = directory / Path(mutant.path).relative_to(Path(PACKAGE).parent)
    source = changed.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise MisfitError(
            f"what it changes occurs {source.count(mutant.old)} times in {mutant.path}, not once"
        )
    changed.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


Hunter: TypeAlias = Callable[[str, Path, Connection], None]
"""Looks for a run of the refloop in a directory that breaks a clause, and tells a :class:`Hunted`."""


def hunts(
    mutants: Iterable[Mutant], hunter: Hunter | None = None, *, small: bool = False
) -> Generator[tuple[Mutant, Hunted], None, None]:
    """Hunt ``mutants``, as many at a time as there are processors, and tell of each when its hunt is over.

    ``hunter`` hunts, the campaign if none is given; with ``small`` it makes the scenario that kills as small
    as it can be.

    To be called where no other thread runs: it forks.
    """
    todo = list(mutants)
    out: dict[Connection, tuple[Mutant, BaseProcess]] = {}
    with tempfile.TemporaryDirectory() as directory:
        try:
            while todo or out:
                while todo and len(out) < (os.cpu_count() or 1):
                    mutant = todo.pop(0)
                    try:
                        send = hunter or partial(_hunt, small=small)
                        connection, process = _send_out(mutant, Path(directory, mutant.name), send)
                    except MisfitError as error:
                        yield mutant, Hunted(0, trouble=str(error))
                    else:
                        out[connection] = (mutant, process)
                back = wait(list(out), timeout=_LAST_RESORT) if out else []
                for connection in [each for each in out if not back or each in back]:
                    mutant, process = out.pop(connection)
                    yield mutant, _outcome(connection, process, called_off=not back)
        finally:
            for _, process in out.values():
                _end(process)


def _send_out(mutant: Mutant, directory: Path, hunter: Hunter) -> tuple[Connection, BaseProcess]:
    mutate(mutant, directory)
    context = multiprocessing.get_context("fork")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=hunter, args=(mutant.clause, directory, tell), daemon=True)
    process.start()
    tell.close()
    return hear, process


def _outcome(connection: Connection, process: BaseProcess, *, called_off: bool) -> Hunted:
    if called_off:
        _end(process)
        return Hunted(0, trouble=f"called off: nothing was heard for {_LAST_RESORT:.0f} s")
    try:
        told = connection.recv()
    except EOFError:
        process.join()
        return Hunted(0, trouble=f"its process ended by itself, with exit code {process.exitcode}")
    finally:
        connection.close()
    _end(process)
    assert isinstance(told, Hunted)
    return told


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def control() -> tuple[dict[str, int], dict[str, int]]:
    """The campaign on refloop as it is, :data:`CONTROL` scenarios long: how often each clause was broken, if
    it was, and how often it was exercised. Forks, as :func:`hunts` does."""
    context = multiprocessing.get_context("fork")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=_control, args=(tell,), daemon=True)
    process.start()
    tell.close()
    try:
        if not hear.poll(_LAST_RESORT):
            raise TimeoutError(f"nothing was heard for {_LAST_RESORT:.0f} s")
        found: dict[str, ClauseResult] = hear.recv()
    finally:
        hear.close()
        _end(process)
    broken = {id: each.broken for id, each in found.items() if each.broken}
    return broken, {id: each.exercised for id, each in found.items()}


def _control(tell: Connection) -> None:
    with hand() as other:
        campaign = _campaign(select(), ROOT / Path(PACKAGE).parent, other)
        campaign.look(CONTROL, SEED, lambda _: None)
        tell.send(campaign.result().clauses)


def _hunt(clause: str, directory: Path, tell: Connection, *, small: bool) -> None:
    """What the process of one hunt does."""
    _look(clause, directory, tell, lambda campaign, other: _hunted(campaign, clause, other, small=small))


def again(tokens: Mapping[str, str], shown_alone: Container[str] = ()) -> Hunter:
    """A hunter that plays the scenario which has killed a mutant before: ``tokens`` has it by the name. Those
    of ``shown_alone`` are to break their clause alone once more."""
    return partial(_play_again, tokens, shown_alone)


def _play_again(
    tokens: Mapping[str, str],
    shown_alone: Container[str],
    clause: str,
    directory: Path,
    tell: Connection,
) -> None:
    token = tokens[directory.name]
    scenario = scenario_of(token)
    is_alone = directory.name in shown_alone

    def played(campaign: Campaign, other: Hand) -> Hunted:
        # More than once: what a mutant does may be left to chance, as with one that shuffles.
        killed: Hunted | None = None
        for tried in range(1, 1 + AGAIN):
            breaks = _breaks(campaign, scenario)
            if clause in breaks:
                killed = Hunted(tried, token, _spares(scenario, clause, other), breaks=breaks)
                if alone(clause, breaks) or not is_alone:
                    return killed
        return killed or Hunted(AGAIN)

    _look(clause, directory, tell, played)


def _look(clause: str, directory: Path, tell: Connection, look: Callable[[Campaign, Hand], Hunted]) -> None:
    # A broken loop leaks and drops what it likes; that is not what it is hunted for.
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    sys.dont_write_bytecode = True
    with hand() as other:
        campaign = _campaign(select([clause]), directory, other)
        try:
            tell.send(look(campaign, other))
        except Exception as error:
            tell.send(Hunted(campaign.scenarios, trouble=f"{type(error).__name__}: {error}"))


def _spares(scenario: Scenario, clause: str, other: Hand) -> bool:
    """Whether refloop as it is keeps the clause there."""
    original = _campaign(select([clause]), ROOT / Path(PACKAGE).parent, other)
    return not original.violations(scenario, select([clause]))


def _hunted(campaign: Campaign, clause: str, other: Hand, *, small: bool) -> Hunted:
    found = None
    for place, examples in enumerate(ROUNDS):
        found = campaign.hunt(clause, examples, SEED + place)
        if found is not None:
            break
    tried = campaign.scenarios
    if found is None:
        return Hunted(tried)
    breaks: tuple[str, ...] = ()
    if small:
        found = _smallest(campaign, clause, place) or found
        breaks = _breaks(campaign, found)
    spares = _spares(found, clause, other)
    return Hunted(tried, token_of(found), spares, size=len(in_words(found)), breaks=breaks)


def _smallest(campaign: Campaign, clause: str, place: int) -> Scenario | None:
    """The smallest that can be made of a scenario which ``clause`` alone refuses, if there is one from round
    ``place`` on; else of any that breaks it."""

    def is_alone(scenario: Scenario) -> bool:
        return alone(clause, _breaks(campaign, scenario))

    for round, examples in list(enumerate(ROUNDS))[place:]:
        found = campaign.hunt(clause, examples, SEED + round, shrink=True, shows=is_alone)
        if found is not None:
            return found
    return campaign.hunt(clause, ROUNDS[place], SEED + place, shrink=True)


def _breaks(campaign: Campaign, scenario: Scenario) -> tuple[str, ...]:
    """All clauses that a run of ``scenario`` breaks."""
    every = [entry for entry in select() if entry.watches]
    return tuple(sorted({violation.clause for violation, _ in campaign.violations(scenario, every)}))


def _campaign(clauses: tuple[Clause, ...], directory: Path, other: Hand) -> Campaign:
    """A campaign on the refloop that lies in ``directory``."""
    return Campaign("refloop", adapter_of(directory), clauses, other)


def adapter_of(directory: Path) -> MakeLoop:
    """The adapter of the refloop that lies in ``directory``."""
    for name in [name for name in sys.modules if name == ADAPTER or name.partition(".")[0] == "refloop"]:
        del sys.modules[name]
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    make: MakeLoop = importlib.import_module(ADAPTER).RefloopLoop
    return make


def _told(hunted: Hunted) -> str:
    if hunted.trouble is not None:
        return hunted.trouble
    if hunted.token is None:
        return "survives"
    return hunted.token if hunted.spares else f"breaks refloop itself, too: {hunted.token}"


def main(names: list[str]) -> None:
    """Print the table of the mutants ``names``, or of all: scenarios up to the first kill, and its token."""
    mutants = [mutant for mutant in hunted_by_scenarios() if not names or mutant.name in names]
    click.echo(f"seed {SEED}, at most {sum(ROUNDS)} scenarios of a family")
    for mutant, hunted in hunts(mutants):
        click.echo(f"{mutant.name:38} {mutant.clause:34} {hunted.scenarios:6} {_told(hunted)}")


if __name__ == "__main__":
    main(sys.argv[1:])
