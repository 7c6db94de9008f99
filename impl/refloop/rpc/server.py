"""The server: procedures by name, each call in a task of its own.

Replies go out in the order in which the procedures return, which is not the order of the calls: a slow one
holds up nobody, and a client tells them apart by their ids. What a procedure raises is its answer. A client
that asks faster than it is answered, or does not read its answers, is not read from: at most
:data:`AT_ONCE` of its calls are under way.

Replies of several tasks share one stream, and frames must not mix. So whoever has a reply puts it into the
outbox, and the first to find nobody sending sends for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from refloop.groups import TaskGroup
from refloop.rpc.wire import Decoder, Failure, FrameError, Json, Reply, Request, encode
from refloop.streams import Listener, SocketStream, serve
from refloop.waits import Event

Procedure: TypeAlias = Callable[..., Awaitable[Json]]

AT_ONCE: Final = 64
"""How many calls of one client are under way at most: asked for, and the reply not yet sent."""

ERROR_CHARACTERS: Final = 1_000
"""How much of an error's text goes into the reply."""


class _Connection:
    """One client: its stream, and the replies that wait to be sent."""

    __slots__ = ("_outbox", "_procedures", "_room", "_sending", "_stream", "_under_way")

    def __init__(self, stream: SocketStream, procedures: Mapping[str, Procedure]) -> None:
        self._stream = stream
        self._procedures = procedures
        self._outbox: list[bytes] = []
        self._sending = False
        self._under_way = 0
        self._room = Event()

    async def serve(self) -> None:
        """Answer calls until the client has no more of them, and all are answered."""
        decoder = Decoder()
        async with TaskGroup() as calls:
            while data := await self._stream.receive():
                decoder.feed(data)
                while (message := decoder.next()) is not None:
                    if not isinstance(message, Request):
                        raise FrameError(f"the client sent a {type(message).__name__}, and is here to call")
                    await self._room_for_one_more()
                    calls.start_soon(self._answer, message)
            decoder.end()

    async def _room_for_one_more(self) -> None:
        while self._under_way >= AT_ONCE:
            self._room = Event()
            await self._room.wait()
        self._under_way += 1

    async def _answer(self, request: Request) -> None:
        self._outbox.append(await self._reply(request))
        if not self._sending:
            await self._send()

    async def _reply(self, request: Request) -> bytes:
        procedure = self._procedures.get(request.method)
        if procedure is None:
            return encode(Failure(request.id, f"no procedure is named {request.method!r}"))
        try:
            return encode(Reply(request.id, await procedure(*request.params)))
        except Exception as error:
            return encode(Failure(request.id, f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]))

    async def _send(self) -> None:
        self._sending = True
        try:
            while self._outbox:
                await self._stream.send_all(self._outbox.pop(0))
                self._under_way -= 1
                self._room.set()
        finally:
            self._sending = False


async def answer_calls(stream: SocketStream, procedures: Mapping[str, Procedure]) -> None:
    """Serve one client until it leaves: call the async function that ``procedures`` has under the name that
    was asked for, and send back what it returns or raises.

    Raises an exception group with a :class:`FrameError` where the client breaks the protocol. A client that
    goes away while it is served breaks nothing; what it asked for is cancelled.
    """
    try:
        await _Connection(stream, procedures).serve()
    except* (ConnectionResetError, BrokenPipeError):
        pass


async def serve_calls(listener: Listener, procedures: Mapping[str, Procedure]) -> None:
    """Accept clients until cancelled, and serve each as :func:`answer_calls` does."""
    await serve(listener, partial(answer_calls, procedures=procedures))
