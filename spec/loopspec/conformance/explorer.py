"""The explorer: in which order things happen, tried out on purpose.

What is explored is anything that can be *played*: a function that runs a system from its beginning under a
:class:`~loopspec.conformance.modelled.Schedule`, and asks it wherever the world has a choice. Coroutines
cannot be copied, so a run cannot be forked where two ways part; it is played again, with the same prefix of
answers and another one behind. That is all that a strategy knows: a tape that was taken, and of how many
options each answer was chosen.

Four strategies, which take turns unless one is named; a portfolio finds more than the best of its parts.

* ``exhaustive``: depth first, every tape. It ends, and then says so; at small scope only.
* ``delay``: every tape with at most one deviation from the loop's own order, then with two, and so on. Most
  bugs of interleaving need few (Emmi, Qadeer and Rakamarić, 2011). To take the k-th option costs k.
* ``pct``: actors have random priorities, which change at d - 1 random places, for d from 1 to 5: a bug of
  depth d is found with a probability that has a floor (Burckhardt et al., 2010).
* ``random``: every choice is drawn.

Nothing is left out as equivalent. Two arrivals on different descriptors do not commute, since the order of
the ready list shows; and what commutes in a loop that is right need not in one that is wrong, which is what
is looked for.

A state, as it is counted here, is what the world can see of the system at the begin of a wait. It tells how
much of the system a search has met; nothing is pruned by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, TypeAlias

from loopspec.conformance.modelled import Drawn, Taped
from loopspec.conformance.result import UsageError

Saved: TypeAlias = "int | bool | list[Saved] | None"
"""What a strategy has to remember, as JSON has it."""

DAMAGED = "the file to resume from is damaged: leave it out to begin anew"

DEEPEST = 5
"""The largest depth of ``pct``: so few ordering constraints are behind nearly every bug that was studied."""

PROBE = 50
"""How long a schedule is taken to be before one has been played."""


class UnrepeatableError(AssertionError):
    """The same answers have led to other questions: the system depends on more than its schedule."""


class Strategy(Protocol):
    """Which schedule comes next."""

    def next(self) -> Taped | None:
        """The next schedule to play; None if there is no other."""
        ...

    def played(self, schedule: Taped) -> None:
        """That one has been played to its end."""
        ...

    def save(self) -> Saved: ...

    def restore(self, saved: Saved) -> None: ...


def _numbers(saved: Saved) -> list[int]:
    assert isinstance(saved, list)
    return [each for each in saved if isinstance(each, int)]


class Exhaustive:
    """Every tape, depth first."""

    def __init__(self, seed: int = 0) -> None:
        del seed  # nothing is drawn
        self._prefix: list[int] | None = []

    def next(self) -> Taped | None:
        return None if self._prefix is None else Taped(self._prefix)

    def played(self, schedule: Taped) -> None:
        taken, asked = schedule.taken, schedule.asked
        if taken[: len(self._prefix or ())] != self._prefix:
            raise UnrepeatableError(f"{self._prefix} was answered, and {taken} came of it")
        place = len(taken) - 1
        while place >= 0 and taken[place] + 1 >= asked[place]:
            place -= 1
        self._prefix = [*taken[:place], taken[place] + 1] if place >= 0 else None

    def save(self) -> Saved:
        return None if self._prefix is None else list(self._prefix)

    def restore(self, saved: Saved) -> None:
        self._prefix = None if saved is None else _numbers(saved)


class DelayBounded:
    """Every tape whose answers sum up to at most a bound, which grows when they have all been played."""

    def __init__(self, seed: int = 0) -> None:
        del seed
        self._bound = 0
        self._prefix: list[int] | None = []
        self._cut = False  # whether the bound has kept anything out

    def next(self) -> Taped | None:
        return None if self._prefix is None else Taped(self._prefix)

    def played(self, schedule: Taped) -> None:
        taken, asked = schedule.taken, schedule.asked
        spent = sum(taken)
        for place in range(len(taken) - 1, -1, -1):
            if taken[place] + 1 < asked[place]:
                if spent < self._bound:
                    self._prefix = [*taken[:place], taken[place] + 1]
                    return
                self._cut = True
            spent -= taken[place]
        # All within the bound has been played. If it has kept nothing out, that was all there is.
        self._prefix = [] if self._cut else None
        self._bound += 1
        self._cut = False

    def save(self) -> Saved:
        prefix: Saved = None if self._prefix is None else list(self._prefix)
        return [self._bound, self._cut, prefix]

    def restore(self, saved: Saved) -> None:
        match saved:
            case [int(bound), bool(cut), prefix]:
                self._bound, self._cut = bound, cut
                self._prefix = None if prefix is None else _numbers(prefix)
            case _:
                raise UsageError(DAMAGED)


class Randomly:
    """Every choice is drawn, in some runs seldom and in some often."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._played = 0

    def next(self) -> Taped | None:
        return Drawn(self._seed << 32 | self._played, calm=self._played % 8)

    def played(self, schedule: Taped) -> None:
        del schedule
        self._played += 1

    def save(self) -> Saved:
        return self._played

    def restore(self, saved: Saved) -> None:
        assert isinstance(saved, int)
        self._played = saved


class Prioritised(Taped):
    """One schedule of ``pct``: of those who can act, the one with the highest priority does.

    At each of ``changes``, counted in questions, whoever would act falls behind all others; a question that
    is not about actors has its usual answer, but for there.
    """

    def __init__(self, seed: int, changes: int, length: int) -> None:
        super().__init__()
        self._random = Random(seed)
        self._changes = frozenset(self._random.randrange(max(length, 1)) for _ in range(changes))
        self._priorities: dict[str, float] = {}
        self._lowest = 0.0

    def __call__(self, options: int, /) -> int:
        changes = len(self.taken) in self._changes
        return self._note(self._random.randrange(1, options) if changes else 0, options)

    def pick(self, actors: Sequence[str], /) -> int:
        priorities = self._priorities
        for actor in actors:
            if actor not in priorities:
                priorities[actor] = self._random.random()
        first = max(actors, key=priorities.__getitem__)
        if len(self.taken) in self._changes:
            self._lowest -= 1.0
            priorities[first] = self._lowest
            first = max(actors, key=priorities.__getitem__)
        return self._note(actors.index(first), len(actors))

    def _note(self, chosen: int, options: int) -> int:
        self.taken.append(chosen)
        self.asked.append(options)
        return chosen


class ByPriority:
    """``pct``, with depths from 1 to :data:`DEEPEST` in turn."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._played = 0
        self._length = PROBE

    def next(self) -> Taped | None:
        seed = self._seed << 32 | self._played
        return Prioritised(seed, self._played % DEEPEST, self._length)

    def played(self, schedule: Taped) -> None:
        self._played += 1
        self._length = max(len(schedule.taken), 1)

    def save(self) -> Saved:
        return [self._played, self._length]

    def restore(self, saved: Saved) -> None:
        self._played, self._length = _numbers(saved)


STRATEGIES: Final[Mapping[str, Callable[[int], Strategy]]] = {
    "exhaustive": Exhaustive,
    "delay": DelayBounded,
    "pct": ByPriority,
    "random": Randomly,
}

ENDLESS = frozenset({"pct", "random"})
"""The strategies that never have played all there is."""


def named(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, or all strategies if there are none. Raises :class:`UsageError` for one that is none."""
    for name in names:
        if name not in STRATEGIES:
            raise UsageError(f"no strategy is named {name!r}: there are {', '.join(STRATEGIES)}")
    return tuple(dict.fromkeys(names)) or tuple(STRATEGIES)


# --- a search ---------------------------------------------------------------------------------------------

Play: TypeAlias = Callable[[Taped], None]
"""A system: plays itself from its beginning, under a schedule."""


@dataclass
class Line:
    """One strategy at one system."""

    system: int
    name: str
    strategy: Strategy
    schedules: int = 0
    over: bool = False


@dataclass
class Met:
    """What a search has met: how many schedules, which states, how many steps between them, how many choices
    at most in one run, and which systems have nothing left."""

    schedules: int = 0
    states: set[int] = field(default_factory=set)
    transitions: set[int] = field(default_factory=set)
    depth: int = 0
    exhausted: set[int] = field(default_factory=set)


class Search:
    """The search through ``systems``, by the strategies ``names`` in turn.

    It is a generator in the large: :meth:`schedules` plays one schedule after another and tells of each, for
    as long as there is one; between two of them it can be left, saved, and gone on with elsewhere.
    """

    def __init__(
        self, systems: Sequence[Play], names: Sequence[str], seed: int, *, counts: bool = True
    ) -> None:
        self.met = Met()
        self._systems = systems
        self._counts = counts
        self.lines = [
            Line(place, name, STRATEGIES[name](seed + place))
            for place in range(len(systems))
            for name in named(names)
        ]
        self._turn = 0
        self._last = 0
        self._place = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left anywhere: every system has been exhausted."""
        return len(self.met.exhausted) == len(self._systems)

    def schedules(self) -> Iterator[tuple[int, Taped]]:
        """Play; after each schedule its system's place and itself."""
        while (line := self._next_line()) is not None:
            schedule = line.strategy.next()
            if schedule is None:
                self._exhausted(line)
                continue
            if self._counts:
                self._last, self._place = 0, line.system
                schedule.watch = self._reached
            self._systems[line.system](schedule)
            line.strategy.played(schedule)
            line.schedules += 1
            self.met.schedules += 1
            self.met.depth = max(self.met.depth, len(schedule.taken))
            yield line.system, schedule

    def _next_line(self) -> Line | None:
        for _ in range(len(self.lines)):
            line = self.lines[self._turn % len(self.lines)]
            self._turn += 1
            if not line.over and line.system not in self.met.exhausted:
                return line
        return None

    def _exhausted(self, line: Line) -> None:
        """A strategy that has played all there is ends the search of its system for all."""
        line.over = True
        self.met.exhausted.add(line.system)

    def _reached(self, state: int) -> None:
        state = hash((self._place, state))
        self.met.states.add(state)
        if self._last:
            self.met.transitions.add(hash((self._last, state)))
        self._last = state

    # -- to a file and back

    def save(self) -> dict[str, object]:
        """What :meth:`restore` takes, as JSON has it."""
        met = self.met
        return {
            "turn": self._turn,
            "schedules": met.schedules,
            "states": sorted(met.states),
            "transitions": sorted(met.transitions),
            "depth": met.depth,
            "exhausted": sorted(met.exhausted),
            "lines": [[line.schedules, line.over, line.strategy.save()] for line in self.lines],
        }

    def restore(self, saved: Mapping[str, object]) -> None:
        """Go on where a search of the same systems was left. Raises :class:`UsageError` for what is none."""
        match saved:
            case {
                "turn": int(turn),
                "schedules": int(schedules),
                "states": list(states),
                "transitions": list(transitions),
                "depth": int(depth),
                "exhausted": list(exhausted),
                "lines": list(lines),
            } if len(lines) == len(self.lines):
                self._turn = turn
                self.met = Met(schedules, set(states), set(transitions), depth, set(exhausted))
                for line, (played, over, strategy) in zip(self.lines, lines, strict=True):
                    line.schedules, line.over = played, over
                    line.strategy.restore(strategy)
            case _:
                raise UsageError(DAMAGED)


class Budget:
    """How long a search may go on: seconds of this machine's clock, schedules, or both; None is no limit."""

    def __init__(self, seconds: float | None, schedules: int | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._schedules = schedules

    def is_spent(self, schedules: int) -> bool:
        """Whether it is, after so many schedules."""
        if self._schedules is not None and schedules >= self._schedules:
            return True
        return self._until is not None and time.monotonic() >= self._until
