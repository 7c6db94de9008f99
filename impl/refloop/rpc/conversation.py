"""The client's side of one transport, without the transport: what the three client forms have in common.

A form makes calls with :meth:`Conversation.request`, sends the frames it is given, and hands in whatever it
receives; outcomes come out through the book. *When* to send and to receive, and what to do meanwhile, is all
that tells the forms apart: one suspends its thread, one returns, one suspends its task.
"""

from __future__ import annotations

from collections.abc import Callable

from refloop.rpc.calls import Book, Call, Outcome
from refloop.rpc.wire import Decoder, FrameError, Json, Message, Request, encode

CLOSED_HERE = "this end of the transport has been closed"
CLOSED_THERE = "the peer has closed its end of the transport"


class Conversation:
    """The calls of one transport, and the bytes that they are made of."""

    __slots__ = ("_decoder", "book")

    def __init__(self) -> None:
        self.book = Book()
        self._decoder = Decoder()

    def request(
        self, method: str, params: tuple[Json, ...], settle: Callable[[Outcome], object]
    ) -> tuple[Call, bytes]:
        """Make a call: the call, and the frame to send for it, empty where there is nothing to send it to.

        Raises :class:`FrameError` for what cannot be framed, and then no call has been made.
        """
        frame = encode(Request(self.book.next_id, method, params))
        call = self.book.issue(settle)
        return call, frame if self.book.ended is None else b""

    def received(self, data: bytes) -> None:
        """``data`` has come, empty for the end of the stream. What is no reply ends the transport, after the
        replies before it."""
        if self.book.ended is not None:
            return
        try:
            self._decoder.feed(data)
            while (message := self._decoder.next()) is not None:
                self._answered(message)
            if not data:
                self._decoder.end()
                self.book.end(CLOSED_THERE)
        except FrameError as error:
            self.book.end(str(error))

    def _answered(self, message: Message) -> None:
        if isinstance(message, Request):
            raise FrameError(f"the peer calls {message.method!r}, and is here to be called")
        self.book.answer(message)
