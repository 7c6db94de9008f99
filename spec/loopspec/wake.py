"""WAKE: how other threads reach the loop.

What is judged here is the promise to the poster, not the channel: that the loop does not sleep on what has
been posted, and that posting suspends nobody.
"""

from __future__ import annotations

from dataclasses import replace

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.loop import LOOP_THREAD
from loopspec.trace import Call, Event, Post, Quiescent, Return, Run, Suspend, WaitBegin, WaitReturn

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
                endless = timeout is None
                return self if endless is self.endless else replace(self, endless=endless)
            case WaitReturn():
                return replace(self, endless=False) if self.endless else self
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
