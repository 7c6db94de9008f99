"""The steps of the rules of FLOW.

Bytes are compared as wholes; so two that differ stand for all, and lengths are counted where there is nothing
but a length.
"""

from __future__ import annotations

from enum import Enum

from loopspec.flow import BufferBounded, HandedOver, KeepsSuffix
from loopspec.proofs import Seen, after
from loopspec.trace import Await, Buffered, CancelRequest, Close, HighWater, Receive, Room, Write


class Arrives(Enum):
    """What may arrive of b"abc"."""

    NEXT = b"a"
    ALL = b"abc"
    TWICE = b"aa"
    LATER = b"b"
    MORE = b"abcd"


def keeps_suffix(partial: bool, arrives: Arrives) -> Seen[KeepsSuffix]:
    """What arrives of a write that was partial is refused exactly if it does not come next; and what is left
    is what comes after it.

    post: _.breaks == (partial and not b"abc".startswith(arrives.value))
    post: not _.shows or arrives.value + _.next.owed == b"abc"
    """
    waits = (Await(1, 0, "write", 0),) if partial else ()
    return after(KeepsSuffix(), Write(1, 0, b"abc"), *waits, Receive(0, arrives.value))


class Handing(Enum):
    """What can happen to a stream to which something may be owed."""

    WRITES = Write(1, 0, b"ab")
    ARRIVES = Receive(0, b"a")
    ROOM = Room(1, 0)
    CLOSES = Close(1, 0, 0)
    CANCELLED = CancelRequest(1, 0)


def handed_over(owed: int, event: Handing) -> Seen[HandedOver]:
    """Sleep with room is refused exactly if something is owed.

    pre: 0 <= owed
    post: _.breaks == (owed > 0 and event is Handing.ROOM)
    post: _.next.owed == _left(owed, event)
    """
    return after(HandedOver(owed), event.value)


def _left(owed: int, event: Handing) -> int:
    match event:
        case Handing.WRITES:
            return owed + 2
        case Handing.ARRIVES:
            return max(owed - 1, 0)
        case Handing.ROOM | Handing.CLOSES | Handing.CANCELLED:
            return 0


def buffer_bounded(mark: int, largest: int, held: int) -> Seen[BufferBounded]:
    """What is held is refused exactly if it is more than the mark and the largest write since the mark was
    kept.

    pre: 0 <= mark and 0 <= largest
    post: _.breaks == (held > mark + largest)
    post: held > mark or _.next.largest == 0
    """
    return after(BufferBounded(mark, largest), Buffered(1, 0, held))


def largest_is_of_all(mark: int, largest: int) -> Seen[BufferBounded]:
    """A write counts with the largest before it.

    post: _.next == BufferBounded(mark, max(largest, 3))
    """
    return after(BufferBounded(mark, largest), Write(1, 0, b"abc"))


def mark_is_the_last_that_was_set(mark: int, before: int, largest: int) -> Seen[BufferBounded]:
    """Where another mark is set, nothing is counted yet.

    post: _.next == BufferBounded(mark, 0)
    """
    return after(BufferBounded(before, largest), HighWater(1, 0, mark))
