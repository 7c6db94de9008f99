"""PRIM: locks, semaphores, conditions and queues, by what the tasks that share them are told.

No rule looks into a primitive. A task asks, and is answered; in between somebody releases, notifies, puts or
gets. That is enough to say who was overtaken, and, at every moment at which the loop sleeps, whether somebody
waits for what is there. Each primitive is a slice of the trace.
"""

from __future__ import annotations

from typing import NamedTuple

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.stock import Stock
from loopspec.trace import Answer, Ask, CancelRequest, Event, Make, Notify, Release, Rest, ScopeCancel, Verb

# --- in order -----------------------------------------------------------------------------------------


class _Waiter(NamedTuple):
    """A task that has asked; ``passed`` is who asked later and was answered already, and in which turn."""

    task: int
    verb: Verb
    passed: tuple[int, int] | None = None


@clause(
    "PRIM.WAITERS.FIFO_NO_BARGING",
    Level.SHOULD,
    Kind.INV,
    Profile.ASYNC,
    source="trio issue 54; Go issue 13086; CPython pull request 31910",
    watches={Ask: "primitive", Answer: "primitive"},
)
@value
class FifoNoBarging:
    """Waiters are served in order, and a newcomer overtakes none."""

    # Somebody is overtaken only if it is served itself, and in a later turn: those who leave are overtaken by
    # nobody, and in which order the tasks of one turn run is not a matter of who was chosen first.

    waiting: tuple[_Waiter, ...] = ()

    def after(self, event: Event) -> Progress:
        match event:
            case Ask(task=task, verb=verb):
                return FifoNoBarging((*self.waiting, _Waiter(task, verb)))
            case Answer(task=task, verb=verb, outcome="value", turn=turn):
                return self._served(task, verb, turn)
            case Answer(task=task):
                return FifoNoBarging(tuple([each for each in self.waiting if each.task != task]))
            case _:
                return self

    def _served(self, task: int, verb: Verb, turn: int) -> Progress:
        places = [place for place, each in enumerate(self.waiting) if each.task == task]
        if not places:
            return self  # it was never seen to ask
        place = places[0]
        earlier = tuple(
            [
                each._replace(passed=(task, turn)) if each.verb == verb and each.passed is None else each
                for each in self.waiting[:place]
            ]
        )
        later = self.waiting[place + 1 :]
        after = FifoNoBarging((*earlier, *later))
        passed = self.waiting[place].passed
        if passed is None:
            return Kept(after) if any(each.verb == verb for each in (*earlier, *later)) else after
        first, then = passed
        if then == turn:
            return after
        return Broken(
            f"task {task}, which asked to {verb} before task {first}, is served before it",
            f"task {first} was served in turn {then}, task {task} in turn {turn}",
            after,
        )


# --- passed on ----------------------------------------------------------------------------------------


class _Notified(NamedTuple):
    """``owed`` notifications are with those of ``entitled``, who waited when they were given."""

    owed: int = 0
    entitled: Map[int, None] = Map()

    def leaves(self, task: int, *, served: bool) -> _Notified:
        entitled = self.entitled.drop(task)
        return _Notified(min(max(self.owed - served, 0), len(entitled)), entitled)


_OFFERS: dict[Verb, Verb] = {"get": "put", "put": "get", "wait": "acquire"}
"""Whom it may serve that a task asks so: getting makes a place, putting an item, waiting frees the lock."""


@clause(
    "PRIM.HANDOFF.PASSES_ON",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPython pull request 1031, issue 112202; asyncio pull request 256; anyio pull request 1145",
    watches={Make: "primitive", Ask: "primitive", Answer: "primitive", Rest: "primitive"},
    also={Release: "primitive", Notify: "primitive", CancelRequest: "*", ScopeCancel: "*"},
)
@value
class PassesOn:
    """If a chosen waiter leaves by cancellation, its token, item or notification passes to the next."""

    # The chosen one is the first in line when something comes. It may be gone already as far as the loop
    # knows: then somebody else is chosen, which is all the same from here. Whether a thing has passed on is
    # looked at when the loop sleeps: nobody waits then for what is there.
    #
    # A notification passes only to those who waited when it was given and had not been asked to leave.

    stock: Stock = Stock()
    notified: _Notified = _Notified()
    offered: Map[int, None] = Map()  # waiting tasks that were first in line when something came
    leaving: Map[int, None] = Map()  # tasks that were asked to leave
    left: bool = False  # one that was offered something has left

    def after(self, event: Event) -> Progress:
        match event:
            case CancelRequest(task=task) | ScopeCancel(task=task):
                return replace(self, leaving=self.leaving.put(task, None))
            case Rest():
                return self._rests()
            case Notify(count=count):
                return self._is_notified(count)
            case Ask(verb=verb):
                return replace(self, stock=self.stock.after(event))._offer(_OFFERS.get(verb))
            case Answer():
                return self._answered(event)
            case Release():
                return replace(self, stock=self.stock.after(event))._offer("acquire")
            case _:
                return replace(self, stock=self.stock.after(event))

    def _offer(self, verb: Verb | None) -> PassesOn:
        first = None if verb is None else self.stock.first(verb)
        return self if first is None else replace(self, offered=self.offered.put(first, None))

    def _answered(self, event: Answer) -> PassesOn:
        task, served = event.task, event.outcome == "value"
        notified = self.notified.leaves(task, served=served) if event.verb == "wait" else self.notified
        after = replace(
            self,
            stock=self.stock.after(event),
            notified=notified,
            offered=self.offered.drop(task),
            leaving=self.leaving.drop(task),
            left=self.left or (task in self.offered and event.outcome == "cancelled"),
        )
        return after._offer(_OFFERS.get(event.verb)) if served else after

    def _is_notified(self, count: int) -> PassesOn:
        waiting = [each.task for each in self.stock.asking if each.verb == "wait"]
        staying = [task for task in waiting if task not in self.leaving]
        return replace(
            self,
            notified=_Notified(min(self.notified.owed + count, len(staying)), Map(dict.fromkeys(staying))),
            offered=self.offered.add(waiting[:count], None),
        )

    def _rests(self) -> Progress:
        if not self.left:
            return self
        starved = self._starved()
        if starved is None:
            return Kept(replace(self, left=False))
        task, verb = starved
        asking = tuple([each for each in self.stock.asking if each.task != task])
        return Broken(
            f"what was meant for one that was cancelled passes to task {task}, which asked to {verb}",
            f"the loop sleeps, and task {task} waits for what is there",
            replace(self, stock=replace(self.stock, asking=asking), notified=_Notified(), left=False),
        )

    def _starved(self) -> tuple[int, Verb] | None:
        for task, verb in self.stock.asking:
            if self.stock.has(verb) and task == self.stock.first(verb):
                return task, verb
            owed = self.notified.owed and task in self.notified.entitled
            if verb == "wait" and owed and self.stock.has("acquire"):
                return task, verb
        return None


# --- conditions ---------------------------------------------------------------------------------------


@clause(
    "PRIM.CONDITION.HOLDS_LOCK",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="asyncio pull request 346; CPython issue 86766",
    watches={Ask: "primitive", Answer: "primitive"},
    also={Release: "primitive"},
)
@value
class HoldsLock:
    """A condition's wait returns or raises only with its lock held."""

    holder: int | None = None  # as the tasks were told

    def after(self, event: Event) -> Progress:
        match event:
            case Ask(verb="wait") | Release():
                return HoldsLock()
            case Answer(task=task, verb="acquire", outcome="value"):
                return HoldsLock(task)
            case Answer(task=task, verb="wait", locked=locked):
                return self._back(task, locked=locked)
            case _:
                return self

    def _back(self, task: int, *, locked: bool) -> Progress:
        after = HoldsLock(task)
        if locked and self.holder is None:
            return Kept(after)
        who = "nobody holds it" if not locked else f"task {self.holder} holds it"
        return Broken(f"task {task} holds the lock of the condition that it waited for", who, after)


# --- queues -------------------------------------------------------------------------------------------


@clause(
    "PRIM.QUEUE.CONSERVES_ITEMS",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="asyncio issue 201; tornado issue 2826; cats-effect issue 4571",
    watches={Make: "primitive", Ask: "primitive", Answer: "primitive", Rest: "primitive"},
)
@value
class ConservesItems:
    """Items put = items taken + items queued, at every quiescent point."""

    # A quiescent point is one at which the loop sleeps. An item that is put by a task that has no answer yet
    # may be taken already; at a quiescent point every put that has had its effect is answered.

    stock: Stock = Stock()
    there: Map[int, None] = Map()  # items that were to be put, and nobody has taken
    changed: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Make():
                return ConservesItems(self.stock.after(event))
            case _ if self.stock.kind != "queue":
                return self
            case Ask(verb="put", item=int(item)):
                return ConservesItems(self.stock.after(event), self.there.put(item, None), self.changed)
            case Answer(verb="get", outcome="value", item=int(item)):
                return self._taken(event, item)
            case Answer(outcome=outcome):
                return ConservesItems(self.stock.after(event), self.there, self.changed or outcome == "value")
            case Rest():
                return self._rests(event)
            case _:
                return self

    def _taken(self, event: Answer, item: int) -> Progress:
        after = ConservesItems(self.stock.after(event), self.there.drop(item), changed=True)
        if item in self.there:
            return after
        return Broken(
            f"task {event.task} gets an item that was put and not taken", f"it got item {item}", after
        )

    def _rests(self, event: Rest) -> Progress:
        if not self.changed:
            return self
        after = ConservesItems(self.stock.corrected(event), self.there)
        if self.stock.held == event.held:
            return Kept(after)
        return Broken(
            f"{self.stock.held} items in the queue, as many more were put than taken",
            f"there are {event.held}",
            after,
        )
