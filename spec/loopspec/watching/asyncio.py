"""Steps of asyncio's own loops: every callback, whatever queued it, is run by ``Handle._run``.

Task steps, ``call_soon``, timers, signals, readers and writers, and so the callbacks of protocols all
become handles, and the loop runs each by that one method, which is a function of Python in every version.
It is the one place to look at. The loop's wait is its selector's ``select``, which is shadowed on the
instance while the loop runs. A loop learns that it is watched when it starts to run, and forgets it when
it stops.

What is done at the end of a step is written out here rather than called, since a call costs as much as
the rest.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, events
from collections.abc import Callable, Iterable
from functools import wraps
from time import monotonic_ns
from types import CodeType
from typing import Final, Protocol

from loopspec.watching.steps import Frame
from loopspec.watching.thread import Subject, Watched, named

ATTRIBUTE: Final = "_loopspec_watched"
"""Where a loop that is watched carries who watches it."""


class Watcher(Protocol):
    """Whoever watches threads: gives what the calling thread is watched by while it runs a loop."""

    def enter(self, loop: str) -> Watched | None:
        """The calling thread begins to run a loop."""

    def leave(self, watched: Watched) -> None:
        """It has stopped."""


def code_frame(function: object) -> Frame | None:
    """Where ``function`` is defined; None if it is not of Python."""
    inner = getattr(function, "func", function)  # a partial
    inner = getattr(inner, "__func__", inner)
    code = getattr(inner, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return Frame(code.co_filename, code.co_firstlineno, code.co_qualname)


def of_task(task: object) -> Subject:
    """What a step of ``task`` is told as."""
    if not isinstance(task, asyncio.Task):
        return Subject("callback", "no task", None)
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    at = (
        Frame(code.co_filename, code.co_firstlineno, code.co_qualname) if isinstance(code, CodeType) else None
    )
    return Subject("task", f"{task.get_name()} {named(coroutine)}", at)


def of_callback(kind: str, callback: object) -> Subject:
    """What ``callback`` is: a step of a task, a callback of a protocol, or what ``kind`` says."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return of_task(owner)
    if callback is None:
        return Subject(kind, "cancelled meanwhile", None)
    if isinstance(owner, asyncio.BaseProtocol):
        return Subject("protocol", named(callback), code_frame(callback))
    if isinstance(owner, asyncio.BaseTransport):
        # A callback of the transport calls one of the protocol, which is known no more when it is closed.
        protocol = getattr(owner, "_protocol", None)
        at = code_frame(getattr(type(protocol), "data_received", None))
        of = type(owner if protocol is None else protocol).__qualname__
        return Subject("protocol", f"{of} {named(callback)}", at)
    return Subject(kind, named(callback), code_frame(callback))


def _kind(handle: events.Handle) -> str:
    if isinstance(handle, events.TimerHandle):
        return "timer"
    loop = getattr(handle, "_loop", None)
    if handle in getattr(loop, "_signal_handlers", {}).values():
        return "signal"
    selector = getattr(loop, "_selector", None)
    keys = selector.get_map().values() if selector is not None and selector.get_map() else ()
    for key in keys:
        if isinstance(key.data, tuple) and handle in key.data:
            return ("reader", "writer")[key.data.index(handle)]
    return "callback"


def attach(watcher: Watcher, loop: asyncio.AbstractEventLoop) -> Watched | None:
    """Watch the thread while it runs ``loop``."""
    watched = watcher.enter("asyncio")
    if watched is None:
        return None
    setattr(loop, ATTRIBUTE, watched)
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        original = selector.select
        at, journal = watched.at, watched.journal

        def select(timeout: float | None = None) -> object:
            at[0] = 0
            if watched.begun - watched.turn > journal.notable:
                watched.rests()
            try:
                return original(timeout)
            finally:
                # This is Watched.wakes, written out.
                watched.handed = watched.switches[0]
                watched.head = watched.heads[0]
                watched.turn = watched.begun = watched.at[0] = now = monotonic_ns()
                watched.due = now + watched.limit

        selector.select = select
    return watched


def detach(watcher: Watcher, loop: asyncio.AbstractEventLoop) -> None:
    """Watch it no more."""
    watched = vars(loop).pop(ATTRIBUTE, None)
    selector = getattr(loop, "_selector", None)
    if selector is not None:
        vars(selector).pop("select", None)
    if isinstance(watched, Watched):
        watcher.leave(watched)


def install(watcher: Watcher) -> Callable[[], None]:
    """Watch every loop of asyncio that runs from now on, and the one that runs in this thread.

    Gives what undoes it.
    """
    run = events.Handle._run
    forever = base_events.BaseEventLoop.run_forever
    attached: set[base_events.BaseEventLoop] = set()

    @wraps(run)
    def watched_run(handle: events.Handle) -> None:
        try:
            watched: Watched = handle._loop._loopspec_watched  # type: ignore[attr-defined]
        except AttributeError:
            return run(handle)
        callback = handle._callback  # type: ignore[attr-defined]
        try:
            run(handle)
        finally:
            now = monotonic_ns()
            if watched.heads[0] != watched.head or now > watched.due:
                watched.look(now, lambda: of_callback(_kind(handle), callback))
                now = monotonic_ns()
            watched.begun = watched.at[0] = now

    @wraps(forever)
    def watched_forever(loop: base_events.BaseEventLoop) -> None:
        if hasattr(loop, ATTRIBUTE) or loop.is_running():
            return forever(loop)
        attach(watcher, loop)
        attached.add(loop)
        try:
            return forever(loop)
        finally:
            attached.discard(loop)
            detach(watcher, loop)

    _set(events.Handle, "_run", watched_run)
    _set(base_events.BaseEventLoop, "run_forever", watched_forever)
    current = asyncio._get_running_loop()
    if isinstance(current, base_events.BaseEventLoop) and not hasattr(current, ATTRIBUTE):
        attach(watcher, current)
        attached.add(current)

    def remove() -> None:
        _set(events.Handle, "_run", run)
        _set(base_events.BaseEventLoop, "run_forever", forever)
        for loop in _all(attached):
            detach(watcher, loop)

    return remove


def _set(owner: type, name: str, function: object) -> None:
    setattr(owner, name, function)


def _all(loops: Iterable[base_events.BaseEventLoop]) -> list[base_events.BaseEventLoop]:
    return list(loops)
