"""Each clause of FD, STREAM and EPOLL in the fewest calls that show it, asked of kernel and model.

The claims are exact: this is what Linux does. That the model allows each of them, and no state of it is left
over that does not, is checked at every call; what else the model allows is the comparison's business.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import loopspec.epoll
import loopspec.fd  # noqa: F401  # fill the register
from loopspec.conformance.drawing import LONG, SHORT
from loopspec.conformance.live import Report, Run
from loopspec.conformance.machine import Machine
from loopspec.kernel.calls import (
    DONE,
    SLEEPS,
    Accept,
    Advance,
    Close,
    Connect,
    Control,
    Count,
    Data,
    Dup,
    EpollControl,
    EpollWait,
    Exit,
    Failed,
    Fork,
    GetError,
    How,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    Read,
    Result,
    Shutdown,
    Write,
)
from loopspec.kernel.state import EDGE, ERR, EXCLUSIVE, HUP, IN, ONESHOT, OUT, RDHUP, Errno
from loopspec.kernel.step import step
from tests.kernel.asking import (
    ANY,
    CHILD,
    OTHER,
    WORKER,
    Claim,
    add,
    asked,
    delete,
    events,
    failed,
    mod,
    n,
    opened,
    wait,
)

ONE = (1).to_bytes(8, "little")
PAIR = OpenPair(nonblocking=True)
PIPE = OpenPipe(nonblocking=True)
EVENT = OpenEvent(0, nonblocking=True)
READY = OpenEvent(1, nonblocking=True)

#: Claims by clause. Descriptor 0 is an epoll unless the script says otherwise.
SCRIPTS: dict[tuple[str, str], list[Claim]] = {
    ("FD.NUMBER.LOWEST_FREE", "a8ee25ac"): [
        (PIPE, opened(0, 1)),
        (PIPE, opened(2, 3)),
        (Close(n(1)), DONE),
        (Close(n(2)), DONE),
        (Dup(n(0)), opened(1)),
        (EVENT, opened(2)),
    ],
    ("FD.CLOSE.LAST_REFERENCE", "32a96fc4"): [
        (PIPE, opened(0, 1)),
        (Dup(n(1)), opened(2)),
        (Close(n(1)), DONE),
        (Read(n(0), 1), failed(Errno.EAGAIN)),
        (Close(n(2)), DONE),
        (Read(n(0), 1), Data(b"")),
    ],
    ("STREAM.HALF_CLOSE.ONE_WAY", "cc9b8839"): [
        (PAIR, opened(0, 1)),
        (Shutdown(n(0), How.WR), DONE),
        (Read(n(1), 1), Data(b"")),
        (Write(n(1), b"a"), Count(1)),
        (Read(n(0), 1), Data(b"a")),
        (Write(n(0), b"a"), failed(Errno.EPIPE)),
    ],
    ("STREAM.WRITE.PARTIAL", "a91f20a8"): [
        (PAIR, opened(0, 1)),
        (Write(n(0), b"abcdefgh"), Count(2)),
        (Write(n(0), b"cdefgh"), failed(Errno.EAGAIN)),
        (Read(n(1), 8), Data(b"ab")),
        (Write(n(0), b"c"), Count(1)),
        (Read(n(1), 8), Data(b"c")),
    ],
    ("STREAM.WRITE.PIPE_BUF_ATOMIC", "0748af18"): [
        (PIPE, opened(0, 1)),
        (Write(n(1), b"abc"), Count(3)),
        (Write(n(1), b"de"), failed(Errno.EAGAIN)),
        (Read(n(0), 8), Data(b"abc")),
        (Write(n(1), b"de"), Count(2)),
        (Read(n(0), 8), Data(b"de")),
    ],
    ("EPOLL.KEY.NUMBER_AND_DESCRIPTION", "3a357b5b"): [
        (OpenEpoll(), opened(0)),
        (READY, opened(1)),
        (Dup(n(1)), opened(2)),
        (add(0, 1, IN), DONE),
        (add(0, 2, IN), DONE),
        (wait(0), events((1, IN), (2, IN))),
        (Close(n(1)), DONE),
        (READY, opened(1)),
        (add(0, 1, IN, data=7), DONE),
        (wait(0), events((1, IN), (2, IN), (7, IN))),
    ],
    ("EPOLL.CTL.EEXIST", "6723a43b"): [
        (OpenEpoll(), opened(0)),
        (EVENT, opened(1)),
        (add(0, 1, IN), DONE),
        (add(0, 1, OUT), failed(Errno.EEXIST)),
    ],
    ("EPOLL.CTL.ENOENT", "4fbf3efd"): [
        (OpenEpoll(), opened(0)),
        (EVENT, opened(1)),
        (mod(0, 1, IN), failed(Errno.ENOENT)),
        (delete(0, 1), failed(Errno.ENOENT)),
    ],
    ("EPOLL.CTL.EBADF", "6b6513a5"): [
        (OpenEpoll(), opened(0)),
        (EVENT, opened(1)),
        (add(0, 5, IN), failed(Errno.EBADF)),
        (add(5, 1, IN), failed(Errno.EBADF)),
    ],
    ("EPOLL.CTL.EINVAL", "a0bac897"): [
        (OpenEpoll(), opened(0)),
        (EVENT, opened(1)),
        (add(1, 0, IN), failed(Errno.EINVAL)),
        (add(0, 0, IN), failed(Errno.EINVAL)),
        (add(0, 1, IN | EXCLUSIVE | ONESHOT), failed(Errno.EINVAL)),
        (add(0, 1, IN | EXCLUSIVE), DONE),
        (mod(0, 1, IN), failed(Errno.EINVAL)),
    ],
    ("EPOLL.CTL.EPERM", "ee87c82c"): [
        (OpenEpoll(), opened(0)),
        (OpenFile(b"a"), opened(1)),
        (add(0, 1, IN), failed(Errno.EPERM)),
    ],
    ("EPOLL.CTL.ELOOP", "0aca2b32"): [
        *((OpenEpoll(), opened(number)) for number in range(7)),
        (add(0, 1, IN), DONE),
        (add(1, 0, IN), failed(Errno.ELOOP)),
        (add(1, 2, IN), DONE),
        (add(2, 3, IN), DONE),
        (add(3, 4, IN), DONE),
        (add(4, 5, IN), failed(Errno.ELOOP)),
        (add(2, 0, IN), failed(Errno.ELOOP)),
    ],
    ("EPOLL.CTL.ERROR_CHANGES_NOTHING", "5777d56d"): [
        (OpenEpoll(), opened(0)),
        (READY, opened(1)),
        (add(0, 1, IN | ONESHOT), DONE),
        (wait(0), events((1, IN))),
        (add(0, 1, IN), failed(Errno.EEXIST)),
        (mod(0, 1, IN | EXCLUSIVE), failed(Errno.EINVAL)),
        (wait(0), events()),
    ],
    ("EPOLL.LT.REPORTS_WHILE_READY", "7ec46d77"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN), DONE),
        (Write(n(2), b"ab"), Count(2)),
        (wait(0), events((1, IN))),
        (Read(n(1), 1), Data(b"a")),
        (wait(0), events((1, IN))),
        (Read(n(1), 1), Data(b"b")),
        (wait(0), events()),
    ],
    ("EPOLL.LT.ROTATES", "f9e204dc"): [
        (OpenEpoll(), opened(0)),
        *((READY, opened(number)) for number in range(1, 6)),
        *((add(0, number, IN), DONE) for number in range(1, 6)),
        (wait(0, 2), events((1, IN), (2, IN))),
        (wait(0, 2), events((3, IN), (4, IN))),
        (wait(0, 2), events((5, IN), (1, IN))),
        (wait(0, 1), events((2, IN))),
    ],
    ("EPOLL.ET.ONE_PER_EDGE", "4ff3d494"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN | EDGE), DONE),
        (Write(n(2), b"ab"), Count(2)),
        (wait(0), events((1, IN))),
        (wait(0), events()),
        (Read(n(1), 1), Data(b"a")),
        (wait(0), events()),
    ],
    ("EPOLL.ET.EMPTY_TO_READY_IS_EDGE", "dd5cc323"): [
        (OpenEpoll(), opened(0)),
        (PIPE, opened(1, 2)),
        (add(0, 1, IN | EDGE), DONE),
        (Write(n(2), b"a"), Count(1)),
        (wait(0), events((1, IN))),
        (Write(n(2), b"b"), Count(1)),
        (wait(0), ANY),
        (Read(n(1), 2), Data(b"ab")),
        (Write(n(2), b"c"), Count(1)),
        (wait(0), events((1, IN))),
    ],
    ("EPOLL.ET.DRAIN_CANCELS", "86195f09"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN | EDGE), DONE),
        (Write(n(2), b"a"), Count(1)),
        (Read(n(1), 1), Data(b"a")),
        (wait(0), events()),
    ],
    ("EPOLL.MOD.REARMS", "262e36de"): [
        (OpenEpoll(), opened(0)),
        (READY, opened(1)),
        (READY, opened(2)),
        (add(0, 1, IN | EDGE), DONE),
        (add(0, 2, IN | ONESHOT), DONE),
        (wait(0), events((1, IN), (2, IN))),
        (wait(0), events()),
        (mod(0, 1, IN | EDGE), DONE),
        (mod(0, 2, IN | ONESHOT), DONE),
        (wait(0), events((1, IN), (2, IN))),
    ],
    ("EPOLL.ONESHOT.DISARMS_ALL", "cd140c2f"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, OUT | ONESHOT), DONE),
        (wait(0), events((1, OUT))),
        (Write(n(2), b"a"), Count(1)),
        (Close(n(2)), DONE),
        (wait(0), events()),
        (mod(0, 1, 0), DONE),
        (wait(0), events((1, HUP))),
    ],
    ("EPOLL.MASK.ERR_HUP_ALWAYS", "353d9953"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (PIPE, opened(3, 4)),
        (add(0, 1, 0), DONE),
        (add(0, 4, 0), DONE),
        (Close(n(2)), DONE),
        (Close(n(3)), DONE),
        (wait(0), events((1, HUP), (4, ERR))),
    ],
    ("EPOLL.MASK.RDHUP_IN", "c2676da7"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN | OUT | RDHUP), DONE),
        (wait(0), events((1, OUT))),
        (Shutdown(n(2), How.WR), DONE),
        (wait(0), events((1, IN | OUT | RDHUP))),
        (Close(n(2)), DONE),
        (wait(0), events((1, IN | OUT | RDHUP | HUP))),
    ],
    ("EPOLL.MASK.PIPE_ENDS", "45762488"): [
        (OpenEpoll(), opened(0)),
        (PIPE, opened(1, 2)),
        (PIPE, opened(3, 4)),
        (add(0, 1, IN), DONE),
        (Write(n(2), b"a"), Count(1)),
        (Close(n(2)), DONE),
        (wait(0), events((1, IN | HUP))),
        (Read(n(1), 1), Data(b"a")),
        (wait(0), events((1, HUP))),
        (delete(0, 1), DONE),
        (add(0, 4, OUT), DONE),
        (Close(n(3)), DONE),
        (wait(0), events((4, OUT | ERR))),
    ],
    ("EPOLL.WAIT.COMBINES", "a66eb31f"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN | OUT), DONE),
        (Write(n(2), b"a"), Count(1)),
        (wait(0), events((1, IN | OUT))),
    ],
    ("EPOLL.WAIT.AT_MOST_MAX", "965acbf2"): [
        (OpenEpoll(), opened(0)),
        (READY, opened(1)),
        (READY, opened(2)),
        (add(0, 1, IN | EDGE), DONE),
        (add(0, 2, IN | EDGE), DONE),
        (wait(0, 1), events((1, IN))),
        (wait(0, 1), events((2, IN))),
        (wait(0, 1), events()),
    ],
    ("EPOLL.WAIT.ZERO_NEVER_SUSPENDS", "76943cdd"): [
        (OpenEpoll(), opened(0)),
        (EVENT, opened(1)),
        (add(0, 1, IN), DONE),
        (wait(0), events()),
    ],
    ("EPOLL.CLOSE.LIVES_WITH_DESCRIPTION", "ffea8f78"): [
        (OpenEpoll(), opened(0)),
        (PAIR, opened(1, 2)),
        (add(0, 1, IN), DONE),
        (Dup(n(1)), opened(3)),
        (Close(n(1)), DONE),
        (Write(n(2), b"a"), Count(1)),
        (wait(0), events((1, IN))),
        (delete(0, 1), failed(Errno.EBADF)),
        (delete(0, 3), failed(Errno.ENOENT)),
        (Close(n(3)), DONE),
        (wait(0), events()),
    ],
}

MACHINE_WORKERS = 2


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(MACHINE_WORKERS) as ready:
        yield ready


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(claims, id=id, marks=pytest.mark.clause(id, digest))
        for (id, digest), claims in SCRIPTS.items()
    ],
)
def test_the_kernel_does_what_the_clause_says_and_the_model_allows_it(
    machine: Machine, claims: list[Claim]
) -> None:
    assert list(asked(machine, claims)) == []


@pytest.mark.clause("EPOLL.CLOSE.LIVES_WITH_DESCRIPTION", "ffea8f78")
def test_a_forked_child_keeps_a_registration_alive(machine: Machine) -> None:
    claims: list[Claim] = [
        (OpenEpoll(), opened(0)),
        (READY, opened(1)),
        (add(0, 1, IN), DONE),
        (Fork(CHILD), Count(1)),
        (Close(n(1)), DONE),
        (wait(0), events((1, IN))),
        (Exit(thread=CHILD), DONE),
        (wait(0), events()),
    ]
    assert list(asked(machine, claims)) == []


@pytest.mark.clause("EPOLL.WAIT.NOT_EARLY", "c1fa236a")
def test_a_wait_that_reports_nothing_lasts_its_timeout(machine: Machine) -> None:
    run = Run(machine, Report())
    run.make(OpenEpoll())
    assert run.make(EpollWait(n(0), 1, SHORT, thread=WORKER)) == SLEEPS
    assert run.returned == {}
    run.make(Advance(SHORT))
    assert run.returned == {WORKER: events()}
    assert machine.workers[0].lasted >= SHORT


@pytest.mark.clause("EPOLL.EXCLUSIVE.AT_LEAST_ONE", "6a7abbdc")
def test_an_event_wakes_one_of_two_threads_that_wait_exclusively(machine: Machine) -> None:
    run = Run(machine, Report())
    for call in (OpenEpoll(), OpenEpoll(), PAIR, add(0, 2, IN | EXCLUSIVE), add(1, 2, IN | EXCLUSIVE)):
        run.make(call)
    for epfd, thread in ((0, WORKER), (1, OTHER)):
        assert run.make(EpollWait(n(epfd), 1, LONG, thread=thread)) == SLEEPS
    run.make(Write(n(3), b"a"))
    assert len(run.returned) >= 1
    assert set(run.returned.values()) == {events((2, IN))}


@pytest.mark.clause("EPOLL.MASK.RDHUP_IN", "c2676da7")
def test_a_reset_adds_err_to_a_tcp_end(machine: Machine) -> None:
    claims: list[Claim] = [
        (OpenEpoll(), opened(0)),
        (OpenSocket(nonblocking=True), opened(1)),
        (Connect(n(1), port=7), failed(Errno.EINPROGRESS)),
        (add(0, 1, IN | OUT | RDHUP), DONE),
        (wait(0), events((1, IN | OUT | RDHUP | HUP | ERR))),
        (GetError(n(1)), Count(Errno.ECONNREFUSED)),
        (GetError(n(1)), Count(0)),
        (wait(0), events((1, IN | OUT | RDHUP | HUP))),
    ]
    assert list(asked(machine, claims)) == []


@pytest.mark.clause("EPOLL.CTL.ELOOP", "0aca2b32")
@pytest.mark.parametrize(
    ("chains", "last", "result"),
    [
        ([(3, 4), (2, 3), (1, 2), (0, 1)], (4, 5), failed(Errno.ELOOP)),
        ([(4, 5), (3, 4), (2, 3), (1, 2)], (0, 1), failed(Errno.ELOOP)),
        ([(0, 1), (1, 2), (3, 4), (4, 5)], (2, 3), failed(Errno.ELOOP)),
        ([(0, 1), (3, 4), (4, 5)], (1, 3), DONE),
        ([(0, 1), (1, 2), (3, 4)], (2, 3), DONE),
        ([(0, 1), (0, 2), (2, 3), (0, 4)], (3, 5), DONE),
        ([(2, 3), (2, 4), (4, 5), (5, 6), (0, 1)], (1, 2), failed(Errno.ELOOP)),
        ([(0, 1), (1, 2), (3, 2), (4, 5), (5, 6)], (2, 4), failed(Errno.ELOOP)),
    ],
)
def test_five_epolls_may_stand_above_one_another_and_no_more(
    machine: Machine, chains: list[tuple[int, int]], last: tuple[int, int], result: Result
) -> None:
    """However the chain comes about: from above, from below, or out of two; its longest branch counts."""
    claims: list[Claim] = [(OpenEpoll(), opened(number)) for number in range(7)]
    claims += [(add(above, below, IN), DONE) for above, below in chains]
    assert list(asked(machine, [*claims, (add(*last, IN), result)])) == []


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.clause("EPOLL.CTL.ANY_HELD_ERROR", "029fa42d")
@pytest.mark.parametrize(
    ("call", "held"),
    [
        (add(1, 2, IN), {Errno.EINVAL, Errno.EPERM}),
        (add(1, 9, IN), {Errno.EINVAL, Errno.EBADF}),
        (add(9, 2, IN), {Errno.EPERM, Errno.EBADF}),
        (add(0, 3, IN | EXCLUSIVE | RDHUP), {Errno.EINVAL, Errno.EEXIST}),
        (add(9, 0, IN | EXCLUSIVE), {Errno.EINVAL, Errno.EBADF}),
        (mod(0, 1, IN | EXCLUSIVE), {Errno.EINVAL, Errno.ENOENT}),
        (mod(0, 0, IN), {Errno.EINVAL, Errno.ENOENT}),
        (
            EpollControl(n(9), Control.ADD, n(9), readable=False),
            {Errno.EFAULT, Errno.EBADF},
        ),
    ],
    ids=lambda value: "-".join(sorted(e.name for e in value)) if isinstance(value, set) else "",
)
def test_of_several_faults_any_may_be_named(machine: Machine, call: EpollControl, held: set[Errno]) -> None:
    run = Run(machine, Report())
    for before in (OpenEpoll(), EVENT, OpenFile(b"a"), EVENT, add(0, 3, IN)):
        run.make(before)
    (state,) = run.states
    assert {o.result for o in step(state, call)} == {Failed(errno) for errno in held}
    assert run.make(call) in {Failed(errno) for errno in held}


# --- suspension and wake-up -------------------------------------------------------------------------------


def test_a_read_sleeps_until_the_byte_is_there(machine: Machine) -> None:
    run = Run(machine, Report())
    run.make(OpenPair())
    assert run.make(Read(n(1), 1, thread=WORKER)) == SLEEPS
    run.make(OpenEvent())
    assert run.returned == {}, "nothing has happened to the pair"
    run.make(Write(n(0), b"a", thread=OTHER))
    assert run.returned == {WORKER: Data(b"a"), OTHER: Count(1)}


def test_close_does_not_end_a_read_that_is_under_way(machine: Machine) -> None:
    run = Run(machine, Report())
    run.make(OpenPipe())
    run.make(Read(n(0), 1, thread=WORKER))
    run.make(Close(n(0)))
    assert run.returned == {}
    run.make(Write(n(1), b"a", thread=OTHER))
    assert run.returned[WORKER] == Data(b"a")


def test_a_write_sleeps_until_all_of_it_is_taken(machine: Machine) -> None:
    run = Run(machine, Report())
    run.make(OpenPair())
    assert run.make(Write(n(0), b"abcd", thread=WORKER)) == SLEEPS
    assert run.make(Read(n(1), 2, thread=OTHER)) == Data(b"ab")
    assert run.returned[WORKER] == Count(4)


def test_a_write_goes_on_where_it_was_however_often_it_has_to_wait(machine: Machine) -> None:
    run = Run(machine, Report())
    run.make(OpenPair())
    assert run.make(Write(n(0), b"abcdef", thread=WORKER)) == SLEEPS
    for part in (b"ab", b"cd", b"ef"):
        assert WORKER not in run.returned or part == b"ef"
        assert run.make(Read(n(1), 2, thread=OTHER)) == Data(part)
    assert run.returned[WORKER] == Count(6)


def test_add_of_a_ready_descriptor_wakes_a_wait_that_is_under_way(machine: Machine) -> None:
    run = Run(machine, Report())
    for call in (OpenEpoll(), READY):
        run.make(call)
    run.make(EpollWait(n(0), 1, None, thread=WORKER))
    run.make(add(0, 1, IN))
    assert run.returned == {WORKER: events((1, IN))}


def test_an_accept_that_waits_has_its_number_already(machine: Machine) -> None:
    run = Run(machine, Report())
    for call in (OpenSocket(), Listen(n(0), port=1)):
        run.make(call)
    assert run.make(Accept(n(0), thread=WORKER)) == SLEEPS
    assert run.make(OpenSocket(nonblocking=True)) == opened(2), "1 is the accept's"
    run.make(Connect(n(2), port=1))
    assert run.returned == {WORKER: opened(1)}
