"""Steps of uvloop, which has no place of its own that every callback passes through.

It calls handles, protocols and readers from C, some of them in the middle of libuv's poll. So each is
bracketed where it is handed over: the loop's methods that take a callback wrap it, and those that take a
protocol's factory give the protocol's methods a bracket each, as attributes of the instance, which uvloop
looks up when it binds the protocol. A protocol that has no room for attributes, and one that is put in
another's place by ``set_protocol`` without the loop being told, is not watched.

uvloop's own wait is not seen. A step therefore begins with a look, too. What was ready and had to wait is
known exactly, from the call that queued it to the call that runs it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial, wraps
from time import monotonic_ns
from typing import Final

from loopspec.watching.asyncio import ATTRIBUTE, Watcher, of_callback
from loopspec.watching.thread import Watched

TAKE_A_CALLBACK: Final = {
    "call_soon": (0, "callback"),
    "call_soon_threadsafe": (0, "callback"),
    "call_later": (1, "timer"),
    "call_at": (1, "timer"),
    "add_reader": (1, "reader"),
    "add_writer": (1, "writer"),
    "add_signal_handler": (1, "signal"),
}
"""The methods that take a callback: the place of it among the arguments, and what kind it is."""

TAKE_A_FACTORY: Final = (
    *("create_server", "create_connection", "create_unix_server", "create_unix_connection"),
    *("create_datagram_endpoint", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe"),
    *("subprocess_exec", "subprocess_shell"),
)
"""The methods that take a protocol's factory, as their first argument."""

CALLBACKS: Final = (
    *("connection_made", "connection_lost", "data_received", "eof_received", "pause_writing"),
    *("resume_writing", "datagram_received", "error_received", "get_buffer", "buffer_updated"),
    *("pipe_data_received", "pipe_connection_lost", "process_exited"),
)
"""The methods of protocols that a loop calls."""


class Bracket:
    """A callback that is a step of ``loop``."""

    __slots__ = ("callback", "kind", "loop", "ready")

    def __init__(self, loop: object, kind: str, callback: Callable[..., object]) -> None:
        self.loop, self.kind, self.callback = loop, kind, callback
        self.ready = monotonic_ns() if kind == "callback" else 0

    def __call__(self, *args: object, **more: object) -> object:
        watched = getattr(self.loop, ATTRIBUTE, None)
        if watched is None or watched.inside:
            return self.callback(*args, **more)
        return _step(watched, self.kind, self.callback, self.ready, args, more)


def _step(
    watched: Watched,
    kind: str,
    callback: Callable[..., object],
    ready: int,
    args: tuple[object, ...],
    more: dict[str, object],
) -> object:
    watched.skip()
    if ready:
        watched.starved(ready, callback)
    watched.inside = True
    try:
        return callback(*args, **more)
    finally:
        watched.inside = False
        watched.over(partial(of_callback, kind, callback))
        watched.at[0] = 0


def _bracket_protocol(loop: object, protocol: object) -> object:
    """Have the callbacks of ``protocol`` be steps of ``loop``, and nothing live longer for it."""
    here, there = weakref.ref(loop), weakref.ref(protocol)
    for name in CALLBACKS:
        function = getattr(type(protocol), name, None)
        if function is None or name in vars(protocol):
            continue
        setattr(protocol, name, _method(here, there, function))
    return protocol


def _method(
    loop: Callable[[], object], protocol: Callable[[], object], function: Callable[..., object]
) -> Callable[..., object]:
    @wraps(function)
    def method(*args: object) -> object:
        owner = protocol()
        bound = getattr(function, "__get__", lambda *_: function)(owner, type(owner))
        watched = getattr(loop(), ATTRIBUTE, None)
        if watched is None or watched.inside:
            return bound(*args)
        return _step(watched, "protocol", bound, 0, args, {})

    return method


def _taking_a_callback(original: Callable[..., object], place: int, kind: str) -> Callable[..., object]:
    @wraps(original)
    def method(loop: object, *args: object, **more: object) -> object:
        if len(args) > place:
            callback = args[place]
            if callable(callback) and not isinstance(callback, Bracket):
                args = (*args[:place], Bracket(loop, kind, callback), *args[place + 1 :])
        return original(loop, *args, **more)

    return method


def _taking_a_factory(original: Callable[..., object]) -> Callable[..., object]:
    @wraps(original)
    def method(loop: object, factory: Callable[[], object], *args: object, **more: object) -> object:
        def made() -> object:
            protocol = factory()
            if hasattr(loop, ATTRIBUTE) and hasattr(protocol, "__dict__"):
                _bracket_protocol(loop, protocol)
            return protocol

        return original(loop, made, *args, **more)

    return method


def install(watcher: Watcher) -> Callable[[], None]:
    """Watch every loop of uvloop that runs from now on, and the one that runs in this thread.

    Gives what undoes it. uvloop must have been imported.
    """
    module = sys.modules["uvloop"]
    loop_class: type = module.Loop
    attached: list[object] = []
    before = {name: vars(loop_class).get(name) for name in (*TAKE_A_CALLBACK, *TAKE_A_FACTORY, "run_forever")}

    for name, (place, kind) in TAKE_A_CALLBACK.items():
        setattr(loop_class, name, _taking_a_callback(getattr(loop_class, name), place, kind))
    for name in TAKE_A_FACTORY:
        setattr(loop_class, name, _taking_a_factory(getattr(loop_class, name)))
    forever: Callable[..., object] = loop_class.run_forever  # type: ignore[attr-defined]

    def attach(loop: object) -> None:
        watched = watcher.enter("uvloop")
        if watched is not None:
            watched.at[0] = 0
            setattr(loop, ATTRIBUTE, watched)
            attached.append(loop)

    def detach(loop: object) -> None:
        if loop in attached:
            attached.remove(loop)
            watcher.leave(vars(loop).pop(ATTRIBUTE))

    @wraps(forever)
    def watched_forever(loop: object) -> object:
        if hasattr(loop, ATTRIBUTE):
            return forever(loop)
        attach(loop)
        try:
            return forever(loop)
        finally:
            detach(loop)

    loop_class.run_forever = watched_forever  # type: ignore[attr-defined]
    current = sys.modules["asyncio"]._get_running_loop()
    if isinstance(current, loop_class) and not hasattr(current, ATTRIBUTE):
        attach(current)

    def remove() -> None:
        for name, function in before.items():
            if function is None:
                delattr(loop_class, name)
            else:
                setattr(loop_class, name, function)
        for loop in list(attached):
            detach(loop)

    return remove
