"""Signals and ghosts: a handler runs in a turn, what was there before is given back, the dead stay dead."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

import refloop
from refloop import Direction, Reactor

USR1 = signal.SIGUSR1


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def test_a_signal_ends_the_wait_and_its_handler_runs_in_that_turn(reactor: Reactor) -> None:
    ran: list[str] = []
    reactor.add_signal_handler(USR1, ran.append, "x")
    signal.raise_signal(USR1)
    reactor.turn()
    assert ran == ["x"]


def test_the_wake_up_byte_alone_ends_a_wait(reactor: Reactor) -> None:
    """Given a signal that comes too late to be looked at before the wait, then the wait does not begin."""
    reactor.add_signal_handler(USR1, int)
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    os.write(fd, b"\0" * 5000)
    reactor.turn()
    reactor.call_later(0, int)
    reactor.turn()


def test_handlers_are_given_back_one_by_one_and_at_the_close() -> None:
    before, fd = signal.getsignal(USR1), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    reactor = Reactor()
    reactor.add_signal_handler(USR1, int)
    assert reactor.remove_signal_handler(USR1)
    assert not reactor.remove_signal_handler(USR1)
    assert signal.getsignal(USR1) == before
    reactor.add_signal_handler(USR1, int)
    reactor.add_signal_handler(USR1, str)
    reactor.close()
    assert signal.getsignal(USR1) == before
    assert signal.set_wakeup_fd(-1) == fd
    signal.set_wakeup_fd(fd)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_the_handlers_from_before_and_the_parent_keeps_its_own(reactor: Reactor) -> None:
    before = signal.getsignal(USR1)
    reactor.add_signal_handler(USR1, int)
    child = os.fork()
    if not child:
        os._exit(0 if signal.getsignal(USR1) == before and signal.set_wakeup_fd(-1) == -1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert signal.getsignal(USR1) != before


def test_a_handler_whose_descriptor_was_closed_is_called_no_more(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    ran: list[int] = []
    armed = reactor.register(ours, Direction.READ, ran.append)
    duplicate = os.dup(ours.fileno())
    ours.close()
    theirs.send(b"x")
    for _ in range(3):
        reactor.call_soon(int)
        reactor.turn()
    os.close(duplicate)
    theirs.close()
    assert len(ran) == 1
    assert not armed.live


def test_a_run_has_its_wait_end_at_an_interrupt_that_came_just_before_it() -> None:
    """Else the handler of Ctrl-C would wait for the next event: Python runs it between two instructions."""
    seen: list[int] = []

    async def main() -> None:
        seen.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(seen[0], warn_on_full_buffer=False)
        await refloop.checkpoint()

    refloop.run(main)
    assert seen[0] >= 0
    assert signal.set_wakeup_fd(-1) == -1
