"""eventfd, at the edges of its 64 bits: kernel and model say the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import loopspec.epoll
import loopspec.fd  # noqa: F401  # fill the register
from loopspec.conformance.machine import Machine
from loopspec.kernel.calls import Count, Data, OpenEpoll, OpenEvent, Read, Write
from loopspec.kernel.eventfd import MOST
from loopspec.kernel.state import IN, OUT, Errno
from tests.kernel.asking import DONE, Claim, add, asked, events, failed, n, opened, wait


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(0) as ready:
        yield ready


@pytest.mark.parametrize(
    ("count", "holds"), [(0, OUT), (1, IN | OUT), (MOST - 1, IN | OUT), (MOST, IN)], ids=str
)
def test_a_counter_is_readable_above_0_and_writable_while_one_can_be_added(
    machine: Machine, count: int, holds: int
) -> None:
    one, value = (each.to_bytes(8, "little") for each in (1, count))
    claims: list[Claim] = [
        (OpenEpoll(), opened(0)),
        (OpenEvent(0, nonblocking=True), opened(1)),
        (Write(n(1), value), Count(8)),
        (add(0, 1, IN | OUT), DONE),
        (wait(0), events((1, holds))),
        (Write(n(1), one), Count(8) if holds & OUT else failed(Errno.EAGAIN)),
        (Read(n(1), 8), Data(min(count + 1, MOST).to_bytes(8, "little"))),
        (Read(n(1), 8), failed(Errno.EAGAIN)),
        (wait(0), events((1, OUT))),
    ]
    assert list(asked(machine, claims)) == []
