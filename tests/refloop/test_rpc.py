"""Remote calls: frames, the book of calls, and the three client forms over real sockets.

What the forms owe in every order of events is the scenarios' to show (``tests/conformance``); here is what a
scenario does not draw: the bytes, the limits, and the errors that say what is wrong.
"""

from __future__ import annotations

import json
import math
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refloop
from refloop.rpc import (
    BlockingClient,
    CallbackClient,
    Client,
    Ended,
    EndedError,
    Failed,
    FrameError,
    Json,
    Outcome,
    PendingCall,
    RemoteError,
    Replied,
    TimedOut,
    answer_calls,
)
from refloop.rpc.calls import LIFE, SETTLED, Book, Call, Move, Refusal, State
from refloop.rpc.channel import HIGH_WATER, MAX_UNSENT
from refloop.rpc.conversation import CLOSED_HERE, CLOSED_THERE, Conversation
from refloop.rpc.server import AT_ONCE, Procedure
from refloop.rpc.wire import CallId, Decoder, Failure, Message, Reply, Request, encode

plain: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ids = st.integers(0, 1 << 40).map(CallId)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Request, ids, st.text(), st.lists(plain, max_size=3).map(tuple)),
    st.builds(Reply, ids, plain),
    st.builds(Failure, ids, st.text()),
)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def decoded(decoder: Decoder, data: bytes) -> list[Message]:
    decoder.feed(data)
    found = []
    while (message := decoder.next()) is not None:
        found.append(message)
    return found


# --- frames ---------------------------------------------------------------------------------------------


@given(st.lists(messages, max_size=4), st.data())
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[Message], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, sent))
    decoder, received = Decoder(), list[Message]()
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received += decoded(decoder, stream[:cut])
        stream = stream[cut:]
    decoder.end()
    assert received == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[1]",
        b"{}",
        b'{"id":1}',
        b'{"id":-1,"result":1}',
        b'{"id":true,"result":1}',
        b'{"id":1.0,"result":1}',
        b'{"id":1,"result":NaN}',
        b'{"id":1,"error":2}',
        b'{"id":1,"result":1,"error":"both"}',
        b'{"id":1,"method":"m","params":{}}',
        b'{"id":1,"method":"m","params":[],"more":1}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode("latin-1") or "empty",
)
def test_a_frame_that_is_no_message_is_refused_for_good(body: bytes) -> None:
    decoder = Decoder()
    first = encode(Reply(CallId(1), "good"))
    decoder.feed(first + frame(body) + first)
    assert decoder.next() == Reply(CallId(1), "good")
    for _ in range(2):
        with pytest.raises(FrameError, match="the peer sent a frame that is no message"):
            decoder.next()


def test_a_frame_that_is_too_long_is_refused_by_its_length_alone() -> None:
    decoder = Decoder(limit=10)
    decoder.feed((11).to_bytes(4, "big"))
    with pytest.raises(FrameError, match="announces a frame of 11 bytes, and 10 is the most"):
        decoder.next()


def test_a_stream_that_ends_within_a_frame_is_no_orderly_end() -> None:
    decoder = Decoder()
    decoder.feed(b"\0\0\0\5tru")
    assert decoder.next() is None
    with pytest.raises(FrameError, match="the stream ended after 7 bytes of a frame"):
        decoder.end()


@pytest.mark.parametrize("value", [math.nan, math.inf, "x" * 100], ids=["nan", "infinity", "too long"])
def test_what_cannot_be_framed_is_refused_before_it_is_sent(value: Json) -> None:
    with pytest.raises(FrameError):
        encode(Reply(CallId(1), value), limit=50)


# --- the book -------------------------------------------------------------------------------------------


def test_the_table_is_total_and_what_is_settled_is_settled_for_good() -> None:
    assert LIFE.keys() == {(state, move) for state in State for move in Move}
    assert {LIFE[state, move] for state in SETTLED for move in Move} == {Refusal.SETTLED, Refusal.TAKEN}


@given(st.lists(st.tuples(st.sampled_from(["issue", "reply", "expire", "cancel", "end"]), st.integers(0, 5))))
def test_whatever_happens_in_whatever_order_each_call_is_settled_at_most_once(
    steps: list[tuple[str, int]],
) -> None:
    """Given any sequence of happenings, then no call is told twice, no id is given twice, and what the end
    settles it settles in the order of issue."""
    book, told, calls = Book(), list[tuple[int, Outcome]](), list[Call]()

    def tell(number: int, outcome: Outcome) -> None:
        told.append((number, outcome))

    for step, which in steps:
        match step:
            case "issue":
                calls.append(book.issue(partial(tell, len(calls))))
            case "reply":
                book.answer(Reply(CallId(which), which))
            case "expire" if which < len(calls):
                book.expire(calls[which])
            case "cancel" if which < len(calls):
                book.cancel(calls[which])
            case "end":
                book.end("over")
            case _:
                pass
    assert len({number for number, _ in told}) == len(told)
    assert len({call.id for call in calls}) == len(calls)
    ended = [number for number, outcome in told if isinstance(outcome, Ended)]
    assert ended == sorted(ended)
    assert all(call.state is not State.NEW for call in calls)
    assert len(book) == sum(call.state is State.PENDING for call in calls)


def test_calls_made_while_the_end_settles_are_settled_by_it_and_last() -> None:
    book, told = Book(), list[str]()

    def first(_: Outcome) -> None:
        told.append("first")
        book.issue(lambda _: told.append("made by the first"))

    book.issue(first)
    book.issue(lambda _: told.append("second"))
    book.end("over")
    assert told == ["first", "second", "made by the first"]
    book.issue(lambda _: told.append("made when all is over"))
    assert told[-1] == "made when all is over"


def test_replies_to_no_pending_call_are_counted_and_dropped() -> None:
    book, told = Book(), list[Outcome]()
    late = book.issue(told.append)
    book.expire(late)
    for id in (late.id, late.id, 77):
        book.answer(Reply(CallId(id), "too late"))
    assert (told, book.dropped) == ([TimedOut()], 3)


# --- a conversation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", CLOSED_THERE),
        (frame(b"nonsense"), "the peer sent a frame that is no message: b'nonsense'"),
        (encode(Request(CallId(0), "f", ())), "the peer calls 'f', and is here to be called"),
    ],
)
def test_replies_before_the_end_count_and_the_end_says_what_it_was(data: bytes, reason: str) -> None:
    conversation, told = Conversation(), list[Outcome]()
    for _ in range(2):
        conversation.request("f", (), told.append)
    conversation.received(encode(Reply(CallId(0), 1)) + data)
    if not data:
        conversation.received(b"")
    assert told == [Replied(1), Ended(reason)]
    _, sent = conversation.request("f", (), told.append)
    assert (sent, told[2:]) == (b"", [Ended(reason)])


def test_a_call_that_cannot_be_framed_is_not_made() -> None:
    conversation = Conversation()
    with pytest.raises(FrameError):
        conversation.request("f", (math.nan,), print)
    assert (len(conversation.book), conversation.book.next_id) == (0, 0)


# --- the three forms over real sockets --------------------------------------------------------------------


async def add(left: int, right: int) -> Json:
    return left + right


async def fail(text: str) -> Json:
    raise ValueError(text)


async def unsayable() -> Json:
    return math.nan


def said_of_nan() -> str:
    """What the interpreter's encoder says of it; each version in its own words."""
    with pytest.raises(ValueError, match="JSON") as refused:
        json.dumps(math.nan, allow_nan=False)
    return str(refused.value)


def procedures() -> dict[str, Procedure]:
    """What a server in these tests can do: ``hold`` returns when ``release`` is called."""
    released = refloop.Event()

    async def hold() -> Json:
        await released.wait()
        return "held"

    async def release() -> Json:
        released.set()
        return "released"

    return {"add": add, "fail": fail, "unsayable": unsayable, "hold": hold, "release": release}


@contextmanager
def served() -> Iterator[socket.socket]:
    """A socket whose other end is served by a refloop server in a thread of its own."""
    ours, theirs = socket.socketpair()

    thread = threading.Thread(target=_serve, args=(theirs,))
    thread.start()
    try:
        with ours:
            yield ours
    finally:
        thread.join()


def _serve(sock: socket.socket) -> None:
    async def until_it_leaves() -> None:
        with refloop.SocketStream(sock) as stream:
            await answer_calls(stream, procedures())

    refloop.run(until_it_leaves)


Calls: TypeAlias = list[tuple[str, tuple[Json, ...], int | None]]
Form: TypeAlias = Callable[[socket.socket, Calls], list[Outcome]]


def _by_blocking(sock: socket.socket, calls: Calls) -> list[Outcome]:
    found: list[Outcome] = []
    with BlockingClient(sock) as client:
        for method, params, timeout in calls:
            found.append(_outcome(lambda: client.call(method, *params, timeout=timeout)))  # noqa: B023
    return found


def _by_callback(sock: socket.socket, calls: Calls) -> list[Outcome]:
    found: list[Outcome] = []
    reactor = refloop.Reactor()
    client = CallbackClient(reactor, sock)
    for method, params, timeout in calls:
        before = len(found)
        client.call(method, *params, callback=found.append, timeout=timeout)
        assert len(found) == before, "a callback ran inside the call"
        while len(found) == before:
            reactor.turn()
    client.close()
    reactor.close()
    return found


def _by_coroutine(sock: socket.socket, calls: Calls) -> list[Outcome]:
    async def main() -> list[Outcome]:
        found: list[Outcome] = []
        with Client(refloop.SocketStream(sock)) as client:
            for method, params, timeout in calls:
                try:
                    found.append(Replied(await client.call(method, *params, timeout=timeout)))
                except Exception as error:
                    found.append(_of(error))
        return found

    return refloop.run(main)


def _outcome(call: Callable[[], Json]) -> Outcome:
    try:
        return Replied(call())
    except Exception as error:
        return _of(error)


def _of(error: Exception) -> Outcome:
    match error:
        case RemoteError():
            return Failed(str(error))
        case EndedError():
            return Ended(str(error))
        case TimeoutError():
            return TimedOut()
        case _:
            raise error


FORMS: tuple[Form, ...] = (_by_blocking, _by_callback, _by_coroutine)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_brings_values_errors_and_time_outs(form: Form) -> None:
    with served() as sock:
        assert form(
            sock,
            [
                ("add", (20, 22), None),
                ("fail", ("no",), refloop.SECOND * 60),
                ("unsayable", (), None),
                ("nobody", (), None),
                ("hold", (), 0),
                ("release", (), None),
                ("add", ("a", "b"), None),
            ],
        ) == [
            Replied(42),
            Failed("ValueError: no"),
            Failed(f"FrameError: JSON cannot say this: {said_of_nan()}"),
            Failed("no procedure is named 'nobody'"),
            TimedOut(),
            Replied("released"),
            Replied("ab"),
        ]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_told_that_the_peer_has_gone(form: Form) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        first, second = form(ours, [("add", (1, 2), None), ("add", (1, 2), refloop.SECOND)])
    assert isinstance(first, Ended)
    assert second == first


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_that_had_come_is_delivered_though_the_next_request_cannot_be_sent(form: Form) -> None:
    """Given a peer that has replied to a call before it was made, and hears no more, then that call, whose
    sending fails, has its reply, and the next one is told that the transport has ended."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode(Reply(CallId(0), "foreseen")))
        theirs.shutdown(socket.SHUT_RD)
        first, second = form(ours, [("add", (), None), ("add", (), None)])
    assert first == Replied("foreseen")
    assert isinstance(second, Ended)
    assert "sending failed" in second.reason


def test_calls_after_the_close_end_and_say_so() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        client = BlockingClient(ours)
        client.close()
        with pytest.raises(EndedError, match=CLOSED_HERE):
            client.call("add", 1, 2)


# --- blocking ---------------------------------------------------------------------------------------------


@pytest.mark.clause("RPC.BLOCKING.SUSPENDS_CALLER", "119103d4", witness=True)
def test_a_blocking_call_suspends_its_thread_until_the_reply_is_there() -> None:
    """Given a server that replies only once the kernel says that the caller sleeps, then the caller returns
    with the reply, and has been switched out at least once, by the account of ``ru_nvcsw``."""
    ours, theirs = socket.socketpair()
    suspensions: list[int] = []
    tid: list[int] = []
    begun = threading.Event()

    def caller() -> None:
        tid.append(threading.get_native_id())
        with BlockingClient(ours) as client:
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
            begun.set()
            assert client.call("add", 1, 2) == 3
            suspensions.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)

    thread = threading.Thread(target=caller)
    thread.start()
    with theirs:
        request = theirs.recv(4096)
        while not _sleeps(tid[0]):
            pass
        (asked,) = decoded(Decoder(), request)
        theirs.sendall(encode(Reply(asked.id, 3)))
        thread.join()
    assert suspensions[0] >= 1


def _sleeps(tid: int) -> bool:
    """Whether thread ``tid`` sleeps in the kernel for something else than the interpreter's lock."""
    where = Path(f"/proc/self/task/{tid}/wchan").read_text()
    return where not in ("", "0") and not where.startswith("futex")


# --- callbacks --------------------------------------------------------------------------------------------


@contextmanager
def callback_client() -> Iterator[tuple[refloop.Reactor, CallbackClient, socket.socket]]:
    ours, theirs = socket.socketpair()
    reactor = refloop.Reactor()
    client = CallbackClient(reactor, ours)
    try:
        with theirs:
            yield reactor, client, theirs
    finally:
        client.close()
        reactor.close()


def test_a_cancelled_call_calls_nobody_also_when_its_reply_has_been_read() -> None:
    with callback_client() as (reactor, client, theirs):
        told: list[Outcome] = []
        calls = [client.call("f", callback=told.append) for _ in range(3)]
        theirs.sendall(b"".join(encode(Reply(call.id, call.id)) for call in calls))
        calls[0].cancel()
        client.call("g", callback=lambda _: None)
        # In the ready phase of the next turn, before the callbacks that its batch queues.
        reactor.call_soon(calls[1].cancel)
        reactor.turn()
        assert told == [Replied(2)]
        assert client.dropped == 1


def test_a_callback_that_raises_is_reported_and_the_others_are_called() -> None:
    with callback_client() as (reactor, client, _):
        told: list[Outcome] = []
        errors: list[Exception] = []
        reactor.on_error = errors.append

        def broken(_: Outcome) -> None:
            raise ZeroDivisionError

        client.call("f", callback=broken)
        client.call("f", callback=told.append)
        client.close()
        reactor.turn()
        assert told == [Ended(CLOSED_HERE)]
        assert [type(error) for error in errors] == [ZeroDivisionError]


def test_requests_that_the_kernel_does_not_take_are_sent_when_it_does_and_bounded() -> None:
    with callback_client() as (reactor, client, theirs):
        large, calls = "x" * 100_000, list[PendingCall]()

        def call_again() -> None:
            while True:
                calls.append(client.call("f", large, callback=print))

        with pytest.raises(refloop.BusyResourceError, match="wait for a peer that does not read"):
            call_again()
        sent = len(calls)
        assert sent * len(large) > MAX_UNSENT
        theirs.setblocking(False)
        decoder, received = Decoder(), 0
        while received < sent:
            reactor.call_soon(int)
            reactor.turn()
            received += len(decoded(decoder, theirs.recv(1 << 20)))
        client.call("f", callback=print)


@pytest.mark.parametrize("timeout", [-1])
def test_a_time_out_in_the_past_is_refused_and_no_call_made(timeout: int) -> None:
    with callback_client() as (_, client, theirs):
        theirs.setblocking(False)
        with pytest.raises(ValueError, match="is over already"):
            client.call("f", callback=print, timeout=timeout)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


# --- coroutines and the server ------------------------------------------------------------------------------


def test_a_cancelled_task_gives_its_call_up_and_the_transport_lives() -> None:
    async def main() -> tuple[Json, int]:
        ours, theirs = socket.socketpair()
        with refloop.SocketStream(theirs) as stream, Client(refloop.SocketStream(ours)) as client:
            async with refloop.TaskGroup() as group:
                given_up = group.start_soon(client.call, "hold")
                await refloop.checkpoint()
                await refloop.checkpoint()
                given_up.cancel()
                (asked,) = decoded(Decoder(), await stream.receive())
                await stream.send_all(encode(Reply(asked.id, "late")))
                answer = group.start_soon(client.call, "f")
                (asked,) = decoded(Decoder(), await stream.receive())
                await stream.send_all(encode(Reply(asked.id, "good")))
                value = await answer.join()
            return value, client.dropped

    assert refloop.run(main) == ("good", 1)


def test_calls_wait_for_room_where_the_peer_does_not_read() -> None:
    async def main() -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        decoder, served = Decoder(), 0
        with refloop.SocketStream(theirs) as stream, Client(refloop.SocketStream(ours)) as client:
            async with refloop.TaskGroup() as group:
                for _ in range(100):
                    group.start_soon(client.call, "f", "x" * 10_000)
                for _ in range(10):
                    await refloop.checkpoint()
                most = client._channel.unsent
                while served < 100:
                    for asked in decoded(decoder, await stream.receive()):
                        await stream.send_all(encode(Reply(asked.id, None)))
                        served += 1
        return most, served

    most, served = refloop.run(main)
    assert most <= HIGH_WATER + 10_100
    assert served == 100


def test_a_slow_procedure_holds_up_nobody_and_too_many_calls_are_not_read() -> None:
    """Given a client that makes one call more than may be under way, all of them slow, then the last is not
    begun before another has ended."""
    begun: list[int] = []

    async def main() -> None:
        may_end = [refloop.Event() for _ in range(AT_ONCE + 1)]

        async def slow(number: int) -> Json:
            begun.append(number)
            await may_end[number].wait()
            return number

        ours, theirs = socket.socketpair()
        with refloop.SocketStream(theirs) as stream, Client(refloop.SocketStream(ours)) as client:
            async with refloop.TaskGroup() as group:
                server = group.start_soon(answer_calls, stream, {"slow": slow})
                calls = [group.start_soon(client.call, "slow", number) for number in range(AT_ONCE + 1)]
                for _ in range(10):
                    await refloop.checkpoint()
                assert begun == list(range(AT_ONCE))
                may_end[7].set()
                assert await calls[7].join() == 7
                for event in may_end:
                    event.set()
                assert [await call.join() for call in calls] == list(range(AT_ONCE + 1))
                server.cancel()

    refloop.run(main)
    assert begun == list(range(AT_ONCE + 1))


def test_a_client_that_breaks_the_protocol_is_an_error_of_its_connection() -> None:
    async def main(sent: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, refloop.SocketStream(theirs) as stream:
            ours.sendall(sent)
            ours.shutdown(socket.SHUT_WR)
            await answer_calls(stream, procedures())

    for sent in (frame(b"nonsense"), encode(Reply(CallId(0), 1)), b"\0\0"):
        with pytest.raises(ExceptionGroup) as caught:
            refloop.run(main, sent)
        assert [type(error) for error in caught.value.exceptions] == [FrameError]
    refloop.run(main, b"")
