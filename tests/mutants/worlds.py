"""Hunts in other worlds: refloop as it is, in a world that does not do what is asked of it.

Each hunt is in a process of its own, where the harness's module is made anew with the change in it. Two
things are hunted there by the campaign's own scenarios: one that breaks the assumption, and one that breaks
the clause which needs it. The second must break the assumption, too, and neither may break anything in the
world as it is: so it is the dropped assumption that fails the clause, and nothing else.

``python -m tests.mutants.worlds [NAME ...]`` prints what the hunts find.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection

import click

from loopspec.clause import select
from loopspec.conformance import campaign, lockstep
from loopspec.conformance.campaign import Campaign
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import Scenario, in_words, token_of
from tests.mutants.env import WORLD_MUTANTS, WorldMutant
from tests.mutants.hunt import ROOT, ROUNDS, SEED, MisfitError

_ALARM = 0.2
"""Seconds between two looks at a run that does not go on: shorter than usual, since many do not here."""

_LAST_RESORT = 120.0


@dataclass(frozen=True)
class Dropped:
    """What a hunt in the world of a mutant has come to: ``kill`` is the token of a scenario that breaks the
    assumption, ``witness`` of one that breaks both it and the clause that needs it; ``spares``: the world as
    it is breaks neither with either. ``scenarios`` were run up to the kill, which has ``size`` steps."""

    kill: str | None = None
    witness: str | None = None
    spares: bool = False
    scenarios: int = 0
    size: int = 0
    trouble: str | None = None


def dropped(mutant: WorldMutant) -> Dropped:
    """Hunt in the world of ``mutant``. To be called where no other thread runs: it forks."""
    context = multiprocessing.get_context("fork")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=_hunt, args=(mutant, tell), daemon=True)
    process.start()
    tell.close()
    try:
        if not hear.poll(_LAST_RESORT):
            return Dropped(trouble=f"nothing was heard for {_LAST_RESORT:.0f} s")
        found = hear.recv()
        assert isinstance(found, Dropped)
        return found
    except EOFError:
        return Dropped(trouble="its process ended by itself")
    finally:
        hear.close()
        process.kill()
        process.join()


def _hunt(mutant: WorldMutant, tell: Connection) -> None:
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    try:
        tell.send(_found(mutant))
    except Exception as error:
        tell.send(Dropped(trouble=f"{type(error).__name__}: {error}"))


def _found(mutant: WorldMutant) -> Dropped:
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise MisfitError(f"what it changes occurs {source.count(mutant.old)} times in {mutant.path}")
    _make(mutant, source.replace(mutant.old, mutant.new))
    kill, tried = _first(mutant.clause)
    both = {mutant.clause, mutant.needed_by}
    witness = kill if kill is not None and _broken(kill, both) == both else _first(mutant.needed_by)[0]
    if kill is None or witness is None or _broken(witness, both) != both:
        return Dropped(_token(kill))
    _make(mutant, source)
    spares = not any(_broken(scenario, both) for scenario in (kill, witness))
    return Dropped(token_of(kill), token_of(witness), spares, tried, len(in_words(kill)))


def _make(mutant: WorldMutant, source: str) -> None:
    """Have ``source`` be the harness."""
    exec(compile(source, mutant.path, "exec"), vars(lockstep))
    vars(lockstep)["_ALARM"] = _ALARM
    vars(campaign)["Lockstep"] = lockstep.Lockstep


def _token(scenario: Scenario | None) -> str | None:
    return None if scenario is None else token_of(scenario)


def _first(id: str) -> tuple[Scenario | None, int]:
    """The first scenario that breaks clause ``id``, and how many were run up to it."""
    with lockstep.hand() as other:
        campaign = Campaign("refloop", RefloopLoop, select([id]), other)
        for place, examples in enumerate(ROUNDS):
            found = campaign.hunt(id, examples, SEED + place)
            if found is not None:
                return found, campaign.scenarios
    return None, campaign.scenarios


def _broken(scenario: Scenario, ids: set[str]) -> set[str]:
    clauses = select(sorted(ids))
    with lockstep.hand() as other:
        broken = Campaign("refloop", RefloopLoop, clauses, other).violations(scenario, clauses)
    return {violation.clause for violation, _ in broken}


def main(names: list[str]) -> None:
    """Print what dropping each assumption comes to."""
    for mutant in WORLD_MUTANTS:
        if not names or mutant.name in names:
            click.echo(f"{mutant.name:32} {mutant.clause:26} {mutant.needed_by:38} {dropped(mutant)}")


if __name__ == "__main__":
    main(sys.argv[1:])
