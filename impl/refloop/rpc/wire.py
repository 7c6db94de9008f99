"""What goes over the wire: messages, as frames of length-prefixed JSON.

A frame is four bytes, the length of what follows in network order, and then that many bytes of JSON. The
length comes first so that a reader never has to look for an end, and is bounded so that no peer can make it
wait for, or hold, more than :data:`MAX_FRAME`. A stream has no frames of its own, so that whatever comes
may end in the midst of one; :class:`Decoder` keeps the rest.

Nothing here reads or writes: bytes in, messages out. A frame that is no message is an error of the whole
transport, and the last thing that its decoder has to say: after it nobody knows where the next one begins.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NewType, NoReturn, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

CallId = NewType("CallId", int)
"""What a reply is matched to its call by; the client gives it, and the server gives it back."""

MAX_FRAME: Final = 1 << 20
"""The longest frame, in bytes of JSON: a mebibyte, which is what one peer may make this end hold for it."""

_LENGTH: Final = struct.Struct("!I")


class FrameError(ValueError):
    """What was to be sent cannot be framed, or what was received is no frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    """Client to server: call ``method`` with ``params``, and answer under ``id``."""

    id: CallId
    method: str
    params: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Server to client: what call ``id`` returned."""

    id: CallId
    result: Json


@dataclass(frozen=True, slots=True)
class Failure:
    """Server to client: call ``id`` raised, and ``error`` says what, as a text."""

    id: CallId
    error: str


Message: TypeAlias = Request | Reply | Failure


def encode(message: Message, limit: int = MAX_FRAME) -> bytes:
    """``message`` as one frame.

    Raises :class:`FrameError` for what JSON cannot say (which includes not-a-number and the infinities), and
    for a frame of more than ``limit`` bytes.
    """
    try:
        text = json.dumps(_members(message), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"JSON cannot say this: {error}") from None
    body = text.encode()
    if len(body) > limit:
        raise FrameError(f"a frame of {len(body)} bytes, and {limit} is the most")
    return _LENGTH.pack(len(body)) + body


def _members(message: Message) -> dict[str, Json]:
    match message:
        case Request(id, method, params):
            return {"id": id, "method": method, "params": params}
        case Reply(id, result):
            return {"id": id, "result": result}
        case Failure(id, error):
            return {"id": id, "error": error}


class Decoder:
    """Makes messages of the bytes of one direction of a transport, however they were cut.

    :meth:`feed` it, and take messages with :meth:`next` until there is none; :meth:`end` it with the stream.
    A frame of more than ``limit`` bytes is refused by its length, before it is waited for.
    """

    __slots__ = ("_bytes", "_limit", "_trouble")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._bytes = bytearray()
        self._limit = limit
        self._trouble: str | None = None

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        self._bytes += data

    def next(self) -> Message | None:
        """The next whole message, None if more has to come first. Raises :class:`FrameError`, now and at
        every later call, where there is a frame that is none."""
        if self._trouble is not None:
            raise FrameError(self._trouble)
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > self._limit:
            self._refuse(f"the peer announces a frame of {length} bytes, and {self._limit} is the most")
        whole = _LENGTH.size + length
        if len(self._bytes) < whole:
            return None
        body = bytes(self._bytes[_LENGTH.size : whole])
        del self._bytes[:whole]
        message = _message(body)
        if message is None:
            self._refuse(f"the peer sent a frame that is no message: {body[:60]!r}")
        return message

    def end(self) -> None:
        """The stream has ended. Raises :class:`FrameError` if it ended in the midst of a frame."""
        if self._bytes and self._trouble is None:
            self._refuse(f"the stream ended after {len(self._bytes)} bytes of a frame")

    def _refuse(self, trouble: str) -> NoReturn:
        self._trouble = trouble
        raise FrameError(trouble)


def _message(body: bytes) -> Message | None:
    """The message that ``body`` says, None if it says none; of JSON's own freedom nothing is let in that
    :func:`encode` would not have said, but for the order of the members."""
    try:
        members: Json = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    id = members.pop("id", None)
    return _said(CallId(id), members) if isinstance(id, int) and _is_id(id) else None


def _said(id: CallId, members: Mapping[str, Json]) -> Message | None:
    match members:
        case {"method": str(method), "params": list(params), **rest} if not rest:
            return Request(id, method, tuple(params))
        case {"result": result, **rest} if not rest:
            return Reply(id, result)
        case {"error": str(error), **rest} if not rest:
            return Failure(id, error)
        case _:
            return None


def _is_id(id: int) -> bool:
    return not isinstance(id, bool) and id >= 0


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
