"""Every named mutant, hunted by the detector that meets it in use, and what the hunts came to, on file.

A mutant of refloop is hunted by generated scenarios, one of its servers by drawn scripts of clients, one of
the model of the kernel by the live kernel, and one of the survey by the survey. None of them knows of the
mutant that it hunts; seeds and limits are those of the suite.

Mutants of refloop have a second detector, the explorer.

``make kills`` (``python -m tests.mutants.kills``) hunts them all, in some minutes, and writes the table that
``loopspec mutants`` shows; with names it hunts only those, and leaves the other rows as they are.
``--explorer`` leaves what the others have killed as it is, too, and hunts by the explorer alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import click

from loopspec.clause import Clause, Profile, select
from loopspec.conformance import calls, servers
from loopspec.conformance.kills import EXPLORER, FILE, Kill, Row, dump, packaged, row
from loopspec.judge import Judge
from loopspec.trace import Event, Shown
from tests.kernel.hunt import compared
from tests.kernel.mutants import KERNEL_MODEL_MUTANTS
from tests.mutants.call import SURVEY_MUTANTS
from tests.mutants.env import WORLD_MUTANTS, WorldMutant
from tests.mutants.explored import explored
from tests.mutants.hunt import ROOT, SEED, hunted_by_scenarios, hunts, mutate
from tests.mutants.mutant import Mutant
from tests.mutants.server import SERVER_MUTANTS, STYLE_MUTANTS, ServerMutant
from tests.mutants.table import MUTANTS
from tests.mutants.worlds import dropped

SCRIPTS = 600
"""How many scripts of clients a mutant of a server has to survive."""


def by_scenarios(mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, Kill]]:
    """What generated scenarios kill."""
    for mutant, hunted in hunts(mutants, small=True):
        if hunted.token is not None and hunted.spares:
            tried, size, breaks = hunted.scenarios, hunted.size, hunted.breaks
            yield mutant, Kill("scenarios", "scenarios", tried, size, hunted.token, breaks)
        else:
            click.echo(f"{mutant.name}: {hunted.trouble or 'survives'}", err=True)


class _Counting(Judge):
    """A judge that knows how many runs it has read."""

    runs = 0

    def restart(self) -> None:
        super().restart()
        self.runs += 1


def by_scripts(mutant: ServerMutant) -> Iterator[Kill]:
    """What drawn scripts of clients say of a server that has ``mutant`` in it."""
    clauses = select([mutant.clause])
    (clause,) = clauses
    judge = _Counting(clauses, servers.SHOWS)
    with tempfile.TemporaryDirectory() as directory:
        mutate(mutant, Path(directory))
        command = (sys.executable, "-m", "refloop.servers", mutant.architecture)
        with servers.Server(mutant.architecture, command, {**os.environ, "PYTHONPATH": directory}) as one:
            found = next(servers.look(one, judge, SCRIPTS, SEED), None)
            smallest = None if found is None else servers.made_small(one, found, clause)
    if smallest is not None:
        token = servers.token_of(mutant.architecture, smallest.script)
        broken = _broken(smallest.events, _of_servers(), servers.SHOWS)
        yield Kill("scripts", "scripts", judge.runs, len(smallest.script), token, broken)


def by_scripts_in_all_styles(mutant: Mutant) -> Iterator[Kill]:
    """What drawn scripts say of a handler that differs in one of its styles."""
    clauses = select([mutant.clause])
    (clause,) = clauses
    shows = frozenset({Shown.__name__})
    judge = _Counting(clauses, shows)
    with tempfile.TemporaryDirectory() as directory:
        mutate(mutant, Path(directory))
        commands = {name: (sys.executable, "-m", "refloop.servers", name) for name in servers.STYLES}
        with servers.Styles(commands, {**os.environ, "PYTHONPATH": directory}) as styles:
            found = next(servers.look(styles, judge, SCRIPTS, SEED), None)
            smallest = None if found is None else servers.made_small(styles, found, clause)
    if smallest is not None:
        token = servers.token_of(servers.IN_ALL_STYLES, smallest.script)
        broken = _broken(smallest.events, clauses, shows)
        yield Kill("scripts", "scripts", judge.runs, len(smallest.script), token, broken)


def in_its_world(mutant: WorldMutant) -> Iterator[Kill]:
    """What generated scenarios say of a world that has ``mutant`` in it."""
    found = dropped(mutant)
    if found.kill is not None and found.spares:
        broken = tuple(sorted((mutant.clause, mutant.needed_by)))
        yield Kill("scenarios", "scenarios", found.scenarios, found.size, found.kill, broken)


def _broken(events: Iterable[Event], clauses: Iterable[Clause], shows: frozenset[str]) -> tuple[str, ...]:
    judge = Judge(clauses, shows)
    for event in events:
        judge.after(event)
    return tuple(sorted({violation.clause for violation in judge.violations}))


def _of_servers() -> list[Clause]:
    """The clauses that bind a server: what it writes is not told, and other clauses would miss that."""
    return [entry for entry in select() if entry.watches and entry.profile is Profile.SERVER]


def by_the_survey(mutant: Mutant) -> Iterator[Kill]:
    """What the survey of the kernel's own calls says of an account that is wrong."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    module = ModuleType("mutated_calls")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source.replace(mutant.old, mutant.new), mutant.path, "exec"), module.__dict__)
        told = module.events(module.measure())
    finally:
        del sys.modules[module.__name__]
    every = [entry for entry in select() if entry.watches]
    # Calls that show what a broken promise is are in every survey, and what they break is no news.
    shown = _broken(calls.events(calls.measure()), every, calls.SHOWS)
    broken = tuple(id for id in _broken(told, every, calls.SHOWS) if id not in shown)
    if mutant.clause in broken:
        yield Kill("survey", "surveys", 1, len(told), None, broken)


def by_the_kernel(mutant: Mutant) -> Iterator[Kill]:
    """What the live kernel says of a model that has ``mutant`` in it; ``breaks`` are the clauses by which the
    model allowed what was not seen."""
    with tempfile.TemporaryDirectory() as directory:
        found = compared(mutant, Path(directory))
    if found is not None:
        yield Kill("kernel", "calls", found.made, found.size, None, found.clauses)


def hunted(mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, Kill]]:
    """Every kill of ``mutants``."""
    chosen = set(mutants)
    yield from by_scenarios(mutant for mutant in hunted_by_scenarios() if mutant in chosen)
    for server in SERVER_MUTANTS:
        if server in chosen:
            yield from ((server, kill) for kill in by_scripts(server))
    for mutant in STYLE_MUTANTS:
        if mutant in chosen:
            yield from ((mutant, kill) for kill in by_scripts_in_all_styles(mutant))
    for world in WORLD_MUTANTS:
        if world in chosen:
            yield from ((world, kill) for kill in in_its_world(world))
    for mutant in SURVEY_MUTANTS:
        if mutant in chosen:
            yield from ((mutant, kill) for kill in by_the_survey(mutant))
    for mutant in KERNEL_MODEL_MUTANTS:
        if mutant in chosen:
            yield from ((mutant, kill) for kill in by_the_kernel(mutant))


def table(mutants: Iterable[Mutant]) -> tuple[Row, ...]:
    """A row for each of ``mutants``, in their order."""
    chosen = tuple(mutants)
    kills: dict[str, list[Kill]] = {mutant.name: [] for mutant in chosen}
    for mutant, kill in hunted(chosen):
        kills[mutant.name].append(kill)
        _tell(mutant, kill)
    return with_the_explorer(chosen, {name: tuple(found) for name, found in kills.items()})


def with_the_explorer(mutants: Iterable[Mutant], kills: Mapping[str, tuple[Kill, ...]]) -> tuple[Row, ...]:
    """A row for each of ``mutants``: ``kills``, by their names, and what the explorer comes to."""
    chosen, rows = tuple(mutants), dict[str, Row]()
    tokens = {
        name: kill.token
        for name, found in kills.items()
        for kill in found
        if kill.detector == "scenarios" and kill.token is not None
    }
    for mutant, found in explored(chosen, tokens):
        match found:
            case Kill():
                _tell(mutant, found)
                rows[mutant.name] = row(mutant, (*kills[mutant.name], found))
            case str():
                click.echo(f"{mutant.name:44} explorer: {found}", err=True)
                rows[mutant.name] = row(mutant, kills[mutant.name], found)
    return tuple(rows[mutant.name] for mutant in chosen)


def _tell(mutant: Mutant, kill: Kill) -> None:
    told = f"{kill.detector:10} {kill.tried:6} {kill.unit:10} {kill.size:3} steps"
    click.echo(f"{mutant.name:44} {told}", err=True)


@click.command()
@click.option("--explorer", is_flag=True, help="Hunt by the explorer alone, and leave the other kills.")
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...], explorer: bool) -> None:
    """Hunt all mutants, or those of NAMES, and write the table."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        raise click.UsageError(f"no mutant is named {min(unknown)!r}: `loopspec mutants` lists them all")
    before = {row.name: row for row in packaged()}
    known = before if names or explorer else {}
    chosen = [each for each in MUTANTS if not names or each.name in names]
    if explorer:
        kills = {
            name: tuple(kill for kill in row.kills if kill.detector != EXPLORER)
            for name, row in before.items()
        }
        chosen = [each for each in chosen if each.name in kills]
        found = with_the_explorer(chosen, kills)
    else:
        found = table(chosen)
    known |= {row.name: row for row in found}
    rows = [known[mutant.name] for mutant in MUTANTS if mutant.name in known]
    (ROOT / "spec" / "loopspec" / FILE).write_text(dump(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
