"""Watching a program's loops: which of its steps the kernel suspends, and in what.

LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT is the promise that users break, not loops: one blocking call in one
handler, and every client waits. This package measures it in real programs. It does not guess from elapsed
time, and has no list of the names of functions: a step blocked if and only if the kernel switched its
thread out while it was not runnable.

:mod:`~loopspec.watching.sensors` asks the kernel; :mod:`~loopspec.watching.lock` tells waits for the
interpreter lock apart; :mod:`~loopspec.watching.thread` brackets steps, where
:mod:`~loopspec.watching.asyncio`, :mod:`~loopspec.watching.uvloop` and :mod:`~loopspec.watching.trio`
hook them in; :mod:`~loopspec.watching.evidence` and :mod:`~loopspec.watching.onlooker` see what a late
step waits for; :mod:`~loopspec.watching.steps` gives the verdict. Nothing of it is installed until
somebody watches, and all of it is gone when nobody does.
"""

from loopspec.watching.session import Watching, watch
from loopspec.watching.steps import Frame, Seen, Step, Turn, Verdict

__all__ = ["Frame", "Seen", "Step", "Turn", "Verdict", "Watching", "watch"]
