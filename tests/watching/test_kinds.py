"""Every kind of callback is a step of its own, on every loop: one test a kind and loop.

In each test something is suspended for the shortest time in one callback of that kind; the one step which
that callback is must be told, by its kind and its name.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

import pytest
import trio
import uvloop

from loopspec.watching import Step, Verdict, watch
from tests.watching.runs import pause


class Speaker(asyncio.Protocol):
    """Suspends in one of its callbacks, and ends the test when the connection is lost."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lost = asyncio.get_running_loop().create_future()

    def _in(self, name: str) -> None:
        if name == self.where:
            pause()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._in("connection_made")

    def data_received(self, data: bytes) -> None:
        self._in("data_received")

    def eof_received(self) -> None:
        self._in("eof_received")

    def connection_lost(self, exc: Exception | None) -> None:
        self._in("connection_lost")
        self.lost.set_result(None)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.come = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        pause()
        self.come.set_result(None)


Program = Callable[[ExitStack], Awaitable[None]]


async def of_task(stack: ExitStack) -> None:
    async def step() -> None:
        pause()

    await asyncio.create_task(step())


async def of_a_second_resume(stack: ExitStack) -> None:
    async def step() -> None:
        await asyncio.sleep(0)
        pause()

    await asyncio.create_task(step())


def _waking(end: asyncio.Future[None]) -> Callable[[], None]:
    def callback() -> None:
        if not end.done():
            pause()
            end.set_result(None)

    return callback


async def of_call_soon(stack: ExitStack) -> None:
    end = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(_waking(end))
    await end


async def of_call_later(stack: ExitStack) -> None:
    end = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, _waking(end))
    await end


async def of_call_at(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    loop.call_at(loop.time() + 0.001, _waking(end))
    await end


async def of_call_soon_threadsafe(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(_waking(end),))
    thread.start()
    stack.callback(thread.join)
    await end


async def of_a_done_callback(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    end, done = loop.create_future(), loop.create_future()
    waking = _waking(end)
    done.add_done_callback(lambda _: waking())
    done.set_result(None)
    await end


async def of_a_signal(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, _waking(end))
    stack.callback(loop.remove_signal_handler, signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    await end


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
        stack.enter_context(end)
    return pair


async def of_a_reader(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    here, there = _pair(stack)
    end = loop.create_future()
    loop.add_reader(here, _waking(end))
    there.send(b"x")
    await end
    loop.remove_reader(here)


async def of_a_writer(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    here, _ = _pair(stack)
    end = loop.create_future()
    loop.add_writer(here, _waking(end))
    await end
    loop.remove_writer(here)


async def _spoken(stack: ExitStack, where: str) -> None:
    here, there = _pair(stack)
    _, speaker = await asyncio.get_running_loop().create_connection(lambda: Speaker(where), sock=here)
    there.send(b"x")
    there.shutdown(socket.SHUT_WR)
    await speaker.lost


async def of_data_received(stack: ExitStack) -> None:
    await _spoken(stack, "data_received")


async def of_connection_made(stack: ExitStack) -> None:
    await _spoken(stack, "connection_made")


async def of_eof_received(stack: ExitStack) -> None:
    await _spoken(stack, "eof_received")


async def of_connection_lost(stack: ExitStack) -> None:
    await _spoken(stack, "connection_lost")


async def of_a_server(stack: ExitStack) -> None:
    """The protocol of an accepted connection."""
    loop = asyncio.get_running_loop()
    made: list[Speaker] = []
    accepted = loop.create_future()

    def factory() -> Speaker:
        made.append(Speaker("data_received"))
        accepted.set_result(None)
        return made[0]

    async with await loop.create_server(factory, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await accepted
        writer.write(b"x")
        writer.close()
        await made[0].lost


async def of_a_datagram(stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", transport.get_extra_info("sockname"))
        await protocol.come
    transport.close()


async def of_a_handler_of_streams(stack: ExitStack) -> None:
    served = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        pause()
        writer.close()
        served.set_result(None)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x\n")
        await served
        writer.close()


KINDS: list[tuple[Program, str, str]] = [
    (of_task, "task", "of_task.<locals>.step"),
    (of_a_second_resume, "task", "of_a_second_resume.<locals>.step"),
    (of_call_soon, "callback", "_waking.<locals>.callback"),
    (of_call_later, "timer", "_waking.<locals>.callback"),
    (of_call_at, "timer", "_waking.<locals>.callback"),
    (of_call_soon_threadsafe, "callback", "_waking.<locals>.callback"),
    (of_a_done_callback, "callback", "of_a_done_callback.<locals>.<lambda>"),
    (of_a_signal, "signal", "_waking.<locals>.callback"),
    (of_a_reader, "reader", "_waking.<locals>.callback"),
    (of_a_writer, "writer", "_waking.<locals>.callback"),
    (of_data_received, "protocol", "Speaker"),
    (of_connection_made, "protocol", "Speaker"),
    (of_eof_received, "protocol", "Speaker"),
    (of_connection_lost, "protocol", "connection_lost"),
    (of_a_server, "protocol", "Speaker"),
    (of_a_datagram, "protocol", "Datagrams"),
    (of_a_handler_of_streams, "task", "of_a_handler_of_streams.<locals>.serve"),
]


def suspended(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    """Kind and name of the steps that were suspended, as far as they are of this module."""
    return [(step.kind, step.name) for step in steps if step.verdict is not Verdict.RAN]


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize(("program", "kind", "name"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_kind_of_callback_is_a_step(
    factory: Callable[[], asyncio.AbstractEventLoop], program: Program, kind: str, name: str
) -> None:
    async def run() -> None:
        with ExitStack() as stack:
            await program(stack)

    with watch(evidence=False) as seen, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())
    told = suspended(seen.steps)
    assert kind in {found_kind for found_kind, found_name in told if name in found_name}, told


async def trio_task(stack: ExitStack) -> None:
    async def step() -> None:
        await trio.lowlevel.checkpoint()
        pause()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(step, name="step")


async def trio_run_sync_soon(stack: ExitStack) -> None:
    done = trio.Event()

    def callback() -> None:
        pause()
        done.set()

    trio.lowlevel.current_trio_token().run_sync_soon(callback)
    await done.wait()


async def trio_from_a_thread(stack: ExitStack) -> None:
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def callback() -> None:
        pause()
        done.set()

    # A thread of our own: trio keeps its threads for a while after they are done.
    thread = threading.Thread(target=partial(trio.from_thread.run_sync, callback, trio_token=token))
    thread.start()
    await done.wait()
    thread.join()


async def trio_signal(stack: ExitStack) -> None:
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        async for _ in signals:
            pause()
            return


async def trio_readable(stack: ExitStack) -> None:
    here, there = _pair(stack)
    there.send(b"x")

    async def step() -> None:
        await trio.lowlevel.wait_readable(here)
        pause()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(step, name="step")


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (trio_task, "step"),
        (trio_readable, "step"),
        (trio_run_sync_soon, "run_sync_soon"),
        (trio_from_a_thread, "run_sync_soon"),
        (trio_signal, "main"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_kind_of_step_of_trio(program: Program, name: str) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            await program(stack)

    with watch(evidence=False) as seen:
        trio.run(main)
    told = suspended(seen.steps)
    assert any(kind == "task" and name in found for kind, found in told), told
