"""The kernel as an executable specification: ``step(state, call)`` gives every outcome that is allowed.

The model keeps the layers of Linux apart, because the surprises of epoll live between them: a *number* names
an open file description, a description is what has O_NONBLOCK and an offset, a registration belongs to the
pair of both, and the ready list is an ordered tuple of such pairs. Threads are part of the state: a blocking
call suspends its caller, and a later :class:`~loopspec.kernel.calls.Resume` completes it.

The answer is a set, since the world may choose: how much a write takes, when a socket is writable again,
whether more data on a ready stream is an edge, which of several held errors is returned. Whoever relies on a
choice relies on too much. A refused call returns the very state it was given.

Read :mod:`~loopspec.kernel.state` first, then :mod:`~loopspec.kernel.epoll`; :mod:`~loopspec.kernel.step` is
the table of contents. The rules by type of object are ``pipe``, ``unix``, ``tcp``, ``eventfd``, ``timerfd``
and ``regular``. What is left out: signals, ownership, out-of-band data, datagrams, sizes in bytes (a stream
is counted in units, and its capacity is the state's own).
"""
