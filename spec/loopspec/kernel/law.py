"""How the rules of the kernel are registered, and how they branch.

Every clause of the kernel is a MUST: the model says what Linux does, and the live kernel is asked. What
differs is kind and source, so these are all that a rule states.

A rule that lets the world choose gives several :class:`Branch` es. A branch carries the ids of the clauses
that were at work on its way, which is what the comparison counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, TypeAlias, TypeVar

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.kernel.calls import Failed, Outcome, Result
from loopspec.kernel.state import Errno, File, FileId, FileKind, ObjectId, Shared, State

RuleT = TypeVar("RuleT", bound=Callable[..., object])
Ids: TypeAlias = frozenset[str]

NO_IDS: Ids = frozenset()


class NotModelledError(ValueError):
    """A call of which the model says nothing: nobody can make it, or its effect is one kernel's own.

    A suspended thread cannot call, one that does not exist cannot either, time does not run backwards.
    """


def law(id: str, kind: Kind, *, source: str) -> Callable[[RuleT], RuleT]:
    """Register a MUST of the kernel profile; the docstring of the rule is the sentence."""
    return clause(id, Level.MUST, kind, Profile.KERNEL, source=source)


class Branch(NamedTuple):
    """One of the ways that the world may go in the middle of a call."""

    state: State
    clauses: Ids = NO_IDS

    def because(self, *ids: str) -> Branch:
        """The same way, with these clauses at work."""
        return Branch(self.state, self.clauses.union(ids))

    def ends(self, result: Result) -> Outcome:
        """The call ends this way."""
        return Outcome(self.state, result, self.clauses)


Branches: TypeAlias = frozenset[Branch]


def certain(state: State) -> Branches:
    """The one way there is."""
    return frozenset((Branch(state),))


def then(branches: Iterable[Branch], go_on: Callable[[State], Branches]) -> Branches:
    """``go_on`` from each branch, keeping the clauses of the way so far."""
    return frozenset(
        Branch(after.state, before.clauses | after.clauses)
        for before in branches
        for after in go_on(before.state)
    )


def refusal(state: State, errno: Errno, *ids: str) -> Outcome:
    """The call fails, and the state is the one it was given: the same object."""
    return Outcome(state, Failed(errno), frozenset(ids))


def with_object(state: State, id: ObjectId, value: Shared) -> State:
    """``state`` with another value for one shared object."""
    return replace(state, objects=state.objects.put(id, value))


def with_kind(state: State, id: FileId, kind: FileKind) -> State:
    """``state`` with another kind, or content, for one description."""
    return replace(state, files=state.files.put(id, File(kind, state.files[id].nonblocking)))
