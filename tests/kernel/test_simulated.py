"""What only the simulated kernel has: virtual time, a schedule, faults; and refloop runs on it unchanged."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import partial

import pytest

from loopspec.conformance import simulated
from loopspec.conformance.simulated import (
    Fault,
    Faults,
    NothingWillHappenError,
    SimulatedKernel,
    SimulatedSocket,
    Tape,
    WouldBlockForEverError,
    tight,
)
from loopspec.kernel.state import IN
from refloop.reactor import Direction, Reactor

SECOND = 1_000_000_000


def test_a_wait_that_nothing_will_end_is_an_error() -> None:
    with pytest.raises(NothingWillHappenError):
        SimulatedKernel().poller().poll(None, -1)


def test_a_call_that_would_suspend_the_loop_is_an_error() -> None:
    ours, _ = SimulatedKernel().pair()
    with pytest.raises(WouldBlockForEverError):
        ours.recv(1)


def test_time_passes_in_a_wait_and_up_to_what_the_world_does() -> None:
    kernel = SimulatedKernel()
    poller, (ours, theirs) = kernel.poller(), kernel.pair()
    poller.register(ours.fileno(), IN)
    kernel.later(3 * SECOND, lambda: theirs.send(b"x"))
    assert poller.poll(1.0, -1) == []
    assert kernel.now == SECOND
    assert poller.poll(None, -1) == [(ours.fileno(), IN)]
    assert kernel.now == 3 * SECOND


def test_what_is_due_together_is_done_in_an_order_of_the_schedules() -> None:
    orders = set()
    for first in range(3):
        for second in range(2):
            kernel = SimulatedKernel(Tape([first, second]))
            done: list[str] = []
            for name in "abc":
                kernel.later(SECOND, partial(done.append, name))
            kernel.poller().poll(2.0, -1)
            orders.add("".join(done))
    assert orders == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_equal_tapes_give_equal_runs() -> None:
    def run(tape: Tape) -> tuple[list[int], list[bytes]]:
        kernel = SimulatedKernel(tape, tight())
        ours, theirs = kernel.pair()
        got = []
        for end in (ours, theirs):
            end.setblocking(False)
        for _ in range(6):
            try:
                ours.send(b"ab")
            except BlockingIOError:
                got.append(theirs.recv(2))
        return tape.asked, got

    assert run(Tape([1, 0, 1, 1])) == run(Tape([1, 0, 1, 1]))
    assert run(Tape([1, 0, 1, 1])) != run(Tape([0, 0, 0, 0]))


# --- faults -----------------------------------------------------------------------------------------------


def faulty(*kinds: Fault) -> SimulatedKernel:
    """Each fault as soon as it can be, once."""
    return SimulatedKernel(lambda options: options - 1, faults=Faults(frozenset(kinds), most=1))


def test_an_early_return_reports_nothing_and_passes_no_time() -> None:
    kernel = faulty("EARLY")
    poller = kernel.poller()
    assert poller.poll(1.0, -1) == []
    assert kernel.now == 0
    poller.poll(1.0, -1)
    assert kernel.now == SECOND, "a fault is chosen as often as it may be, and no oftener"


def test_spurious_readiness_names_a_registration_that_is_not_ready() -> None:
    kernel = faulty("SPURIOUS")
    poller, (ours, _) = kernel.poller(), kernel.pair()
    ours.setblocking(False)
    poller.register(ours.fileno(), IN)
    assert poller.poll(0, -1) == [(ours.fileno(), IN)]
    with pytest.raises(BlockingIOError):
        ours.recv(1)


def connected(kernel: SimulatedKernel) -> tuple[SimulatedSocket, SimulatedSocket]:
    listener, client = kernel.listener(1), kernel.socket()
    client.setblocking(False)
    assert client.connect_ex(listener.getsockname()) == errno.EINPROGRESS
    kernel.carry()
    return listener, client


def test_out_of_descriptors_the_connection_stays_in_the_queue() -> None:
    kernel = faulty("EMFILE")
    listener, _ = connected(kernel)
    with pytest.raises(OSError, match="open files"):
        listener.accept()
    assert listener.accept()


def test_an_aborted_connection_is_gone_from_the_queue() -> None:
    kernel = faulty("ECONNABORTED")
    listener, client = connected(kernel)
    listener.setblocking(False)
    with pytest.raises(ConnectionAbortedError):
        listener.accept()
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_a_send_without_buffers_has_sent_nothing() -> None:
    ours, theirs = faulty("ENOBUFS").pair()
    theirs.setblocking(False)
    with pytest.raises(OSError, match="buffer space"):
        ours.send(b"x")
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


# --- refloop ----------------------------------------------------------------------------------------------


def echo(connection: SimulatedSocket) -> Callable[[int], None]:
    connection.setblocking(False)
    return lambda _: connection.sendall(connection.recv(64)) if connection.fileno() >= 0 else None


def test_refloop_runs_on_it_unchanged() -> None:
    kernel = SimulatedKernel()
    reactor = Reactor(kernel)
    ours, theirs = kernel.pair()
    fired: list[int] = []
    reactor.register(ours, Direction.READ, echo(ours))
    reactor.call_later(2 * SECOND, lambda: fired.append(kernel.now))
    kernel.later(SECOND, lambda: theirs.send(b"hello"))
    reactor.turn()
    assert (theirs.recv(64), kernel.now) == (b"hello", SECOND)
    reactor.turn()
    assert fired == [2 * SECOND]
    reactor.close()


def test_a_loop_in_its_steady_state_takes_no_step_that_was_not_taken_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which is why it is fast: tens of thousands of turns a second, and not thousands."""
    kernel = SimulatedKernel()
    reactor = Reactor(kernel)
    ours, theirs = kernel.pair()
    for end in (ours, theirs):
        end.setblocking(False)

    def ping_pong(_: int) -> None:
        ours.send(ours.recv(64))
        theirs.send(theirs.recv(64))

    reactor.register(ours, Direction.READ, ping_pong)
    theirs.send(b"x")
    for _ in range(10):
        reactor.turn()

    def unexpected(*_: object) -> None:
        raise AssertionError("a new step")

    monkeypatch.setattr(simulated, "step", unexpected)
    for _ in range(1_000):
        reactor.turn()
    monkeypatch.undo()
    reactor.close()
