"""The steps of the rules of STREAM.

Of bytes a rule asks whether they come next, so that short ones that do and do not stand for all; what is lost
is a count.
"""

from __future__ import annotations

from enum import Enum

from loopspec.proofs import Seen, after
from loopspec.stream import BytesPrefix, EofAfterData
from loopspec.trace import Connect, HalfClose, Leave, Read, Receive, Send, Shut, Write


class Arrives(Enum):
    """What may arrive of b"abc"."""

    NOTHING = b""
    NEXT = b"a"
    ALL = b"abc"
    TWICE = b"aa"
    LATER = b"b"
    MORE = b"abcd"


class Way(Enum):
    """In which direction, and before which server."""

    IN = ((), Send(0, b"abc"))
    OUT = ((), Write(1, 0, b"abc"))
    ECHO = ((Connect(0, True),), Send(0, b"abc"))


def bytes_prefix(way: Way, arrives: Arrives) -> Seen[BytesPrefix]:
    """What arrives is refused exactly if it is not what was sent next, and what is on its way is what comes
    after it.

    post: _.breaks == (not b"abc".startswith(arrives.value))
    post: _.breaks or arrives.value + _left(_.next, way) == b"abc"
    """
    before, sent = way.value
    there = Read(1, 0, arrives.value) if way is Way.IN else Receive(0, arrives.value)
    return after(BytesPrefix(), *before, sent, there)


def _left(rule: BytesPrefix, way: Way) -> bytes:
    left = rule.inbound if way is Way.IN else rule.outbound
    return left if isinstance(left, bytes) else b""


class Ended(Enum):
    """What may have ended a stream, and what comes."""

    END_READ = Read(1, 0, b"")
    END_RECEIVED = Receive(0, b"")
    READ = Read(1, 0, b"a")
    RECEIVED = Receive(0, b"a")
    SENT = Send(0, b"a")
    WRITTEN = Write(1, 0, b"a")


def eof_after_data(
    inbound: int, outbound: int, half: bool, gone: bool, shut: bool, event: Ended
) -> Seen[EofAfterData]:
    """An end of file is refused exactly if its side was ended in good order and something is missing.

    pre: 0 <= inbound and 0 <= outbound
    post: _.breaks == _overtakes(event, inbound if half and not gone else 0, outbound if shut else 0)
    post: _.breaks or _.next.inbound == inbound + (event is Ended.SENT) - (event is Ended.READ)
    post: _.breaks or _.next.outbound == outbound + (event is Ended.WRITTEN) - (event is Ended.RECEIVED)
    """
    ends = (
        *((HalfClose(0),) if half else ()),
        *((Leave(0),) if gone else ()),
        *((Shut(1, 0),) if shut else ()),
    )
    return after(EofAfterData(inbound, outbound), *ends, event.value)


def _overtakes(event: Ended, inbound: int, outbound: int) -> bool:
    return (event is Ended.END_READ and inbound > 0) or (event is Ended.END_RECEIVED and outbound > 0)
