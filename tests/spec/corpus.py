"""Whether two versions of the rules say the same: for whoever makes one faster, or says it more simply.

What a rule says is the specification, so a change that is to leave it alone is held against the version
before, on more traces than the tests have: what scenarios have told of two loops, what they have told of
every mutant that one has killed, a busy run, and nonsense. Nonsense most of all: events with few different
values, so that everything happens to everybody, in an order that no loop would keep.

``python -m tests.spec.corpus record DIRECTORY`` plays, and writes the traces down; ``… tell DIRECTORY``
prints a line a trace, how often each clause was exercised and every violation in its words, and a digest of
it all. Told by both versions, the two must be the same to the last byte.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_type_hints

from loopspec.clause import register, select
from loopspec.conformance.campaign import Campaign, MakeLoop
from loopspec.conformance.kills import packaged
from loopspec.conformance.lockstep import Hand, hand
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import Scenario, scenario_of
from loopspec.judge import Judge
from loopspec.trace import EVENTS, Event
from tests.mutants.hunt import Hunted, _look, hunted_by_scenarios, hunts
from tests.spec.busy import Busy

SCENARIOS = 2_000
SEED = 1
NONSENSE = 200
"""Traces of nonsense for each clause, of :data:`LENGTH` events each."""

LENGTH = 80


def main(arguments: Sequence[str]) -> int:
    """Exit status 2 for bad usage."""
    match arguments:
        case ["record", directory]:
            record(Path(directory))
        case ["tell", directory]:
            tell(Path(directory))
        case _:
            sys.stderr.write("python -m tests.spec.corpus record|tell DIRECTORY\n")
            return 2
    return 0


# --- recording ------------------------------------------------------------------------------------------


def record(directory: Path) -> None:
    """Write the traces to files in ``directory``, by where they come from."""
    directory.mkdir(parents=True, exist_ok=True)
    _record_mutants(directory)
    loops: tuple[tuple[str, MakeLoop], ...] = (("refloop", RefloopLoop), ("asyncio", AsyncioLoop))
    for name, make in loops:
        told: list[list[Event]] = []
        with hand() as other:
            _Recorded(name, make, other, told).look(SCENARIOS, SEED, lambda _: None)
        _write(directory / f"{name}.traces", told)


class _Recorded(Campaign):
    """A campaign that keeps every trace."""

    def __init__(self, name: str, make: MakeLoop, other: Hand, told: list[list[Event]]) -> None:
        super().__init__(name, make, select(), other)
        self._told = told

    def play(self, scenario: Scenario, tell: Callable[[Event], None]) -> None:
        events: list[Event] = []
        self._told.append(events)

        def both(event: Event) -> None:
            events.append(event)
            tell(event)

        super().play(scenario, both)


def _record_mutants(directory: Path) -> None:
    """What each mutant does in the scenario that has killed it."""
    tokens = {
        row.name: kill.token
        for row in packaged()
        for kill in row.kills
        if kill.detector == "scenarios" and kill.token is not None
    }
    mutants = [mutant for mutant in hunted_by_scenarios() if mutant.name in tokens]
    for mutant, hunted in hunts(mutants, partial(_record_mutant, tokens, directory)):
        if hunted.trouble is not None:
            sys.stderr.write(f"{mutant.name}: {hunted.trouble}\n")


def _record_mutant(
    tokens: dict[str, str], directory: Path, clause: str, mutated: Path, tell: Connection
) -> None:
    scenario = scenario_of(tokens[mutated.name])

    def played(campaign: Campaign, other: Hand) -> Hunted:
        every = [entry for entry in select() if entry.watches]
        found = campaign.violations(scenario, every)
        _write(directory / f"mutant-{mutated.name}.traces", [events for _, events in found[:1]])
        return Hunted(1)

    _look(clause, mutated, tell, played)


def nonsense(traces: int, length: int, seed: int) -> Iterator[list[Event]]:
    """For each clause ``traces`` of the events that it reads, some or all of them: what it makes of them
    together shows, and so does what others make of them."""
    chance = random.Random(seed)
    hints: dict[type, dict[str, object]] = {cls: get_type_hints(cls) for cls in EVENTS.values()}
    for entry in register().values():
        read = [cls for cls in EVENTS.values() if cls in entry.watches or cls in entry.also]
        for _ in range(traces if read else 0):
            some = chance.sample(read, chance.choice((len(read), chance.randint(1, len(read)))))
            yield [_drawn(cls, hints[cls], chance) for cls in chance.choices(some, k=length)]


def _drawn(cls: type[Event], hints: dict[str, object], chance: random.Random) -> Event:
    make: Callable[..., Event] = cls
    return make(**{name: _value(name, hint, chance) for name, hint in hints.items()})


def _value(name: str, hint: object, chance: random.Random) -> object:
    if isinstance(hint, UnionType):
        return _value(name, chance.choice(get_args(hint)), chance)
    if hint is NoneType:
        return None
    if hint is bool:
        return chance.random() < 0.5
    if hint is int:
        return (
            chance.choice((0, 1, 2, 3, 3, 5, 17)) if name in ("mask", "turn", "at") else chance.randrange(4)
        )
    if hint is bytes:
        return chance.choice((b"", b"a", b"ab", b"abab"))
    if hint is str:
        return chance.choice(("loop", "loop", "loop", "main", "post"))
    choices = get_args(hint)
    if choices[-1] is Ellipsis:
        return tuple(_value(name, choices[0], chance) for _ in range(chance.randrange(3)))
    if all(isinstance(choice, str) for choice in choices):
        return chance.choice(choices)
    return tuple(_value(name, choice, chance) for choice in choices)


# --- kept, and told ---------------------------------------------------------------------------------------


def _write(path: Path, traces: Iterable[Iterable[Event]]) -> None:
    # Pickled, since a mutant may have told of what no trace file holds.
    path.write_bytes(pickle.dumps([tuple(events) for events in traces]))


def _sources(directory: Path) -> Iterator[tuple[str, Iterable[Iterable[Event]]]]:
    for path in sorted(directory.glob("*.traces")):
        yield path.stem, pickle.loads(path.read_bytes())
    yield "busy", [Busy(40, 1).events(20_000)]
    yield "nonsense", nonsense(NONSENSE, LENGTH, SEED)


def tell(directory: Path) -> None:
    """Print what the judge says of every trace in ``directory``."""
    digest, traces, said = hashlib.sha256(), 0, 0
    for source, of_source in _sources(directory):
        for number, events in enumerate(of_source):
            judge = Judge(register().values(), frozenset(EVENTS))
            judge.read(events)
            line = f"{source} {number}: {_told(judge)}\n"
            digest.update(line.encode())
            sys.stdout.write(line)
            traces, said = traces + 1, said + judge.position
    sys.stdout.write(f"{traces:,} traces, {said:,} events: {digest.hexdigest()}\n")


def _told(judge: Judge) -> str:
    exercised = {id: each.exercised for id, each in judge.findings.items() if each.exercised}
    violations = [(each.clause, each.position, each.allowed, each.observed) for each in judge.violations]
    return f"{exercised} {violations}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
