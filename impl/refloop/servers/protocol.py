"""The line protocol that every server here speaks: what a line asks for, and nothing about how it is served.

A request is one line, and so is its answer:

=================  ===================================================================================
``echo TEXT``      TEXT
``sum N N …``      the sum of the integers
``slow NAME``      ``NAME is free``, as soon as nobody locks the file NAME any more: a call that blocks,
                   and that no poller can wait for (flock(2))
``file NAME``      the first line of the file NAME: a call that blocks for as long as the disk takes
``ask QUESTION``   what the backend, a server of remote calls (:mod:`refloop.rpc`), returns for
                   ``answer(QUESTION)``
=================  ===================================================================================

Anything else, and whatever fails, is answered by a line that begins with ``error:``. A line without its end
is no request. What a line means is decided here, by :func:`parse`; the last three requests wait for
something, so how they are carried out is what the architectures differ in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from refloop.rpc import Json

LINE_LIMIT: Final = 65_536
"""A line of this many bytes and no end is no request, but a way to fill the server's memory: its client is
dismissed."""

RECEIVE_BYTES: Final = 65_536
"""How much one receive takes at most."""

PROCEDURE: Final = "answer"
"""What the backend is called for, with the question as a text of one character a byte (ISO 8859-1)."""

# More digits than any sum needs, and fewer than it takes to keep a server busy.
_INTEGER: Final = re.compile(rb"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Echo:
    """Answer ``text``."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Sum:
    """Answer the sum of ``numbers``."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait until the file ``name`` is not locked."""

    name: bytes


@dataclass(frozen=True, slots=True)
class File:
    """Answer the first line of the file ``name``."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer what the backend does."""

    question: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """No request, and ``why``."""

    why: bytes


Request: TypeAlias = Echo | Sum | Slow | File | Ask | Refused


class Services(NamedTuple):
    """What stands behind a server: the directory of its files, and the address of its backend if it has
    one."""

    root: Path
    backend: tuple[str, int] | None


def parse(line: bytes) -> Request:
    """What ``line``, with its end, asks for."""
    verb, _, rest = line.removesuffix(b"\n").partition(b" ")
    match verb:
        case b"echo":
            return Echo(rest)
        case b"sum":
            return _sum(rest.split())
        case b"slow":
            return Slow(rest) if _is_name(rest) else Refused(b"no name of a file")
        case b"file":
            return File(rest) if _is_name(rest) else Refused(b"no name of a file")
        case b"ask":
            return Ask(rest)
        case _:
            return Refused(b"no such request")


def _sum(words: list[bytes]) -> Sum | Refused:
    if all(map(_INTEGER.fullmatch, words)):
        return Sum(tuple(map(int, words)))
    return Refused(b"a sum is of integers")


def _is_name(name: bytes) -> bool:
    """Whether ``name`` is that of a file inside the directory, wherever it is put together with one."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def located(services: Services, name: bytes) -> Path:
    """Where the file ``name`` is."""
    return services.root / os.fsdecode(name)


def total(numbers: tuple[int, ...]) -> bytes:
    """The answer to :class:`Sum`."""
    return b"%d" % sum(numbers)


def failure(error: OSError) -> bytes:
    """The answer to a request that failed with ``error``."""
    return b"error: " + (error.strerror or str(error)).encode()


def worded(question: bytes) -> str:
    """``question`` as the backend is given it."""
    return question.decode("latin-1")


def answered(value: Json) -> bytes:
    """The answer to :class:`Ask`, of what the backend returned: a line, whatever that is."""
    if not isinstance(value, str) or "\n" in value:
        return b"error: no answer"
    return value.encode("latin-1", "replace")


def refused(error: Exception) -> bytes:
    """The answer to :class:`Ask` where the backend raised ``error``."""
    return b"error: " + str(error).replace("\n", " ").encode()
