"""Mutants of the remote calls: settled twice, too late, by a stranger's reply, or never."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BLOCKING = "impl/refloop/rpc/blocking.py"
CALLBACK = "impl/refloop/rpc/callback.py"
CALLS = "impl/refloop/rpc/calls.py"
CHANNEL = "impl/refloop/rpc/channel.py"
CONVERSATION = "impl/refloop/rpc/conversation.py"
COROUTINE = "impl/refloop/rpc/coroutine.py"
WIRE = "impl/refloop/rpc/wire.py"

RPC_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="rpc-blocking-call-looks-once",
        clause="RPC.BLOCKING.SUSPENDS_CALLER",
        path=BLOCKING,
        old="""            self._socket.settimeout(self._left(deadline))
            data = self._socket.recv(RECEIVE_BYTES)
        except (TimeoutError, BlockingIOError):
            if deadline is not None and self._clock() >= deadline:
                self._conversation.book.expire(call)
""",
        new="""            self._socket.settimeout(0)
            data = self._socket.recv(RECEIVE_BYTES)
        except (TimeoutError, BlockingIOError):
            self._conversation.book.expire(call)
""",
        story="A receive that was made nonblocking, and its EAGAIN is taken for the time-out.",
    ),
    Mutant(
        name="rpc-callback-inside-the-call",
        clause="RPC.ASYNC.RETURNS_AT_ONCE",
        path=CALLBACK,
        old="        self._queued = self._reactor.call_soon(self._callback, outcome)\n",
        new="        self._callback(outcome)\n",
        story="Who settles a call runs its callback: over a transport that has ended, the call does itself.",
        report="https://blog.izs.me/2013/08/designing-apis-for-asynchrony/",
    ),
    Mutant(
        name="rpc-asynchronous-call-waits",
        clause="RPC.ASYNC.RETURNS_AT_ONCE",
        path=CHANNEL,
        old="            self._send(frame)\n        return call\n",
        new="""            self._send(frame)
            self._socket.setblocking(True)
            self._receive()
            self._socket.setblocking(False)
        return call
""",
        story="The request is sent, and its reply received, before the call returns: the thread sleeps.",
    ),
    Mutant(
        name="rpc-timeout-and-late-reply-both-settle",
        clause="RPC.CALL.SETTLES_ONCE",
        path=CALLS,
        old="        self._settle(call, Move.TIMEOUT, TimedOut())\n",
        new="        if call._settle is not None:\n            call._settle(TimedOut())\n",
        story="A time-out leaves the call in the book, and its late reply calls the callback a second time.",
        report="https://github.com/deepstreamIO/deepstream.io-client-js/issues/551",
    ),
    Mutant(
        name="rpc-timeout-forgotten",
        clause="RPC.CALL.SETTLES_ONCE",
        path=CHANNEL,
        old="            if timeout is not None:\n",
        new="            if timeout:\n",
        story="A time-out of nought is taken for none, and the call waits for ever.",
    ),
    Mutant(
        name="rpc-any-reply-will-do",
        clause="RPC.CALL.SETTLES_ONCE",
        path=CALLS,
        old="        call = self._pending.get(message.id)\n",
        new="        call = next(iter(self._pending.values()), None)\n",
        story="Replies are taken to come in the order of the calls, and settle the one that waits longest.",
    ),
    Mutant(
        name="rpc-late-reply-ends-the-transport",
        clause="RPC.CLOSE.SETTLES_ALL",
        path=CALLS,
        old="            self.dropped += 1\n            return\n",
        new="            self.end('a reply to no call')\n            return\n",
        story="A reply that nobody waits for any more is taken for a broken protocol.",
    ),
    Mutant(
        name="rpc-id-is-the-number-pending",
        clause="RPC.ID.NOT_REUSED",
        path=CALLS,
        old="        return CallId(self._issued)\n",
        new="        return CallId(min(set(range(len(self._pending) + 1)) - set(self._pending)))\n",
        story="A call gets the lowest id that is not pending: that of one that has timed out.",
    ),
    Mutant(
        name="rpc-late-reply-not-counted",
        clause="RPC.ID.NOT_REUSED",
        path=CALLS,
        old="            self.dropped += 1\n            return\n",
        new="            self.dropped += int(message.id >= self._issued)\n            return\n",
        story="Only a reply that nobody asked for is counted, and one that comes late is not.",
    ),
    Mutant(
        name="rpc-end-settles-the-youngest-first",
        clause="RPC.CLOSE.SETTLES_ALL",
        path=CALLS,
        old="                for call in tuple(self._pending.values()):\n",
        new="                for call in reversed(tuple(self._pending.values())):\n",
        story="The pending calls are unwound like a stack.",
    ),
    Mutant(
        name="rpc-end-of-stream-settles-nobody",
        clause="RPC.CLOSE.SETTLES_ALL",
        path=CONVERSATION,
        old="                self._decoder.end()\n                self.book.end(CLOSED_THERE)\n",
        new="                self._decoder.end()\n",
        story="The end of the stream is read, and nobody is told: pending calls hang.",
        report="https://github.com/agentclientprotocol/rust-sdk/issues/250",
    ),
    Mutant(
        name="rpc-call-after-the-end-hangs",
        clause="RPC.CLOSE.SETTLES_ALL",
        path=CHANNEL,
        old="            self._stop_timer(number)\n            settle(outcome)\n",
        new="""            self._stop_timer(number)
            if self._reader.live:
                settle(outcome)
""",
        story="What comes after the end is dropped, and a call that one of its callbacks makes hangs.",
        report="https://github.com/livekit/psrpc/pull/139",
    ),
    Mutant(
        name="rpc-failing-send-loses-its-call",
        clause="RPC.CLOSE.SETTLES_ALL",
        path=CHANNEL,
        old='            self.end(f"sending failed: {error}")\n            return None\n',
        new="            return None\n",
        story="A send fails, and the one who waits for the reply is not told.",
        report="https://github.com/scylladb/seastar/issues/1146",
    ),
    Mutant(
        name="rpc-cancelled-call-keeps-its-timer",
        clause="LOOP.WAIT.TIMEOUT",
        path=CHANNEL,
        old="        self.conversation.book.cancel(call)\n        self._stop_timer(call.id)\n",
        new="        self.conversation.book.cancel(call)\n",
        story="A call that was cancelled keeps its time-out, and the loop wakes for nobody.",
        report="https://github.com/apache/brpc/issues/3383",
    ),
    Mutant(
        name="rpc-coroutine-takes-a-timeout-for-no-answer",
        clause="RPC.STYLES.AGREE",
        path=COROUTINE,
        old="        return value_of(answer.outcome)\n",
        new="""        timed_out = type(answer.outcome).__name__ == "TimedOut"
        return None if timed_out else value_of(answer.outcome)
""",
        story="Where the other forms raise, the coroutine form returns None.",
    ),
    Mutant(
        name="rpc-coroutine-returns-what-was-raised",
        clause="RPC.STYLES.AGREE",
        path=COROUTINE,
        old="        return value_of(answer.outcome)\n",
        new="""        said = getattr(answer.outcome, "error", None)
        return value_of(answer.outcome) if said is None else said
""",
        story="Where the other forms raise, the coroutine form returns what the procedure has raised.",
    ),
    Mutant(
        name="rpc-blocking-takes-a-stray-reply-for-the-end",
        clause="RPC.STYLES.AGREE",
        path=BLOCKING,
        old="    def _received(self, data: bytes) -> None:\n        self._conversation.received(data)\n",
        new="    def _received(self, data: bytes) -> None:\n        self._conversation.received(data)\n"
        "        if self.dropped:\n            self._conversation.book.end(CLOSED_HERE)\n",
        story="The blocking form, which makes one call at a time, is put out by a reply to another.",
    ),
)
