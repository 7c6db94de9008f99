"""The steps of the rules of WAKE."""

from __future__ import annotations

from enum import Enum

from loopspec.proofs import Seen, after, has
from loopspec.trace import (
    Call,
    Caught,
    Closed,
    Closing,
    Post,
    Quiescent,
    RefusePost,
    Return,
    Run,
    Send,
    Signal,
    Suspend,
    WaitBegin,
    WaitReturn,
)
from loopspec.wake import POST, ChannelOneBit, PostAfterClose, PostNeverSuspends, PostNotLost, SignalNotLost


class Posting(Enum):
    """What can happen to a post and to the loop."""

    POSTS = Post(1, 0, "worker")
    RUNS = Run(1, 0)
    WAITS = WaitBegin(1, None)
    POLLS = WaitBegin(1, 0)
    RETURNS = WaitReturn(2, 0, (), 1)
    SLEEPS = Suspend("loop")
    ENDS = Quiescent(2)


def post_not_lost(posted: bool, endless: bool, event: Posting) -> Seen[PostNotLost]:
    """What is refused is to sleep without end on a post, or to come to an end with one; a post is owed until
    it has run, or that has been said.

    post: _.breaks == (posted and (event is Posting.ENDS or (event is Posting.SLEEPS and endless)))
    post: _.breaks or event is Posting.POSTS or (0 in _.next.posted) == (posted and event is not Posting.RUNS)
    post: event is not Posting.POSTS or 0 in _.next.posted
    """
    return after(PostNotLost(has(posted), endless=endless), event.value)


class InPost(Enum):
    """What a poster's thread can do."""

    POSTS = Call(0, "worker", POST)
    CALLS = Call(1, "worker", "another")
    RETURNS = Return(0, "worker", True)
    SLEEPS = Suspend("worker")


def post_never_suspends(inside: bool, said: bool, event: InPost) -> Seen[PostNeverSuspends]:
    """A suspension is refused exactly if it is inside a post, and once.

    pre: inside or not said
    post: _.breaks == (event is InPost.SLEEPS and inside and not said)
    post: _.shows == (event is InPost.RETURNS and inside and not said)
    """
    return after(PostNeverSuspends(0 if inside else None, said), event.value)


class OnChannel(Enum):
    """What can happen on the channel."""

    POSTS = Post(1, 0, "worker")
    WAITS = WaitBegin(1, None)
    POLLS = WaitBegin(1, 0)
    EMPTY = WaitReturn(2, 0, (), 1)
    REPORTS = WaitReturn(2, 0, ((0, 1),), 1)
    SLEEPS = Suspend("loop")
    SENDS = Send(0, b"a")


def channel_one_bit(posts: int, taken: int, quiet: bool, event: OnChannel) -> Seen[ChannelOneBit]:
    """A wait that returns at once is refused exactly if nobody has acted since the posts were taken; a wait
    is held to be quiet only if there were any.

    pre: 0 <= posts and 0 <= taken and (taken > 0 or not quiet)
    post: _.breaks == (event is OnChannel.EMPTY and quiet)
    post: 0 <= _.next.posts and 0 <= _.next.taken and (_.next.taken > 0 or not _.next.quiet)
    """
    return after(ChannelOneBit(posts, taken, quiet), event.value)


def signal_within_a_turn(delivered: int | None, turn: int) -> Seen[SignalNotLost]:
    """The end of a turn is refused exactly if it is the second after a signal that nobody has taken.

    post: _.breaks == (delivered is not None and turn > delivered + 1)
    """
    return after(SignalNotLost(delivered), WaitBegin(turn, None))


class Signalled(Enum):
    """What can happen to a signal."""

    SIGNAL = Signal(7)
    CAUGHT = Caught(7)
    SLEEPS = Suspend("loop")
    ENDS = Quiescent(7)


def signal_not_lost(delivered: int | None, waiting: bool, event: Signalled) -> Seen[SignalNotLost]:
    """Sleep and the end are refused exactly while a signal is owed; it is owed since its first delivery.

    post: _.breaks == (delivered is not None and _ceases(event, waiting))
    post: event is not Signalled.SIGNAL or _.next.delivered == (7 if delivered is None else delivered)
    post: event is not Signalled.CAUGHT or _.next.delivered is None
    """
    return after(SignalNotLost(delivered, waiting), event.value)


def _ceases(event: Signalled, waiting: bool) -> bool:
    return event is Signalled.ENDS or (event is Signalled.SLEEPS and waiting)


class AtClose(Enum):
    """What can happen to a post and to a loop that closes."""

    RUNS = Run(1, 0)
    POSTED = Post(1, 0, "worker")
    REFUSED = RefusePost(1, 0, "worker")
    CLOSING = Closing(1)
    CLOSED = Closed(1)


def _wrong(event: AtClose, *, closed: bool, pending: bool, refused: bool, ran: bool) -> bool:
    both = (event is AtClose.RUNS and refused) or (event is AtClose.REFUSED and ran)
    return both or (event is AtClose.CLOSED and pending) or (event is AtClose.POSTED and closed)


def post_after_close(
    closing: bool, closed: bool, pending: bool, refused: bool, ran: bool, event: AtClose
) -> Seen[PostAfterClose]:
    """Never both, never neither: what is refused is to run what was refused and the other way round, to close
    with a post in hand, and to accept one when closed; a closed loop has none in hand.

    pre: closing or not (pending or ran)
    pre: not (closed and pending)
    post: _.breaks == _wrong(event, closed=closed, pending=pending, refused=refused, ran=ran)
    post: not (_.next.closed and _.next.pending)
    """
    return after(PostAfterClose(closing, closed, has(pending), has(refused), has(ran)), event.value)
