"""The steps of the rules, small enough to be confirmed over all paths by CrossHair: a module an area.

A rule is a fold, and what has to be known of a fold is its step: in which states which event breaks the
clause, and that the step leads from what is always true of the state to what is always true of it. Each
contract here makes a state of the rule out of booleans and unbounded integers, has the rule itself take an
event, and says of what comes back when it is a breach, or where it leads. What a rule has learnt of a trace
of any length is in its state, so a contract holds of traces of any length.

A rule for the whole trace keeps tables by name. It treats a name by whether it is the same as another, so one
entry, or two where two things compete, stand for all of them; they have names here, and what is said of
them (an instant, a count, a turn) has not. So has what a message would spell.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from loopspec.frozen import Map
from loopspec.judge import Broken, Kept, Monitor
from loopspec.trace import Event

RuleT = TypeVar("RuleT", bound=Monitor)


class Seen(NamedTuple, Generic[RuleT]):
    """What a rule makes of an event: ``breaks`` says that it broke the clause, ``shows`` that the premise
    came true and the clause held, and ``next`` is the state that the judge goes on from."""

    breaks: bool
    shows: bool
    next: RuleT


def after(state: RuleT, *events: Event) -> Seen[RuleT]:
    """What ``state`` makes of the last of ``events``, taken as the judge takes them: a rule that answers None
    has seen enough, and begins anew."""
    first = type(state)
    seen = Seen(False, False, state)
    for event in events:
        progress = seen.next.after(event)
        news = isinstance(progress, (Broken, Kept))
        next = progress.next if isinstance(progress, (Broken, Kept)) else progress
        if next is None:
            next = first()
        assert isinstance(next, first)
        seen = Seen(isinstance(progress, Broken), news and not isinstance(progress, Broken), next)
    return seen


def has(it: bool, name: int = 0) -> Map[int, None]:
    """A table that has ``name`` in it, or nothing."""
    return Map({name: None}) if it else Map()
