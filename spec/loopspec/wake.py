"""WAKE: how other threads reach the loop.

What is judged here is the promise to the poster, not the channel: that the loop does not sleep on what has
been posted, that posting suspends nobody, and that it is over when the loop is. Of the channel itself only
that shows which its reader would notice: it wakes the loop once for all that was posted.
"""

from __future__ import annotations

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.loop import LOOP_THREAD
from loopspec.trace import (
    Abandon,
    Call,
    Caught,
    Closed,
    Closing,
    Connect,
    Event,
    HalfClose,
    Interrupted,
    JobAsk,
    JobEnd,
    Leave,
    Post,
    Quiescent,
    RefusePost,
    Reset,
    Return,
    RpcBreak,
    RpcPart,
    RpcReply,
    Run,
    Send,
    Signal,
    Suspend,
    WaitBegin,
    WaitReturn,
)

_NOT_YET_TOLD = 64
"""How many callbacks that ran before their post was told of are remembered (see :mod:`loopspec.ready`)."""

POST = "post"
"""What a trace calls the thread-safe post, as the name of a call."""


@clause(
    "WAKE.POST.NOT_LOST",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="netty pull requests 5258, 9561; CPython issue 156054",
    watches={Post: None, Run: None, WaitBegin: None, Suspend: None},
    also={WaitReturn: None, Quiescent: None},
)
@value
class PostNotLost:
    """After a post has returned, the loop does not sleep without end before it has taken that post."""

    posted: Map[int, None] = Map()
    told_late: tuple[int, ...] = ()
    endless: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Run(callback=callback):
                if callback in self.posted:
                    return Kept(PostNotLost(self.posted.drop(callback), self.told_late, self.endless))
                late = (*self.told_late[1 - _NOT_YET_TOLD :], callback)
                return PostNotLost(self.posted, late, self.endless)
            case WaitBegin(timeout=timeout):
                return self._waits(endless=timeout is None)
            case WaitReturn():
                return self._waits(endless=False)
            case Post(callback=callback):
                if callback in self.told_late:
                    return Kept(self)
                return PostNotLost(self.posted.put(callback, None), self.told_late, self.endless)
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.endless and self.posted:
                return self._lost("the loop sleeps without end")
            case Quiescent() if self.posted:
                return self._lost("nothing more happens")
            case _:
                return self

    def _waits(self, *, endless: bool) -> PostNotLost:
        return self if endless is self.endless else replace(self, endless=endless)

    def _lost(self, how: str) -> Broken:
        posted = ", ".join(f"callback {callback}" for callback in self.posted)
        return Broken(
            "the loop takes what has been posted before it sleeps without end",
            f"{how}, and {posted} has not run",
            replace(self, posted=Map()),
        )


@clause(
    "WAKE.POST.NEVER_SUSPENDS",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="concurrent.futures gh-105829",
    watches={Call: "thread", Return: "thread", Suspend: "thread"},
)
@value
class PostNeverSuspends:
    """A post does not suspend its caller."""

    call: int | None = None
    said: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Call(name=name, call=call) if name == POST and self.call is None:
                return PostNeverSuspends(call)
            case Return(call=call) if call == self.call:
                return None if self.said else Kept(None)
            case Suspend(thread=thread) if self.call is not None and not self.said:
                return Broken(
                    "a post that goes on to its return",
                    f"thread {thread} was suspended in it",
                    PostNeverSuspends(self.call, said=True),
                )
            case _:
                return None if self.call is None else self


@clause(
    "WAKE.CHANNEL.ONE_BIT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="libuv uv_async_send; netty pull request 9586",
    watches={Post: None, WaitBegin: None, WaitReturn: None, Suspend: None},
    also={
        Signal: None,
        Interrupted: None,
        Connect: None,
        Send: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        Abandon: None,
        JobAsk: None,
        JobEnd: None,
        RpcPart: None,
        RpcReply: None,
        RpcBreak: None,
    },
)
@value
class ChannelOneBit:
    """The wake channel carries one bit: EAGAIN on it means already signalled, and it is drained before the
    queue is taken."""

    # Posts that were made before a wait returned have all been signalled by then. A later wait that could
    # sleep, before which nobody has acted, goes to sleep: if it returns at once, the channel has carried more
    # than one bit, or was not drained. An echo server has descriptors of which a trace does not tell.

    posts: int = 0
    taken: int = 0  # those that the latest return of a wait has brought
    quiet: bool = False  # whether the present wait can sleep, and nobody has acted since it began
    known: bool = True

    def after(self, event: Event) -> Progress:
        match event:
            case Post():
                return replace(self, posts=self.posts + 1, quiet=False)
            case WaitBegin(timeout=timeout):
                can_sleep = timeout != 0 and not self.posts
                return replace(self, quiet=self.known and self.taken > 0 and can_sleep)
            case WaitReturn(batch=batch):
                after = replace(self, posts=0, taken=self.posts, quiet=False)
                if not self.quiet or batch:
                    return after
                return Broken(
                    f"the loop sleeps, since it was woken for its {self.taken} posts",
                    "the wait returned at once, with nothing to report",
                    after,
                )
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.quiet:
                after = replace(self, quiet=False)
                return Kept(after) if self.taken > 1 else after
            case Connect(echo=True):
                return ChannelOneBit(known=False)
            case Suspend():
                return self
            case _:
                # A worker may act between two waits, and signal for itself.
                return replace(self, taken=0, quiet=False) if self.taken else self


@clause(
    "WAKE.SIGNAL.NOT_LOST",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="signal numbers in a full pipe; CPython issue 21645",
    watches={Signal: None, Caught: None, WaitBegin: None},
    also={WaitReturn: None, Suspend: None, Quiescent: None},
)
@value
class SignalNotLost:
    """A signal that has a handler runs it within one turn of its delivery, whatever the wake channel
    holds."""

    # Within one turn: by the end of the turn after the one that its delivery opens, since a loop may find
    # there what it has to queue. Deliveries that nobody has looked at yet are one: signals do not queue.

    delivered: int | None = None
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Signal(turn=turn):
                return self if self.delivered is not None else SignalNotLost(turn, self.waiting)
            case Caught():
                return self if self.delivered is None else Kept(SignalNotLost(None, self.waiting))
            case WaitBegin(turn=turn):
                if self.delivered is not None and turn > self.delivered + 1:
                    return self._lost(f"turn {turn} has ended")
                return SignalNotLost(self.delivered, waiting=True)
            case WaitReturn():
                return SignalNotLost(self.delivered)
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting:
                return self if self.delivered is None else self._lost("the loop sleeps")
            case Quiescent() if self.delivered is not None:
                return self._lost("nothing more happens")
            case _:
                return self

    def _lost(self, how: str) -> Broken:
        return Broken(
            f"the handler of the signal that was delivered in turn {self.delivered} runs in the next",
            f"{how}, and it has not run",
            SignalNotLost(None, self.waiting),
        )


@clause(
    "WAKE.POST.AFTER_CLOSE",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="netty SingleThreadEventExecutor.execute; CPython gh-105829",
    watches={Closed: None, RefusePost: None, Post: None, Run: None},
    also={Closing: None},
    opens={Closed, Closing, RefusePost},
)
@value
class PostAfterClose:
    """A post to a closed loop is refused; one that races with the close runs or is refused, never both, never
    neither."""

    # Told late, as elsewhere: a post may have run before it is told of.

    closing: bool = False
    closed: bool = False
    pending: Map[int, None] = Map()
    refused: Map[int, None] = Map()
    ran: Map[int, None] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case Run(callback=callback):
                return self._runs(callback)
            case Post(callback=callback):
                return self._let_in(callback)
            case Closing():
                return replace(self, closing=True)
            case RefusePost(callback=callback):
                after = replace(self, refused=self.refused.put(callback, None))
                if callback in self.ran:
                    return self._both(callback, after)
                return Kept(after)
            case Closed():
                after = replace(self, closed=True, pending=Map())
                if not self.pending:
                    return after
                names = ", ".join(str(callback) for callback in self.pending)
                return Broken(
                    f"callback {names}, posted while the loop closed, runs or is refused",
                    "the loop is closed, and neither has come",
                    after,
                )
            case _:
                return self

    def _runs(self, callback: int) -> Progress:
        if callback in self.refused:
            return self._both(callback, self)
        if not self.closing:
            return self
        return replace(self, pending=self.pending.drop(callback), ran=self.ran.put(callback, None))

    def _let_in(self, callback: int) -> Progress:
        if self.closed:
            return Broken("a post to a closed loop is refused", f"callback {callback} was let in", self)
        if not self.closing:
            return self
        if callback in self.ran:
            return Kept(self)
        return replace(self, pending=self.pending.put(callback, None))

    def _both(self, callback: int, after: PostAfterClose) -> Progress:
        return Broken(
            f"callback {callback}, whose post is refused, does not run", "it runs all the same", after
        )
