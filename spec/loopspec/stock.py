"""What a primitive has to give and who has asked for it, as far as a trace shows it.

Counted from outside, by what tasks were told and not by what the primitive says of itself: a lock that has
lost its token reports nothing amiss. A lock is one token, a semaphore several, a condition is its lock; of a
queue the items count, and the places that are left.

Everything here is a value: an operation gives another.
"""

from __future__ import annotations

from typing import NamedTuple

from loopspec.frozen import replace, value
from loopspec.trace import Answer, Ask, Event, Make, Primitive, Release, Rest, Verb


class Asking(NamedTuple):
    """A task that has asked, and has no answer yet."""

    task: int
    verb: Verb


_TAKES: dict[Verb, int] = {"acquire": 1, "put": 1, "get": -1, "wait": 1}
"""What ``held`` grows by when a task is answered; who waits has given its lock up, and gets it back."""


@value
class Stock:
    """``held`` is the items in a queue, of others the tokens that tasks have; ``asking`` is in order."""

    kind: Primitive = "lock"
    capacity: int = 0
    held: int = 0
    asking: tuple[Asking, ...] = ()

    def after(self, event: Event) -> Stock:
        """The stock after one event of this primitive."""
        match event:
            case Make(kind=kind, capacity=capacity):
                return Stock(kind, capacity)
            case Ask(task=task, verb=verb):
                held = self.held - 1 if verb == "wait" else self.held
                return replace(self, held=held, asking=(*self.asking, Asking(task, verb)))
            case Answer(task=task, verb=verb, outcome=outcome):
                asking = tuple([each for each in self.asking if each.task != task])
                has = outcome == "value" or verb == "wait"
                return replace(self, held=self.held + _TAKES[verb] * has, asking=asking)
            case Release():
                return replace(self, held=self.held - 1)
            case _:
                return self

    def has(self, verb: Verb) -> bool:
        """Whether there is something for one who asks so. What was notified is not counted here."""
        match verb:
            case "acquire" | "put":
                return self.held < self.capacity
            case "get":
                return self.held > 0
            case "wait":
                return False

    def first(self, verb: Verb) -> int | None:
        """Who has asked for that first."""
        return next((each.task for each in self.asking if each.verb == verb), None)

    def shown(self) -> int:
        """What :class:`~loopspec.trace.Rest` ought to tell of it."""
        return self.held if self.kind == "queue" else int(self.held >= self.capacity)

    def corrected(self, event: Rest) -> Stock:
        """The stock as ``event`` tells it."""
        if self.shown() == event.held:
            return self
        held = event.held if self.kind == "queue" else self.capacity - 1 + event.held
        return replace(self, held=held)
