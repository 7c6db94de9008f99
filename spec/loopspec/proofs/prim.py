"""The steps of the rules of PRIM."""

from __future__ import annotations

from enum import Enum

from loopspec.prim import ConservesItems, FifoNoBarging, HoldsLock, PassesOn
from loopspec.proofs import Seen, after, has
from loopspec.stock import Asking, Stock
from loopspec.trace import Answer, Ask, CancelRequest, Make, Notify, Release, Rest


def fifo_no_barging(first_served: bool, then: int, turn: int, second_served: bool) -> Seen[FifoNoBarging]:
    """Who asked first is refused exactly if the second was served, in an earlier turn.

    post: _.breaks == (second_served and first_served and then != turn)
    """
    asks = (Ask(1, 0, 0, "acquire"), Ask(1, 1, 0, "acquire"))
    second = Answer(then, 1, 0, "acquire", "value" if second_served else "cancelled")
    return after(
        FifoNoBarging(), *asks, second, Answer(turn, 0, 0, "acquire", "value" if first_served else "error")
    )


def passes_on(held: bool, left: bool, waits: bool) -> Seen[PassesOn]:
    """Rest is refused exactly if one that was offered something has left, and another waits for what is
    there.

    post: _.breaks == (left and waits and not held)
    post: not _.next.left or not left
    """
    asking = (Asking(0, "acquire"),) if waits else ()
    return after(PassesOn(Stock("lock", 1, int(held), asking), left=left), Rest(1, 0, int(held)))


def offered_leaves(asks: bool, releases: bool, cancelled: bool) -> Seen[PassesOn]:
    """Who leaves takes something along exactly if it was first when a lock was released, and is cancelled.

    post: _.next.left == (asks and releases and cancelled)
    """
    has_lock = (Make(1, 0, "lock", 1), Ask(1, 0, 0, "acquire"), Answer(1, 0, 0, "acquire", "value"))
    waits = (Ask(1, 1, 0, "acquire"),) if asks else ()
    freed = (Release(1, 0, 0),) if releases else ()
    answer = Answer(1, 1, 0, "acquire", "cancelled" if cancelled else "error")
    return after(PassesOn(), *has_lock, *waits, *freed, answer)


def notification_passes_on(count: int, first_leaves: bool, second_waits: bool) -> Seen[PassesOn]:
    """With the lock free, rest is refused exactly if one that was notified has left, and another who waited
    then waits on.

    pre: count == 1 or count == 2
    post: _.breaks == (first_leaves and second_waits)
    """
    second = (Ask(1, 1, 0, "wait"),) if second_waits else ()
    waits = (Make(1, 0, "condition", 1), Ask(1, 0, 0, "wait"), *second, Notify(1, 0, count))
    left = (CancelRequest(1, 0), Answer(1, 0, 0, "wait", "cancelled", None, True), Release(1, 0, 0))
    # Each who waits has given up a lock, which it had before the trace began.
    state = PassesOn()
    told = after(state, *waits, *(left if first_leaves else ())).next
    free = Stock("condition", 1, 0, told.stock.asking)
    return after(PassesOn(free, told.notified, told.offered, told.leaving, told.left), Rest(1, 0, 0))


class WithLock(Enum):
    """What can happen to a condition's lock."""

    HAS = Answer(1, 0, 0, "acquire", "value")
    BACK = Answer(1, 1, 0, "wait", "value", None, True)
    BACK_WITHOUT = Answer(1, 1, 0, "wait", "cancelled", None, False)
    LETS_GO = Release(1, 0, 0)
    WAITS = Ask(1, 0, 0, "wait")


def holds_lock(held: bool, event: WithLock) -> Seen[HoldsLock]:
    """The return of a wait is refused exactly if its task does not have the lock, or another has.

    post: _.breaks == (event is WithLock.BACK_WITHOUT or (event is WithLock.BACK and held))
    post: (_.next.holder is None) == (event in (WithLock.LETS_GO, WithLock.WAITS))
    """
    return after(HoldsLock(0 if held else None), event.value)


def conserves_items(held: int, shown: int, changed: bool) -> Seen[ConservesItems]:
    """What is queued at rest is refused exactly if it is not what was put and not taken; then it is taken to
    be so.

    post: _.breaks == (changed and held != shown)
    post: not changed or _.next.stock.held == shown
    """
    return after(ConservesItems(Stock("queue", 9, held), changed=changed), Rest(1, 0, shown))


def takes_what_was_put(there: bool, same: bool, held: int) -> Seen[ConservesItems]:
    """An item is refused exactly if it was not put, or was taken already; and it is there no more.

    post: _.breaks == (not (there and same))
    post: _.next.stock.held == held - 1 and (7 not in _.next.there or not same)
    """
    state = ConservesItems(Stock("queue", 9, held, (Asking(0, "get"),)), has(there, 7))
    return after(state, Answer(1, 0, 0, "get", "value", 7 if same else 8))
