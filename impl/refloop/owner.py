"""Whose a reactor is: its thread's, until it is closed, and nobody's in a forked child.

A child has the reactors of its parent in memory, and shares their interest sets. Which there are is known
here, weakly, so that one that is dropped is gone; and what is known is not the reactor but this small part of
it, since a compiled one takes no weak references.
"""

from __future__ import annotations

import os
import weakref
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refloop.signals import Signals


class Owner:
    """The identity of the thread that made the reactor, 0 when it has ended; and what a child is to undo."""

    __slots__ = ("__weakref__", "forked", "signals", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.forked = False
        self.signals: Signals | None = None
        _OWNERS.add(self)


_OWNERS: weakref.WeakSet[Owner] = weakref.WeakSet()


def _disown() -> None:
    for owner in tuple(_OWNERS):
        owner.forked = True
        if owner.thread and owner.signals is not None:
            owner.signals.close()
        owner.thread = 0


os.register_at_fork(after_in_child=_disown)
