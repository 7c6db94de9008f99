"""Four inductive steps of epoll, small enough to be confirmed over all paths by CrossHair.

The model is a program with tables, and too much for a prover; the argument behind it is not. Each step here
speaks of one registration, or of one place in a line, in booleans and bounded integers, and uses the model's
own rule where the model has one as a function of masks. Starting from an invariant, one move leads to the
invariant again; rotation is a rank that falls. That the tables of the model do the same is what the search
at small scope shows.
"""

from __future__ import annotations

from typing import NamedTuple

from loopspec.kernel.wake import edges


class Level(NamedTuple):
    """A level-triggered registration: its condition holds, and it is on the ready list."""

    ready: bool
    listed: bool


class Edge(NamedTuple):
    """An edge-triggered registration; ``told``: reported, and its reader has not seen EAGAIN since."""

    ready: bool
    listed: bool
    told: bool


class Oneshot(NamedTuple):
    """A one-shot registration: armed until it is reported, and again by MOD."""

    armed: bool
    listed: bool
    reports: int
    mods: int


# --- readiness --------------------------------------------------------------------------------------------


def found(s: Level) -> bool:
    """What is ready is on the list: no wait can pass it over."""
    return s.listed or not s.ready


def level_step(s: Level, becomes: bool, ceases: bool, looked_at: bool) -> Level:
    """The condition changes, and a wait may look.

    pre: found(s)
    post: found(_)
    """
    ready = (s.ready or becomes) and not ceases
    listed = s.listed or becomes
    return Level(ready, ready if looked_at else listed)


# --- edge -------------------------------------------------------------------------------------------------


def not_lost(s: Edge) -> bool:
    """Whoever is ready will be reported, or has been and is being drained."""
    return s.listed or s.told or not s.ready


def edge_step(s: Edge, news: bool, is_edge: bool, waited: bool, drained: bool) -> Edge:
    """News comes, the world chooses whether it is an edge where it may, a wait reports, a reader drains.

    pre: not_lost(s)
    post: not_lost(_)
    """
    happens = news and (is_edge or edges(s.ready) == (True,))
    ready, listed = s.ready or news, s.listed or happens
    told = s.told or (waited and listed and ready)
    listed = listed and not waited
    return Edge(ready and not drained, listed, told and not drained)


# --- one-shot ---------------------------------------------------------------------------------------------


def once_per_arming(s: Oneshot) -> bool:
    """ADD arms once and MOD arms again: so many reports and no more, one less while it is armed."""
    return s.reports >= 0 and s.mods >= 0 and s.reports + s.armed <= s.mods + 1


def oneshot_step(s: Oneshot, event: bool, waited: bool, mod: bool) -> Oneshot:
    """An event comes, a wait reports, MOD arms.

    pre: once_per_arming(s)
    post: once_per_arming(_)
    """
    listed = s.listed or (event and s.armed)
    reported = waited and listed and s.armed
    armed = (s.armed and not reported) or mod
    return Oneshot(armed, listed and not waited, s.reports + reported, s.mods + mod)


# --- rotation ---------------------------------------------------------------------------------------------


def place_after_wait(place: int, length: int, most: int) -> int:
    """Where one who was at ``place`` of a line of ``length`` stands after a wait that reports ``most``.

    Who is reported goes to the end; who is not has its rank fall by ``most``. So after ⌈length/most⌉ waits
    everybody has been reported.

    pre: 0 <= place < length <= 8
    pre: 0 < most <= length
    post: 0 <= _ < length and (_ == place - most if place >= most else _ >= length - most)
    """
    return place - most if place >= most else place + length - most
