"""The adapter of the toy loop, as `docs/adapters.md` comes to it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import ClassVar

from toy_loop import Loop

from loopspec.conformance.adapter import HasFileno, World
from loopspec.conformance.structured import CALLBACKS, SECOND, CallbacksOnly
from loopspec.trace import Direction


class _Timer:
    def __init__(self, loop: Loop, instant: float, callback: Callable[[], None]) -> None:
        self.deadline = round(instant * SECOND)
        self._loop = loop
        self._number = loop.call_at(instant, callback)

    def cancel(self) -> None:
        self._loop.cancel(self._number)


class ToyLoop(CallbacksOnly):
    version: ClassVar[str] = "toy 1"
    shows: ClassVar[frozenset[str]] = CALLBACKS

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = Loop(world.poller, self._now, world.report)
        self.call_soon = self._loop.call_soon
        self.post = self._loop.call_threadsafe
        self.stop = self._loop.stop
        self.close = self._loop.close

    def _now(self) -> float:
        return self._world.now() / SECOND

    def run(self, main: Callable[[], None]) -> None:
        self._loop.call_soon(main)
        self._loop.run_forever()

    def call_later(self, delay: int, callback: Callable[[], None]) -> _Timer:
        return _Timer(self._loop, self._now() + delay / SECOND, callback)

    def timers_held(self) -> int:
        return len(self._loop._timers)

    def arm(self, sock: HasFileno, direction: Direction, callback: Callable[[], None]) -> int:
        if direction == "write":
            raise NotImplementedError("the toy has no writers")
        self._loop.add_reader(sock.fileno(), callback)
        return sock.fileno()

    def disarm(self, registration: object) -> None:
        assert isinstance(registration, int)
        self._loop.remove_reader(registration)

    def close_socket(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock.fileno())
        sock.close()
