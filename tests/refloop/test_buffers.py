"""Buffers on a stream: boundaries on the receiving side, a high-water mark on the sending side."""

from __future__ import annotations

import random
import socket
from array import array
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from refloop import (
    BufferedReceiver,
    BufferedSender,
    BusyResourceError,
    ClosedResourceError,
    DelimiterNotFoundError,
    IncompleteReadError,
    Runtime,
    SocketStream,
    State,
    TaskGroup,
    Trap,
    checkpoint,
    move_on_after,
    wait_writable,
)
from refloop.buffers import HIGH_WATER, LINE_LIMIT
from refloop.kernel import IN, OUT, RDHUP
from refloop.streams import RECEIVE_BYTES
from tests.refloop.fake_kernel import FakeKernel

Pair = tuple[socket.socket, socket.socket]


def fill(end: socket.socket) -> int:
    """Leave no room; gives what it took."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    taken = 0
    with suppress(BlockingIOError):
        while True:
            taken += end.send(bytes(1_024))
    return taken


def take_all(end: socket.socket) -> bytes:
    parts = []
    with suppress(BlockingIOError):
        while part := end.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


async def settle() -> None:
    for _ in range(6):
        await checkpoint()


# --- receiving ----------------------------------------------------------------------------------------


def test_messages_are_found_by_length_and_by_delimiter_however_they_come(
    runtime: Runtime, pair: Pair
) -> None:
    ours, theirs = pair
    random_ = random.Random(1)
    messages = [bytes(random_.choices(b"abc", k=random_.randrange(40))) for _ in range(60)]
    wire = b"".join(b"%d\r\n" % len(each) + each + each + b"\r\n" for each in messages)

    async def send() -> None:
        rest = wire
        while rest:
            size = random_.randrange(1, 30)
            theirs.send(rest[:size])
            rest = rest[size:]
            await checkpoint()
        theirs.shutdown(socket.SHUT_WR)

    async def main() -> list[bytes]:
        found = []
        with SocketStream(ours) as stream:
            receiver = BufferedReceiver(stream)
            runtime.spawn(send)
            for _ in messages:
                size = int(await receiver.receive_until(b"\r\n", 4))
                message = await receiver.receive_exactly(size)
                assert await receiver.receive_until(b"\r\n") == message
                found.append(message)
            assert await receiver.receive() == b""
            return found

    assert runtime.run_until_done(runtime.spawn(main)) == messages


def test_what_is_buffered_is_received_before_what_is_not(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"abcdef")
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"\n", 3)
            assert receiver.buffered == 4
            assert await receiver.receive(3) == b"abc"
            assert await receiver.receive() == b"d"
            assert await receiver.receive() == b"ef"

    runtime.run_until_done(runtime.spawn(main))


Receive = Callable[[BufferedReceiver], Awaitable[bytes]]

RECEIVES: Final[dict[str, Receive]] = {
    "receive": lambda receiver: receiver.receive(2),
    "receive_exactly": lambda receiver: receiver.receive_exactly(2),
    "receive_until": lambda receiver: receiver.receive_until(b"\n"),
}


@pytest.mark.parametrize("name", RECEIVES)
def test_what_is_buffered_is_received_at_a_checkpoint_by_one_task_at_a_time(
    runtime: Runtime, pair: Pair, name: str
) -> None:
    order: list[bytes] = []

    async def receive(receiver: BufferedReceiver) -> None:
        order.append(await RECEIVES[name](receiver))

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"0ab\ncd\n")
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"x", 6)
            assert await receiver.receive(1) == b"0"
            task = runtime.spawn(receive, receiver)
            await checkpoint()
            assert order == []
            for busy in RECEIVES.values():
                with pytest.raises(BusyResourceError):
                    await busy(receiver)
            await task.join()
            assert order == [b"ab"]

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize(
    ("receive", "found"),
    [
        (lambda receiver: receiver.receive(2), b"ab"),
        (lambda receiver: receiver.receive_exactly(2), b"ab"),
        (lambda receiver: receiver.receive_until(b"b", 1), b"a"),
        (lambda receiver: receiver.receive_until(b"\n", 1), DelimiterNotFoundError),
    ],
)
def test_what_is_buffered_and_just_decides_does_so_at_a_checkpoint(
    runtime: Runtime, pair: Pair, receive: Receive, found: bytes | type[Exception]
) -> None:
    """Two bytes, and no more are asked for: with them, or with what they are not, nobody runs on alone."""
    order: list[object] = []

    async def other() -> None:
        order.append("other")

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"ab")
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"x", 1)
            runtime.spawn(other)
            try:
                order.append(await receive(receiver))
            except DelimiterNotFoundError as error:
                order.append(type(error))

    runtime.run_until_done(runtime.spawn(main))
    assert order == ["other", found]


def test_as_much_is_received_as_was_asked_for_and_nothing_is_no_amount(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"abc")
            assert await receiver.receive(1) == b"a"
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"x", 1)
            assert receiver.buffered == 2
            for nothing in (0, -1):
                with pytest.raises(ValueError, match="ask for one or more"):
                    await receiver.receive(nothing)
            assert await receiver.receive_exactly(0) == b""
            assert await receiver.receive(1) == b"b"
            assert await receiver.receive_exactly(1) == b"c"
            assert receiver.buffered == 0

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"<end>"])
def test_a_delimiter_is_found_wherever_what_comes_is_cut(
    runtime: Runtime, pair: Pair, delimiter: bytes
) -> None:
    wire = b"message" + delimiter + b"rest"

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            for cut in range(1, len(wire)):
                task = runtime.spawn(receiver.receive_until, delimiter)
                for part in (wire[:cut], wire[cut:]):
                    pair[1].send(part)
                    await settle()
                assert await task.join() == b"message"
                assert await receiver.receive_exactly(4) == b"rest"

    runtime.run_until_done(runtime.spawn(main))


def test_an_unbounded_message_is_refused_at_the_limit_and_taken_in_parts(
    runtime: Runtime, pair: Pair
) -> None:
    """What does not fit into one receive is asked for again, and no more than the limit and a delimiter."""
    ours, theirs = pair

    async def send() -> None:
        rest = memoryview(bytes(2 * LINE_LIMIT))
        while rest:
            with suppress(BlockingIOError):
                rest = rest[theirs.send(rest[:40_000]) :]
            await checkpoint()

    async def main() -> None:
        with SocketStream(ours) as stream:
            receiver = BufferedReceiver(stream)
            sending = runtime.spawn(send)
            with pytest.raises(DelimiterNotFoundError, match=f"the first {LINE_LIMIT} bytes"):
                await receiver.receive_until(b"\r\n")
            assert receiver.buffered == LINE_LIMIT + 2
            assert len(await receiver.receive_exactly(2 * LINE_LIMIT)) == 2 * LINE_LIMIT
            await sending.join()

    runtime.run_until_done(runtime.spawn(main))


def test_the_receiver_takes_no_more_from_the_kernel_than_the_call_may_need(
    runtime: Runtime, pair: Pair
) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(bytes(1_000))
            with pytest.raises(DelimiterNotFoundError, match=r"no b'x' behind the first 10 bytes"):
                await receiver.receive_until(b"x", 10)
            assert receiver.buffered == 11
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"x", 10)
            assert receiver.buffered == 11

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("limit", [0, 3])
def test_as_many_bytes_as_the_limit_may_come_before_the_delimiter(
    runtime: Runtime, pair: Pair, limit: int
) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"a" * limit + b"--rest")
            assert await receiver.receive_until(b"--", limit) == b"a" * limit
            assert await receiver.receive_exactly(0) == b""
            assert await receiver.receive() == b"rest"

    runtime.run_until_done(runtime.spawn(main))


def test_a_delimiter_behind_the_limit_is_none_also_where_it_is_buffered(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"abcd\n")
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"x", 4)
            with pytest.raises(DelimiterNotFoundError):
                await receiver.receive_until(b"\n", 3)
            assert await receiver.receive_until(b"\n", 4) == b"abcd"

    runtime.run_until_done(runtime.spawn(main))


def test_an_end_in_the_midst_is_an_error_and_what_has_come_stays(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"abc")
            pair[1].shutdown(socket.SHUT_WR)
            with pytest.raises(IncompleteReadError, match="the stream ended 3 bytes on, before 4 bytes"):
                await receiver.receive_exactly(4)
            with pytest.raises(IncompleteReadError, match=r"before b'\\n'"):
                await receiver.receive_until(b"\n")
            assert await receiver.receive_exactly(3) == b"abc"

    runtime.run_until_done(runtime.spawn(main))


def test_a_cancelled_receive_has_taken_nothing(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            pair[1].send(b"abc")
            with move_on_after(1):
                await receiver.receive_exactly(4)
            pair[1].send(b"d")
            assert await receiver.receive_exactly(4) == b"abcd"

    runtime.run_until_done(runtime.spawn(main))


def test_two_tasks_do_not_receive_from_one_buffer_at_a_time(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            first = runtime.spawn(receiver.receive_exactly, 2)
            await settle()
            with pytest.raises(BusyResourceError):
                await receiver.receive_until(b"\n")
            pair[1].send(b"ab")
            assert await first.join() == b"ab"

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("wrong", ["count", "delimiter", "limit"])
def test_what_cannot_be_received_is_refused(runtime: Runtime, pair: Pair, wrong: str) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            receiver = BufferedReceiver(stream)
            match wrong:
                case "count":
                    await receiver.receive_exactly(-1)
                case "delimiter":
                    await receiver.receive_until(b"")
                case _:
                    await receiver.receive_until(b"\n", -1)

    with pytest.raises(ValueError, match=r"bytes cannot be received|a delimiter is one byte or more"):
        runtime.run_until_done(runtime.spawn(main))


# --- sending ------------------------------------------------------------------------------------------


def test_what_finds_room_is_with_the_kernel_on_return(
    runtime: Runtime, kernel: FakeKernel, pair: Pair
) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream)
            controls = len(kernel.controls)
            await sender.send(b"abc")
            assert sender.unsent == 0
            assert pair[1].recv(10) == b"abc"
            assert len(kernel.controls) == controls

    runtime.run_until_done(runtime.spawn(main))


def test_a_writer_is_suspended_above_the_mark_and_bytes_keep_their_order(
    runtime: Runtime, pair: Pair
) -> None:
    ours, theirs = pair
    taken = fill(ours)

    async def main() -> None:
        with SocketStream(ours) as stream:
            sender = BufferedSender(stream, 10)
            await sender.send(b"a" * 10)
            await sender.send(b"b")
            waiting = [runtime.spawn(sender.send, each) for each in (b"c", b"d", b"e" * 5_000)]
            await settle()
            assert sender.unsent == 11
            assert [task.state for task in waiting] == [State.WAITING] * 3
            received = take_all(theirs)[taken:]
            while any(task.state is not State.DONE for task in waiting) or sender.unsent:
                assert sender.unsent <= 10 + 5_000
                await checkpoint()
                received += take_all(theirs)
            await sender.flush()
            assert received + take_all(theirs) == b"a" * 10 + b"bcd" + b"e" * 5_000

    runtime.run_until_done(runtime.spawn(main))


def test_of_writers_that_come_at_once_one_has_the_room(runtime: Runtime, pair: Pair) -> None:
    """Until it has accepted nobody knows what is left: at most the mark and one write are here."""
    fill(pair[0])

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream, 10)
            writers = [runtime.spawn(sender.send, bytes(100)) for _ in range(3)]
            await settle()
            assert sender.unsent == 100
            assert [task.state for task in writers] == [State.DONE, State.WAITING, State.WAITING]
            for task in writers[1:]:
                task.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_who_waits_for_a_buffer_says_for_what_and_of_which(runtime: Runtime, pair: Pair) -> None:
    fill(pair[0])

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream, 0)
            await sender.send(b"a")
            waiting = [runtime.spawn(sender.send, b"b"), runtime.spawn(sender.flush)]
            await settle()
            for task, what in zip(waiting, ("room", "flush"), strict=True):
                assert isinstance(task.trap, Trap)
                assert task.trap.describe() == f"{what} of {sender!r}"
                task.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_a_writer_that_is_cancelled_has_accepted_nothing_and_the_next_is_let_in(
    runtime: Runtime, pair: Pair
) -> None:
    ours, theirs = pair
    taken = fill(ours)

    async def main() -> bytes:
        with SocketStream(ours) as stream:
            sender = BufferedSender(stream, 0)
            await sender.send(b"a")
            first, second = (runtime.spawn(sender.send, each) for each in (b"b", b"c"))
            await settle()
            first.cancel()
            received = take_all(theirs)
            await second.join()
            await sender.flush()
            return (received + take_all(theirs))[taken:]

    assert runtime.run_until_done(runtime.spawn(main)) == b"ac"


def test_the_stream_itself_sends_only_when_the_buffer_is_empty(runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)

    async def main() -> None:
        with SocketStream(ours) as stream:
            sender = BufferedSender(stream)
            await sender.send(b"a")
            with pytest.raises(BusyResourceError):
                await stream.send_all(b"b")
            with pytest.raises(BusyResourceError):
                stream.send_eof()
            take_all(theirs)
            await sender.flush()
            stream.send_eof()

    runtime.run_until_done(runtime.spawn(main))


def test_a_buffer_waits_for_nobody_that_sends_past_it(runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)

    async def main() -> None:
        with SocketStream(ours) as stream:
            direct = runtime.spawn(stream.send_all, b"a")
            await settle()
            with pytest.raises(BusyResourceError):
                await BufferedSender(stream).send(b"b")
            take_all(theirs)
            await direct.join()

    runtime.run_until_done(runtime.spawn(main))


def test_a_direct_send_that_is_cancelled_keeps_the_buffer_out_until_it_has_unwound(
    runtime: Runtime, pair: Pair
) -> None:
    fill(pair[0])

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            direct = runtime.spawn(stream.send_all, b"a")
            await settle()
            writer = runtime.spawn(BufferedSender(stream).send, b"b")
            await checkpoint()
            direct.cancel()  # its step comes behind that of the writer, who has its room
            with pytest.raises(BusyResourceError):
                await writer.join()

    runtime.run_until_done(runtime.spawn(main))


def test_a_close_with_nothing_left_to_send_is_met_by_the_next_call(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream)
            await sender.send(b"a")
        with pytest.raises(ClosedResourceError):
            await sender.flush()
        with pytest.raises(ClosedResourceError):
            await sender.send(b"b")

    runtime.run_until_done(runtime.spawn(main))


def test_a_close_ends_those_that_wait_for_room_and_for_the_flush(runtime: Runtime, pair: Pair) -> None:
    fill(pair[0])

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream, 0)
            await sender.send(b"a")
            waiting = [runtime.spawn(sender.send, b"b"), runtime.spawn(sender.send, b"c")]
            waiting.append(runtime.spawn(sender.flush))
            await settle()
        for task in waiting:
            with pytest.raises(ClosedResourceError, match=r"^the stream was closed before all was sent$"):
                await task.join()
        with pytest.raises(ClosedResourceError):
            await sender.send(b"d")

    runtime.run_until_done(runtime.spawn(main))


def test_an_error_that_nobody_was_there_for_is_raised_by_the_next_call(runtime: Runtime, pair: Pair) -> None:
    fill(pair[0])

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream)
            await sender.send(b"a")
            pair[1].close()
            await settle()
            assert sender.unsent == 0
            with pytest.raises(BrokenPipeError):
                await sender.send(b"b")
            with pytest.raises(BrokenPipeError):
                await sender.flush()
            with pytest.raises(BrokenPipeError):
                await stream.send_all(b"c")  # the direction is the stream's again

    runtime.run_until_done(runtime.spawn(main))


def test_what_is_no_buffer_of_single_bytes_is_accepted_whole(runtime: Runtime, pair: Pair) -> None:
    numbers, received = array("Q", range(5_000)), bytearray()
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream)
            await sender.send(memoryview(numbers))
            assert sender.unsent > 0
            while len(received) < numbers.itemsize * len(numbers):
                received.extend(take_all(pair[1]))
                await checkpoint()

    runtime.run_until_done(runtime.spawn(main))
    assert bytes(received) == numbers.tobytes()


def test_the_kernel_is_asked_for_room_only_while_bytes_are_here(
    runtime: Runtime, kernel: FakeKernel, pair: Pair
) -> None:
    """And the other direction is asked for as before."""
    ours, theirs = pair
    fill(ours)

    async def main() -> None:
        with SocketStream(ours) as stream:
            reading = runtime.spawn(stream.receive)
            sender = BufferedSender(stream)
            await sender.send(b"a")
            await sender.send(b"b")
            assert sender.unsent == 2
            take_all(theirs)
            await sender.flush()
            theirs.send(b"x")
            await reading.join()

    runtime.run_until_done(runtime.spawn(main))
    told = [(what, mask) for what, fd, mask in kernel.controls[1:] if fd != -1]
    assert told == [
        ("register", IN | RDHUP),
        ("modify", IN | RDHUP | OUT),
        ("modify", IN | RDHUP),
        ("unregister", 0),
    ]


def test_a_buffer_that_finds_the_direction_taken_has_accepted_nothing(runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)

    async def main() -> None:
        with SocketStream(ours) as stream:
            waiting = runtime.spawn(_writable, ours)
            await settle()
            sender = BufferedSender(stream)
            with pytest.raises(BusyResourceError):
                await sender.send(b"x")
            assert sender.unsent == 0
            take_all(theirs)
            await waiting.join()
            await sender.send(b"x")
            assert take_all(theirs) == b"x"

    runtime.run_until_done(runtime.spawn(main))


async def _writable(end: socket.socket) -> None:
    await wait_writable(end)


def test_room_is_a_hint(runtime: Runtime, pair: Pair) -> None:
    """Given room that another has taken before the turn's batch is dispatched, then the bytes stay here."""
    ours, theirs = pair
    taken = fill(ours)

    async def main() -> bytes:
        with SocketStream(ours) as stream:
            sender = BufferedSender(stream)
            await sender.send(b"last")
            with pytest.raises(BlockingIOError):
                ours.send(b"x")
            sender.fire(OUT)
            assert sender.unsent == 4
            received = take_all(theirs)
            await sender.flush()
            return (received + take_all(theirs))[taken:]

    assert runtime.run_until_done(runtime.spawn(main)) == b"last"


def test_one_writer_is_let_in_at_a_time_and_the_next_also_when_the_first_is_refused(
    runtime: Runtime, pair: Pair
) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as stream:
            sender = BufferedSender(stream)
            writers = [runtime.spawn(sender.send, data) for data in (b"", b"a", memoryview(b"b"))]
            refused = runtime.spawn(sender.send, "no bytes")  # type: ignore[arg-type]
            last = runtime.spawn(sender.send, b"c")
            for writer in writers:
                await writer.join()
            with pytest.raises(TypeError):
                await refused.join()
            await last.join()
            assert pair[1].recv(10) == b"abc"

    runtime.run_until_done(runtime.spawn(main))


def test_the_mark_is_what_one_receive_of_the_peer_takes_unless_somebody_says(
    runtime: Runtime, pair: Pair
) -> None:
    async def main() -> int:
        with SocketStream(pair[0]) as stream:
            return BufferedSender(stream).high_water

    assert runtime.run_until_done(runtime.spawn(main)) == HIGH_WATER == RECEIVE_BYTES


def test_a_negative_mark_is_refused(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        BufferedSender(SocketStream(pair[0]), -1)

    with pytest.raises(ValueError, match="a high-water mark of -1 bytes would let nobody write"):
        runtime.run_until_done(runtime.spawn(main))


def test_many_writers_lose_no_byte(runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    over = False
    received = bytearray()

    async def write(sender: BufferedSender, letter: bytes) -> None:
        for _ in range(20):
            await sender.send(letter * 700)

    async def read() -> None:
        while not over:
            received.extend(take_all(theirs))
            await checkpoint()

    async def main() -> None:
        nonlocal over
        with SocketStream(ours) as stream:
            reader = runtime.spawn(read)
            sender = BufferedSender(stream, 1_000)
            async with TaskGroup() as group:
                for letter in (b"a", b"b", b"c"):
                    group.start_soon(write, sender, letter)
            await sender.flush()
            over = True
            await reader.join()

    runtime.run_until_done(runtime.spawn(main))
    received.extend(take_all(theirs))
    blocks = [bytes(received[start : start + 700]) for start in range(0, len(received), 700)]
    assert sorted(blocks) == sorted(letter * 700 for letter in (b"a", b"b", b"c") for _ in range(20))
