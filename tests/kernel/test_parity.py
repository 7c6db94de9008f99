"""The same program on the real kernel and on the simulated one.

Each test is a program against the port: a poller, a waker, sockets, a clock. It says what happens, and is run
on both. A program that fails on one of them alone has found where the simulation lies.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import pytest

from loopspec.conformance.simulated import SimulatedKernel, SimulatedSocket
from loopspec.kernel.state import EDGE, ERR, HUP, IN, ONESHOT, OUT, RDHUP
from refloop.kernel import LINUX, Poller, Waker

SOON = 1.0
"""Seconds: longer than anything that is under way takes, and never waited out."""


class Socket(Protocol):
    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def getsockopt(self, level: int, option: int, /) -> int: ...


class Bench(ABC):
    """One kernel, and the names by which a program speaks of its descriptors."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.pollers: list[Poller] = []
        self.wakers: list[Waker] = []
        self.sockets: list[Socket] = []

    def watch(self, poller: Poller, watched: Socket | Waker | Poller, mask: int, name: str) -> None:
        self.names[watched.fileno()] = name
        poller.register(watched.fileno(), mask)

    def events(self, poller: Poller, timeout: float | None = 0, maxevents: int = -1) -> list[tuple[str, int]]:
        return [(self.names[fd], mask) for fd, mask in poller.poll(timeout, maxevents)]

    def keep(self, *made: Socket) -> None:
        for each in made:
            each.setblocking(False)
        self.sockets += made

    @abstractmethod
    def poller(self) -> Poller: ...
    @abstractmethod
    def waker(self) -> Waker: ...
    @abstractmethod
    def clock(self) -> int: ...
    @abstractmethod
    def pair(self) -> tuple[Socket, Socket]: ...
    @abstractmethod
    def connection(self) -> tuple[Socket, Socket]: ...
    @abstractmethod
    def refused(self) -> Socket: ...
    @abstractmethod
    def reset(self, end: Socket) -> None: ...

    def close(self) -> None:
        for end in self.sockets:
            end.close()
        for poller in self.pollers:
            poller.close()
        for waker in self.wakers:
            waker.close()


class Real(Bench):
    def poller(self) -> Poller:
        self.pollers.append(LINUX.poller())
        return self.pollers[-1]

    def waker(self) -> Waker:
        self.wakers.append(LINUX.waker())
        return self.wakers[-1]

    def clock(self) -> int:
        return LINUX.clock()

    def pair(self) -> tuple[Socket, Socket]:
        a, b = socket.socketpair()
        self.keep(a, b)
        return a, b

    def connection(self) -> tuple[Socket, Socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        self.keep(server, client)
        return server, client

    def refused(self) -> Socket:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            client = socket.socket()
            self.keep(client)
            assert client.connect_ex(nobody.getsockname()) == errno.EINPROGRESS
        return client

    def reset(self, end: Socket) -> None:
        assert isinstance(end, socket.socket)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()


class Simulated(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = SimulatedKernel()

    def poller(self) -> Poller:
        self.pollers.append(self.kernel.poller())
        return self.pollers[-1]

    def waker(self) -> Waker:
        self.wakers.append(self.kernel.waker())
        return self.wakers[-1]

    def clock(self) -> int:
        return self.kernel.clock()

    def pair(self) -> tuple[Socket, Socket]:
        a, b = self.kernel.pair()
        self.keep(a, b)
        return a, b

    def connection(self) -> tuple[Socket, Socket]:
        listener, client = self.kernel.listener(1), self.kernel.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        self.kernel.carry()
        server, _ = listener.accept()
        listener.close()
        self.keep(server, client)
        return server, client

    def refused(self) -> Socket:
        client = self.kernel.socket()
        self.keep(client)
        assert client.connect_ex(("127.0.0.1", 7)) == errno.EINPROGRESS
        return client

    def reset(self, end: Socket) -> None:
        assert isinstance(end, SimulatedSocket)
        end.reset()


def fill(end: Socket) -> None:
    """Send until EAGAIN."""
    with suppress(BlockingIOError):
        while end.send(bytes(4096)):
            pass


def drain(end: Socket) -> None:
    """Receive until EAGAIN."""
    with suppress(BlockingIOError):
        while end.recv(65536):
            pass


@pytest.fixture(params=[Real, Simulated], ids=["real", "simulated"])
def k(request: pytest.FixtureRequest) -> Iterator[Bench]:
    make: Callable[[], Bench] = request.param
    bench = make()
    yield bench
    bench.close()


# --- level ------------------------------------------------------------------------------------------------


def test_nothing_is_ready_at_first(k: Bench) -> None:
    assert k.events(k.poller()) == []


def test_a_fresh_pair_is_writable(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    k.watch(poller, a, IN | OUT, "a")
    assert k.events(poller) == [("a", OUT)]


def test_a_byte_makes_it_readable_until_it_is_read(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN, "a")
    b.send(b"x")
    assert k.events(poller) == k.events(poller) == [("a", IN)]
    assert a.recv(8) == b"x"
    assert k.events(poller) == []


def test_conditions_are_combined(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | OUT, "a")
    b.send(b"x")
    assert k.events(poller) == [("a", IN | OUT)]


def test_what_was_ready_first_is_reported_first(k: Bench) -> None:
    poller, (a, b), (c, d) = k.poller(), k.pair(), k.pair()
    k.watch(poller, a, IN, "a")
    k.watch(poller, c, IN, "c")
    d.send(b"x")
    b.send(b"x")
    assert k.events(poller) == [("c", IN), ("a", IN)]


def test_small_batches_rotate(k: Bench) -> None:
    poller = k.poller()
    for name in "abcde":
        ours, theirs = k.pair()
        k.watch(poller, ours, IN, name)
        theirs.send(b"x")
    told = ["".join(name for name, _ in k.events(poller, 0, 2)) for _ in range(5)]
    assert told == ["ab", "cd", "ea", "bc", "de"]


def test_maxevents_minus_one_is_many(k: Bench) -> None:
    poller = k.poller()
    for name in map(str, range(20)):
        ours, theirs = k.pair()
        k.watch(poller, ours, IN, name)
        theirs.send(b"x")
    assert len(k.events(poller, 0, -1)) == 20


# --- edge -------------------------------------------------------------------------------------------------


def test_an_edge_is_reported_once(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"x")
    assert k.events(poller) == [("a", IN)]
    assert k.events(poller) == []


def test_a_partial_read_is_no_edge(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"xy")
    k.events(poller)
    assert a.recv(1) == b"x"
    assert k.events(poller) == []


def test_more_data_after_a_drain_is_an_edge(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"x")
    k.events(poller)
    a.recv(8)
    b.send(b"y")
    assert k.events(poller) == [("a", IN)]


def test_more_data_on_a_ready_stream_is_an_edge_on_linux(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"x")
    k.events(poller)
    b.send(b"y")
    assert k.events(poller) == [("a", IN)]


def test_an_edge_that_was_drained_is_not_reported(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"x")
    a.recv(8)
    assert k.events(poller) == []


def test_modify_rearms_an_edge(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | EDGE, "a")
    b.send(b"x")
    k.events(poller)
    poller.modify(a.fileno(), IN | EDGE)
    assert k.events(poller) == [("a", IN)]


def test_an_edge_of_one_direction_reports_both(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | OUT | EDGE, "a")
    assert k.events(poller) == [("a", OUT)]
    b.send(b"x")
    assert k.events(poller) == [("a", IN | OUT)]


# --- one-shot ---------------------------------------------------------------------------------------------


def test_a_one_shot_is_silent_after_one_report(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | ONESHOT, "a")
    b.send(b"x")
    assert k.events(poller) == [("a", IN)]
    b.close()
    assert k.events(poller) == []


def test_modify_arms_a_one_shot_again(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | ONESHOT, "a")
    b.send(b"x")
    k.events(poller)
    poller.modify(a.fileno(), OUT | ONESHOT)
    assert k.events(poller) == [("a", OUT)]
    assert k.events(poller) == []


# --- ends -------------------------------------------------------------------------------------------------


def test_a_half_close_reports_rdhup_and_in(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | RDHUP, "a")
    b.shutdown(socket.SHUT_WR)
    assert k.events(poller) == [("a", IN | RDHUP)]
    assert a.recv(8) == b""


def test_a_half_close_comes_after_the_data(k: Bench) -> None:
    a, b = k.pair()
    b.send(b"x")
    b.shutdown(socket.SHUT_WR)
    assert (a.recv(8), a.recv(8)) == (b"x", b"")


def test_after_a_half_close_the_other_direction_still_carries(k: Bench) -> None:
    a, b = k.pair()
    b.shutdown(socket.SHUT_WR)
    assert a.send(b"x") == 1
    assert b.recv(8) == b"x"


def test_a_close_hangs_up_a_unix_stream(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN | RDHUP, "a")
    b.close()
    assert k.events(poller) == [("a", IN | RDHUP | HUP)]


def test_a_close_with_unread_data_is_an_error_for_the_peer(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, 0, "a")
    a.send(b"x")
    b.close()
    assert k.events(poller) == [("a", HUP | ERR)]
    with pytest.raises(ConnectionResetError):
        a.recv(8)
    assert k.events(poller) == [("a", HUP)]


def test_mask_0_still_reports_a_hang_up(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, 0, "a")
    b.close()
    assert k.events(poller) == [("a", HUP)]


def test_a_write_to_a_closed_peer_is_a_broken_pipe(k: Bench) -> None:
    a, b = k.pair()
    b.close()
    with pytest.raises(BrokenPipeError):
        a.send(b"x")


def test_an_empty_socket_would_block(k: Bench) -> None:
    a, _ = k.pair()
    with pytest.raises(BlockingIOError):
        a.recv(1)


def test_a_full_buffer_would_block_and_is_not_writable(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    k.watch(poller, a, OUT, "a")
    fill(a)
    assert k.events(poller) == []


def test_an_emptied_buffer_is_an_edge_for_the_writer(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, OUT | EDGE, "a")
    assert k.events(poller) == [("a", OUT)]
    fill(a)
    assert k.events(poller) == []
    drain(b)
    assert k.events(poller) == [("a", OUT)]


# --- errors -----------------------------------------------------------------------------------------------


def test_register_twice_is_eexist(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    poller.register(a.fileno(), IN)
    with pytest.raises(FileExistsError):
        poller.register(a.fileno(), IN)


def test_modify_of_what_is_not_registered_is_enoent(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    with pytest.raises(FileNotFoundError):
        poller.modify(a.fileno(), IN)


def test_unregister_of_what_is_not_registered_is_enoent(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    with pytest.raises(FileNotFoundError):
        poller.unregister(a.fileno())


def test_a_closed_number_is_ebadf(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    number = a.fileno()
    a.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
        poller.register(number, IN)
    assert caught.value.errno == errno.EBADF


def test_an_epoll_cannot_watch_itself(k: Bench) -> None:
    poller = k.poller()
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        poller.register(poller.fileno(), IN)


def test_a_closed_poller_is_a_value_error(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    poller.close()
    poller.close()
    with pytest.raises(ValueError, match="closed"):
        poller.register(a.fileno(), IN)


def test_an_unregistered_descriptor_is_silent(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN, "a")
    b.send(b"x")
    poller.unregister(a.fileno())
    assert k.events(poller) == []


def test_close_forgets_the_registration_with_the_last_reference(k: Bench) -> None:
    poller, (a, b) = k.poller(), k.pair()
    k.watch(poller, a, IN, "a")
    b.send(b"x")
    a.close()
    assert k.events(poller) == []


def test_a_closed_number_is_given_again(k: Bench) -> None:
    a, b = k.pair()
    numbers = {a.fileno(), b.fileno()}
    a.close()
    b.close()
    c, d = k.pair()
    assert {c.fileno(), d.fileno()} == numbers


# --- nested -----------------------------------------------------------------------------------------------


def test_an_epoll_is_readable_while_something_in_it_is_ready(k: Bench) -> None:
    outer, inner, (a, b) = k.poller(), k.poller(), k.pair()
    k.watch(outer, inner, IN, "inner")
    k.watch(inner, a, IN, "a")
    assert k.events(outer) == []
    b.send(b"x")
    assert k.events(outer) == [("inner", IN)]
    a.recv(8)
    assert k.events(outer) == []


def test_a_cycle_of_epolls_is_eloop(k: Bench) -> None:
    outer, inner = k.poller(), k.poller()
    outer.register(inner.fileno(), IN)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        inner.register(outer.fileno(), IN)


# --- the waker --------------------------------------------------------------------------------------------


def test_a_signal_is_seen_until_it_is_drained(k: Bench) -> None:
    poller, waker = k.poller(), k.waker()
    k.watch(poller, waker, IN, "waker")
    assert k.events(poller) == []
    waker.signal()
    assert k.events(poller) == k.events(poller) == [("waker", IN)]
    waker.drain()
    assert k.events(poller) == []


def test_two_signals_are_one_bit(k: Bench) -> None:
    poller, waker = k.poller(), k.waker()
    k.watch(poller, waker, IN, "waker")
    waker.signal()
    waker.signal()
    waker.drain()
    assert k.events(poller) == []


def test_a_drain_without_a_signal_is_harmless(k: Bench) -> None:
    waker = k.waker()
    waker.drain()
    waker.close()
    waker.signal()
    assert waker.fileno() == -1


# --- TCP --------------------------------------------------------------------------------------------------


def test_tcp_carries_bytes(k: Bench) -> None:
    poller, (server, client) = k.poller(), k.connection()
    k.watch(poller, server, IN, "server")
    assert client.send(b"x") == 1
    assert k.events(poller, SOON) == [("server", IN)]
    assert server.recv(8) == b"x"


def test_a_tcp_half_close_is_rdhup_and_no_hang_up(k: Bench) -> None:
    poller, (server, client) = k.poller(), k.connection()
    k.watch(poller, server, IN | RDHUP, "server")
    client.shutdown(socket.SHUT_WR)
    assert k.events(poller, SOON) == [("server", IN | RDHUP)]
    assert server.recv(8) == b""


def test_a_tcp_close_is_rdhup_and_no_hang_up(k: Bench) -> None:
    poller, (server, client) = k.poller(), k.connection()
    k.watch(poller, server, IN | RDHUP, "server")
    client.close()
    assert k.events(poller, SOON) == [("server", IN | RDHUP)]


def test_a_tcp_reset_is_everything_at_once(k: Bench) -> None:
    poller, (server, client) = k.poller(), k.connection()
    k.watch(poller, server, IN | OUT | RDHUP, "server")
    k.reset(client)
    assert k.events(poller, SOON)[0][0] == "server"
    assert k.events(poller) == [("server", IN | OUT | RDHUP | HUP | ERR)]
    with pytest.raises(ConnectionResetError):
        server.recv(8)
    assert server.recv(8) == b""


def test_a_refused_connect_is_told_by_so_error_once(k: Bench) -> None:
    poller, client = k.poller(), k.refused()
    k.watch(poller, client, OUT, "client")
    assert k.events(poller, SOON) == [("client", OUT | HUP | ERR)]
    told = [client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
    assert told == [errno.ECONNREFUSED, 0]


def test_a_write_after_the_peers_close_is_a_broken_pipe_at_the_second_try(k: Bench) -> None:
    poller, (server, client) = k.poller(), k.connection()
    client.close()
    k.watch(poller, server, 0, "server")
    assert server.send(b"x") == 1
    assert k.events(poller, SOON) == [("server", HUP | ERR)]
    with pytest.raises(BrokenPipeError):
        server.send(b"y")


# --- time -------------------------------------------------------------------------------------------------


def test_a_wait_that_reports_nothing_lasts_its_timeout(k: Bench) -> None:
    poller = k.poller()
    before = k.clock()
    assert k.events(poller, 0.002) == []
    assert k.clock() - before >= 2_000_000


def test_a_timeout_is_rounded_up_to_a_millisecond(k: Bench) -> None:
    poller = k.poller()
    before = k.clock()
    assert k.events(poller, 0.000_1) == []
    assert k.clock() - before >= 1_000_000


def test_a_ready_wait_does_not_wait(k: Bench) -> None:
    poller, (a, _) = k.poller(), k.pair()
    k.watch(poller, a, OUT, "a")
    assert k.events(poller, None) == [("a", OUT)]
